#include "app/cli.h"
#include "app/migrate.h"
#include "app/term.h"
#include "app/versions.h"
#include "base/json.h"

static const Option options[] = {
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ "verbose", 'v', NULL, NULL, "errors with their traceback" },
	{ 0 },
};

/* The columns of sql/queries/status_*.sql. */
enum { L_HEAD, L_WRITERS, L_OLDEST };
enum {
	C_NAME,
	C_KIND,
	C_VERSION,
	C_STATE,
	C_POSITION,
	C_DAEMON,
	C_SILENT,
	C_PARKED,
	C_SKIPPED,
	C_ERROR,
	C_EVENT,
	C_TRACE,
	C_NOTE
};

/* A consumer is as alive as its daemon: a position says nothing when nobody moves it. */
static const char *condition(const PgRows *c, int row)
{
	if (strcmp(pg_rows_text(c, row, C_STATE), "running") != 0)
		return pg_rows_text(c, row, C_STATE);
	if (pg_rows_text(c, row, C_DAEMON)[0] == '\0')
		return "no daemon";
	return pg_rows_i64(c, row, C_SILENT) > 10 ? "silent" : "running";
}

/* The head is read first: a position may be above it by now. */
static int64_t behind(int64_t head, int64_t position)
{
	return head > position ? head - position : 0;
}

static bool is_well(const PgRows *c, int row)
{
	return strcmp(condition(c, row), "running") == 0 && pg_rows_i64(c, row, C_PARKED) == 0;
}

static void print_log(const PgRows *log)
{
	char head[32];

	printf("log: head %s, ", term_count(pg_rows_i64(log, 0, L_HEAD), head));
	if (pg_rows_i64(log, 0, L_WRITERS) == 0)
		printf("settled\n");
	else
		printf("%s open writers, the oldest: %s\n", pg_rows_text(log, 0, L_WRITERS),
			pg_rows_text(log, 0, L_OLDEST));
}

static void print_consumers(const PgRows *log, const PgRows *c)
{
	static const char *const heads[] = { "consumer", "state", ">position", ">behind", ">parked",
		">skipped", "daemon" };
	TermTable *t = term_table_new(7, heads);
	int64_t head = pg_rows_i64(log, 0, L_HEAD);

	for (int i = 0; i < pg_rows_count(c); i++) {
		char n[4][32];
		int64_t position = pg_rows_i64(c, i, C_POSITION);
		const char *cells[] = { pg_rows_text(c, i, C_NAME), condition(c, i),
			term_count(position, n[0]), term_count(behind(head, position), n[1]),
			term_count(pg_rows_i64(c, i, C_PARKED), n[2]),
			term_count(pg_rows_i64(c, i, C_SKIPPED), n[3]),
			pg_rows_text(c, i, C_DAEMON) };

		term_table_row(t, is_well(c, i) ? TERM_PLAIN : TERM_YELLOW, cells);
	}
	term_table_print(t, stdout);
	term_table_free(t);
}

static void print_alerts(const PgRows *a)
{
	int64_t firing = pg_rows_i64(a, 0, 0), waiting = pg_rows_i64(a, 0, 1),
		failed = pg_rows_i64(a, 0, 2);
	char n[3][32];

	if (firing + waiting + failed == 0)
		return;
	printf("alerts: %s firing; deliveries: %s waiting, %s failed%s\n", term_count(firing, n[0]),
		term_count(waiting, n[1]), term_count(failed, n[2]),
		failed > 0 ? " (`moonwake outbox --failed`)" : "");
}

static void print_problems(const PgRows *c, bool verbose)
{
	for (int i = 0; i < pg_rows_count(c); i++) {
		if (pg_rows_text(c, i, C_ERROR)[0] != '\0')
			printf("\n%s: %s (event %s)\n", pg_rows_text(c, i, C_NAME),
				pg_rows_text(c, i, C_ERROR), pg_rows_text(c, i, C_EVENT));
		if (verbose && pg_rows_text(c, i, C_TRACE)[0] != '\0')
			printf("%s\n", pg_rows_text(c, i, C_TRACE));
		if (pg_rows_text(c, i, C_NOTE)[0] != '\0')
			printf("\n%s: the changed file does not load, the version before it goes "
			       "on: %s\n",
				pg_rows_text(c, i, C_NAME), pg_rows_text(c, i, C_NOTE));
	}
}

