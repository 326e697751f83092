#include "app/blame_show.h"
#include "app/cli.h"
#include "app/key_words.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/point.h"
#include "app/row_events.h"
#include "model/options.h"
#include "flow/fold.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const Option options[] = {
	{ "at", 0, "TIME", NULL, "as the database knew it then" },
	{ "reducer", 0, "NAME", NULL, "which reducer, where an aggregate type has several" },
	{ "json", 0, NULL, NULL, "one JSON object per field" },
	{ 0 },
};

typedef struct {
	Cli *cli;
	const char *type, *id; /* of an aggregate; NULL: a projection's row */
	const char *field;     /* NULL: all */
	int64_t at_us;         /* 0: now */
	Handler *handler;
	const Definition *def;
	Buf key, subject; /* "device 'd-17'", "projection 'x', key \"d-17\"" */
	PgDb *db;
	Blame blame;
} Question;

/* ---- what is asked ---- */

static bool open_reducer(Question *q, const LuaOptions *lua, int argc, char **argv, Err *err)
{
	if (argc < 2 || argc > 3)
		return err_set(err, ERR_USAGE,
			"blame: takes the type and the id of one aggregate, and a field (or the "
			"word projection, its name and a key)");
	q->type = argv[0];
	q->id = argv[1];
	q->field = argv[2];
	q->handler = loader_reducer(lua, q->type, cli_value(q->cli, "reducer"), err);
	if (q->handler == NULL)
		return false;
	q->def = q->handler->ops->definition(q->handler);
	fold_key(q->id, &q->key);
	buf_addf(&q->subject, "%s '%s'", q->type, q->id);
	return true;
}

static bool open_projection(Question *q, const LuaOptions *lua, int argc, char **argv, Err *err)
{
	int used;

	if (argc < 3)
		return err_set(err, ERR_USAGE,
			"blame projection: takes its name, the key of one row, and a field");
	if (cli_value(q->cli, "reducer") != NULL)
		return err_set(err, ERR_USAGE, "blame projection: takes no --reducer");
	q->handler = loader_open(lua, argv[1], err);
	if (q->handler == NULL)
		return false;
	q->def = q->handler->ops->definition(q->handler);
	if (q->def->kind != KIND_PROJECTION)
		return err_set(err, ERR_USAGE, "%s is no projection (moonwake blame %s ID)",
			q->def->path, q->def->aggregate ? q->def->aggregate : "TYPE");
	if (q->def->sql)
		return err_set(err, ERR_USAGE,
			"%s: blame knows no projection with sql = true (its rows are changed by "
			"SQL)",
			q->def->path);
	used = key_from_words(q->def, argc - 2, argv + 2, &q->key, err);
	if (used == 0)
		return false;
	if (argc - 2 - used > 1)
		return err_set(err, ERR_USAGE, "blame projection: unexpected word '%s'",
			argv[2 + used + 1]);
	q->field = argv[2 + used];
	buf_addf(&q->subject, "projection '%s', key %s", q->def->name, q->key.s);
	return true;
}

static bool open_question(Question *q, int argc, char **argv, Err *err)
{
	LuaOptions lua = { .workspace = q->cli->workspace };
	const char *at = cli_value(q->cli, "at");
	int64_t us = 0;

	if (at != NULL && !point_parse_time("blame: --at", at, &us, err))
		return false;
	q->at_us = us;
	if (argc > 0 && strcmp(argv[0], "projection") == 0)
		return open_projection(q, &lua, argc, argv, err);
	return open_reducer(q, &lua, argc, argv, err);
}

/* ---- which events ---- */

static bool no_such_key(Question *q, const char *nearest, Err *err)
{
	err_set(err, ERR_DATA, "%s: no event that the script takes has this key%s", q->subject.s,
		q->at_us != 0 ? " by then" : "");
	return nearest != NULL ? err_hint(err, "did you mean %s?", nearest) : false;
}

static bool nearest_id(Question *q, const char *id, Err *err)
{
	PgRows *rows = pg_db_run(q->db, SQL_BLAME_NEAREST, 1, &id, err);
	size_t best = SIZE_MAX;
	const char *nearest = NULL;

	if (rows == NULL)
		return false;
	for (int i = 0; i < pg_rows_count(rows); i++) {
		if (options_closer(id, pg_rows_text(rows, i, 0), &best))
			nearest = pg_rows_text(rows, i, 0);
	}
	no_such_key(q, nearest, err);
	pg_rows_free(rows);
	return false;
}

static bool choose_events(Question *q, HistoryFilter *filter, Err *err)
{
	int64_t version, last;
	bool ok, none = false;

	if (q->type != NULL) {
		*filter = (HistoryFilter){ .aggregate_type = q->type,
			.aggregate_id = q->id,
			.types = q->def->types,
			.ntypes = q->def->ntypes };
		ok = fold_version(q->db, q->type, q->id, FOLD_NOW, 0, &version, &last, err);
	} else {
		ok = row_events(q->db, q->def, buf_str(&q->key), q->cli->arena, filter, &none, err);
	}
	filter->until_us = q->at_us != 0 ? q->at_us + 1 : 0;
	return ok && (!none || nearest_id(q, filter->aggregate_id, err));
}

/* ---- the answer ---- */

