#include "flow/roster_parts.h"

#include "flow/deliveries.h"

#include <inttypes.h>

/* In this order: locks, tables, claims, parked keys. */

static void on_keys(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	for (size_t i = 0; err == NULL && i < r->n; i++) {
		Handler *h = r->entries[i].consumer.handler;

		h->ops->set_parked(h, (Str){ NULL, 0 }, false);
	}
	for (int i = 0; err == NULL && i < pg_rows_count(rows); i++) {
		Handler *h = roster_find(r, pg_rows_text(rows, i, 0))->consumer.handler;

		h->ops->set_parked(h, pg_rows_str(rows, i, 1), true);
	}
	pg_rows_free(rows);
	roster_finish(r, err);
}

static void on_claim(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;
	Buf names = { 0 };
	const char *params[] = { NULL, "t" };

	if (err != NULL) {
		roster_finish(r, err);
		return;
	}
	for (int i = 0; i < pg_rows_count(rows); i++) {
		RosterEntry *e = roster_find(r, pg_rows_text(rows, i, 0));

		e->runs = !pg_rows_null(rows, i, 2);
		e->claim = (GroupClaim){ pg_rows_i64(rows, i, 2), pg_rows_i64(rows, i, 3),
			pg_rows_i64(rows, i, 4) };
		if (!e->runs)
			r->report(r->owner, e->consumer.name, true, pg_rows_text(rows, i, 1));
	}
	pg_rows_free(rows);
	roster_names(r, roster_is_running, &names);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_DEAD_LETTERS_KEYS, 2, params, on_keys, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}

static void add_claim(Buf *out, const RosterEntry *e)
{
	static const char *const kinds[] = {
		[KIND_PROJECTION] = "projection", [KIND_RULE] = "rule", [KIND_REDUCER] = "reducer"
	};
	const Definition *def = e->consumer.def;

	buf_addf(out, "{\"consumer\":\"%s\",\"kind\":\"%s\",\"version\":%d,\"digest\":\"%s\"",
		e->consumer.name, kinds[def->kind], def->version, def->digest);
	buf_addf(out, ",\"solo\":%s,\"retry\":%s", e->consumer.solo ? "true" : "false",
		e->try_again ? "true" : "false");
	if (e->build > 0)
		buf_addf(out, ",\"build\":%" PRId64, e->build);
	buf_addc(out, '}');
}

static void send_claim(Roster *r)
{
	Buf claims = { 0 }, notes = { 0 };
	char pid[16];
	const char *params[] = { NULL, r->daemon, pid };

	buf_addc(&claims, '[');
	buf_addc(&notes, '[');
	for (size_t i = 0; i < r->n; i++) {
		RosterEntry *e = &r->entries[i];

		e->runs = false;
		if (!roster_is_owned(e))
			continue;
		if (claims.len > 1)
			buf_addc(&claims, ',');
		add_claim(&claims, e);
		e->try_again = false;
		deliveries_note(&notes, e->consumer.name, e->consumer.def);
	}
	buf_addc(&claims, ']');
	buf_addc(&notes, ']');
	snprintf(pid, sizeof(pid), "%d", pg_conn_pid(r->conn));
	params[0] = claims.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_CLAIM, 3, params, on_claim, r);
	params[0] = notes.s;
	pg_conn_run(r->conn, SQL_CONSUMER_TYPES_NOTE, 1, params, NULL, NULL);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&claims);
	buf_free(&notes);
}

static void send_ensure(Roster *r, RosterEntry *e);

/* One entry's table cannot be had, now or at all; the last one to answer sends the claim. */
static void refused(Roster *r, RosterEntry *e, const Err *err)
{
	if (err_is_retryable(err)) {
		r->refused = *err;
		return;
	}
	e->failed = true;
	r->report(r->owner, e->consumer.name, true, err->message);
}

static void one_less(Roster *r)
{
	if (--r->waiting > 0)
		return;
	if (r->refused.kind != ERR_NONE)
		roster_finish(r, &r->refused);
	else
		send_claim(r);
}

