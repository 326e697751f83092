#include "app/cli.h"
#include "app/migrate.h"
#include "app/term.h"
#include "base/json.h"

#include <stdlib.h>
#include <unistd.h>

static const Option options[] = {
	{ "key", 0, "KEY", NULL, "retry: only the letters of this key" },
	{ "wait", 0, "SECONDS", "30", "retry: how long to wait for the daemon (0: do not wait)" },
	{ "json", 0, NULL, NULL, "list: one JSON object per letter" },
	{ "verbose", 'v', NULL, NULL, "list: with tracebacks" },
	{ 0 },
};

enum { CONSUMER, EVENT, KEY, STATE, ERROR, TRIES, AT, TRACE, TYPE };

static void print_json(const PgRows *r, int i)
{
	static const struct {
		const char *name;
		int column;
	} texts[] = { { "consumer", CONSUMER }, { "event_type", TYPE }, { "key", KEY },
		{ "state", STATE }, { "error", ERROR }, { "at", AT }, { "traceback", TRACE } };
	Buf out = { 0 };

	buf_addf(&out, "{\"event_id\":%s,\"tries\":%s", pg_rows_text(r, i, EVENT),
		pg_rows_text(r, i, TRIES));
	for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
		buf_addf(&out, ",\"%s\":", texts[t].name);
		json_add_string(&out, str_from(pg_rows_text(r, i, texts[t].column)));
	}
	buf_addc(&out, '}');
	puts(out.s);
	buf_free(&out);
}

static void print_table(const PgRows *r, bool verbose)
{
	static const char *const heads[] = { "consumer", ">event", "type", "key", "state",
		"error" };
	TermTable *t = term_table_new(6, heads);

	for (int i = 0; i < pg_rows_count(r); i++) {
		const char *error = pg_rows_text(r, i, ERROR);
		const char *cells[] = { pg_rows_text(r, i, CONSUMER), pg_rows_text(r, i, EVENT),
			pg_rows_text(r, i, TYPE), pg_rows_text(r, i, KEY),
			pg_rows_text(r, i, STATE),
			*error ? error : "waits behind another event of its key" };

		term_table_row(t, TERM_PLAIN, cells);
	}
	term_table_print(t, stdout);
	term_table_free(t);
	for (int i = 0; verbose && i < pg_rows_count(r); i++)
		if (pg_rows_text(r, i, TRACE)[0] != '\0')
			printf("\nevent %s: %s\n", pg_rows_text(r, i, EVENT),
				pg_rows_text(r, i, TRACE));
}

static int list(Cli *cli, PgDb *db, const char *consumer)
{
	Err err;
	PgRows *rows = pg_db_run(db, SQL_DEAD_LETTERS_LIST, 1, &consumer, &err);

	if (rows == NULL)
		return cli_fail(&err);
	for (int i = 0; cli_flag(cli, "json") && i < pg_rows_count(rows); i++)
		print_json(rows, i);
	if (!cli_flag(cli, "json") && pg_rows_count(rows) == 0)
		printf("no dead letters\n");
	else if (!cli_flag(cli, "json"))
		print_table(rows, cli_flag(cli, "verbose"));
	pg_rows_free(rows);
	return EXIT_OK;
}

/* The daemon that owns the consumer does the work: its states are in that daemon's memory. */
static int await(Cli *cli, PgDb *db, const char *consumer, int64_t asked)
{
	int64_t wait = 0, due = asked, all = 0;
	Err err;

	if (!cli_int(cli, "wait", 0, 86400, &wait, &err))
		return cli_fail(&err);
	for (int64_t tenth = 0; due > 0 && tenth < wait * 10 && !cli_stopped(cli); tenth++) {
		PgRows *rows = pg_db_run(db, SQL_DEAD_LETTERS_WAITING, 1, &consumer, &err);

		if (rows == NULL)
			return cli_fail(&err);
		due = pg_rows_i64(rows, 0, 0);
		all = pg_rows_i64(rows, 0, 1);
		pg_rows_free(rows);
		if (due > 0)
			usleep(100000);
	}
	if (due > 0) {
		printf("%lld letters are marked for another try (by the daemon that runs %s: see "
		       "`moonwake status`)\n",
			(long long)due, consumer);
		return wait > 0 ? EXIT_FAILED : EXIT_OK;
	}
	printf("%lld letters of %s were tried again, %lld are left\n", (long long)asked, consumer,
		(long long)all);
	return all > 0 ? EXIT_FAILED : EXIT_OK;
}

static int retry(Cli *cli, PgDb *db, const char *consumer)
{
	const char *params[] = { consumer, cli_value(cli, "key") };
	Err err;
	PgRows *rows = pg_db_run(db, SQL_DEAD_LETTERS_RETRY, 2, params, &err);
	int64_t asked;

	if (rows == NULL)
		return cli_fail(&err);
	asked = pg_rows_i64(rows, 0, 0);
	pg_rows_free(rows);
	if (asked > 0)
		return await(cli, db, consumer, asked);
	printf("no dead letters of %s%s%s\n", consumer, params[1] ? " with key " : "",
		params[1] ? params[1] : "");
	return EXIT_OK;
}

static int drop(PgDb *db, const char *consumer, const char *event)
{
	const char *params[] = { consumer, event };
	Err err;
	PgRows *rows = pg_db_run(db, SQL_DEAD_LETTERS_DROP, 2, params, &err);
	int64_t dropped;

	if (rows == NULL)
		return cli_fail(&err);
	dropped = pg_rows_i64(rows, 0, 0);
	pg_rows_free(rows);
	if (dropped == 0) {
		err_set(&err, ERR_DATA, "dead-letters: %s has no letter for event %s", consumer,
			event);
		err_hint(&err, "`moonwake dead-letters list` shows them");
		return cli_fail(&err);
	}
	printf("dropped: %s will never see event %s\n", consumer, event);
	return EXIT_OK;
}

static int run(Cli *cli, int argc, char **argv)
{
	const char *verb = argc > 0 ? argv[0] : "list";
	PgDb *db;
	int code;
	Err err;

	if (!(strcmp(verb, "list") == 0 && argc <= 2) &&
		!(strcmp(verb, "retry") == 0 && argc == 2) &&
		!(strcmp(verb, "drop") == 0 && argc == 3))
		return cli_usage(
			cli, "takes `list [CONSUMER]`, `retry CONSUMER` or `drop CONSUMER EVENT`");
	cli_catch_stop(cli);
	db = pg_db_open(&cli->target, &err);
	if (db == NULL || !migrate_check(db, &err))
		code = cli_fail(&err);
	else if (*verb == 'l')
		code = list(cli, db, argc == 2 ? argv[1] : NULL);
	else if (*verb == 'r')
		code = retry(cli, db, argv[1]);
	else
		code = drop(db, argv[1], argv[2]);
	pg_db_close(db);
	return code;
}

const Command cmd_dead_letters = {
	.name = "dead-letters",
	.summary = "events that a script refused: list them, try them again, drop one",
	.usage = "[list [CONSUMER] | retry CONSUMER | drop CONSUMER EVENT]",
	.details = "A refused event and the later ones of its key wait here, in order; everything "
		   "else goes on. After\n"
		   "the script was mended, `retry` handles them in their order. One that fails "
		   "again stays, and\n"
		   "those behind it.",
	.options = options,
	.examples = "  moonwake dead-letters\n"
		    "  moonwake dead-letters retry device_summary\n"
		    "  moonwake dead-letters drop device_summary 4711",
	.run = run,
};
