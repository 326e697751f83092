#include "flow/sink.h"

#include "base/fault.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct {
	Sink *sink;
	int member;
} Part; /* whose statement an answer belongs to */

struct Sink {
	PgConn *conn;
	Consumer *const *members;
	size_t n;
	SinkHandler fn;
	void *owner;
	Part *parts;
	bool committing;
	bool open;           /* a query has begun the transaction */
	bool apart;          /* raise() for each member */
	Buf raised;          /* what the members raised: JSON objects, comma separated */
	int64_t news;        /* how much of that was news, in the commit under way … */
	bool late, had_late; /* rules over alerts raised something */
	bool had_news;       /* … and in the one before */
	int culprit;
	Err collect_err; /* kind ERR_NONE: every member's effects were collected */
	SinkAnswer answer;
	void *answer_owner;
};

static void on_part(void *owner, PgRows *rows, const Err *err)
{
	Part *part = owner;

	pg_rows_free(rows);
	/* Only the first refusal has a member; what was skipped after it has the same error. */
	if (err != NULL && part->sink->culprit == -2)
		part->sink->culprit = part->member;
}

static void on_whole(void *owner, PgRows *rows, const Err *err)
{
	Sink *s = owner;

	pg_rows_free(rows);
	if (err != NULL && s->culprit == -2)
		s->culprit = -1;
}

static void rollback(Sink *s)
{
	s->open = false;
	pg_conn_run(s->conn, SQL_ROLLBACK, 0, NULL, NULL, NULL);
	pg_conn_sync(s->conn, NULL, NULL);
}

static void on_committed(void *owner, PgRows *rows, const Err *err)
{
	Sink *s = owner;

	(void)rows;
	s->committing = false;
	s->open = false;
	s->had_news = err == NULL && s->news > 0;
	s->had_late = err == NULL && s->late;
	if (err != NULL && err->kind != ERR_CONN)
		rollback(s);
	else if (err == NULL && s->collect_err.kind != ERR_NONE)
		err = &s->collect_err;
	s->fn(s->owner, err, s->culprit);
}

static void whole(Sink *s, SqlId id, int n, const char *const *params)
{
	pg_conn_run(s->conn, id, n, params, on_whole, s);
}

static void advance(Sink *s, const GroupClaim *claim, int64_t from, int64_t to)
{
	char text[4][24];
	const char *params[] = { text[0], text[1], text[2], text[3] };

	snprintf(text[0], sizeof(text[0]), "%" PRId64, claim->group_id);
	snprintf(text[1], sizeof(text[1]), "%" PRId64, claim->epoch);
	snprintf(text[2], sizeof(text[2]), "%" PRId64, from);
	snprintf(text[3], sizeof(text[3]), "%" PRId64, to);
	whole(s, SQL_ADVANCE_CURSOR, 4, params);
}

static void send_script_sql(Sink *s, int member, const ScriptSql *sql)
{
	const char **params = mem_calloc(sql->nparams + 1, sizeof(*params));

	for (size_t i = 0; i < sql->nparams; i++)
		params[i] = sql->params[i].s;
	pg_conn_send(s->conn, &(PgStmt){ NULL, sql->sql.s }, (int)sql->nparams, params, false,
		on_part, &s->parts[member]);
	free(params);
}

static void send_snapshots(Sink *s, int member, Str snapshots)
{
	const Definition *def = s->members[member]->def;
	char version[16];
	const char *params[] = { def->name, version, def->digest, snapshots.s };

	snprintf(version, sizeof(version), "%d", def->version);
	pg_conn_run(s->conn, SQL_SNAPSHOTS_ADD, 4, params, on_part, &s->parts[member]);
}

/* --- Rules
 * ------------------------------------------------------------------------------------------ */

static void on_news(void *owner, PgRows *rows, const Err *err)
{
	Part *part = owner;

	if (err == NULL)
		part->sink->news += pg_rows_i64(rows, 0, 0);
	on_part(owner, rows, err);
}

static void on_all_news(void *owner, PgRows *rows, const Err *err)
{
	Sink *s = owner;

	if (err == NULL)
		s->news += pg_rows_i64(rows, 0, 0);
	on_whole(owner, rows, err);
}

