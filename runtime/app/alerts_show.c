#include "app/alerts.h"
#include "app/duration.h"
#include "app/show.h"

#include <stdlib.h>

/* The columns of sql/queries/alerts_list.sql. */
enum {
	L_EPISODE,
	L_RULE,
	L_KEY,
	L_SEVERITY,
	L_STATE,
	L_ACKED,
	L_MUTED,
	L_AGE,
	L_SUMMARY,
	L_TOTAL,
	L_JSON
};

enum { SHORT_ID = 8, SUMMARY_MIN = 20 };

TermStyle alerts_style(const char *severity)
{
	if (strcmp(severity, "critical") == 0 || strcmp(severity, "error") == 0)
		return TERM_RED;
	return strcmp(severity, "warning") == 0 ? TERM_YELLOW : TERM_PLAIN;
}

const char *alerts_clean(Cli *cli, const char *text, int columns)
{
	Buf out = { 0 };
	const char *copy;

	show_clean(&out, str_from(text), columns);
	copy = arena_str(cli->arena, buf_str(&out)).s;
	buf_free(&out);
	return copy;
}

/* ---- list ---- */

static bool known_states(const char *list, Err *err)
{
	static const char *const states[] = { "pending", "firing", "resolved", "expired" };

	for (const char *p = list; *p != '\0'; p += strspn(p, ",")) {
		size_t n = strcspn(p, ","), i = 0;

		while (i < 4 && (strlen(states[i]) != n || memcmp(states[i], p, n) != 0))
			i++;
		if (i == 4)
			return err_set(err, ERR_USAGE,
				"alerts: --state: '%.*s' is none of pending, firing, resolved, "
				"expired",
				(int)(n < 40 ? n : 40), p);
		p += n;
	}
	return true;
}

/* A rule that never was is a slip of the pen; one with no alerts is not. */
static bool known_rule(PgDb *db, const char *name, Err *err)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX;
	bool found = false;
	PgRows *rows;

	if (name == NULL || strpbrk(name, "*~!") != NULL)
		return true;
	rows = pg_db_run(db, SQL_ALERTS_RULES, 0, NULL, err);
	if (rows == NULL)
		return false;
	for (int i = 0; !found && i < pg_rows_count(rows); i++) {
		found = strcmp(pg_rows_text(rows, i, 0), name) == 0;
		if (options_closer(name, pg_rows_text(rows, i, 0), &best))
			nearest = pg_rows_text(rows, i, 0);
	}
	if (!found)
		err_set(err, ERR_DATA, "alerts: there is no rule '%.60s'", name);
	if (!found && nearest != NULL)
		err_hint(err, "did you mean '%s'?", nearest);
	pg_rows_free(rows);
	return found;
}

static PgRows *load(Cli *cli, PgDb *db, Err *err)
{
	const char *states = cli_value(cli, "state"), *since = cli_value(cli, "since");
	char span[32];
	const char *params[] = { states, cli_value(cli, "rule"), cli_value(cli, "severity"),
		cli_value(cli, "key"), NULL, cli_value(cli, "limit") };
	int64_t us, limit;

	if (states == NULL)
		params[0] = cli_flag(cli, "all") || since != NULL ? "" : "firing,pending";
	if (!cli_int(cli, "limit", 1, 1000000, &limit, err) || !known_states(params[0], err) ||
		!known_rule(db, params[1], err))
		return NULL;
	if (since != NULL) {
		if (!alerts_span("--since", since, &us, err))
			return NULL;
		snprintf(span, sizeof(span), "%lld", (long long)us);
		params[4] = span;
	}
	return pg_db_run(db, SQL_ALERTS_LIST, 6, params, err);
}

static const char *condition(Cli *cli, const PgRows *rows, int row)
{
	return arena_printf(cli->arena, "%s%s%s", pg_rows_text(rows, row, L_STATE),
		pg_rows_bool(rows, row, L_MUTED) ? ", muted" : "",
		pg_rows_bool(rows, row, L_ACKED) ? ", acked" : "");
}