static void add_text(Buf *out, const char *name, const char *value)
{
	buf_addf(out, ",\"%s\":", name);
	json_add_string(out, str_from(value));
}

static void print_json(
	const PgRows *log, const PgRows *c, const PgRows *versions, const PgRows *alerts)
{
	Buf out = { 0 };
	int64_t head = pg_rows_i64(log, 0, L_HEAD);

	buf_addf(&out, "{\"head\":%lld,\"writers\":%s", (long long)head,
		pg_rows_text(log, 0, L_WRITERS));
	add_text(&out, "oldest_writer", pg_rows_text(log, 0, L_OLDEST));
	buf_adds(&out, ",\"consumers\":[");
	for (int i = 0; i < pg_rows_count(c); i++) {
		buf_addf(&out,
			"%s{\"position\":%s,\"behind\":%lld,\"version\":%s,\"parked\":%s,"
			"\"skipped\":%s",
			i ? "," : "", pg_rows_text(c, i, C_POSITION),
			(long long)behind(head, pg_rows_i64(c, i, C_POSITION)),
			pg_rows_text(c, i, C_VERSION), pg_rows_text(c, i, C_PARKED),
			pg_rows_text(c, i, C_SKIPPED));
		add_text(&out, "consumer", pg_rows_text(c, i, C_NAME));
		add_text(&out, "kind", pg_rows_text(c, i, C_KIND));
		add_text(&out, "state", condition(c, i));
		add_text(&out, "daemon", pg_rows_text(c, i, C_DAEMON));
		add_text(&out, "error", pg_rows_text(c, i, C_ERROR));
		buf_addf(&out, ",\"error_event\":%s", pg_rows_text(c, i, C_EVENT));
		add_text(&out, "traceback", pg_rows_text(c, i, C_TRACE));
		add_text(&out, "note", pg_rows_text(c, i, C_NOTE));
		buf_addc(&out, '}');
	}
	buf_adds(&out, "],\"versions\":[");
	for (int i = 0; i < pg_rows_count(versions); i++) {
		if (i > 0)
			buf_addc(&out, ',');
		versions_json(versions, i, &out);
	}
	buf_addf(&out, "],\"alerts\":{\"firing\":%s},\"outbox\":{\"waiting\":%s,\"failed\":%s}}",
		pg_rows_text(alerts, 0, 0), pg_rows_text(alerts, 0, 1), pg_rows_text(alerts, 0, 2));
	puts(out.s);
	buf_free(&out);
}

static int run(Cli *cli, int argc, char **argv)
{
	PgRows *log = NULL, *consumers = NULL, *versions = NULL, *alerts = NULL;
	int code = EXIT_OK;
	PgDb *db;
	Err err;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	db = pg_db_open(&cli->target, &err);
	if (db == NULL || !migrate_check(db, &err) ||
		(log = pg_db_run(db, SQL_STATUS_LOG, 0, NULL, &err)) == NULL ||
		(consumers = pg_db_run(db, SQL_STATUS_CONSUMERS, 0, NULL, &err)) == NULL ||
		(versions = versions_list(db, NULL, &err)) == NULL ||
		(alerts = pg_db_run(db, SQL_STATUS_ALERTS, 0, NULL, &err)) == NULL) {
		code = cli_fail(&err);
		goto out;
	}
	if (cli_flag(cli, "json")) {
		print_json(log, consumers, versions, alerts);
		goto out;
	}
	print_log(log);
	if (pg_rows_count(consumers) == 0)
		printf("no consumer has been started yet (`moonwake run`)\n");
	else
		print_consumers(log, consumers);
	print_alerts(alerts);
	print_problems(consumers, cli_flag(cli, "verbose"));
	versions_print(versions);
out:
	pg_rows_free(log);
	pg_rows_free(consumers);
	pg_rows_free(versions);
	pg_rows_free(alerts);
	pg_db_close(db);
	return code;
}

const Command cmd_status = {
	.name = "status",
	.summary = "how far the log and each consumer are, and what is wrong",
	.usage = "",
	.details = "Compares the log's head, what is settled, and each consumer's position. `no "
		   "daemon` and `silent`\n"
		   "mean that a position stands still because nobody moves it.",
	.options = options,
	.examples = "  moonwake status\n  moonwake status --json",
	.run = run,
};