/* `member` is -1: everybody's. */
static void send_raised(Sink *s, int member)
{
	Buf array = { 0 };
	const char *params[1];

	if (s->raised.len == 0)
		return;
	buf_addf(&array, "[%s]", s->raised.s);
	params[0] = array.s;
	pg_conn_run(s->conn, SQL_RAISE, 1, params, member < 0 ? on_all_news : on_news,
		member < 0 ? (void *)s : &s->parts[member]);
	buf_free(&array);
	buf_clear(&s->raised);
	FAULT("sink.after_raise");
}

static void send_timers(Sink *s, int member, Str timers)
{
	const char *params[] = { s->members[member]->name, timers.s };

	if (timers.len > 0)
		pg_conn_run(s->conn, SQL_TIMERS_SET, 2, params, on_part, &s->parts[member]);
}

/* The elements of the array join those of the members before. */
static void add_raised(Sink *s, int member, Str raised)
{
	if (raised.len <= 2)
		return;
	if (s->raised.len > 0)
		buf_addc(&s->raised, ',');
	buf_add(&s->raised, raised.s + 1, raised.len - 2);
	if (s->apart)
		send_raised(s, member);
}

/* Those that have come to where they stood before they were rebuilt. */
static void send_rebuilt(Sink *s)
{
	for (size_t i = 0; i < s->n; i++) {
		Consumer *c = s->members[i];
		const char *params[] = { c->name };

		if (!c->rebuilt)
			continue;
		FAULT("sink.before_rebuilt");
		pg_conn_run(s->conn, SQL_RULE_FINISH, 1, params, on_part, &s->parts[i]);
		c->live_from = 0;
		c->rebuilt = false;
		c->sent = true;
	}
}

static void send_effects(Sink *s, int member, const Effects *fx)
{
	Consumer *c = s->members[member];

	if (fx->ndeletes > 0)
		pg_conn_send(
			s->conn, &c->remove, 1, &fx->deletes.s, false, on_part, &s->parts[member]);
	if (fx->nupserts > 0)
		pg_conn_send(
			s->conn, &c->upsert, 1, &fx->upserts.s, false, on_part, &s->parts[member]);
	for (size_t i = 0; i < fx->nsql; i++)
		send_script_sql(s, member, &fx->sql[i]);
	if (fx->snapshots.len > 0)
		send_snapshots(s, member, fx->snapshots);
	send_timers(s, member, fx->timers);
	add_raised(s, member, fx->raised);
	s->late = s->late || (fx->nraised > 0 && c->def->after_alerts);
	for (size_t i = 0; i < fx->ndead; i++)
		consumer_add_letter(c, fx->dead[i].event_id, fx->dead[i].key, fx->dead[i].error,
			fx->dead[i].trace, fx->dead[i].parked);
}

static void send_letters(Sink *s, int member)
{
	Consumer *c = s->members[member];
	Buf array = { 0 };
	const char *params[] = { c->name, NULL };

	if (c->letters.len == 0)
		return;
	buf_addf(&array, "[%s]", c->letters.s);
	params[1] = array.s;
	pg_conn_run(s->conn, SQL_DEAD_LETTERS_ADD, 2, params, on_part, &s->parts[member]);
	buf_free(&array);
	buf_clear(&c->letters);
}

static void send_leave(Sink *s, int member, int64_t group_id)
{
	Consumer *c = s->members[member];
	char group[24], position[24], event[24];
	const char *params[] = { c->name, group, position, "parked", c->stop_err.message,
		c->stop_err.trace[0] ? c->stop_err.trace : NULL, event };

	snprintf(group, sizeof(group), "%" PRId64, group_id);
	snprintf(position, sizeof(position), "%" PRId64, c->stop_position);
	snprintf(event, sizeof(event), "%" PRId64, c->stop_err.event_id);
	pg_conn_run(s->conn, SQL_LEAVE_GROUP, 7, params, on_part, &s->parts[member]);
}

static void begin(Sink *s)
{
	s->culprit = -2;
	s->open = true;
	whole(s, SQL_BEGIN, 0, NULL);
}

