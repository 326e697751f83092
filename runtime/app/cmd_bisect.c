#include "app/cli.h"
#include "app/key_words.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/row_events.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "flow/event_json.h"
#include "flow/fold.h"
#include "flow/walk.h"

#include <inttypes.h>
#include <stdlib.h>

static const Option options[] = {
	{ "projection", 'p', NULL, NULL, "the first word is a projection, the next its row's key" },
	{ "reducer", 0, "NAME", NULL, "which reducer, where an aggregate type has several" },
	{ "linear", 0, NULL, NULL, "look at every event: for an assertion that comes and goes" },
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

/* One state of the thing under search: what it was after an event. */
typedef struct {
	Event event;
	Str before, after; /* s == NULL: there was no state */
} Place;

typedef struct {
	Cli *cli;
	PgDb *db;
	Handler *h;
	const char *id; /* of a reducer's aggregate */
	Str key;
	int expression;
	bool wants_before; /* the assertion speaks of `before`: another fold for each state */
	Tape *tape;        /* of a row: the events that came for it */
	Place *places;     /* of a projection's row: each event that came for it */
	int64_t count;     /* states there are: versions, or places */
	int64_t probes, events;
	Arena *arena;
} Bisect;

/* --- The nth state, from 1 on
 * ------------------------------------------------------------------------- */

static bool event_of_version(Bisect *b, int64_t version, Event *out, Err *err)
{
	HistoryFilter filter = { .aggregate_type = b->h->ops->definition(b->h)->aggregate,
		.aggregate_id = b->id,
		.after_version = version - 1,
		.upto_version = version };
	History *history = history_open(b->db, &filter, err);
	Tape *tape = history ? tape_open(history, err) : NULL;
	bool ok = tape != NULL && tape_event(tape, 0, out, err);

	if (tape != NULL && !ok && err->kind == ERR_NONE)
		err_set(err, ERR_DATA,
			"%s: version %" PRId64 " is not in the log (was it removed?)", b->id,
			version);
	if (ok) { /* it outlives the tape */
		Buf text = { 0 };

		event_to_json(&text, out);
		ok = event_from_json(arena_str(b->arena, buf_str(&text)), b->arena, out, err);
		buf_free(&text);
	}
	tape_close(tape);
	return ok;
}

static bool fold_to(Bisect *b, int64_t version, Str *state, Err *err)
{
	Fold fold = { 0 };
	bool ok = true;

	*state = (Str){ NULL, 0 };
	if (version > 0)
		ok = fold_aggregate(b->db, b->h, b->id, FOLD_VERSION, version, true, &fold, err);
	if (ok && fold.state.s != NULL)
		*state = arena_str(b->arena, fold.state);
	b->events += fold.events_read;
	fold_free(&fold);
	return ok;
}

static bool place_at(Bisect *b, int64_t n, Place *out, Err *err)
{
	if (b->places != NULL) {
		*out = b->places[n - 1];
		return true;
	}
	out->before = (Str){ NULL, 0 };
	return event_of_version(b, n, &out->event, err) &&
	       (!b->wants_before || fold_to(b, n - 1, &out->before, err)) &&
	       fold_to(b, n, &out->after, err);
}

static bool holds(Bisect *b, int64_t n, bool *truth, Err *err)
{
	Place place = { 0 };

	*truth = false;
	b->probes++;
	if (!place_at(b, n, &place, err))
		return false;
	if (place.after.s == NULL && n == b->count && !cli_flag(b->cli, "linear"))
		return err_set(err, ERR_DATA,
			"bisect: the state is gone: event %" PRId64
			" removed it (--linear looks at the states before)",
			place.event.id);
	return b->h->ops->evaluate(b->h, b->expression, &place.event, b->key, place.before,
		place.after, truth, NULL, err);
}

/* --- The search
 * --------------------------------------------------------------------------------------- */

/* The first state from which on it is false, taken that it stays so; 0: it holds at the end. */
static bool search_halves(Bisect *b, int64_t *found, Err *err)
{
	int64_t good = 0, bad = b->count;
	bool truth;

	*found = 0;
	if (!holds(b, b->count, &truth, err))
		return false;
	while (!truth && bad - good > 1 && !cli_stopped(b->cli)) {
		int64_t middle = good + (bad - good) / 2;
		bool here;

		if (!holds(b, middle, &here, err))
			return false;
		if (here)
			good = middle;
		else
			bad = middle;
	}
	if (!truth)
		*found = bad;
	return true;
}

static bool search_all(Bisect *b, int64_t *found, Err *err)
{
	bool truth = true;

	for (*found = 1; *found <= b->count && !cli_stopped(b->cli); ++*found) {
		if (!holds(b, *found, &truth, err))
			return false;
		if (!truth)
			return true;
	}
	*found = 0;
	return true;
}

/* --- What was found
 * ----------------------------------------------------------------------------------- */

/* The lines of the script that changed the state at this event. */
static bool trace(Bisect *b, const Place *place, const TraceStep **steps, size_t *n, Err *err)
{
	MemoryTable *table = memory_table_new();
	EventSlice one = { &place->event, 1 };
	size_t at = 0;
	bool ok;

	b->h->ops->forget(b->h);
	if (place->before.s != NULL && b->id != NULL)
		fold_seed(table, b->id,
			&(Fold){ .state = place->before, .version = place->event.version - 1 });
	else if (place->before.s != NULL)
		memory_table_put(table, &(MemoryRow){ .key = b->key, .state = place->before });
	ok = memory_table_prepare(table, b->h, one, 0, 1, err);
	if (ok && b->h->ops->trace(b->h, one, &at, 10000, steps, n, err) == RUN_FAILED)
		err_clear(err); /* what it did until then is told */
	memory_table_free(table);
	return ok;
}

static bool changes_something(const TraceStep *step, Str key)
{
	return step->line > 0 && str_eq(step->key, key) &&
	       (step->before.s != NULL || step->after.s != NULL);
}

static void print_found(
	Bisect *b, const Place *place, const JsonDiff *diff, const TraceStep *steps, size_t n)
{
	show_event(stdout, &place->event);
	for (size_t i = 0; i < n; i++)
		if (changes_something(&steps[i], b->key))
			term_print(stdout, TERM_DIM, "  %s:%d\n", steps[i].file, steps[i].line);
	show_changes(stdout, diff, 2);
}

static void print_found_json(Bisect *b, const Place *place, const JsonDiff *diff,
	const TraceStep *steps, size_t n, Str assertion)
{
	Buf out = { 0 };
	const char *comma = "";

	buf_adds(&out, "{\"assertion\":");
	json_add_string(&out, assertion);
	buf_addf(&out,
		",\"states\":%" PRId64 ",\"probes\":%" PRId64 ",\"events_read\":%" PRId64
		",\"event\":",
		b->count, b->probes, b->events);
	if (place == NULL) {
		buf_adds(&out, "null}");
	} else {
		show_event_json(&out, &place->event);
		buf_adds(&out, ",\"changes\":");
		show_changes_json(&out, diff);
		buf_adds(&out, ",\"lines\":[");
		for (size_t i = 0; i < n; i++) {
			if (!changes_something(&steps[i], b->key))
				continue;
			buf_adds(&out, comma);
			buf_adds(&out, "{\"file\":");
			json_add_string(&out, str_from(steps[i].file));
			buf_addf(&out, ",\"line\":%d}", steps[i].line);
			comma = ",";
		}
		buf_adds(&out, "]}");
	}
	puts(out.s);
	buf_free(&out);
}

static bool tell(Bisect *b, int64_t found, const char *assertion, Err *err)
{
	const TraceStep *steps = NULL;
	JsonDiff diff = { 0 };
	Place place;
	size_t n = 0;
	char count[32], probes[32];
	bool ok;

	if (found == 0) {
		if (cli_flag(b->cli, "json"))
			print_found_json(b, NULL, NULL, NULL, 0, str_from(assertion));
		return err_set(err, ERR_DATA, "bisect: the assertion holds %s (nothing to find%s)",
			cli_flag(b->cli, "linear") ? "after every event" : "after the last event",
			cli_flag(b->cli, "linear") ? "" : "; --linear looks at every event");
	}
	b->wants_before = true;
	ok = place_at(b, found, &place, err) && trace(b, &place, &steps, &n, err);
	if (!ok)
		return false;
	json_diff(place.before, place.after, &diff);
	if (cli_flag(b->cli, "json")) {
		print_found_json(b, &place, &diff, steps, n, str_from(assertion));
	} else {
		printf("the first event that breaks it, of %s (%s states looked at):\n",
			term_count(b->count, count), term_count(b->probes, probes));
		print_found(b, &place, &diff, steps, n);
	}
	json_diff_free(&diff);
	return true;
}

/* --- What is searched
 * --------------------------------------------------------------------------------- */

static bool read_aggregate(Bisect *b, Err *err)
{
	Fold now = { 0 };
	Buf key = { 0 };
	bool ok;

	ok = fold_aggregate(b->db, b->h, b->id, FOLD_NOW, 0, true, &now, err);
	b->count = now.version;
	b->events += now.events_read;
	fold_free(&now);
	ok = ok && fold_prepare(b->db, FOLD_VERSION, err);
	fold_key(b->id, &key);
	b->key = arena_str(b->arena, buf_str(&key));
	buf_free(&key);
	return ok;
}

static void add_place(Bisect *b, size_t *cap, const WalkStep *step, const WalkChange *change)
{
	if ((size_t)b->count == *cap) {
		*cap = *cap ? *cap * 2 : 256;
		b->places = mem_realloc(b->places, *cap * sizeof(*b->places));
	}
	b->places[b->count++] = (Place){ step->event,
		change->before.s ? arena_str(b->arena, change->before) : change->before,
		change->after.s ? arena_str(b->arena, change->after) : change->after };
}

/* The events of the row, and every state that it has had: rows have no snapshots, so its history is
 * gone through once. */
static bool keep_events(Bisect *b, EventSlice page, Err *err)
{
	(void)err;
	for (size_t i = 0; i < page.count; i++) {
		size_t nth = 0;
		Str key;

		while ((key = b->h->ops->key_of(b->h, page, i, nth++)).s != NULL)
			if (str_eq(key, b->key))
				tape_add(b->tape, &page.events[i]);
	}
	return !cli_stopped(b->cli);
}

static bool read_events(Bisect *b, Err *err)
{
	const Definition *def = b->h->ops->definition(b->h);
	HistoryFilter filter;
	History *history = NULL;
	EventSlice page = { 0 };
	bool none, ok = row_events(b->db, def, b->key, b->arena, &filter, &none, err);

	if (ok)
		history = history_open(b->db, &filter, err);
	ok = history != NULL && (b->tape = tape_open(NULL, err)) != NULL;
	while (ok && (ok = history_next(history, &page, err)) && page.count > 0)
		ok = keep_events(b, page, err) ||
		     err_set(err, ERR_STOPPED, "bisect: stopped before it found anything");
	if (history != NULL)
		b->events = history_read(history);
	history_close(history);
	return ok;
}

static bool read_row(Bisect *b, Err *err)
{
	Walk *walk = NULL;
	size_t cap = 1;
	WalkStep step;
	bool ok = read_events(b, err);

	b->places = mem_alloc(sizeof(*b->places));
	if (ok)
		walk = walk_open(b->h, b->tape);
	while (ok && (ok = walk_step(walk, &step, err)))
		for (size_t i = 0; i < step.nchanges; i++)
			if (!step.failed && str_eq(step.changes[i].key, b->key))
				add_place(b, &cap, &step, &step.changes[i]);
	walk_close(walk);
	if (!ok && err->kind != ERR_NONE)
		return false;
	return b->count > 0 || err_set(err, ERR_DATA, "bisect: no event came for the key %.*s",
				       (int)b->key.len, b->key.s);
}

/* What the words name; the assertion is the last of them. */
static bool open_row(Bisect *b, const LuaOptions *lua, int n, char **words, Err *err)
{
	const Definition *def;
	Buf key = { 0 };
	int used;

	if (n < 3)
		return err_set(err, ERR_USAGE,
			"bisect: takes a projection, the key of its row, and an assertion");
	b->h = loader_open(lua, words[0], err);
	if (b->h == NULL)
		return false;
	def = b->h->ops->definition(b->h);
	if (def->kind != KIND_PROJECTION || def->sql)
		return err_set(err, ERR_USAGE,
			"bisect: %s is no projection whose rows can be "
			"replayed%s",
			def->path, def->sql ? " (it has sql = true)" : "");
	used = key_from_words(def, n - 2, words + 1, &key, err);
	if (used > 0)
		b->key = arena_str(b->arena, buf_str(&key));
	buf_free(&key);
	if (used > 0 && used != n - 2)
		return err_set(err, ERR_USAGE, "bisect: unexpected word '%s'", words[1 + used]);
	return used > 0;
}

static bool open_aggregate(Bisect *b, const LuaOptions *lua, int n, char **words, Err *err)
{
	if (n != 3)
		return err_set(err, ERR_USAGE,
			"bisect: takes the type and the id of an aggregate, and an assertion");
	b->id = words[1];
	b->h = loader_reducer(lua, words[0], cli_value(b->cli, "reducer"), err);
	return b->h != NULL;
}

static bool search(Bisect *b, bool row, const char *assertion, Err *err)
{
	int64_t found;

	b->expression = b->h->ops->expression(b->h, "assertion", str_from(assertion), err);
	b->wants_before = strstr(assertion, "before") != NULL;
	if (b->expression == 0)
		return false;
	b->db = pg_db_open(&b->cli->target, err);
	if (b->db == NULL || !migrate_check(b->db, err) ||
		!(row ? read_row(b, err) : read_aggregate(b, err)))
		return false;
	if (!(cli_flag(b->cli, "linear") ? search_all(b, &found, err)
					 : search_halves(b, &found, err)))
		return false;
	if (cli_stopped(b->cli))
		return err_set(err, ERR_STOPPED, "bisect: stopped before it found anything");
	return tell(b, found, assertion, err);
}

static int run(Cli *cli, int argc, char **argv)
{
	LuaOptions lua = { .workspace = cli->workspace };
	bool word = argc > 0 && strcmp(argv[0], "projection") == 0;
	bool row = word || cli_flag(cli, "projection"), ok;
	Bisect b = { .cli = cli, .arena = arena_new(65536) };
	Err err;

	cli_catch_stop(cli);
	if (row)
		ok = open_row(&b, &lua, argc - word, argv + word, &err);
	else
		ok = open_aggregate(&b, &lua, argc, argv, &err);
	ok = ok && b.h != NULL && search(&b, row, argv[argc - 1], &err);
	if (b.h != NULL)
		b.h->ops->close(b.h);
	tape_close(b.tape);
	pg_db_close(b.db);
	free(b.places);
	arena_free(b.arena);
	return ok ? EXIT_OK : cli_fail(&err);
}

const Command cmd_bisect = {
	.name = "bisect",
	.summary = "find the first event that breaks an assertion",
	.usage = "TYPE ID 'ASSERTION' | projection NAME KEY 'ASSERTION'",
	.details = "The assertion is a Lua expression over `state` (`row` is the same) and "
		   "`event`, the "
		   "event that led to it.\n"
		   "It is taken to hold at first and to stay broken once it is, so that a few "
		   "states are "
		   "looked at instead\n"
		   "of all: about 17 of 100,000, each from the nearest snapshot. An assertion that "
		   "comes "
		   "and goes needs\n"
		   "--linear, which looks at the state after every event. Exit code 1 where it "
		   "holds at the "
		   "end.",
	.options = options,
	.examples = "  moonwake bisect device d-17 'state.current.apps.agent ~= nil'\n"
		    "  moonwake bisect projection device_summary d-17 'row.crashes < 10'\n"
		    "  moonwake bisect device d-17 '#state.drift == 0' --linear",
	.run = run,
};
