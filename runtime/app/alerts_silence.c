#include "app/alerts.h"
#include "app/duration.h"
#include "base/json.h"

typedef struct {
	Str name;
	const char *sign; /* of a pattern: "", "!", "~" or "!~" */
	const char *value;
} Matcher;

/* "site=north*", "site!=x", "site=~n.*", "site!~n.*" */
static bool read_matcher(const char *word, Matcher *m, Err *err)
{
	const char *p = strpbrk(word, "=!");

	*m = (Matcher){ .sign = "" };
	if (p == NULL || p == word)
		goto bad;
	m->name = (Str){ word, (size_t)(p - word) };
	if (p[0] == '=') {
		m->sign = p[1] == '~' ? "~" : "";
		m->value = p + (p[1] == '~' ? 2 : 1);
		if (m->value[0] != '\0')
			return true;
		err_set(err, ERR_USAGE, "alerts: '%.60s' names no value", word);
		return err_hint(
			err, "%.*s!~.+ is every alert that has none", (int)m->name.len, m->name.s);
	}
	if (p[1] == '=' || p[1] == '~') {
		m->sign = p[1] == '~' ? "!~" : "!";
		m->value = p + 2;
		return true;
	}
bad:
	err_set(err, ERR_USAGE, "alerts: '%.60s' says not what is meant", word);
	return err_hint(err, "NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX");
}

static void add_pattern(Buf *out, const Matcher *m)
{
	Buf text = { 0 };

	buf_addf(&text, "%s%s", m->sign, m->value);
	json_add_string(out, (Str){ text.s, text.len });
	buf_free(&text);
}

static bool same_name(const Matcher *a, const Matcher *b)
{
	return str_eq(a->name, b->name);
}

/* {"name": [patterns], …}: of one name any must match, so that one that excludes stands alone. */
static bool add_matchers(const Matcher *list, int n, Buf *out, Err *err)
{
	buf_addc(out, '{');
	for (int i = 0; i < n; i++) {
		int first = 0, patterns = 0;

		while (!same_name(&list[first], &list[i]))
			first++;
		if (first < i)
			continue;
		if (i > 0)
			buf_addc(out, ',');
		json_add_string(out, list[i].name);
		buf_adds(out, ":[");
		for (int j = i; j < n; j++) {
			if (!same_name(&list[j], &list[i]))
				continue;
			if (patterns++ > 0 && (list[j].sign[0] == '!' || list[i].sign[0] == '!'))
				return err_set(err, ERR_USAGE,
					"alerts: %.*s is given twice, once with ! (use one: "
					"%.*s!~a|b)",
					(int)list[i].name.len, list[i].name.s,
					(int)list[i].name.len, list[i].name.s);
			if (patterns > 1)
				buf_addc(out, ',');
			add_pattern(out, &list[j]);
		}
		buf_addc(out, ']');
	}
	buf_addc(out, '}');
	return true;
}

static bool read_words(Cli *cli, int argc, char **argv, Buf *out, Err *err)
{
	Matcher *list = arena_alloc(cli->arena, (size_t)argc * sizeof(*list));

	for (int i = 0; i < argc; i++) {
		if (!json_storable(str_from(argv[i])))
			return err_set(err, ERR_USAGE, "alerts: a matcher is no UTF-8 text");
		if (!read_matcher(argv[i], &list[i], err))
			return false;
	}
	return add_matchers(list, argc, out, err);
}

int alerts_silence(Cli *cli, PgDb *db, int argc, char **argv)
{
	const char *span = cli_value(cli, "for"), *reason = cli_value(cli, "reason");
	char us[32], text[32];
	const char *params[] = { NULL, us, reason != NULL ? reason : "", alerts_person(cli) };
	Buf matchers = { 0 };
	PgRows *rows = NULL;
	int64_t time;
	Err err;

	if (span == NULL)
		return cli_usage(cli, "silence takes --for, how long (--for 2h)");
	if (alerts_span("--for", span, &time, &err) &&
		read_words(cli, argc, argv, &matchers, &err)) {
		snprintf(us, sizeof(us), "%lld", (long long)time);
		params[0] = matchers.s;
		rows = pg_db_run(db, SQL_SILENCE_ADD, 4, params, &err);
	}
	buf_free(&matchers);
	if (rows == NULL)
		return cli_fail(&err);
	printf("silence %s holds for %s; of what fires it mutes %s\n", pg_rows_text(rows, 0, 0),
		duration_text(time, text), pg_rows_text(rows, 0, 1));
	pg_rows_free(rows);
	return EXIT_OK;
}

/* The columns of sql/queries/silences_list.sql. */
enum { Q_ID, Q_STATE, Q_LEFT, Q_MATCHERS, Q_BY, Q_REASON, Q_ALERTS, Q_JSON };

int alerts_silences(Cli *cli, PgDb *db)
{
	static const char *const heads[] = { ">silence", "state", ">left", ">alerts", "of", "by",
		"reason" };
	const char *params[] = { cli_flag(cli, "all") ? "true" : "false" };
	TermTable *t = term_table_new(7, heads);
	Err err;
	PgRows *rows = pg_db_run(db, SQL_SILENCES_LIST, 1, params, &err);

	for (int i = 0; rows != NULL && i < pg_rows_count(rows); i++) {
		char left[32];
		const char *cells[] = { pg_rows_text(rows, i, Q_ID), pg_rows_text(rows, i, Q_STATE),
			duration_text(pg_rows_i64(rows, i, Q_LEFT), left),
			pg_rows_text(rows, i, Q_ALERTS),
			alerts_clean(cli, pg_rows_text(rows, i, Q_MATCHERS), -1),
			alerts_clean(cli, pg_rows_text(rows, i, Q_BY), -1),
			alerts_clean(cli, pg_rows_text(rows, i, Q_REASON), -1) };

		if (cli_flag(cli, "json"))
			puts(pg_rows_text(rows, i, Q_JSON));
		term_table_row(t, TERM_PLAIN, cells);
	}
	if (rows != NULL && !cli_flag(cli, "json") && pg_rows_count(rows) > 0)
		term_table_print(t, stdout);
	else if (rows != NULL && !cli_flag(cli, "json"))
		printf("no silences\n");
	term_table_free(t);
	if (rows == NULL)
		return cli_fail(&err);
	pg_rows_free(rows);
	return EXIT_OK;
}
