#include "app/cli.h"
#include "app/migrate.h"
#include "app/receivers.h"
#include "app/rule_key.h"
#include "app/show.h"
#include "app/term.h"
#include "base/clock.h"
#include "base/iso_time.h"
#include "base/json.h"
#include "flow/dispatch.h"

#include <stdlib.h>
#include <sys/random.h>

static const Option options[] = {
	{ "failed", 0, NULL, NULL,
		"list: what was given up, or waits for a receiver that is gone" },
	{ "receiver", 'r', "NAME", NULL, "list, retry: only of this receiver" },
	{ "all-failed", 0, NULL, NULL, "retry: all that was given up" },
	{ "limit", 'n', "N", "50", "list: at most so many" },
	{ "json", 0, NULL, NULL, "list: one JSON object per delivery; show, test: one" },
	{ 0 },
};

/* The columns of sql/queries/outbox_list.sql and outbox_tries.sql. */
enum { ID, TO, WHAT, RULE, KEY, STATE, TRIES, AT, NOTE, TOTAL, JSON, DUE, EPISODE, PAYLOAD };
enum { T_TRY, T_AT, T_STATUS, T_TOOK, T_ERROR, T_JSON };

/* --- list, show
 * ------------------------------------------------------------------------------- */

static TermStyle style_of(const char *state)
{
	if (strcmp(state, "failed") == 0 || strcmp(state, "disabled") == 0)
		return TERM_RED;
	if (strcmp(state, "retrying") == 0)
		return TERM_YELLOW;
	return strcmp(state, "done") == 0 ? TERM_PLAIN : TERM_DIM;
}

/* What a receiver answered, and a key, are others' texts. */
static void print_row(TermTable *t, const PgRows *r, int i)
{
	Buf shown = { 0 }, key = { 0 }, note = { 0 };

	rule_key_show(pg_rows_str(r, i, KEY), &shown);
	show_clean(&key, buf_str(&shown), 40);
	show_clean(&note, pg_rows_str(r, i, NOTE), term_is_tty(stdout) ? 60 : -1);
	term_table_row(t, style_of(pg_rows_text(r, i, STATE)),
		(const char *[]){ pg_rows_text(r, i, ID), pg_rows_text(r, i, TO),
			pg_rows_text(r, i, WHAT), pg_rows_text(r, i, RULE), buf_str(&key).s,
			pg_rows_text(r, i, STATE), pg_rows_text(r, i, TRIES),
			pg_rows_text(r, i, AT), buf_str(&note).s });
	buf_free(&shown);
	buf_free(&key);
	buf_free(&note);
}

static void print_list(const PgRows *r)
{
	static const char *const heads[] = { "delivery", "to", "what", "rule", "key", "state",
		">tries", "of", "note" };
	TermTable *t = term_table_new(9, heads);
	int n = pg_rows_count(r);

	for (int i = 0; i < n; i++)
		print_row(t, r, i);
	term_table_print(t, stdout);
	term_table_free(t);
	if (n > 0 && pg_rows_i64(r, 0, TOTAL) > n)
		printf("… and %lld more (--limit)\n", (long long)(pg_rows_i64(r, 0, TOTAL) - n));
}

static int list(Cli *cli, PgDb *db)
{
	const char *params[] = { cli_flag(cli, "failed") ? "failed" : "",
		cli_value(cli, "receiver"), cli_value(cli, "limit"), NULL };
	int64_t limit;
	Err err;
	PgRows *rows = NULL;

	if (cli_int(cli, "limit", 1, 1000000, &limit, &err))
		rows = pg_db_run(db, SQL_OUTBOX_LIST, 4, params, &err);
	if (rows == NULL)
		return cli_fail(&err);
	for (int i = 0; cli_flag(cli, "json") && i < pg_rows_count(rows); i++)
		puts(pg_rows_text(rows, i, JSON));
	if (!cli_flag(cli, "json") && pg_rows_count(rows) == 0)
		printf("no deliveries%s\n", *params[0] ? " have failed" : "");
	else if (!cli_flag(cli, "json"))
		print_list(rows);
	pg_rows_free(rows);
	return EXIT_OK;
}

