#include "app/alerts.h"
#include "app/migrate.h"

#include <limits.h>
#include <stdlib.h>

static const Option options[] = {
	{ "all", 0, NULL, NULL, "list: those that have ended too; silences: the same" },
	{ "state", 0, "LIST", NULL,
		"list: only these states: pending, firing, resolved, expired, comma-separated" },
	{ "rule", 0, "NAME", NULL, "list, watch: only of this rule; * stands for any characters" },
	{ "severity", 0, "WORD", NULL,
		"list, watch: only of this severity: info, warning, error, critical" },
	{ "key", 0, "KEY", NULL, "list, watch: only of this key, or of one that has this part" },
	{ "since", 0, "SPAN", NULL,
		"list: those that were open in the last 2h, 7d …; watch: begin there" },
	{ "limit", 'n', "N", "100", "list: at most so many" },
	{ "for", 0, "SPAN", NULL, "silence: so long: 90s, 30m, 2h, 7d" },
	{ "reason", 0, "TEXT", NULL, "silence, close: why" },
	{ "note", 0, "TEXT", NULL, "ack: what will be done" },
	{ "by", 0, "PERSON", NULL,
		"ack, silence, unsilence, close: who says so (default: the login)" },
	{ "json", 0, NULL, NULL,
		"list, watch, silences: a JSON object for each; show: one for all" },
	{ 0 },
};

const char *alerts_person(const Cli *cli)
{
	const char *by = cli_value(cli, "by");

	if (by == NULL)
		by = getenv("USER");
	if (by == NULL)
		by = getenv("LOGNAME");
	return by != NULL && *by != '\0' ? by : NULL;
}

bool alerts_span(const char *what, const char *text, int64_t *us, Err *err)
{
	static const char units[] = "smhdw";
	static const int64_t seconds[] = { 1, 60, 3600, 86400, 604800 };
	int64_t sum = 0;
	const char *p = text;

	while (*p != '\0') {
		char *end;
		long long n = strtoll(p, &end, 10);
		const char *unit = *end != '\0' ? strchr(units, *end) : NULL;

		if (end == p || n < 0 || unit == NULL || n > 366 * 86400 / seconds[unit - units]) {
			sum = 0;
			break;
		}
		sum += n * seconds[unit - units];
		p = end + 1;
	}
	*us = sum * 1000000;
	return sum > 0 || err_set(err, ERR_USAGE,
				  "alerts: %s takes a time like 90s, 30m, 1h30m or 7d, at most a "
				  "year, not '%.40s'",
				  what, text);
}

/* The least and the greatest uuid that begin with a prefix. */
static bool spread(const char *prefix, char low[40], char high[40])
{
	size_t n = 0;

	for (const char *p = prefix; *p != '\0'; p++) {
		if (*p == '-')
			continue;
		if (n == 32 || strchr("0123456789abcdefABCDEF", *p) == NULL)
			return false;
		low[n] = high[n] = *p;
		n++;
	}
	memset(low + n, '0', 32 - n);
	memset(high + n, 'f', 32 - n);
	low[32] = high[32] = '\0';
	return n > 0;
}

bool alerts_find(PgDb *db, const char *prefix, char episode[40], Err *err)
{
	char low[40], high[40];
	const char *params[] = { low, high };
	PgRows *rows;
	int n;

	if (!spread(prefix, low, high)) {
		err_set(err, ERR_USAGE, "alerts: '%.60s' is no episode", prefix);
		return err_hint(err, "`moonwake alerts` shows how each begins");
	}
	rows = pg_db_run(db, SQL_ALERTS_FIND, 2, params, err);
	if (rows == NULL)
		return false;
	n = pg_rows_count(rows);
	if (n == 1)
		snprintf(episode, 40, "%s", pg_rows_text(rows, 0, 0));
	else if (n == 0 &&
		 !err_set(err, ERR_DATA, "alerts: no episode begins with '%.60s'", prefix))
		err_hint(err, "`moonwake alerts --all` lists them");
	else
		err_set(err, ERR_DATA,
			"alerts: several episodes begin with '%.60s' (%.36s, %.36s%s)", prefix,
			pg_rows_text(rows, 0, 0), pg_rows_text(rows, 1, 0), n > 2 ? ", …" : "");
	pg_rows_free(rows);
	return n == 1;
}

/* ack and close: one statement for each episode. */
static int each(Cli *cli, PgDb *db, SqlId id, const char *said, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		char episode[40];
		const char *params[] = { episode, alerts_person(cli),
			cli_value(cli, id == SQL_ALERT_ACK ? "note" : "reason") };
		PgRows *rows;
		Err err;

		if (!alerts_find(db, argv[i], episode, &err))
			return cli_fail(&err);
		rows = pg_db_run(db, id, 3, params, &err);
		if (rows == NULL)
			return cli_fail(&err);
		pg_rows_free(rows);
		printf("%s: %s\n", episode, said);
	}
	return EXIT_OK;
}

static int unsilence(Cli *cli, PgDb *db, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const char *params[] = { argv[i], alerts_person(cli) };
		char *end;
		PgRows *rows;
		Err err;

		if (strtoll(argv[i], &end, 10) <= 0 || *end != '\0')
			return cli_usage(cli,
				"'%.40s' is no silence (`moonwake alerts silences` shows their "
				"numbers)",
				argv[i]);
		rows = pg_db_run(db, SQL_SILENCE_END, 2, params, &err);
		if (rows == NULL)
			return cli_fail(&err);
		pg_rows_free(rows);
		printf("silence %s has ended\n", argv[i]);
	}
	return EXIT_OK;
}

