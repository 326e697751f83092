#include "app/cli.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/replay_source.h"
#include "app/row_key.h"
#include "app/show.h"
#include "app/shrink_spec.h"
#include "app/term.h"
#include "base/json.h"
#include "flow/shrink.h"
#include "flow/walk.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct {
	Cli *cli;
	Handler *h;
	const char *script;
	int expression;  /* of --assert; 0: an error of the script is what fails */
	const char *key; /* whose state the assertion is about; NULL: any */
	ReplaySource *source;
	bool met;        /* an event came for that key */
	Buf failed;      /* the key of the state that was looked at last */
	char place[256]; /* "projections/x.lua:12:", where the script raised */
	Err error;       /* … and what it said the last time */
	Arena *arena;
} Shrink;

/* Where an error was raised: two errors are the same one where this is. */
static void place_of(const Err *err, char out[256])
{
	const char *colon = strchr(err->message, ':');
	size_t len;

	colon = colon ? strchr(colon + 1, ':') : NULL;
	len = colon ? (size_t)(colon - err->message) + 1 : strlen(err->message);
	snprintf(out, 256, "%.*s", (int)(len < 255 ? len : 255), err->message);
}

/* --- Does this list fail?
 * -----------------------------------------------------------------------------
 */

static bool broken_by(Shrink *s, EventSlice events, size_t at, bool *fails, Err *err)
{
	const HandlerOps *ops = s->h->ops;
	size_t nth = 0;
	Str key, state;

	while (!*fails && (key = ops->key_of(s->h, events, at, nth++)).s != NULL) {
		bool truth;

		if (s->key != NULL && !row_key_is(s->key, key))
			continue;
		s->met = true;
		key = arena_str(s->arena, key);
		if (!ops->state(s->h, key, &state, err) ||
			!ops->evaluate(s->h, s->expression, &events.events[at], key,
				(Str){ NULL, 0 }, state, &truth, NULL, err))
			return false;
		*fails = !truth;
		buf_clear(&s->failed);
		buf_add(&s->failed, key.s, key.len);
	}
	return true;
}

static bool one_event(
	Shrink *s, MemoryTable *table, EventSlice events, size_t at, bool *fails, Err *err)
{
	char place[256];
	size_t to = at;
	Err raised;

	if (!memory_table_prepare(table, s->h, events, at, at + 1, err))
		return false;
	if (s->h->ops->run(s->h, events, &to, at + 1, true, &raised) == RUN_FAILED) {
		place_of(&raised, place);
		if (s->expression == 0 && (s->place[0] == '\0' || strcmp(place, s->place) == 0)) {
			snprintf(s->place, sizeof(s->place), "%s", place);
			s->error = raised;
			*fails = true;
		}
		return true;
	}
	return s->expression == 0 || broken_by(s, events, at, fails, err);
}

/* Events up to the one at which it fails, from nothing; *count becomes their
 * number. */
static bool run_list(Shrink *s, EventSlice events, bool *fails, size_t *count, Err *err)
{
	MemoryTable *table = memory_table_new();
	bool ok = true;

	s->h->ops->forget(s->h);
	*fails = false;
	for (*count = 0; ok && !*fails && *count < events.count && !cli_stopped(s->cli); ++*count) {
		ok = one_event(s, table, events, *count, fails, err);
		if (ok && *count % 1000 == 999)
			ok = memory_table_commit(table, s->h, err);
	}
	s->h->ops->forget(s->h);
	memory_table_free(table);
	return ok;
}

static bool test(void *owner, EventSlice events, bool *fails, Err *err)
{
	Shrink *s = owner;
	size_t count;

	arena_reset(s->arena);
	return run_list(s, events, fails, &count, err);
}

/* --- The history
 * --------------------------------------------------------------------------------------
 */

enum { SLICE = 1000 };

/* The number of the first event at which it fails; SIZE_MAX: none. */
static bool first_failure(Shrink *s, Tape *tape, size_t *number, Err *err)
{
	MemoryTable *table = memory_table_new();
	EventSlice slice = { 0 };
	size_t from = 0, first = 0;
	bool ok, fails = false;

	*number = SIZE_MAX;
	s->h->ops->forget(s->h);
	if (!replay_source_start(s->source, tape, &first, err)) {
		memory_table_free(table);
		return false;
	}
	while ((ok = tape_slice(tape, from, SLICE, &slice, err)) && slice.count > 0 &&
		!cli_stopped(s->cli)) {
		arena_reset(s->arena);
		for (size_t i = 0; ok && !fails && i < slice.count; i++) {
			ok = one_event(s, table, slice, i, &fails, err);
			if (from + i < first) { /* unseen */
				fails = false;
				s->place[0] = '\0';
			}
			*number = fails ? from + i : *number;
		}
		ok = ok && (fails || memory_table_commit(table, s->h, err));
		from += slice.count;
		if (!ok || fails)
			break;
	}
	memory_table_free(table);
	return ok;
}