static void print_tries(const PgRows *tries)
{
	static const char *const heads[] = { ">try", "at", ">status", ">took", "error" };
	TermTable *t = term_table_new(5, heads);

	for (int i = 0; i < pg_rows_count(tries); i++) {
		Buf error = { 0 };

		show_clean(&error, pg_rows_str(tries, i, T_ERROR), -1);
		term_table_row(t, error.len > 0 ? TERM_YELLOW : TERM_PLAIN,
			(const char *[]){ pg_rows_text(tries, i, T_TRY),
				pg_rows_text(tries, i, T_AT), pg_rows_text(tries, i, T_STATUS),
				pg_rows_text(tries, i, T_TOOK), buf_str(&error).s });
		buf_free(&error);
	}
	term_table_print(t, stdout);
	term_table_free(t);
}

static void print_one(const PgRows *r, const PgRows *tries)
{
	const struct {
		const char *name;
		int column;
	} lines[] = { { "to", TO }, { "what", WHAT }, { "rule", RULE }, { "key", KEY },
		{ "episode", EPISODE }, { "of", AT }, { "state", STATE }, { "due", DUE },
		{ "note", NOTE }, { "payload", PAYLOAD } };

	term_print(stdout, TERM_BOLD, "%s\n", pg_rows_text(r, 0, ID));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		Buf key = { 0 };

		if (pg_rows_text(r, 0, lines[i].column)[0] == '\0')
			continue;
		rule_key_show(pg_rows_str(r, 0, KEY), &key);
		printf("  %-8s ", lines[i].name);
		show_text(stdout, lines[i].column == KEY ? buf_str(&key)
							 : pg_rows_str(r, 0, lines[i].column));
		putchar('\n');
		buf_free(&key);
	}
	if (pg_rows_count(tries) > 0)
		print_tries(tries);
	else
		printf("it was not tried yet\n");
}

static void print_one_json(const PgRows *r, const PgRows *tries)
{
	Str json = pg_rows_str(r, 0, JSON);

	printf("%.*s,\"payload\":%s,\"tried\":[", (int)json.len - 1, json.s,
		pg_rows_text(r, 0, PAYLOAD));
	for (int i = 0; i < pg_rows_count(tries); i++)
		printf("%s%s", i > 0 ? "," : "", pg_rows_text(tries, i, T_JSON));
	puts("]}");
}

static int show(Cli *cli, PgDb *db, const char *id)
{
	const char *params[] = { "", NULL, "1", id };
	Err err;
	PgRows *rows = pg_db_run(db, SQL_OUTBOX_LIST, 4, params, &err);
	PgRows *tries = rows ? pg_db_run(db, SQL_OUTBOX_TRIES, 1, &id, &err) : NULL;
	int code = EXIT_OK;

	if (tries == NULL) {
		code = cli_fail(&err);
	} else if (pg_rows_count(rows) == 0) {
		err_set(&err, ERR_DATA, "outbox: there is no delivery %s", id);
		err_hint(&err, "`moonwake outbox list` shows them");
		code = cli_fail(&err);
	} else if (cli_flag(cli, "json")) {
		print_one_json(rows, tries);
	} else {
		print_one(rows, tries);
	}
	pg_rows_free(rows);
	pg_rows_free(tries);
	return code;
}

/* --- retry, cancel, enable
 * -------------------------------------------------------------------- */

static int retry(Cli *cli, PgDb *db, const char *id)
{
	const char *params[] = { id, cli_value(cli, "receiver") };
	long long n;
	Err err;
	PgRows *rows;

	if ((id != NULL) + (params[1] != NULL) + cli_flag(cli, "all-failed") != 1)
		return cli_usage(cli, "retry takes one of ID, --receiver NAME and --all-failed");
	rows = pg_db_run(db, SQL_OUTBOX_RETRY, 2, params, &err);
	if (rows == NULL)
		return cli_fail(&err);
	n = pg_rows_i64(rows, 0, 0);
	pg_rows_free(rows);
	printf("%lld %s tried again (by the daemon: see `moonwake outbox`)\n", n,
		n == 1 ? "delivery is" : "deliveries are");
	return EXIT_OK;
}

static int cancel(PgDb *db, const char *id)
{
	Err err;
	PgRows *rows = pg_db_run(db, SQL_OUTBOX_CANCEL, 1, &id, &err);

	if (rows == NULL)
		return cli_fail(&err);
	pg_rows_free(rows);
	printf("cancelled: %s\n", id);
	return EXIT_OK;
}

