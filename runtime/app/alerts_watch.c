#include "app/alerts.h"
#include "app/migrate.h"
#include "app/show.h"

#include <unistd.h>

/* As in `tail`: the bell may not ring while a daemon is awake, so a slow poll stands behind it. */
enum { PAGE = 500, POLL_MS = 1000 };

/* The columns of sql/queries/alerts_watch.sql. */
enum {
	W_SCANNED,
	W_ID,
	W_AT,
	W_TYPE,
	W_SEVERITY,
	W_WHY,
	W_SUMMARY,
	W_BY,
	W_RULE,
	W_KEY,
	W_EPISODE,
	W_JSON
};

typedef struct {
	Cli *cli;
	PgDb *db;
	int64_t position;
	bool placed; /* the position is known: a new connection goes on from it */
	bool lost;   /* the server is away, and that was said */
} Watch;

static void print_text(const PgRows *rows, int row)
{
	const char *type = pg_rows_text(rows, row, W_TYPE), *dot = strchr(type, '.');
	const char *severity = pg_rows_text(rows, row, W_SEVERITY),
		   *why = pg_rows_text(rows, row, W_WHY);

	term_print(stdout, TERM_DIM, "%s  %.8s  ", pg_rows_text(rows, row, W_AT),
		pg_rows_text(rows, row, W_EPISODE));
	term_print(stdout, strcmp(type, "alert.firing") == 0 ? alerts_style(severity) : TERM_CYAN,
		"%-9s %-9s", dot != NULL ? dot + 1 : type, severity);
	term_print(stdout, TERM_BOLD, "%s  ", pg_rows_text(rows, row, W_RULE));
	show_text(stdout, pg_rows_str(rows, row, W_KEY));
	fputs("  ", stdout);
	show_text(stdout, pg_rows_str(rows, row, W_SUMMARY));
	if (*why != '\0')
		fputs(": ", stdout);
	show_text(stdout, str_from(why));
	if (pg_rows_text(rows, row, W_BY)[0] != '\0')
		fputs("  by ", stdout);
	show_text(stdout, str_from(pg_rows_text(rows, row, W_BY)));
	putchar('\n');
}

static bool place(Watch *w, Err *err)
{
	const char *since = cli_value(w->cli, "since");
	char span[32];
	const char *params[] = { span };
	int64_t us = 0;
	PgRows *rows;

	if (w->placed)
		return true;
	if (since != NULL && !alerts_span("--since", since, &us, err))
		return false;
	snprintf(span, sizeof(span), "%lld", (long long)us);
	rows = pg_db_run(w->db, SQL_ALERTS_WATCH_FROM, 1, params, err);
	if (rows == NULL)
		return false;
	w->position = pg_rows_i64(rows, 0, 0);
	w->placed = true;
	pg_rows_free(rows);
	return true;
}

/* Prints one page; *more: there may be another right behind it. */
static bool read_page(Watch *w, bool *more, Err *err)
{
	char position[32], max[16];
	const char *params[] = { position, cli_value(w->cli, "rule"), cli_value(w->cli, "severity"),
		cli_value(w->cli, "key"), max };
	PgRows *rows;

	snprintf(position, sizeof(position), "%lld", (long long)w->position);
	snprintf(max, sizeof(max), "%d", PAGE);
	rows = pg_db_run(w->db, SQL_ALERTS_WATCH, 5, params, err);
	if (rows == NULL)
		return false;
	*more = false;
	for (int row = 0; row < pg_rows_count(rows); row++) {
		if (!pg_rows_null(rows, row, W_ID) && cli_flag(w->cli, "json"))
			puts(pg_rows_text(rows, row, W_JSON));
		else if (!pg_rows_null(rows, row, W_ID))
			print_text(rows, row);
		*more = *more || pg_rows_i64(rows, row, W_SCANNED) > w->position;
		w->position = pg_rows_i64(rows, row, W_SCANNED);
	}
	pg_rows_free(rows);
	fflush(stdout);
	return true;
}

static bool follow(Watch *w, Err *err)
{
	while (!cli_stopped(w->cli) && !ferror(stdout)) {
		bool more;

		if (!read_page(w, &more, err))
			return false;
		if (!more && !pg_db_wait_notify(w->db, POLL_MS, err) && err->kind != ERR_NONE)
			return false;
	}
	return true;
}

static bool connect_and_follow(Watch *w, Err *err)
{
	PgRows *rows = NULL;
	bool ok;

	w->db = pg_db_open(&w->cli->target, err);
	if (w->db == NULL)
		return false;
	/* Listening comes before the first look: what is appended in between rings. */
	ok = migrate_check(w->db, err) &&
	     (rows = pg_db_run(w->db, SQL_LISTEN, 0, NULL, err)) != NULL;
	w->lost = w->lost && !ok;
	ok = ok && place(w, err) && follow(w, err);
	pg_rows_free(rows);
	pg_db_close(w->db);
	w->db = NULL;
	return ok;
}

/* Once it was connected, a server that goes away is waited for. */
static bool wait_for_server(Watch *w, const Err *err)
{
	if (!w->placed || err->kind != ERR_CONN || cli_stopped(w->cli))
		return false;
	if (!w->lost)
		fprintf(stderr,
			"moonwake: alerts: the connection was lost; waiting for the server\n");
	w->lost = true;
	usleep(500000);
	return true;
}

int alerts_watch(Cli *cli)
{
	Watch w = { .cli = cli };
	bool ok;
	Err err;

	cli_catch_stop(cli);
	while (!(ok = connect_and_follow(&w, &err)) && wait_for_server(&w, &err))
		;
	return ok || cli_stopped(cli) ? EXIT_OK : cli_fail(&err);
}