/* Is one of the event's keys among the failing event's? */
static bool shares_key(Shrink *s, const Event *e, const Str *keys, size_t n)
{
	EventSlice one = { e, 1 };
	size_t nth = 0;
	Str key;

	while ((key = s->h->ops->key_of(s->h, one, 0, nth++)).s != NULL)
		for (size_t i = 0; i < n; i++)
			if (str_eq(keys[i], key))
				return true;
	return false;
}

static size_t keys_of(Shrink *s, const Event *e, Arena *arena, Str *keys, size_t most)
{
	EventSlice one = { e, 1 };
	size_t n = 0;
	Str key;

	while (n < most && (key = s->h->ops->key_of(s->h, one, 0, n)).s != NULL)
		keys[n++] = arena_str(arena, key);
	return n;
}

typedef struct {
	Event *at;
	size_t count, cap;
} EventList;

static void add_event(EventList *list, const Event *e)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 256;
		list->at = mem_realloc(list->at, list->cap * sizeof(*list->at));
	}
	list->at[list->count++] = *e;
}

/* The events up to the failing one, first those of its keys alone: mostly that
 * is all it takes. */
static bool gather(Shrink *s, Tape *tape, size_t last, EventList *out, Err *err)
{
	Arena *arena = arena_new(4096);
	Str keys[64];
	Event e;
	size_t nkeys = 0, count;
	bool ok = tape_event(tape, last, &e, err), fails = false;

	if (ok)
		nkeys = keys_of(s, &e, arena, keys, 64);
	for (int all = 0; ok && !fails && all < 2; all++) {
		out->count = 0;
		for (size_t i = 0; ok && i <= last && !cli_stopped(s->cli); i++) {
			ok = tape_event(tape, i, &e, err);
			if (ok && (all || shares_key(s, &e, keys, nkeys)))
				add_event(out, &e);
		}
		if (ok)
			ok = run_list(s, (EventSlice){ out->at, out->count }, &fails, &count, err);
	}
	arena_free(arena);
	if (ok && cli_stopped(s->cli))
		return err_set(err, ERR_STOPPED, "shrink: stopped before it had a list that fails");
	return ok && (fails || err_set(err, ERR_DATA,
				       "shrink: what fails at event %" PRId64
				       " does not fail again in a replay",
				       e.id));
}

/* --- What came of it
 * ----------------------------------------------------------------------------------
 */

static void print_result(Shrink *s, const Shrunk *small, size_t gathered, const char *file)
{
	char from[32], tests[32];

	printf("%zu of %s events make it fail (%s lists tried):\n", small->count,
		term_count((int64_t)gathered, from), term_count((int64_t)small->tests, tests));
	for (size_t i = 0; i < small->count; i++)
		show_event(stdout, &small->events[i]);
	if (s->expression == 0)
		term_print(stdout, TERM_RED, "  %s\n", s->error.message);
	printf("written to %s (`moonwake test %s` runs it)\n", file, file);
}

static void print_json(Shrink *s, const Shrunk *small, size_t gathered, const char *file)
{
	Buf out = { 0 };

	buf_addf(&out, "{\"from\":%zu,\"tests\":%zu,\"file\":", gathered, small->tests);
	json_add_string(&out, str_from(file));
	buf_adds(&out, ",\"error\":");
	if (s->expression == 0)
		json_add_string(&out, str_from(s->error.message));
	else
		buf_adds(&out, "null");
	buf_adds(&out, ",\"events\":[");
	for (size_t i = 0; i < small->count; i++) {
		buf_adds(&out, i ? "," : "");
		show_event_json(&out, &small->events[i]);
	}
	buf_adds(&out, "]}");
	puts(out.s);
	buf_free(&out);
}

static bool write_out(Shrink *s, const Shrunk *small, size_t gathered, Err *err)
{
	const Definition *def = s->h->ops->definition(s->h);
	const char *file = cli_value(s->cli, "output");
	ShrinkSpec spec = { .script = def->path,
		.name = def->name,
		.events = { small->events, small->count },
		.of = gathered,
		.assertion = cli_value(s->cli, "assert"),
		.error = s->error.message };

	if (spec.assertion != NULL)
		spec.key = buf_str(&s->failed);
	if (file == NULL)
		file = arena_printf(s->cli->arena, "spec/%s_event_%" PRId64 "_spec.lua", def->name,
			small->events[small->count - 1].id);
	if (!shrink_spec_write(&spec, cli_path(s->cli, file), cli_flag(s->cli, "force"), err))
		return false;
	if (cli_flag(s->cli, "json"))
		print_json(s, small, gathered, file);
	else
		print_result(s, small, gathered, file);
	return true;
}

