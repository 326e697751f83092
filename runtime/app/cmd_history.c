#include "app/cli.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/point.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "flow/fold_steps.h"

#include <inttypes.h>

static const Option options[] = {
	{ "from", 0, "POINT", "start", "begin there: a version (v12), an event (#1042), a time" },
	{ "to", 0, "POINT", "now", "end there, itself included" },
	{ "limit", 'n', "N", "50", "the last N events of these; 0: all" },
	{ "changes", 0, NULL, NULL, "leave out events that changed nothing" },
	{ "reducer", 0, "NAME", NULL, "which reducer, where an aggregate type has several" },
	{ "json", 0, NULL, NULL, "one JSON object per event" },
	{ 0 },
};

typedef struct {
	Cli *cli;
	const char *type, *id;
	PgDb *db;
	Handler *reducer; /* NULL: none, and `why` */
	Err why;
	int64_t from, to, last; /* versions */
	int64_t earlier;        /* events of the range that the limit leaves out */
	bool json, only_changes;
	JsonDiff diff;
	Err failure; /* of the reducer, at an event */
} Listing;

/* The first version at or after a point. */
static bool first_version(Listing *l, Point *p, Err *err)
{
	bool at_time = p->kind == FOLD_TIME;

	if (!point_resolve(p, l->db, l->type, l->id, err) ||
		!fold_version(
			l->db, l->type, l->id, p->kind, p->value - at_time, &l->from, NULL, err))
		return false;
	l->from += at_time || l->from == 0;
	return true;
}

static bool last_version(Listing *l, Point *p, Err *err)
{
	return point_resolve(p, l->db, l->type, l->id, err) &&
	       fold_version(l->db, l->type, l->id, p->kind, p->value, &l->to, &l->last, err);
}

static bool find_range(Listing *l, Err *err)
{
	Point from, to;
	int64_t limit;

	if (!point_parse("history: --from", cli_value(l->cli, "from"), &from, err) ||
		!point_parse("history: --to", cli_value(l->cli, "to"), &to, err) ||
		!cli_int(l->cli, "limit", 0, INT64_MAX, &limit, err) ||
		!last_version(l, &to, err) || !first_version(l, &from, err))
		return false;
	if (l->from > l->to)
		return err_set(err, ERR_DATA,
			"%s '%s': has no events from %s to %s (it has versions 1 to %" PRId64 ")",
			l->type, l->id, cli_value(l->cli, "from"), cli_value(l->cli, "to"),
			l->last);
	if (limit > 0 && l->to - l->from >= limit) {
		l->earlier = l->to - limit + 1 - l->from;
		l->from += l->earlier;
	}
	return true;
}

/* ---- one event ---- */

static void print_head(const Event *e)
{
	int64_t apart = e->timestamp_us - e->occurred_us;
	char time[32];

	term_print(stdout, TERM_BOLD, "v%" PRId64, e->version);
	term_print(stdout, TERM_DIM, "  %s  ", show_time(e->timestamp_us, time));
	show_styled(stdout, TERM_CYAN, e->type);
	show_actor(stdout, e->actor_type, e->actor_id);
	term_print(stdout, TERM_DIM, "  #%" PRId64, e->id);
	if (apart >= 1000000 || apart <= -1000000)
		term_print(stdout, TERM_DIM, "  occurred %s", show_time(e->occurred_us, time));
	putchar('\n');
}

static void print_text(const Listing *l, const FoldStep *step)
{
	print_head(step->event);
	if (step->failed)
		term_print(stdout, TERM_RED, "  ! %s\n", step->err.message);
	else if (step->known && step->before.s != NULL && step->after.s == NULL)
		term_print(stdout, TERM_RED, "  - deleted\n");
	else
		show_changes(stdout, &l->diff, 2);
}

static void print_json(const Listing *l, const FoldStep *step)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"event\":");
	show_event_json(&out, step->event);
	buf_adds(&out, ",\"changes\":");
	if (step->known)
		show_changes_json(&out, &l->diff);
	else
		buf_adds(&out, "null");
	if (step->failed) {
		buf_adds(&out, ",\"error\":");
		json_add_string(&out, str_from(step->err.message));
	}
	buf_addc(&out, '}');
	puts(out.s);
	buf_free(&out);
}

