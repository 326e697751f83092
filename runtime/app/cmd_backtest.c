#include "app/backtest.h"
#include "app/loader.h"
#include "app/migrate.h"
#include "app/point.h"
#include "app/rule_version.h"
#include "base/iso_time.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const Option options[] = {
	{ "since", 0, "TIME", NULL, "only episodes that were still firing then, or fired later" },
	{ "until", 0, "TIME", NULL, "only those that fired before; timers run up to then" },
	{ "against", 0, "WHAT", NULL,
		"live: what it raised (the default, where it ever ran); none; the FILE of another "
		"version; a git revision" },
	{ "key", 0, "KEY", NULL, "only the episodes of this key" },
	{ "timeline", 0, NULL, NULL, "draw the episodes over time" },
	{ "all", 0, NULL, NULL, "list every episode, also those that are the same" },
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

/* The columns of sql/queries/backtest_rule.sql. */
enum { R_NOW, R_POSITION, R_FIRST };

/* ---- what is asked ---- */

static bool read_times(Backtest *b, Err *err)
{
	const char *since = cli_value(b->cli, "since"), *until = cli_value(b->cli, "until");

	b->since_given = since != NULL;
	b->until_given = until != NULL;
	if (since != NULL && !point_parse_time("--since", since, &b->since_us, err))
		return false;
	if (until != NULL && !point_parse_time("--until", until, &b->until_us, err))
		return false;
	return since == NULL || until == NULL || b->since_us < b->until_us ||
	       err_set(err, ERR_USAGE, "--since %.60s is not before --until %.60s", since, until);
}

static bool open_rule(Backtest *b, const LuaOptions *lua, const char *name, Err *err)
{
	const Definition *def;

	b->now.label = "now";
	b->now.handler = loader_open(lua, name, err);
	if (b->now.handler == NULL)
		return false;
	def = b->now.handler->ops->definition(b->now.handler);
	return def->kind == KIND_RULE ||
	       err_set(err, ERR_USAGE, "%s is no rule (moonwake replay %s)", def->path, def->name);
}

static bool open_database(Backtest *b, Err *err)
{
	PgRows *rows;

	b->db = pg_db_open(&b->cli->target, err);
	if (b->db == NULL || !migrate_check(b->db, err))
		return false;
	rows = pg_db_run(b->db, SQL_SESSION_READ_ONLY, 0, NULL, err);
	pg_rows_free(rows);
	return rows != NULL;
}

/* Where the rule stands, and the database's time. */
static bool ask_rule(Backtest *b, const char *name, Err *err)
{
	PgRows *rows = pg_db_run(b->db, SQL_BACKTEST_RULE, 1, &name, err);

	if (rows == NULL)
		return false;
	b->position = pg_rows_null(rows, 0, R_FIRST) ? -1 : pg_rows_i64(rows, 0, R_POSITION);
	b->after = pg_rows_i64(rows, 0, R_FIRST);
	if (!b->until_given)
		b->until_us = pg_rows_i64(rows, 0, R_NOW);
	pg_rows_free(rows);
	return true;
}

static bool choose_other(Backtest *b, const LuaOptions *lua, Err *err)
{
	const char *against = cli_value(b->cli, "against");
	const char *path = b->now.handler->ops->definition(b->now.handler)->path;

	if (against == NULL)
		against = b->position >= 0 ? "live" : "none";
	b->before.label = against;
	b->against = AGAINST_VERSION;
	if (strcmp(against, "none") == 0) {
		b->against = AGAINST_NONE;
	} else if (strcmp(against, "live") == 0) {
		b->against = AGAINST_LIVE;
		return b->position >= 0 ||
		       err_set(err, ERR_USAGE,
			       "--against live: the rule has never been run by a daemon (leave it "
			       "out, or name a file or a git revision)");
	} else if (access(against, F_OK) == 0) {
		b->before.handler = rule_version_file(lua, path, against, err);
	} else {
		b->before.handler = rule_version_revision(lua, path, against, err);
	}
	return b->against == AGAINST_NONE || b->before.handler != NULL;
}

/* ---- the answer ---- */

