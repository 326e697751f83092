#include "app/cli.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/point.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "flow/fold_steps.h"

#include <inttypes.h>
#include <stdlib.h>

static const Option options[] = {
	{ "reducer", 0, "NAME", NULL, "which reducer, where an aggregate type has several" },
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

/* What is kept of an event that changed something. */
typedef struct {
	int64_t id, version, timestamp_us, occurred_us;
	Str type, actor_type, actor_id, correlation_id;
} Cause;

typedef struct {
	Cli *cli;
	const char *type, *id;
	PgDb *db;
	Handler *reducer;
	Point points[2];     /* A and B */
	int64_t versions[2]; /* of them */
	int64_t last;
	Arena *arena;
	Str states[2];
	Cause **causes; /* in order */
	size_t ncauses, cap;
	MemoryTable *changed; /* path -> the number of its last cause, as the position */
	JsonDiff diff;
	int64_t events_read;
} Comparison;

static Str copy_or_none(Arena *arena, Str s)
{
	return s.s != NULL ? arena_str(arena, s) : s;
}

static size_t keep_cause(Comparison *c, const Event *e)
{
	Cause *cause = arena_alloc(c->arena, sizeof(*cause));

	*cause = (Cause){ e->id, e->version, e->timestamp_us, e->occurred_us,
		copy_or_none(c->arena, e->type), copy_or_none(c->arena, e->actor_type),
		copy_or_none(c->arena, e->actor_id), copy_or_none(c->arena, e->correlation_id) };
	if (c->ncauses == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 64;
		c->causes = mem_realloc(c->causes, c->cap * sizeof(*c->causes));
	}
	c->causes[c->ncauses] = cause;
	return c->ncauses++;
}

static void note_changes(Comparison *c, const FoldStep *step)
{
	size_t cause;

	json_diff(step->before, step->after, &c->diff);
	if (c->diff.count == 0)
		return;
	cause = keep_cause(c, step->event);
	for (size_t i = 0; i < c->diff.count; i++)
		memory_table_put(c->changed, &(MemoryRow){ .key = c->diff.at[i].path,
						     .state = STR(""),
						     .position = (int64_t)cause });
}

/* The number of the event that did a change; ncauses: unknown. */
static size_t cause_of(const Comparison *c, size_t change)
{
	const MemoryRow *row = memory_table_get(c->changed, c->diff.at[change].path);

	return row != NULL ? (size_t)row->position : c->ncauses;
}

static bool find_versions(Comparison *c, Err *err)
{
	for (int i = 0; i < 2; i++) {
		Point *p = &c->points[i];

		if (!point_resolve(p, c->db, c->type, c->id, err) ||
			!fold_version(c->db, c->type, c->id, p->kind, p->value, &c->versions[i],
				&c->last, err))
			return false;
	}
	return true;
}

static bool skips(const Comparison *c)
{
	return c->reducer->ops->definition(c->reducer)->on_error == ON_ERROR_SKIP;
}

static bool failed_at(const Comparison *c, const FoldStep *step, Err *err)
{
	*err = step->err;
	return err_hint(
		err, "version %" PRId64 " of %s '%s'", step->event->version, c->type, c->id);
}

/* One pass over the events between the two points. */
static bool compare(Comparison *c, Err *err)
{
	int first = c->versions[0] <= c->versions[1] ? 0 : 1;
	FoldSteps *steps = fold_steps_open(c->db, c->reducer, c->type, c->id, c->versions[first],
		c->versions[1 - first], true, err);
	Buf state = { 0 };
	FoldStep step;
	bool ok = true, any;

	if (steps == NULL)
		return false;
	c->states[first] = copy_or_none(c->arena, fold_steps_start(steps)->state);
	any = c->states[first].s != NULL;
	buf_add(&state, c->states[first].s, c->states[first].len);
	while (ok && fold_steps_next(steps, &step, err)) {
		ok = !step.failed || skips(c) || failed_at(c, &step, err);
		note_changes(c, &step);
		any = step.after.s != NULL;
		buf_clear(&state);
		buf_add(&state, step.after.s, step.after.len);
	}
	ok = ok && err->kind == ERR_NONE;
	if (any)
		c->states[1 - first] = arena_str(c->arena, buf_str(&state));
	buf_free(&state);
	c->events_read = fold_steps_read(steps);
	fold_steps_close(steps);
	return ok;
}

/* ---- what is printed ---- */

static void print_cause(const Cause *e)
{
	char time[32];

	term_print(stdout, TERM_BOLD, "v%" PRId64, e->version);
	term_print(stdout, TERM_DIM, "  %s  ", show_time(e->timestamp_us, time));
	show_styled(stdout, TERM_CYAN, e->type);
	show_actor(stdout, e->actor_type, e->actor_id);
	term_print(stdout, TERM_DIM, "  #%" PRId64 "\n", e->id);
}

typedef struct {
	const Comparison *c;
	size_t cause;
} Group;

static bool is_of_group(void *owner, size_t change)
{
	const Group *g = owner;

	return cause_of(g->c, change) == g->cause;
}

/* The next event, from number `from` on, that did one of the changes; ncauses: none. */
static size_t next_cause(const Comparison *c, size_t from)
{
	size_t next = c->ncauses;

	for (size_t i = 0; i < c->diff.count; i++) {
		size_t cause = cause_of(c, i);

		if (cause >= from && cause < next)
			next = cause;
	}
	return next;
}

static void print_text(const Comparison *c)
{
	int64_t apart = llabs(c->versions[1] - c->versions[0]);
	char n[5][32];

	for (Group g = { c, next_cause(c, 0) }; g.cause < c->ncauses;
		g.cause = next_cause(c, g.cause + 1)) {
		print_cause(c->causes[g.cause]);
		show_changes_of(stdout, &c->diff, 2, is_of_group, &g);
	}
	if (!term_is_tty(stdout))
		return;
	if (c->diff.count == 0)
		printf("no difference\n");
	term_print(stdout, TERM_DIM, "version %s to %s of %s: %s %s between them, %s read\n",
		term_count(c->versions[0], n[0]), term_count(c->versions[1], n[1]),
		term_count(c->last, n[2]), term_count(apart, n[3]), apart == 1 ? "event" : "events",
		term_count(c->events_read, n[4]));
}

static void add_text(Buf *out, const char *name, Str text)
{
	if (text.s == NULL)
		return;
	buf_addf(out, ",\"%s\":", name);
	json_add_string(out, text);
}

static void add_cause(Buf *out, const Cause *e)
{
	char time[2][32];

	buf_addf(out, "{\"id\":%" PRId64 ",\"version\":%" PRId64, e->id, e->version);
	add_text(out, "event_type", e->type);
	add_text(out, "timestamp", str_from(point_time_text(e->timestamp_us, time[0])));
	add_text(out, "occurred_at", str_from(point_time_text(e->occurred_us, time[1])));
	add_text(out, "actor_type", e->actor_type);
	add_text(out, "actor_id", e->actor_id);
	add_text(out, "correlation_id", e->correlation_id);
	buf_addc(out, '}');
}

static void add_changes(Buf *out, const Comparison *c)
{
	for (size_t i = 0; i < c->diff.count; i++) {
		size_t cause = cause_of(c, i);

		buf_adds(out, i > 0 ? "," : "");
		show_change_json(out, &c->diff.at[i]);
		if (cause == c->ncauses)
			continue;
		out->len--; /* the brace that closes the change */
		buf_adds(out, ",\"event\":");
		add_cause(out, c->causes[cause]);
		buf_addc(out, '}');
	}
}

static void print_json(const Comparison *c)
{
	const Definition *def = c->reducer->ops->definition(c->reducer);
	Buf out = { 0 };

	buf_adds(&out, "{\"aggregate_type\":");
	json_add_string(&out, str_from(c->type));
	add_text(&out, "aggregate_id", str_from(c->id));
	add_text(&out, "reducer", str_from(def->name));
	buf_addf(&out,
		",\"reducer_version\":%d,\"from_version\":%" PRId64 ",\"to_version\":%" PRId64
		",\"last_version\":%" PRId64 ",\"events_read\":%" PRId64 ",\"changes\":[",
		def->version, c->versions[0], c->versions[1], c->last, c->events_read);
	add_changes(&out, c);
	buf_adds(&out, "]}");
	puts(out.s);
	buf_free(&out);
}

static bool answer(Comparison *c, char **words, Err *err)
{
	LuaOptions lua = { .workspace = c->cli->workspace };

	if (!point_parse("diff", words[2], &c->points[0], err) ||
		!point_parse("diff", words[3], &c->points[1], err))
		return false;
	c->reducer = loader_reducer(&lua, c->type, cli_value(c->cli, "reducer"), err);
	c->db = c->reducer != NULL ? pg_db_open(&c->cli->target, err) : NULL;
	if (c->db == NULL || !migrate_check(c->db, err) || !find_versions(c, err) ||
		!compare(c, err))
		return false;
	json_diff(c->states[0], c->states[1], &c->diff);
	if (cli_flag(c->cli, "json"))
		print_json(c);
	else
		print_text(c);
	return true;
}

static int run(Cli *cli, int argc, char **argv)
{
	Comparison c = { .cli = cli };
	int code = EXIT_OK;
	Err err;

	if (argc != 4)
		return cli_usage(cli, "takes the type and the id of one aggregate, and two points");
	c.type = argv[0];
	c.id = argv[1];
	c.arena = arena_new(16384);
	c.changed = memory_table_new();
	if (!answer(&c, argv, &err))
		code = cli_fail(&err);
	json_diff_free(&c.diff);
	memory_table_free(c.changed);
	free(c.causes);
	arena_free(c.arena);
	pg_db_close(c.db);
	if (c.reducer != NULL)
		c.reducer->ops->close(c.reducer);
	return code;
}

const Command cmd_diff = {
	.name = "diff",
	.summary = "what changed in an aggregate's state between two points, and the events that "
		   "did it",
	.usage = "TYPE ID A B",
	.details =
		"For each field that differs: its value at A and at B, and the event between them "
		"that changed it last.\n"
		"B may be before A.\n"
		"\n"
		"A and B are each a version (12 or v12), an event (#1042 or its event_id: the "
		"state "
		"after it), a time\n"
		"(what the database knew at 2026-01-02T03:04:05Z, at 2026-01-02 00:00 UTC, or '2h "
		"ago'), start (no state\n"
		"yet) or now.",
	.options = options,
	.examples = "  moonwake diff device d-17 v100 v112\n"
		    "  moonwake diff device d-17 '2h ago' now\n"
		    "  moonwake diff device d-17 '#1042' now --json | jq -r '.changes[].path'",
	.run = run,
};
