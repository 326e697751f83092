#include "app/cli.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/point.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"

#include <inttypes.h>

static const Option options[] = {
	{ "at", 0, "TIME", NULL, "as the database knew it then" },
	{ "occurred-at", 0, "TIME", NULL,
		"of what had happened by then, whenever it was appended" },
	{ "version", 0, "N", NULL, "after the Nth event" },
	{ "event", 0, "ID", NULL, "after the event of this id, or event_id" },
	{ "reducer", 0, "NAME", NULL, "which reducer, where an aggregate type has several" },
	{ "no-snapshots", 0, NULL, NULL, "fold from the first event, for comparison" },
	{ "snapshot", 0, NULL, NULL, "keep the state as a snapshot" },
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

typedef struct {
	Cli *cli;
	const char *type, *id;
	Point point;
	PgDb *db;
	Handler *reducer;
	const Definition *def;
	Fold fold;
	int64_t added; /* snapshots; -1: none was asked for */
} Question;

static bool parse_point(Question *q, Err *err)
{
	static const struct {
		const char *option;
		FoldPoint kind;
	} ways[] = { { "at", FOLD_TIME }, { "occurred-at", FOLD_OCCURRED },
		{ "version", FOLD_VERSION }, { "event", FOLD_EVENT } };
	const char *given = NULL, *text;

	q->point = (Point){ .kind = FOLD_NOW };
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		text = cli_value(q->cli, ways[i].option);
		if (text == NULL)
			continue;
		if (given != NULL)
			return err_set(err, ERR_USAGE, "state: --%s and --%s exclude each other",
				given, ways[i].option);
		given = ways[i].option;
		q->point.kind = ways[i].kind;
		if (ways[i].kind == FOLD_VERSION) {
			if (!cli_int(q->cli, "version", 1, INT64_MAX, &q->point.value, err))
				return false;
		} else if (ways[i].kind == FOLD_EVENT) {
			if (!point_parse_event("state: --event", text, &q->point, err))
				return false;
		} else if (!point_parse_time(
				   given[0] == 'a' ? "state: --at" : "state: --occurred-at", text,
				   &q->point.value, err)) {
			return false;
		}
	}
	if (q->point.kind == FOLD_OCCURRED && cli_flag(q->cli, "snapshot"))
		return err_set(err, ERR_USAGE,
			"state: --snapshot and --occurred-at exclude each other (a snapshot has "
			"every event up to its version)");
	return true;
}

static bool keep_snapshot(Question *q, Err *err)
{
	char version[16];
	const char *params[] = { q->def->name, version, q->def->digest, NULL };
	Buf row = { 0 };
	PgRows *rows;

	if (q->fold.state.s == NULL)
		return err_set(err, ERR_DATA,
			"%s '%s': there is no state to keep at version %" PRId64, q->type, q->id,
			q->fold.version);
	snprintf(version, sizeof(version), "%d", q->def->version);
	buf_adds(&row, "[{\"aggregate_id\":");
	json_add_string(&row, str_from(q->id));
	buf_addf(&row,
		",\"version\":%" PRId64 ",\"event_id\":%" PRId64 ",\"state\":", q->fold.version,
		q->fold.event_id);
	buf_add(&row, q->fold.state.s, q->fold.state.len);
	buf_adds(&row, "}]");
	params[3] = row.s;
	rows = pg_db_run(q->db, SQL_SNAPSHOTS_ADD, 4, params, err);
	buf_free(&row);
	if (rows == NULL) {
		err_prefix(err, "state: --snapshot");
		return strcmp(err->sqlstate, "42501") == 0
			       ? err_hint(err, "the role moonwake_run may keep snapshots")
			       : false;
	}
	q->added = pg_rows_i64(rows, 0, 0);
	pg_rows_free(rows);
	return true;
}

static bool answer(Question *q, Err *err)
{
	bool snapshots = !cli_flag(q->cli, "no-snapshots");

	if (!fold_prepare(q->db, q->point.kind, err) ||
		!point_resolve(&q->point, q->db, q->type, q->id, err))
		return false;
	if (!fold_aggregate(q->db, q->reducer, q->id, q->point.kind, q->point.value, snapshots,
		    &q->fold, err)) {
		if (q->fold.failed_version > 1)
			err_hint(err, "--version %" PRId64 " shows the state before it",
				q->fold.failed_version - 1);
		return false;
	}
	if (!q->fold.any)
		return point_too_early(&q->point, q->db, q->type, q->id, err);
	return !cli_flag(q->cli, "snapshot") || keep_snapshot(q, err);
}

/* ---- what is printed ---- */