static int enable(PgDb *db, const char *receiver)
{
	Err err;
	PgRows *rows = pg_db_run(db, SQL_OUTBOX_ENABLE, 1, &receiver, &err);
	long long n;

	if (rows == NULL)
		return cli_fail(&err);
	n = pg_rows_i64(rows, 0, 0);
	printf("enabled: %s (%lld %s)\n", receiver, n,
		n == 1 ? "delivery waits" : "deliveries wait");
	pg_rows_free(rows);
	return EXIT_OK;
}

/* --- test
 * ------------------------------------------------------------------------------------- */

typedef struct {
	uv_loop_t loop;
	DeliveryOutcome outcome;
	bool told;
} Test;

static void on_outcome(void *owner, const DeliveryOutcome *outcome)
{
	Test *test = owner;

	test->outcome = *outcome;
	test->told = true;
	uv_stop(&test->loop);
}

static void random_id(char id[37])
{
	unsigned char b[16] = { 0 };

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		memset(b, 0, sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(id, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		b[13], b[14], b[15]);
}

/* An alert that says that it is none; to an Alertmanager one that has ended already. */
static void test_body(const Receiver *r, Buf *out)
{
	char now[ISO_TIME_SIZE];

	iso_time_format(clock_wall_us(), now);
	if (r->kind == RECEIVER_ALERTMANAGER)
		buf_addf(out,
			"[{\"labels\":{\"alertname\":\"moonwake_test\",\"severity\":\"info\"},"
			"\"annotations\":{\"summary\":\"a test of the receiver %s\"},"
			"\"startsAt\":\"%s\",\"endsAt\":\"%s\"}]",
			r->name, now, now);
	else
		buf_addf(out,
			"{\"type\":\"test\",\"timestamp\":\"%s\",\"sent_at\":\"%s\",\"data\":"
			"{\"summary\":\"a test of the receiver %s\",\"receiver\":\"%s\"}}",
			now, now, r->name, r->name);
}

static bool send_test(const Receiver *r, const char *id, DeliveryOutcome *outcome, Err *err)
{
	Test test = { .told = false };
	Buf body = { 0 };
	Delivery d;
	Dispatch *dispatch;
	bool sent;

	test_body(r, &body);
	d = (Delivery){ id, buf_str(&body) };
	uv_loop_init(&test.loop);
	dispatch = dispatch_open(&test.loop);
	sent = dispatch_send(dispatch, r, &d, on_outcome, &test, err) != NULL;
	if (sent)
		uv_run(&test.loop, UV_RUN_DEFAULT);
	dispatch_close(dispatch);
	uv_run(&test.loop, UV_RUN_DEFAULT);
	uv_loop_close(&test.loop);
	buf_free(&body);
	*outcome = test.outcome;
	return sent;
}

static int print_test(
	const Cli *cli, const Receiver *r, const char *id, const DeliveryOutcome *o, bool sent)
{
	bool ok = sent && o->verdict == DELIVERY_DONE;
	Buf out = { 0 };

	if (cli_flag(cli, "json")) {
		buf_addf(&out,
			"{\"receiver\":\"%s\",\"id\":\"%s\",\"ok\":%s,\"status\":%d,"
			"\"seconds\":%.3f,\"error\":",
			r->name, id, ok ? "true" : "false", o->status, o->seconds);
		json_add_string(&out, str_from(o->error));
		printf("%s}\n", out.s);
		buf_free(&out);
	} else {
		printf("%s: ", r->name);
		term_print(stdout, ok ? TERM_GREEN : TERM_RED, ok ? "taken" : "not taken");
		if (o->status != 0)
			printf(", %s %d", r->kind == RECEIVER_PROGRAM ? "exit code" : "answer",
				o->status);
		printf(" (%s, %.0f ms)%s%s\n", id, o->seconds * 1000, o->error[0] ? ": " : "",
			o->error);
	}
	return ok ? EXIT_OK : EXIT_FAILED;
}

static bool is_file_of(const char *path, const char *name)
{
	Buf file = { 0 };
	bool same;

	buf_addf(&file, "rules/receivers/%s.lua", name);
	same = strcmp(path, file.s) == 0;
	buf_free(&file);
	return same;
}

static const Receiver *find(const LoadedReceivers *l, const char *name, Err *err)
{
	const Receiver *r = receivers_find(l->list, name);
	const char *nearest = NULL;
	size_t best = SIZE_MAX;

	if (r != NULL)
		return r;
	for (size_t i = 0; i < l->n; i++)
		if (is_file_of(l->files[i].path, name)) {
			*err = l->files[i].err;
			return NULL;
		}
	for (size_t i = 0; i < l->list->n; i++)
		if (options_closer(name, l->list->items[i].name, &best))
			nearest = l->list->items[i].name;
	err_set(err, ERR_USAGE, "receiver '%s': there is no rules/receivers/%s.lua", name, name);
	if (nearest != NULL)
		err_hint(err, "did you mean '%s'?", nearest);
	return NULL;
}

static int test(Cli *cli, const char *name)
{
	LuaOptions lua = { .workspace = cli->workspace };
	LoadedReceivers loaded;
	const Receiver *r = NULL;
	DeliveryOutcome outcome = { 0 };
	char id[37];
	int code;
	Err err;

	if (receivers_load(&lua, &loaded, &err))
		r = find(&loaded, name, &err);
	if (r == NULL) {
		code = cli_fail(&err);
	} else {
		bool sent;

		random_id(id);
		sent = send_test(r, id, &outcome, &err);
		if (!sent)
			snprintf(outcome.error, sizeof(outcome.error), "%.500s", err.message);
		code = print_test(cli, r, id, &outcome, sent);
	}
	receivers_free(&loaded);
	return code;
}

/* --- The command
 * ------------------------------------------------------------------------------ */

static int with_database(Cli *cli, const char *verb, const char *word)
{
	PgDb *db;
	int code;
	Err err;

	db = pg_db_open(&cli->target, &err);
	if (db == NULL || !migrate_check(db, &err))
		code = cli_fail(&err);
	else if (strcmp(verb, "list") == 0)
		code = list(cli, db);
	else if (strcmp(verb, "show") == 0)
		code = show(cli, db, word);
	else if (strcmp(verb, "retry") == 0)
		code = retry(cli, db, word);
	else if (strcmp(verb, "cancel") == 0)
		code = cancel(db, word);
	else
		code = enable(db, word);
	pg_db_close(db);
	return code;
}

static bool is_uuid(const char *text)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF-");

	return n == 36 && text[n] == '\0' && text[8] == '-' && text[13] == '-' && text[18] == '-' &&
	       text[23] == '-';
}