static bool read_live(Backtest *b, Err *err)
{
	const char *name = b->now.handler->ops->definition(b->now.handler)->name;
	char since[ISO_TIME_SIZE], until[ISO_TIME_SIZE];
	const char *params[] = { name, since, until };
	PgRows *rows;

	iso_time_format(b->since_us, since);
	iso_time_format(b->until_us, until);
	rows = pg_db_run(b->db, SQL_BACKTEST_ALERTS, 3, params, err);
	if (rows == NULL)
		return false;
	b->before.episodes = episodes_new();
	episodes_read(b->before.episodes, rows, b->key);
	pg_rows_free(rows);
	return true;
}

static bool compare(Backtest *b, Err *err)
{
	if (!backtest_run(b, &b->now, err))
		return false;
	if (b->against == AGAINST_VERSION && !backtest_run(b, &b->before, err))
		return false;
	if (b->against == AGAINST_LIVE && !read_live(b, err))
		return false;
	if (b->against == AGAINST_NONE)
		b->before.episodes = episodes_new();
	episodes_clip(b->now.episodes, b->since_us, b->until_us);
	episodes_clip(b->before.episodes, b->since_us, b->until_us);
	episodes_compare(b->before.episodes, b->now.episodes, b->since_us, b->until_us, &b->diff);
	return true;
}

static void backtest_close(Backtest *b)
{
	BacktestVersion *versions[] = { &b->now, &b->before };

	episode_diff_free(&b->diff);
	for (size_t i = 0; i < 2; i++) {
		episodes_free(versions[i]->episodes);
		if (versions[i]->handler != NULL)
			versions[i]->handler->ops->close(versions[i]->handler);
	}
	pg_db_close(b->db);
}

static int run(Cli *cli, int argc, char **argv)
{
	Backtest b = { .cli = cli, .position = -1, .key = cli_value(cli, "key") };
	LuaOptions lua = { .workspace = cli->workspace };
	int code = EXIT_OK;
	Err err = { 0 };

	if (argc != 1)
		return cli_usage(cli, "takes the name or the file of one rule");
	cli_catch_stop(cli);
	if (!read_times(&b, &err) || !open_rule(&b, &lua, argv[0], &err) ||
		!open_database(&b, &err) ||
		!ask_rule(&b, b.now.handler->ops->definition(b.now.handler)->name, &err) ||
		!choose_other(&b, &lua, &err) || !compare(&b, &err))
		code = cli_fail(&err);
	else if (cli_flag(cli, "json"))
		backtest_show_json(&b);
	else
		backtest_show(&b);
	backtest_close(&b);
	return code;
}

const Command cmd_backtest = {
	.name = "backtest",
	.summary =
		"the alerts that a rule raises over real history, against those that it did raise",
	.usage = "RULE",
	.details =
		"RULE is a rule by its name or its file, as it stands in the workspace. It is run "
		"over the log in memory, at\n"
		"full speed, with its timers: nothing is written, nobody is told, no action is "
		"taken. What it raises is\n"
		"compared episode by episode with what it raised live, with another file of it, or "
		"with a git revision (its\n"
		"file and what it requires, as they were). Episodes of a key belong together that "
		"began with the same sign,\n"
		"then those that overlap: the others were added or removed; a pair is the same, or "
		"fires at another time\n"
		"(moved), lasts longer or shorter, or has another severity.\n"
		"\n"
		"Times are those of the rule's clock: a date, a time (UTC), or '2h ago'. What lies "
		"before --since is replayed\n"
		"as far as the rule looks back. Rules over alerts see the recorded alerts of the "
		"other rules. A KEY of several\n"
		"parts has / between them.",
	.options = options,
	.examples = "  moonwake backtest crash_loop\n"
		    "  moonwake backtest crash_loop --since '30d ago' --timeline\n"
		    "  moonwake backtest crash_loop --against HEAD~1 --key d-17\n"
		    "  moonwake backtest rules/hot.lua --against /tmp/hot.lua --all\n"
		    "  moonwake backtest hot --against none --json | jq .summary",
	.run = run,
};