static void print_footer(const Question *q)
{
	const Fold *f = &q->fold;
	char time[32], n[4][32];

	term_print(stdout, TERM_DIM, "version %s of %s, %s, event %" PRId64 "; %s %s read",
		term_count(f->version, n[0]), term_count(f->last_version, n[1]),
		show_time(f->timestamp_us, time), f->event_id, term_count(f->events_read, n[2]),
		f->events_read == 1 ? "event" : "events");
	if (f->snapshot_version > 0)
		term_print(stdout, TERM_DIM, " since the snapshot at version %s",
			term_count(f->snapshot_version, n[3]));
	if (f->skipped > 0)
		term_print(stdout, TERM_YELLOW, "; %s that failed %s skipped",
			term_count(f->skipped, n[3]), f->skipped == 1 ? "was" : "were");
	if (q->added >= 0)
		term_print(stdout, TERM_DIM,
			q->added > 0 ? "; kept as a snapshot" : "; this snapshot is there already");
	putchar('\n');
}

static void print_text(const Question *q)
{
	bool tty = term_is_tty(stdout);

	if (tty) {
		term_print(stdout, TERM_BOLD, "%s ", q->type);
		show_text(stdout, str_from(q->id));
		term_print(stdout, TERM_DIM, "  (reducer %s, version %d)", q->def->name,
			q->def->version);
		putchar('\n');
	}
	if (q->fold.state.s != NULL)
		show_json(stdout, q->fold.state, 0);
	else
		puts(tty ? "no state: the reducer deleted it, or took none of the events" : "null");
	if (tty)
		print_footer(q);
}

static void add_member(Buf *out, const char *name, const char *text)
{
	buf_addf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
	json_add_string(out, str_from(text));
}

static void print_json(const Question *q)
{
	const Fold *f = &q->fold;
	char time[32];
	Buf out = { 0 };

	buf_addc(&out, '{');
	add_member(&out, "aggregate_type", q->type);
	add_member(&out, "aggregate_id", q->id);
	add_member(&out, "reducer", q->def->name);
	buf_addf(&out,
		",\"reducer_version\":%d,\"version\":%" PRId64 ",\"last_version\":%" PRId64
		",\"event_id\":%" PRId64,
		q->def->version, f->version, f->last_version, f->event_id);
	point_time_text(f->timestamp_us, time);
	add_member(&out, "timestamp", time);
	buf_adds(&out, ",\"state\":");
	if (f->state.s != NULL)
		buf_add(&out, f->state.s, f->state.len);
	else
		buf_adds(&out, "null");
	buf_addf(&out,
		",\"snapshot_version\":%" PRId64 ",\"events_read\":%" PRId64 ",\"skipped\":%" PRId64
		",\"seconds\":%.6f",
		f->snapshot_version, f->events_read, f->skipped, f->seconds);
	if (q->added >= 0)
		buf_addf(&out, ",\"snapshots_added\":%" PRId64, q->added);
	buf_addc(&out, '}');
	puts(out.s);
	buf_free(&out);
}

static int run(Cli *cli, int argc, char **argv)
{
	LuaOptions lua = { .workspace = cli->workspace };
	Question q = { .cli = cli, .added = -1 };
	int code = EXIT_OK;
	Err err;

	if (argc != 2)
		return cli_usage(cli, "takes the type and the id of one aggregate");
	q.type = argv[0];
	q.id = argv[1];
	if (!parse_point(&q, &err))
		return cli_fail(&err);
	q.reducer = loader_reducer(&lua, q.type, cli_value(cli, "reducer"), &err);
	if (q.reducer != NULL) {
		q.def = q.reducer->ops->definition(q.reducer);
		q.db = pg_db_open(&cli->target, &err);
	}
	if (q.db == NULL || !migrate_check(q.db, &err) || !answer(&q, &err))
		code = cli_fail(&err);
	else if (cli_flag(cli, "json"))
		print_json(&q);
	else
		print_text(&q);
	fold_free(&q.fold);
	pg_db_close(q.db);
	if (q.reducer != NULL)
		q.reducer->ops->close(q.reducer);
	return code;
}

const Command cmd_state = {
	.name = "state",
	.summary = "the state of an aggregate, now or at any point of its history",
	.usage = "TYPE ID",
	.details =
		"Folds the aggregate's events with the reducer of its type (scripts/reducers/), "
		"from the "
		"nearest\n"
		"snapshot on: what it costs follows the events since. Nothing is written but with "
		"--snapshot.\n"
		"\n"
		"--at answers what the database knew at a time: the events that were appended by "
		"then. "
		"--occurred-at\n"
		"answers what was so at a time as we know today: the events that had happened by "
		"then, in "
		"the order\n"
		"of their versions. A TIME is 2026-01-02T03:04:05Z (UTC unless a zone is named), "
		"2026-01-02 (its\n"
		"first moment), now, or '2h ago' (s, m, h, d, w).",
	.options = options,
	.examples = "  moonwake state device d-17\n"
		    "  moonwake state device d-17 --at 2026-01-02T03:04:05Z\n"
		    "  moonwake state device d-17 --at '2h ago'\n"
		    "  moonwake state device d-17 --version 112 --json | jq .state",
	.run = run,
};