static TermStyle style_of(const PgRows *rows, int row)
{
	if (strcmp(pg_rows_text(rows, row, L_STATE), "firing") != 0)
		return TERM_PLAIN;
	return pg_rows_bool(rows, row, L_MUTED) ? TERM_DIM
						: alerts_style(pg_rows_text(rows, row, L_SEVERITY));
}

enum { T_ID, T_SEVERITY, T_STATE, T_FOR, T_RULE, T_KEY, T_SUMMARY, T_COLUMNS };

static void cells_of(Cli *cli, const PgRows *rows, int row, const char *cells[T_COLUMNS])
{
	char span[32];

	cells[T_ID] =
		arena_printf(cli->arena, "%.*s", SHORT_ID, pg_rows_text(rows, row, L_EPISODE));
	cells[T_SEVERITY] = pg_rows_text(rows, row, L_SEVERITY);
	cells[T_STATE] = condition(cli, rows, row);
	cells[T_FOR] =
		arena_str(cli->arena, str_from(duration_text(pg_rows_i64(rows, row, L_AGE), span)))
			.s;
	cells[T_RULE] = pg_rows_text(rows, row, L_RULE);
	cells[T_KEY] = alerts_clean(cli, pg_rows_text(rows, row, L_KEY), 40);
	cells[T_SUMMARY] = NULL;
}

/* What the other columns leave to the summary on a terminal; -1 where nothing limits it. */
static int room(Cli *cli, const PgRows *rows)
{
	size_t widths[T_SUMMARY] = { SHORT_ID, 8, 5, 3, 4, 3 }, used = 0;
	int left;

	if (!term_is_tty(stdout))
		return -1;
	for (int i = 0; i < pg_rows_count(rows); i++) {
		const char *cells[T_COLUMNS];

		cells_of(cli, rows, i, cells);
		for (int c = 0; c < T_SUMMARY; c++) {
			size_t w = term_text_width(cells[c]);

			widths[c] = w > widths[c] ? w : widths[c];
		}
	}
	for (int c = 0; c < T_SUMMARY; c++)
		used += widths[c] + 2;
	left = term_width(stdout) - (int)used;
	return left > SUMMARY_MIN ? left : SUMMARY_MIN;
}

static void print_table(Cli *cli, const PgRows *rows)
{
	static const char *const heads[T_COLUMNS] = { "alert", "severity", "state", ">for", "rule",
		"key", "summary" };
	TermTable *t = term_table_new(T_COLUMNS, heads);
	int columns = room(cli, rows), n = pg_rows_count(rows);

	for (int i = 0; i < n; i++) {
		const char *cells[T_COLUMNS];

		cells_of(cli, rows, i, cells);
		cells[T_SUMMARY] = alerts_clean(cli, pg_rows_text(rows, i, L_SUMMARY), columns);
		term_table_row(t, style_of(rows, i), cells);
	}
	term_table_print(t, stdout);
	term_table_free(t);
	if (pg_rows_i64(rows, 0, L_TOTAL) > n)
		printf("… and %lld more (--limit)\n", (long long)pg_rows_i64(rows, 0, L_TOTAL) - n);
}

int alerts_list(Cli *cli, PgDb *db)
{
	Err err;
	PgRows *rows = load(cli, db, &err);
	int n;

	if (rows == NULL)
		return cli_fail(&err);
	n = pg_rows_count(rows);
	if (cli_flag(cli, "json"))
		for (int i = 0; i < n; i++)
			puts(pg_rows_text(rows, i, L_JSON));
	else if (n > 0)
		print_table(cli, rows);
	else
		printf("%s%s\n",
			cli_flag(cli, "all") || cli_value(cli, "state") != NULL ||
					cli_value(cli, "since") != NULL
				? "no alerts"
				: "nothing fires",
			cli_value(cli, "rule") != NULL || cli_value(cli, "severity") != NULL ||
					cli_value(cli, "key") != NULL
				? " of what was asked for"
				: "");
	pg_rows_free(rows);
	return EXIT_OK;
}

/* ---- one alert ---- */

