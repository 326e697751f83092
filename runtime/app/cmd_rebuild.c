#include "app/builder.h"
#include "app/migrate.h"
#include "app/term.h"
#include "app/versions.h"
#include "base/json.h"

#include <stdio.h>
#include <unistd.h>

static const Option options[] = {
	{ "yes", 'y', NULL, NULL, "do not ask: promote the new version when it is built" },
	{ "promote", 0, NULL, NULL, "put the version that was built into the live one's place" },
	{ "now", 0, NULL, NULL,
		"… though transactions are open that began before it was complete" },
	{ "rollback", 0, NULL, NULL, "exchange the live version for the one before" },
	{ "drop-old", 0, NULL, NULL, "drop the version before" },
	{ "cancel", 0, NULL, NULL, "give up the version that is being built" },
	{ "pause", 0, NULL, NULL, "stop building for now" },
	{ "resume", 0, NULL, NULL, "go on building" },
	{ "diff", 0, NULL, NULL, "compare the version that was built with the live one" },
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

static bool ask(const char *question)
{
	char answer[8] = "";

	fprintf(stderr, "%s [y/N] ", question);
	if (fgets(answer, sizeof(answer), stdin) == NULL) {
		fputc('\n', stderr);
		return false;
	}
	return answer[0] == 'y' || answer[0] == 'Y';
}

static void print_difference(Cli *cli, PgDb *db, const char *name, Str difference)
{
	Causes *causes = causes_open(cli, db, name);

	versions_print_difference(difference, causes);
	causes_close(causes);
}

static int report(Cli *cli, PgDb *db, const char *name, const char *text)
{
	PgRows *v;
	Buf out = { 0 };
	Err err;

	if (!cli_flag(cli, "json")) {
		printf("%s: %s\n", name, text);
		return EXIT_OK;
	}
	v = versions_list(db, name, &err);
	if (v == NULL)
		return cli_fail(&err);
	buf_adds(&out, "{\"projection\":");
	json_add_string(&out, str_from(name));
	buf_adds(&out, ",\"result\":");
	json_add_string(&out, str_from(text));
	buf_adds(&out, ",\"versions\":[");
	for (int i = 0; i < pg_rows_count(v); i++) {
		if (i > 0)
			buf_addc(&out, ',');
		versions_json(v, i, &out);
	}
	buf_adds(&out, "]}");
	puts(out.s);
	buf_free(&out);
	pg_rows_free(v);
	return EXIT_OK;
}

static bool is_consumer(PgDb *db, const char *name, Err *err)
{
	PgRows *rows = pg_db_run(db, SQL_STATUS_CONSUMERS, 0, NULL, err);
	const char *nearest = NULL;
	size_t best = SIZE_MAX;
	bool found = false;

	if (rows == NULL)
		return false;
	for (int i = 0; !found && i < pg_rows_count(rows); i++) {
		found = strcmp(pg_rows_text(rows, i, 0), name) == 0;
		if (options_closer(name, pg_rows_text(rows, i, 0), &best))
			nearest = pg_rows_text(rows, i, 0);
	}
	if (!found)
		err_set(err, ERR_DATA, "rebuild: '%.60s' has never been started", name);
	if (!found && nearest != NULL)
		err_hint(err, "did you mean '%s'?", nearest);
	pg_rows_free(rows);
	return found;
}

/* Reducers and projections with tables of their own. */
static int rebuild_in_place(Cli *cli, PgDb *db, const char *name)
{
	const char *params[] = { name };
	char question[200];
	PgRows *rows;
	Err err;

	if (!is_consumer(db, name, &err))
		return cli_fail(&err);
	snprintf(question, sizeof(question),
		"This empties the table of %.60s and fills it again from the whole log. Go on?",
		name);
	if (!cli_flag(cli, "yes") && !ask(question)) {
		err_set(&err, ERR_STOPPED, "rebuild: nothing was changed");
		err_hint(&err, "answer y, or say --yes");
		return cli_fail(&err);
	}
	rows = pg_db_run(db, SQL_CONSUMER_REBUILD, 1, params, &err);
	if (rows == NULL)
		return cli_fail(&err);
	pg_rows_free(rows);
	return report(cli, db, name,
		"it starts again at the beginning of the log (`moonwake status` shows how far it "
		"is)");
}

/* Repeats what other transactions stand in the way of. */
static bool insist(Cli *cli, PgDb *db, SqlId id, int n, const char *const *params, Err *err)
{
	unsigned pause_ms = 50;
	bool told = false;

	for (;;) {
		PgRows *rows = pg_db_run(db, id, n, params, err);

		pg_rows_free(rows);
		if (rows != NULL)
			return true;
		if (err->kind != ERR_BUSY)
			return false;
		if (!told)
			fprintf(stderr,
				"moonwake: %s: somebody reads the table; waiting for a "
				"moment without locks\n",
				params[0]);
		told = true;
		usleep(pause_ms * 1000);
		pause_ms = pause_ms < 1000 ? pause_ms * 2 : pause_ms;
		if (cli_stopped(cli))
			return err_set(err, ERR_STOPPED, "%s: nothing was exchanged", params[0]);
	}
}

/* What the daemon finds when it looks, where there is none: that a version is complete. */
static void look(PgDb *db, const char *name)
{
	const char *params[] = { name };
	Err err;

	for (int i = 0; i < 100; i++) {
		PgRows *rows = pg_db_run(db, SQL_VERSION_STEP, 1, params, &err);
		bool over = rows == NULL || strcmp(pg_rows_text(rows, 0, 0), "comparing") != 0;

		pg_rows_free(rows);
		if (over)
			return;
	}
}

static int promote(Cli *cli, PgDb *db, const char *name)
{
	const char *params[] = { name, cli_flag(cli, "now") ? "t" : "f" };
	Err err;

	look(db, name);
	look(db, name);
	if (!insist(cli, db, SQL_VERSION_APPROVE, 2, params, &err))
		return cli_fail(&err);
	return report(cli, db, name, "the version that was built is live now");
}

static bool compare(PgDb *db, const char *name, Err *err)
{
	const char *params[] = { name };
	PgRows *rows = pg_db_run(db, SQL_VERSION_COMPARE_AGAIN, 1, params, err);
	bool done = false;

	while (rows != NULL && !done) {
		pg_rows_free(rows);
		rows = pg_db_run(db, SQL_VERSION_COMPARE, 1, params, err);
		done = rows != NULL && pg_rows_bool(rows, 0, 0);
	}
	pg_rows_free(rows);
	return done;
}

/* Of what is being built; where nothing is, what the last promotion changed. */
static int show_difference(Cli *cli, PgDb *db, const char *name)
{
	Err err;
	PgRows *v = versions_list(db, name, &err);
	int next = v ? versions_find(v, "next") : -1, row;
	int code = EXIT_OK;

	if (next >= 0) {
		pg_rows_free(v);
		v = compare(db, name, &err) ? versions_list(db, name, &err) : NULL;
	}
	if (v == NULL)
		return cli_fail(&err);
	row = versions_find(v, next >= 0 ? "next" : "live");
	if (row < 0) {
		err_set(&err, ERR_DATA, "projection '%s': has no versions", name);
		err_hint(&err, "it was never started, or has tables of its own (sql = true)");
		code = cli_fail(&err);
	} else if (cli_flag(cli, "json")) {
		puts(pg_rows_text(v, row, V_DIFFERENCE));
	} else {
		print_difference(cli, db, name, pg_rows_str(v, row, V_DIFFERENCE));
	}
	pg_rows_free(v);
	return code;
}

/* It is complete: what changes, and whether it may. */
static int finish(Cli *cli, PgDb *db, const char *name, const Build *build)
{
	Err err;
	PgRows *v;
	int row;

	if (build->outcome == BUILD_LIVE)
		return report(cli, db, name, "the new version is live");
	v = versions_list(db, name, &err);
	row = v ? versions_find(v, "next") : -1;
	if (row < 0) {
		pg_rows_free(v);
		err_set(&err, ERR_DATA, "%s: the version that was built is gone", name);
		return cli_fail(&err);
	}
	if (!cli_flag(cli, "json"))
		print_difference(cli, db, name, pg_rows_str(v, row, V_DIFFERENCE));
	if (!cli_flag(cli, "json") && pg_rows_text(v, row, V_NOTE)[0] != '\0')
		printf("%s: %s\n", name, pg_rows_text(v, row, V_NOTE));
	pg_rows_free(v);
	if (!cli_flag(cli, "json") && isatty(STDIN_FILENO) && isatty(STDERR_FILENO) &&
		ask("Promote it?"))
		return promote(cli, db, name);
	return report(cli, db, name,
		"the new version is built beside the live one (promote it with --promote, give it "
		"up with --cancel)");
}

static int build(Cli *cli, PgDb *db, const char *name)
{
	Build b = { .cli = cli, .db = db, .name = name, .approved = cli_flag(cli, "yes") };
	Err err;

	if (!builder_start(&b, &err) || !builder_await(&b, &err))
		return cli_fail(&err);
	return finish(cli, db, name, &b);
}

/* What else may be asked of versions: one word, one statement. */
static const struct {
	const char *option;
	SqlId sql;
	const char *second; /* its second parameter, if it has one */
	const char *text;
} acts[] = {
	{ "rollback", SQL_VERSION_ROLL_BACK, NULL,
		"the version before is live again and goes on where it stood" },
	{ "drop-old", SQL_VERSION_DROP_OLD, NULL, "the version before is dropped" },
	{ "cancel", SQL_VERSION_CANCEL, NULL, "the version that was being built is dropped" },
	{ "pause", SQL_VERSION_PAUSE, "t", "building is paused (--resume goes on)" },
	{ "resume", SQL_VERSION_PAUSE, "f", "building goes on" },
};

static int dispatch(Cli *cli, PgDb *db, const char *name)
{
	Err err;
	PgRows *v;
	int n;

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		const char *params[] = { name, acts[i].second };

		if (!cli_flag(cli, acts[i].option))
			continue;
		if (!insist(cli, db, acts[i].sql, acts[i].second ? 2 : 1, params, &err))
			return cli_fail(&err);
		return report(cli, db, name, acts[i].text);
	}
	if (cli_flag(cli, "promote"))
		return promote(cli, db, name);
	if (cli_flag(cli, "diff"))
		return show_difference(cli, db, name);
	v = versions_list(db, name, &err);
	if (v == NULL)
		return cli_fail(&err);
	n = pg_rows_count(v);
	pg_rows_free(v);
	return n > 0 ? build(cli, db, name) : rebuild_in_place(cli, db, name);
}

