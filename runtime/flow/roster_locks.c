#include "flow/roster_parts.h"

RosterEntry *roster_find(Roster *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->entries[i].consumer.name, name) == 0)
			return &r->entries[i];
	return NULL;
}

void roster_names(const Roster *r, bool (*pick)(const RosterEntry *), Buf *out)
{
	buf_addc(out, '{');
	for (size_t i = 0; i < r->n; i++)
		if (pick(&r->entries[i]))
			buf_addf(out, "%s%s", out->len > 1 ? "," : "", r->entries[i].consumer.name);
	buf_addc(out, '}');
}

bool roster_is_owned(const RosterEntry *e)
{
	return e->owned && !e->failed;
}

bool roster_is_foreign(const RosterEntry *e)
{
	return !e->owned;
}

bool roster_is_running(const RosterEntry *e)
{
	return e->owned && e->runs;
}

void roster_finish(Roster *r, const Err *err)
{
	RosterDone done = r->done;

	r->done = NULL;
	if (done != NULL)
		done(r->done_owner, err);
}

static RosterEntry *live_of(Roster *r, const RosterEntry *e)
{
	return e->next ? roster_find(r, e->consumer.def->name) : NULL;
}

static bool is_lonely(Roster *r, const RosterEntry *e)
{
	const RosterEntry *live = live_of(r, e);

	return live != NULL && !live->owned;
}

static void unlock(Roster *r, Buf *names)
{
	const char *params[] = { names->s };

	pg_conn_run(r->conn, SQL_CONSUMERS_UNLOCK, 1, params, NULL, NULL);
	pg_conn_sync(r->conn, NULL, NULL);
}

void roster_give_back(Roster *r, const PgRows *rows)
{
	Buf names = { 0 };

	for (int i = 0; i < pg_rows_count(rows); i++)
		buf_addf(&names, "%c%s", i > 0 ? ',' : '{', pg_rows_text(rows, i, 0));
	if (names.len > 0) {
		buf_addc(&names, '}');
		unlock(r, &names);
	}
	buf_free(&names);
}

size_t roster_take_locks(Roster *r, const PgRows *rows)
{
	Buf names = { 0 };
	size_t kept = (size_t)pg_rows_count(rows);

	for (int i = 0; i < pg_rows_count(rows); i++) {
		RosterEntry *e = roster_find(r, pg_rows_text(rows, i, 0));

		if (e->owned) { /* asked for twice at once, and taken twice */
			buf_addf(&names, "%c%s", names.len > 0 ? ',' : '{', e->consumer.name);
			kept -= kept > 0;
		}
		e->owned = true;
	}
	for (size_t i = 0; i < r->n; i++) {
		RosterEntry *e = &r->entries[i];

		if (!e->owned || !is_lonely(r, e))
			continue;
		e->owned = false;
		kept -= kept > 0;
		buf_addf(&names, "%c%s", names.len > 0 ? ',' : '{', e->consumer.name);
	}
	if (names.len > 0) {
		buf_addc(&names, '}');
		unlock(r, &names);
	}
	buf_free(&names);
	return kept;
}

void roster_send_lock(Roster *r, PgAnswer fn)
{
	Buf names = { 0 };
	const char *params[1];

	roster_names(r, roster_is_foreign, &names);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_LOCK, 1, params, fn, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}
static bool has(const RosterEntry *entries, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(entries[i].consumer.name, name) == 0)
			return true;
	return false;
}

void roster_release(Roster *r, const RosterEntry *keep, size_t n)
{
	Buf names = { 0 };

	buf_addc(&names, '{');
	for (size_t i = 0; i < r->n; i++) {
		const char *name = r->entries[i].consumer.name;

		if (r->entries[i].owned && !has(keep, n, name))
			buf_addf(&names, "%s%s", names.len > 1 ? "," : "", name);
	}
	buf_addc(&names, '}');
	unlock(r, &names);
	buf_free(&names);
}