static bool no_state(Question *q, Err *err)
{
	const Blame *b = &q->blame;
	Point at = { .kind = FOLD_TIME, .value = q->at_us };

	if (b->failure.kind != ERR_NONE) {
		*err = b->failure;
		return false;
	}
	if (b->deleted_by != 0)
		return err_set(err, ERR_DATA, "%s: there is no state: event %" PRId64 " deleted it",
			q->subject.s, b->deleted_by);
	if (b->events > 0)
		return err_set(err, ERR_DATA,
			"%s: there is no state (%" PRId64 " of its %" PRId64
			" events failed and were skipped)",
			q->subject.s, b->skipped, b->events);
	if (q->type != NULL && q->at_us != 0)
		return point_too_early(&at, q->db, q->type, q->id, err);
	return no_such_key(q, b->nearest, err);
}

static bool is_below(Str path, Str field)
{
	return path.len >= field.len && memcmp(path.s, field.s, field.len) == 0 &&
	       (path.len == field.len || strchr(".[", path.s[field.len]) != NULL);
}

static bool unknown_field(const Question *q, Err *err)
{
	const Blame *b = &q->blame;
	Str field = str_from(q->field);
	int64_t removed = blame_removed_by(b, field);
	const char *nearest = NULL;
	size_t best = SIZE_MAX;

	if (json_at(b->state, field).s != NULL)
		return err_set(
			err, ERR_USAGE, "%s: field '%s' is the key itself", q->subject.s, q->field);
	if (removed != 0)
		return err_set(err, ERR_DATA,
			"%s: field '%s' is not there: event %" PRId64 " removed it", q->subject.s,
			q->field, removed);
	for (size_t i = 0; i < b->nfields; i++) {
		if (options_closer(q->field, b->fields[i].path.s, &best))
			nearest = b->fields[i].path.s;
	}
	err_set(err, ERR_USAGE, "%s: there is no field '%s'", q->subject.s, q->field);
	return nearest ? err_hint(err, "did you mean '%s'?", nearest) : false;
}

/* Leaves those fields that were asked for. */
static bool choose_fields(Question *q, Err *err)
{
	Blame *b = &q->blame;
	Str field = str_from(q->field), at;
	size_t n = 0;

	if (q->field == NULL)
		return true;
	at = json_at(b->state, field); /* however the path is spelt; values point into the state */
	for (size_t i = 0; i < b->nfields; i++) {
		const char *value = b->fields[i].value.s;

		if (is_below(b->fields[i].path, field) ||
			(at.s != NULL && value >= at.s && value < at.s + at.len))
			b->fields[n++] = b->fields[i];
	}
	if (n == 0)
		return unknown_field(q, err);
	b->nfields = n;
	return true;
}

static bool answer(Question *q, Err *err)
{
	HistoryFilter filter;

	if (!choose_events(q, &filter, err) ||
		!blame_key(q->db, q->handler, &filter, buf_str(&q->key), &q->blame, err))
		return false;
	if (q->blame.state.s == NULL)
		return no_state(q, err);
	return choose_fields(q, err);
}

/* The state is right up to the event that failed: it is shown, and then said. */
static int report(Question *q)
{
	if (cli_flag(q->cli, "json"))
		blame_show_json(&q->blame, q->def);
	else
		blame_show(&q->blame, q->def, q->subject.s);
	fflush(stdout);
	return q->blame.failure.kind == ERR_NONE ? EXIT_OK : cli_fail(&q->blame.failure);
}

static int run(Cli *cli, int argc, char **argv)
{
	Question q = { .cli = cli };
	Err err = { 0 };
	int code;

	if (open_question(&q, argc, argv, &err))
		q.db = pg_db_open(&cli->target, &err);
	if (q.db == NULL || q.def == NULL || !migrate_check(q.db, &err) || !answer(&q, &err))
		code = cli_fail(&err);
	else
		code = report(&q);
	blame_free(&q.blame);
	buf_free(&q.key);
	buf_free(&q.subject);
	pg_db_close(q.db);
	if (q.handler != NULL)
		q.handler->ops->close(q.handler);
	return code;
}

const Command cmd_blame = {
	.name = "blame",
	.summary = "which event, and which line of the script, set each field of a state",
	.usage = "TYPE ID [FIELD] | projection NAME KEY… [FIELD]",
	.details =
		"Folds the events of one aggregate with the reducer of its type, or those of one "
		"row with its\n"
		"projection, and tells for each field the event that made its last change: its "
		"time, who did it,\n"
		"its correlation, and the line of the script. A field that nothing changed says "
		"`initial` or `default`.\n"
		"It is the script as it stands in the workspace that is asked; nothing is "
		"written.\n"
		"\n"
		"A KEY is one word for each column of the row's key, or one JSON text. FIELD "
		"narrows to a field and\n"
		"what is below it: apps, apps.agent.image, list[2]. Where the script fails, the "
		"fields are told\n"
		"as they were before that event, then the error; the exit code is 1.",
	.options = options,
	.examples =
		"  moonwake blame device d-17\n"
		"  moonwake blame device d-17 target.apps --at '2h ago'\n"
		"  moonwake blame projection device_summary d-17 crashes\n"
		"  moonwake blame projection daily_revenue 2026-01-02 --json | jq .event.actor_id",
	.run = run,
};