static bool nothing_fails(Shrink *s, Tape *tape, Err *err)
{
	Event e;

	if (cli_stopped(s->cli))
		return err_set(err, ERR_STOPPED, "shrink: stopped before it found a failure");
	if (!tape_event(tape, 0, &e, err))
		return err->kind == ERR_NONE && replay_source_nothing(s->source, err);
	if (s->key != NULL && s->expression != 0 && !s->met)
		return err_set(err, ERR_DATA, "shrink: no event came for the key %s", s->key);
	err_set(err, ERR_DATA,
		s->expression ? "shrink: the assertion holds after every event"
			      : "shrink: the script handles every event");
	return err_hint(err, "nothing fails in this history");
}

static bool shrink_history(Shrink *s, Tape *tape, Err *err)
{
	EventList events = { 0 };
	Shrunk small = { 0 };
	size_t last;
	bool ok = first_failure(s, tape, &last, err);

	if (ok && last == SIZE_MAX)
		ok = nothing_fails(s, tape, err);
	ok = ok && gather(s, tape, last, &events, err);
	ok = ok && shrink_events((EventSlice){ events.at, events.count }, test, s, s->cli->stop,
			   &small, err);
	ok = ok && write_out(s, &small, events.count, err);
	if (ok && cli_stopped(s->cli))
		ok = err_set(err, ERR_STOPPED, "shrink: stopped (there may be a smaller list)");
	free(small.events);
	free(events.at);
	return ok;
}

static bool open_all(Shrink *s, Tape **tape, Err *err)
{
	LuaOptions lua = { .workspace = s->cli->workspace };
	const char *assertion = cli_value(s->cli, "assert");

	s->key = cli_value(s->cli, "key");
	if (assertion != NULL && strstr(assertion, "before") != NULL)
		return err_set(err, ERR_USAGE,
			"shrink: --assert is about `state` and `event` (there is no `before` "
			"here)");

	s->h = loader_open(&lua, s->script, err);
	if (s->h == NULL)
		return false;
	if (assertion != NULL)
		s->expression = s->h->ops->expression(s->h, "--assert", str_from(assertion), err);
	if (assertion != NULL && s->expression == 0)
		return false;
	s->source = replay_source_open(s->cli, s->h, err);
	*tape = s->source ? replay_source_tape(s->source, true, err) : NULL;
	return *tape != NULL;
}

static int run(Cli *cli, int argc, char **argv)
{
	Shrink s = { .cli = cli, .script = argc > 0 ? argv[0] : NULL };
	Tape *tape = NULL;
	Err err;
	bool ok;

	if (argc != 1)
		return cli_usage(cli, "takes a script: its name, or its path");
	cli_catch_stop(cli);
	s.arena = arena_new(65536);
	ok = open_all(&s, &tape, &err) && s.h != NULL && shrink_history(&s, tape, &err);
	tape_close(tape);
	replay_source_close(s.source);
	if (s.h != NULL)
		s.h->ops->close(s.h);
	arena_free(s.arena);
	buf_free(&s.failed);
	return ok ? EXIT_OK : cli_fail(&err);
}

static const Option options[] = {
	{ "assert", 0, "EXPR", NULL,
		"what has to hold for `state` after every event (default: that the script "
		"does not "
		"fail)" },
	{ "key", 0, "KEY", NULL, "only this row or aggregate" },
	{ "output", 'o', "FILE", NULL, "the spec file (default: spec/NAME_event_ID_spec.lua)" },
	{ "force", 'f', NULL, NULL, "overwrite the file" },
	REPLAY_SOURCE_OPTIONS,
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

const Command cmd_shrink = {
	.name = "shrink",
	.summary = "make a failing history as small as it gets, as a spec",
	.usage = "SCRIPT",
	.details = "Replays the script over the log, in memory, up to the first "
		   "event at which it fails, "
		   "or at which\n"
		   "--assert does not hold, and then takes out of that history "
		   "whatever is not needed for "
		   "it to fail.\n"
		   "No single event of what remains can be left out. It is written "
		   "as a spec that "
		   "`moonwake test` runs:\n"
		   "it fails until the script is put right. An error counts as the "
		   "same one where it comes "
		   "from the same\n"
		   "line of the same file.",
	.options = options,
	.examples = "  moonwake shrink device_summary\n"
		    "  moonwake shrink device_summary --assert 'row.crashes < 10' "
		    "--key d-17\n"
		    "  moonwake shrink workflow --aggregate workflow/w-3 -o "
		    "spec/w3_spec.lua",
	.run = run,
};