static void show_step(Listing *l, const FoldStep *step)
{
	json_diff(step->before, step->after, &l->diff);
	if (step->failed && l->failure.kind == ERR_NONE) {
		l->failure = step->err;
		err_hint(&l->failure, "version %" PRId64 " of %s '%s'", step->event->version,
			l->type, l->id);
	}
	if (l->only_changes && step->known && l->diff.count == 0 && !step->failed)
		return;
	if (l->json)
		print_json(l, step);
	else
		print_text(l, step);
}

/* Where the reducer fails before the range, the events come alone. */
static FoldSteps *open_steps(Listing *l, Err *err)
{
	FoldSteps *steps =
		fold_steps_open(l->db, l->reducer, l->type, l->id, l->from - 1, l->to, true, err);

	if (steps != NULL || (err->kind != ERR_SCRIPT && err->kind != ERR_LIMIT))
		return steps;
	l->failure = *err;
	return fold_steps_open(l->db, NULL, l->type, l->id, l->from - 1, l->to, true, err);
}

static bool list(Listing *l, Err *err)
{
	FoldSteps *steps = open_steps(l, err);
	FoldStep step;

	if (steps == NULL)
		return false;
	while (!ferror(stdout) && fold_steps_next(steps, &step, err))
		show_step(l, &step);
	fold_steps_close(steps);
	return err->kind == ERR_NONE;
}

static void print_footer(const Listing *l)
{
	char n[3][32];

	if (l->json || !term_is_tty(stdout))
		return;
	term_print(stdout, TERM_DIM, "versions %s to %s of %s", term_count(l->from, n[0]),
		term_count(l->to, n[1]), term_count(l->last, n[2]));
	if (l->earlier > 0)
		term_print(stdout, TERM_DIM, "; %s earlier: --limit 0 shows all",
			term_count(l->earlier, n[0]));
	if (l->reducer == NULL)
		term_print(stdout, TERM_DIM, "; the events alone: %s", l->why.message);
	putchar('\n');
}

/* Without a reducer there are still the events, unless one was asked for. */
static bool find_reducer(Listing *l, Err *err)
{
	LuaOptions lua = { .workspace = l->cli->workspace };
	const char *name = cli_value(l->cli, "reducer");

	l->reducer = loader_reducer(&lua, l->type, name, &l->why);
	*err = l->why;
	return l->reducer != NULL || (name == NULL && l->why.kind == ERR_USAGE);
}

static bool answer(Listing *l, Err *err)
{
	l->json = cli_flag(l->cli, "json");
	l->only_changes = cli_flag(l->cli, "changes");
	if (!find_reducer(l, err))
		return false;
	l->db = pg_db_open(&l->cli->target, err);
	if (l->db == NULL || !migrate_check(l->db, err) || !find_range(l, err) || !list(l, err))
		return false;
	print_footer(l);
	if (l->failure.kind == ERR_NONE)
		return true;
	*err = l->failure;
	return false;
}

static int run(Cli *cli, int argc, char **argv)
{
	Listing l = { .cli = cli };
	int code = EXIT_OK;
	Err err;

	if (argc != 2)
		return cli_usage(cli, "takes the type and the id of one aggregate");
	l.type = argv[0];
	l.id = argv[1];
	if (!answer(&l, &err))
		code = cli_fail(&err);
	json_diff_free(&l.diff);
	pg_db_close(l.db);
	if (l.reducer != NULL)
		l.reducer->ops->close(l.reducer);
	return code;
}

const Command cmd_history = {
	.name = "history",
	.summary = "the events of an aggregate, and what each changed in its state",
	.usage = "TYPE ID",
	.details = "One event after another, with its version, time, type, actor and id, and the "
		   "fields "
		   "of the state\n"
		   "that it changed, by the reducer of its type. Aggregates without a reducer show "
		   "their events alone.\n"
		   "\n"
		   "A POINT is a version (12 or v12), an event (#1042 or its event_id), a time "
		   "(2026-01-02T03:04:05Z,\n"
		   "2026-01-02, '2h ago'), start or now.",
	.options = options,
	.examples = "  moonwake history device d-17\n"
		    "  moonwake history device d-17 --from v100 --to v120 --changes\n"
		    "  moonwake history device d-17 --from '1d ago' --limit 0 --json | jq .changes",
	.run = run,
};