typedef enum { LIST, WATCH, SHOW, HISTORY, ACK, CLOSE, SILENCE, SILENCES, UNSILENCE, NVERBS } Verb;

static const struct {
	const char *name;
	int least, most; /* words behind it */
} verbs[NVERBS] = {
	[LIST] = { "list", 0, 0 },
	[WATCH] = { "watch", 0, 0 },
	[SHOW] = { "show", 1, 1 },
	[HISTORY] = { "history", 1, 1 },
	[ACK] = { "ack", 1, INT_MAX },
	[CLOSE] = { "close", 1, INT_MAX },
	[SILENCE] = { "silence", 1, INT_MAX },
	[SILENCES] = { "silences", 0, 0 },
	[UNSILENCE] = { "unsilence", 1, INT_MAX },
};

static Verb verb_of(const char *word, const char **nearest)
{
	size_t best = SIZE_MAX;

	*nearest = NULL;
	for (Verb v = 0; v < NVERBS; v++) {
		if (strcmp(verbs[v].name, word) == 0)
			return v;
		if (options_closer(word, verbs[v].name, &best))
			*nearest = verbs[v].name;
	}
	return NVERBS;
}

static bool known_severity(const char *word)
{
	static const char *const words[] = { "info", "warning", "error", "critical" };

	for (size_t i = 0; word != NULL && i < 4; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return word == NULL;
}

static int run_verb(Cli *cli, PgDb *db, Verb verb, int argc, char **argv)
{
	switch (verb) {
	case SHOW:
	case HISTORY:
		return alerts_show(cli, db, argv[0]);
	case ACK:
		return each(cli, db, SQL_ALERT_ACK, "acknowledged", argc, argv);
	case CLOSE:
		return each(cli, db, SQL_ALERT_CLOSE, "closed", argc, argv);
	case SILENCE:
		return alerts_silence(cli, db, argc, argv);
	case SILENCES:
		return alerts_silences(cli, db);
	case UNSILENCE:
		return unsilence(cli, db, argc, argv);
	default:
		return alerts_list(cli, db);
	}
}

static int run(Cli *cli, int argc, char **argv)
{
	const char *nearest = NULL;
	Verb verb = argc > 0 ? verb_of(argv[0], &nearest) : LIST;
	PgDb *db;
	int code;
	Err err;

	if (verb == NVERBS && nearest != NULL)
		return cli_usage(
			cli, "'%.40s' is nothing it does (did you mean '%s'?)", argv[0], nearest);
	if (verb == NVERBS)
		return cli_usage(cli, "'%.40s' is nothing it does", argv[0]);
	argc -= argc > 0;
	argv++;
	if (argc < verbs[verb].least)
		return cli_usage(cli, "%s takes %s", verbs[verb].name,
			verb == SILENCE     ? "what is meant: rule=NAME, site=north*, …"
			: verb == UNSILENCE ? "the number of a silence"
					    : "an episode, or how it begins");
	if (argc > verbs[verb].most)
		return cli_usage(cli, "%s takes %s", verbs[verb].name,
			verbs[verb].most == 0 ? "no words" : "one word");
	if (!known_severity(cli_value(cli, "severity")))
		return cli_usage(cli,
			"--severity: '%.40s' is none of info, warning, error, critical",
			cli_value(cli, "severity"));
	if (verb == WATCH)
		return alerts_watch(cli);
	db = pg_db_open(&cli->target, &err);
	code = db != NULL && migrate_check(db, &err) ? run_verb(cli, db, verb, argc, argv)
						     : cli_fail(&err);
	pg_db_close(db);
	return code;
}

const Command cmd_alerts = {
	.name = "alerts",
	.summary = "what rules found: list it, watch it, take care of it, silence it",
	.usage = "[list | watch | show | ack | close | silence | silences | unsilence] [WORD…]",
	.details =
		"Without a verb: what fires, the worst first. An episode is one alert from its "
		"beginning to its end; the\n"
		"beginning of its name is enough. `show EPISODE` (or `history`) tells its story.\n"
		"\n"
		"`ack EPISODE…` says that somebody takes care. `close EPISODE…` ends alerts by "
		"hand; they come back when\n"
		"their rule has news. `silence NAME=VALUE…` tells nobody of what matches for a "
		"while: NAME is rule, severity,\n"
		"a label or a part of the key; VALUE is a text in which * stands for any "
		"characters. NAME!=VALUE is any\n"
		"other, NAME=~REGEX and NAME!~REGEX compare the whole text with a regular "
		"expression. All must match; of\n"
		"one NAME given twice, one.",
	.options = options,
	.examples = "  moonwake alerts\n"
		    "  moonwake alerts --all --rule crash_loop --since 7d --json\n"
		    "  moonwake alerts watch --severity critical\n"
		    "  moonwake alerts ack 3f2a --note 'new power supply is on its way'\n"
		    "  moonwake alerts silence rule=silent_device 'site=north*' --for 2h --reason "
		    "'switch is replaced'",
	.run = run,
};