static int run(Cli *cli, int argc, char **argv)
{
	static const struct {
		const char *verb;
		int least, most;
		bool id; /* whether the word is one */
	} verbs[] = { { "list", 0, 0, false }, { "show", 1, 1, true }, { "retry", 0, 1, true },
		{ "cancel", 1, 1, true }, { "test", 1, 1, false }, { "enable", 1, 1, false } };
	const char *verb = argc > 0 ? argv[0] : "list", *word = argc > 1 ? argv[1] : NULL;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		int words = argc > 0 ? argc - 1 : 0;

		if (strcmp(verb, verbs[i].verb) != 0 || words < verbs[i].least ||
			words > verbs[i].most)
			continue;
		if (word != NULL && verbs[i].id && !is_uuid(word))
			return cli_usage(cli,
				"'%.60s' is no delivery's id (`moonwake outbox` lists them)", word);
		return strcmp(verb, "test") == 0 ? test(cli, argv[1])
						 : with_database(cli, verb, word);
	}
	return cli_usage(cli, "takes `list`, `show ID`, `retry [ID]`, `cancel ID`, `test RECEIVER` "
			      "or `enable RECEIVER`");
}

const Command cmd_outbox = {
	.name = "outbox",
	.summary = "what rules tell and do outside: list it, try it again, test a receiver",
	.usage = "[list | show ID | retry [ID] | cancel ID | test RECEIVER | enable RECEIVER]",
	.details =
		"What a rule notifies and acts goes to the outbox in the transaction of its alert, "
		"and from there to\n"
		"the receivers in rules/receivers, by the daemon, at least once: a delivery keeps "
		"its id however\n"
		"often it is tried. What was given up stays in the list; `retry` gives it another "
		"round of tries.\n"
		"`test` sends something harmless by the same way, and says what came back.",
	.options = options,
	.examples = "  moonwake outbox --failed\n"
		    "  moonwake outbox show 6f0c8a52-30a5-4d7e-9f3e-0d8f3e2b7a11\n"
		    "  moonwake outbox retry --receiver ops\n"
		    "  moonwake outbox test ops",
	.run = run,
};