static bool send_collected(Sink *s, int member)
{
	Consumer *c = s->members[member];
	Effects fx = { 0 };

	c->touched = false;
	c->sent = true;
	if (!c->handler->ops->collect(c->handler, &fx, &s->collect_err)) {
		s->culprit = member;
		return false;
	}
	send_effects(s, member, &fx);
	return true;
}

void sink_commit(
	Sink *s, GroupClaim claim, int64_t to, Deliveries *given, const char *done, int retried)
{
	if (!s->open)
		begin(s);
	err_clear(&s->collect_err);
	s->committing = true;
	s->news = 0;
	s->late = false;
	buf_clear(&s->raised);
	advance(s, &claim, claim.position, to);
	deliveries_send(given, s->conn, on_whole, s);
	for (size_t i = 0; i < s->n; i++) {
		Consumer *c = s->members[i];

		if (c->touched && !send_collected(s, (int)i))
			break;
		send_letters(s, (int)i);
		if (done != NULL &&
			retried == (int)i) { /* those without a new letter are through */
			const char *params[] = { c->name, done };

			pg_conn_run(
				s->conn, SQL_DEAD_LETTERS_DONE, 2, params, on_part, &s->parts[i]);
		}
		if (c->stopping)
			send_leave(s, (int)i, claim.group_id);
	}
	send_raised(s, -1);
	send_rebuilt(s);
	whole(s, SQL_RING, 0, NULL);
	whole(s, s->collect_err.kind == ERR_NONE ? SQL_COMMIT : SQL_ROLLBACK, 0, NULL);
	pg_conn_sync(s->conn, on_committed, s);
}

static void on_query(void *owner, PgRows *rows, const Err *err)
{
	Sink *s = owner;

	if (err != NULL) {
		s->answer(s->answer_owner, (Str){ NULL, 0 }, err);
		return;
	}
	s->answer(s->answer_owner,
		pg_rows_count(rows) > 0 ? pg_rows_str(rows, 0, 0) : (Str){ NULL, 0 }, NULL);
	pg_rows_free(rows);
}

void sink_query(Sink *s, GroupClaim claim, int member, SinkAnswer fn, void *owner)
{
	Handler *h = s->members[member]->handler;
	ScriptSql query;
	Effects before = { 0 };
	Buf text = { 0 };
	const char **params;

	if (!s->open) {
		begin(s);
		advance(s, &claim, claim.position,
			claim.position); /* the row is ours until COMMIT */
	}
	h->ops->query(h, &query, &before);
	send_effects(s, member, &before);
	s->answer = fn;
	s->answer_owner = owner;
	params = mem_calloc(query.nparams + 1, sizeof(*params));
	for (size_t i = 0; i < query.nparams; i++)
		params[i] = query.params[i].s;
	buf_addf(&text,
		"WITH script AS (%s) SELECT coalesce(json_agg(to_json(script)), '[]') FROM script",
		query.sql.s);
	pg_conn_send(
		s->conn, &(PgStmt){ NULL, text.s }, (int)query.nparams, params, false, on_query, s);
	pg_conn_sync(s->conn, NULL, NULL); /* inside BEGIN: answers, and does not commit */
	buf_free(&text);
	free(params);
}

void sink_abandon(Sink *s)
{
	if (s->open && !s->committing)
		rollback(s);
}

bool sink_busy(const Sink *s)
{
	return s->committing;
}

bool sink_raised_late(const Sink *s)
{
	return s->had_late;
}

bool sink_raised(const Sink *s)
{
	return s->had_news;
}

void sink_apart(Sink *s, bool apart)
{
	s->apart = apart;
}

Sink *sink_new(PgConn *conn, Consumer *const *members, size_t n, SinkHandler fn, void *owner)
{
	Sink *s = mem_calloc(1, sizeof(*s));

	s->conn = conn;
	s->members = members;
	s->n = n;
	s->fn = fn;
	s->owner = owner;
	s->parts = mem_calloc(n, sizeof(*s->parts));
	for (size_t i = 0; i < n; i++)
		s->parts[i] = (Part){ s, (int)i };
	return s;
}

void sink_free(Sink *s)
{
	if (s == NULL)
		return;
	buf_free(&s->raised);
	free(s->parts);
	free(s);
}
