#include "flow/courier_parts.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/json_tree.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#define STATEMENT_TIMEOUT "15s"
#define NO_MORE           "MW014" /* outbox_begin(): somebody else has done it, or it was cancelled */

const double courier_database_retry[DATABASE_TRIES] = { 0, 5, 300, 1800, 7200, 18000, 36000, 50400,
	72000, 86400 };

/* What was done is recorded in the same transaction: it is done once. */
static void on_acted(void *owner, PgRows *rows, const Err *err)
{
	Send *s = owner;
	Courier *c = s->courier;
	DeliveryOutcome o = { .verdict = DELIVERY_REFUSED };

	pg_rows_free(rows);
	if (err == NULL || strcmp(err->sqlstate, NO_MORE) == 0) {
		s->seat->said[0] = '\0';
		courier_send_free(s);
		courier_settled(c);
	} else if (err->kind != ERR_CONN) {
		snprintf(o.error, sizeof(o.error), "%.500s", err->message);
		if (err_is_retryable(err))
			o.verdict = DELIVERY_RETRY;
		courier_outcome(s, &o, courier_database_retry, DATABASE_TRIES);
	}
}

/* --- sql
 * ----------------------------------------------------------------------------------------- */

static const char *skip_space(const char *p)
{
	for (;;) {
		const char *end = NULL;

		p += strspn(p, " \t\r\n");
		if (strncmp(p, "--", 2) == 0)
			end = p + strcspn(p, "\n");
		else if (strncmp(p, "/*", 2) == 0 && (end = strstr(p, "*/")) != NULL)
			end += 2;
		if (end == NULL)
			return p;
		p = end;
	}
}

/* The statement and its record are one transaction, which must not be ended between the two. */
static bool controls_transaction(const char *text)
{
	static const char *const words[] = { "abort", "begin", "commit", "end", "prepare",
		"release", "rollback", "savepoint", "start" };
	size_t len = 0;

	text = skip_space(text);
	while (isalpha((unsigned char)text[len]))
		len++;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i]) == len && strncasecmp(text, words[i], len) == 0)
			return true;
	return false;
}

static Str text_of(Arena *arena, const JsonNode *node)
{
	Buf out = { 0 };
	Str text;

	if (node->kind)
		json_tree_write(node, &out);
	else if (node->text.len > 0 && node->text.s[0] == '"')
		json_unescape(&out, node->text);
	else if (str_eq(node->text, STR("null")))
		return (Str){ 0 };
	else
		buf_add(&out, node->text.s, node->text.len);
	text = arena_str(arena, buf_str(&out));
	buf_free(&out);
	return text;
}

static void refuse(Send *s, const char *why)
{
	DeliveryOutcome o = { .verdict = DELIVERY_REFUSED };

	snprintf(o.error, sizeof(o.error), "%s", why);
	courier_outcome(s, &o, courier_database_retry, DATABASE_TRIES);
}

static void run_statement(Send *s, Arena *arena, const char *text, const JsonNode *args)
{
	static const char *const timeout[] = { STATEMENT_TIMEOUT };
	const char *done[] = { s->ids, "done", NULL, NULL, "0", "0", "0", "false" };
	const char *id[] = { s->id };
	size_t n = args ? json_tree_count(args) : 0, i = 0;
	const char **params = arena_alloc(arena, (n + 1) * sizeof(*params));
	PgConn *conn = s->courier->acts;

	for (const JsonNode *arg = n ? args->first : NULL; arg != NULL; arg = arg->next)
		params[i++] = text_of(arena, arg).s;
	pg_conn_run(conn, SQL_OUTBOX_TIMEOUT, 1, timeout, NULL, NULL);
	pg_conn_run(conn, SQL_OUTBOX_BEGIN, 1, id, NULL, NULL);
	pg_conn_send(conn, &(PgStmt){ NULL, text }, (int)n, params, false, NULL, NULL);
	pg_conn_run(conn, SQL_OUTBOX_RECORD, 8, done, NULL, NULL);
	pg_conn_sync(conn, on_acted, s);
}

static void act_sql(Send *s)
{
	Arena *arena = arena_new(4096);
	JsonNode *payload = json_tree_parse(arena, (Str){ s->body, s->body_len });
	JsonNode *text = json_tree_member(payload, STR("text"));
	const char *statement = text ? text_of(arena, text).s : NULL;

	if (statement == NULL)
		refuse(s, "sql: there is no statement");
	else if (controls_transaction(statement))
		refuse(s, "sql: a statement must not begin or end a transaction");
	else
		run_statement(s, arena, statement, json_tree_member(payload, STR("args")));
	arena_free(arena);
}

/* --- All of them
 * --------------------------------------------------------------------------------- */

void courier_act(Send *s)
{
	const char *params[] = { s->id };

	FAULT("outbox.act");
	if (strcmp(s->kind, "sql") == 0) {
		act_sql(s);
		return;
	}
	pg_conn_run(s->courier->acts, SQL_OUTBOX_ACT, 1, params, NULL, NULL);
	pg_conn_sync(s->courier->acts, on_acted, s);
}