static int run(Cli *cli, int argc, char **argv)
{
	static const char *const exclusive[] = { "promote", "rollback", "drop-old", "cancel",
		"pause", "resume", "diff" };
	int given = 0, code;
	PgDb *db;
	Err err;

	if (argc != 1)
		return cli_usage(cli, "takes the name of one consumer");
	for (size_t i = 0; i < sizeof(exclusive) / sizeof(exclusive[0]); i++)
		given += cli_flag(cli, exclusive[i]);
	if (given > 1)
		return cli_usage(cli, "does one thing at a time");
	if (cli_flag(cli, "now") && !cli_flag(cli, "promote"))
		return cli_usage(cli, "takes --now with --promote");
	cli_catch_stop(cli);
	db = pg_db_open(&cli->target, &err);
	if (db != NULL && migrate_check(db, &err))
		code = dispatch(cli, db, argv[0]);
	else
		code = cli_fail(&err);
	pg_db_close(db);
	return code;
}

const Command cmd_rebuild = {
	.name = "rebuild",
	.summary = "build a projection anew beside the live one, compare, exchange",
	.usage = "NAME",
	.details =
		"Makes the projection's rows again from the whole log, in a table beside the live "
		"one, "
		"which goes on. When both\n"
		"stand at one position, the difference is shown: how many rows were added, removed "
		"and changed, with samples and\n"
		"the events that did it. Promoted on approval, in one short transaction: readers "
		"find the old rows or the new ones,\n"
		"and grants, indexes and views on the table stay. The version before is kept for "
		"--rollback until the next\n"
		"promotion or --drop-old.\n"
		"\n"
		"With a daemon at work this command starts the build and watches it (Ctrl-C leaves "
		"it "
		"going); without one it\n"
		"does the work itself. A file that was saved with another version or other columns "
		"is built in the same way by\n"
		"`moonwake run`, and promoted as its `promote` says: \"auto\", \"when_equal\" or "
		"\"manual\".\n"
		"\n"
		"Reducers and projections with sql = true are emptied and filled again in place.",
	.options = options,
	.examples = "  moonwake rebuild device_summary\n"
		    "  moonwake rebuild device_summary --yes\n"
		    "  moonwake rebuild device_summary --diff\n"
		    "  moonwake rebuild device_summary --promote\n"
		    "  moonwake rebuild device_summary --rollback",
	.run = run,
};