/* The columns of sql/queries/alerts_show.sql and alerts_history.sql. */
enum {
	S_EPISODE,
	S_RULE,
	S_KEY,
	S_SEVERITY,
	S_STATE,
	S_SUMMARY,
	S_DESCRIPTION,
	S_RUNBOOK,
	S_LABELS,
	S_MUTED,
	S_ACKED_BY,
	S_NOTE,
	S_REASON,
	S_AGE,
	S_NOTIFIED,
	S_JSON
};
enum { H_AT, H_TYPE, H_SEVERITY, H_WHY, H_SUMMARY, H_BY, H_ID, H_JSON };

static void print_line(const char *name, const char *text)
{
	if (*text == '\0')
		return;
	term_print(stdout, TERM_DIM, "  %-12s", name);
	show_text(stdout, str_from(text));
	putchar('\n');
}

static void print_alert(const PgRows *a)
{
	char span[32];

	term_print(stdout, TERM_BOLD, "%s  ", pg_rows_text(a, 0, S_RULE));
	show_text(stdout, pg_rows_str(a, 0, S_KEY));
	term_print(stdout, alerts_style(pg_rows_text(a, 0, S_SEVERITY)), "  %s, %s",
		pg_rows_text(a, 0, S_SEVERITY), pg_rows_text(a, 0, S_STATE));
	printf("  for %s\n", duration_text(pg_rows_i64(a, 0, S_AGE), span));
	print_line("summary", pg_rows_text(a, 0, S_SUMMARY));
	print_line("description", pg_rows_text(a, 0, S_DESCRIPTION));
	print_line("runbook", pg_rows_text(a, 0, S_RUNBOOK));
	print_line("labels", pg_rows_text(a, 0, S_LABELS));
	print_line("reason", pg_rows_text(a, 0, S_REASON));
	print_line("muted", pg_rows_text(a, 0, S_MUTED));
	print_line("acked by", pg_rows_text(a, 0, S_ACKED_BY));
	print_line("note", pg_rows_text(a, 0, S_NOTE));
	print_line("told", pg_rows_text(a, 0, S_NOTIFIED));
	print_line("episode", pg_rows_text(a, 0, S_EPISODE));
}

static void print_event(const PgRows *h, int row)
{
	const char *why = pg_rows_text(h, row, H_WHY), *by = pg_rows_text(h, row, H_BY);
	const char *type = pg_rows_text(h, row, H_TYPE), *dot = strchr(type, '.');

	term_print(stdout, TERM_DIM, "  %s  ", pg_rows_text(h, row, H_AT));
	term_print(stdout, TERM_CYAN, "%-10s", dot != NULL ? dot + 1 : type);
	term_print(stdout, alerts_style(pg_rows_text(h, row, H_SEVERITY)), "%-9s",
		pg_rows_text(h, row, H_SEVERITY));
	show_text(stdout, pg_rows_str(h, row, *why != '\0' ? H_WHY : H_SUMMARY));
	if (*by != '\0')
		fputs("  by ", stdout);
	show_text(stdout, str_from(by));
	term_print(stdout, TERM_DIM, "  #%s\n", pg_rows_text(h, row, H_ID));
}

static void print_json(const PgRows *a, const PgRows *h)
{
	printf("{\"alert\":%s,\"events\":[", pg_rows_text(a, 0, S_JSON));
	for (int i = 0; i < pg_rows_count(h); i++)
		printf("%s%s", i > 0 ? "," : "", pg_rows_text(h, i, H_JSON));
	printf("]}\n");
}

int alerts_show(Cli *cli, PgDb *db, const char *word)
{
	char episode[40];
	const char *params[] = { episode };
	PgRows *alert = NULL, *history = NULL;
	int code = EXIT_OK;
	Err err;

	if (!alerts_find(db, word, episode, &err) ||
		(alert = pg_db_run(db, SQL_ALERTS_SHOW, 1, params, &err)) == NULL ||
		(history = pg_db_run(db, SQL_ALERTS_HISTORY, 1, params, &err)) == NULL)
		code = cli_fail(&err);
	else if (cli_flag(cli, "json"))
		print_json(alert, history);
	else
		print_alert(alert);
	for (int i = 0; code == EXIT_OK && !cli_flag(cli, "json") && i < pg_rows_count(history);
		i++)
		print_event(history, i);
	pg_rows_free(alert);
	pg_rows_free(history);
	return code;
}