static void on_rebuilt(void *owner, PgRows *rows, const Err *err)
{
	struct Ensure *w = owner;

	pg_rows_free(rows);
	if (err == NULL) {
		send_ensure(w->roster, w->entry);
		return;
	}
	refused(w->roster, w->entry, err);
	one_less(w->roster);
}

/* What a plan decides: a table that is exchanged is not made anew in place. */
static bool is_planned(const RosterEntry *e)
{
	return e->consumer.def->kind == KIND_PROJECTION && !e->consumer.def->sql;
}

static void ensured(Roster *r, RosterEntry *e, const PgRows *rows)
{
	Handler *h = e->consumer.handler;
	int64_t build = pg_rows_null(rows, 0, 7) ? 0 : pg_rows_i64(rows, 0, 7);

	if (e->consumer.def->kind == KIND_RULE && !pg_rows_null(rows, 0, 6)) /* what it did */
		r->report(r->owner, e->consumer.name, false, pg_rows_text(rows, 0, 6));
	e->ensured = true;
	if (!pg_rows_null(rows, 0, 1))
		consumer_set_statements(&e->consumer, pg_rows_text(rows, 0, 1),
			pg_rows_text(rows, 0, 2), pg_rows_text(rows, 0, 3));
	if (e->build != build)
		h->ops->forget(h); /* its states were another table's */
	e->build = build;
}

static void on_ensured(void *owner, PgRows *rows, const Err *err)
{
	struct Ensure *w = owner;
	Roster *r = w->roster;
	RosterEntry *e = w->entry;
	const char *name = e->consumer.name;

	if (err == NULL && pg_rows_bool(rows, 0, 5) &&
		!is_planned(e)) { /* its table has to be made anew */
		const char *params[] = { name };

		r->report(r->owner, name, false, pg_rows_text(rows, 0, 6));
		pg_rows_free(rows);
		pg_conn_run(r->conn, SQL_CONSUMER_REBUILD, 1, params, on_rebuilt, w);
		pg_conn_sync(r->conn, NULL, NULL);
		return;
	}
	if (err == NULL && pg_rows_bool(rows, 0, 5)) {
		err_set(&r->refused, ERR_STALE, "%s: another version is live or built now", name);
	} else if (err != NULL) {
		refused(r, e, err);
	} else {
		ensured(r, e, rows);
	}
	pg_rows_free(rows);
	one_less(r);
}

static void send_ensure(Roster *r, RosterEntry *e)
{
	struct Ensure *w = &r->ensure[e - r->entries];
	const Definition *def = e->consumer.def;
	char version[16];

	*w = (struct Ensure){ r, e };
	snprintf(version, sizeof(version), "%d", def->version);
	if (def->kind == KIND_REDUCER)
		pg_conn_run(r->conn, SQL_REDUCER_ENSURE, 3,
			(const char *[]){ def->name, version, def->digest }, on_ensured, w);
	else if (def->kind == KIND_RULE)
		pg_conn_run(r->conn, SQL_RULE_ENSURE, 2,
			(const char *[]){ def->spec.s, def->digest }, on_ensured, w);
	else if (e->next)
		pg_conn_run(r->conn, SQL_VERSION_ENSURE, 2,
			(const char *[]){ def->name, def->digest }, on_ensured, w);
	else
		pg_conn_run(r->conn, SQL_PROJECTION_ENSURE, 1, (const char *[]){ def->spec.s },
			on_ensured, w);
	pg_conn_sync(r->conn, NULL, NULL);
}

static void on_locked(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	if (err != NULL) {
		roster_finish(r, err);
		return;
	}
	roster_take_locks(r, rows);
	pg_rows_free(rows);
	r->waiting = 0;
	err_clear(&r->refused);
	for (size_t i = 0; i < r->n; i++)
		if (roster_is_owned(&r->entries[i]) && !r->entries[i].ensured)
			r->waiting++;
	if (r->waiting == 0)
		send_claim(r);
	for (size_t i = 0; i < r->n; i++)
		if (roster_is_owned(&r->entries[i]) && !r->entries[i].ensured)
			send_ensure(r, &r->entries[i]);
}

void roster_claim(Roster *r, RosterDone fn, void *owner)
{
	r->done = fn;
	r->done_owner = owner;
	roster_send_lock(r, on_locked);
}
