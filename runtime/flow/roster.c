#include "flow/roster.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>

struct Roster {
	PgConn *conn;
	const char *daemon;
	RosterEntry *entries;
	size_t n;
	bool *due;
	RosterReport report;
	void *owner;

	RosterDone done; /* of the claim under way */
	void *done_owner;
	size_t waiting; /* answers of projection_ensure() */
	struct Ensure {
		Roster *roster;
		RosterEntry *entry;
	} * ensure;

	RosterGained gained; /* of the try under way */
	void *gained_owner;
	bool trying, any;
	RosterBeat beat;
	void *beat_owner;
	bool beating, stale, letters;
};

static RosterEntry *find(Roster *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->entries[i].consumer.def->name, name) == 0)
			return &r->entries[i];
	return NULL;
}

/* "{a,b}" of the names that `pick` takes: names are plain words. */
static void names_of(const Roster *r, bool (*pick)(const RosterEntry *), Buf *out)
{
	buf_addc(out, '{');
	for (size_t i = 0; i < r->n; i++)
		if (pick(&r->entries[i]))
			buf_addf(out, "%s%s", out->len > 1 ? "," : "",
				r->entries[i].consumer.def->name);
	buf_addc(out, '}');
}

static bool is_owned(const RosterEntry *e)
{
	return e->owned && !e->failed;
}

static bool is_foreign(const RosterEntry *e)
{
	return !e->owned;
}

static bool is_running(const RosterEntry *e)
{
	return e->owned && e->runs;
}

static void finish(Roster *r, const Err *err)
{
	RosterDone done = r->done;

	r->done = NULL;
	if (done != NULL)
		done(r->done_owner, err);
}

/* --- Claiming: lock, ensure, claim, parked keys
 * ---------------------------------------------------- */

static void on_keys(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	for (size_t i = 0; err == NULL && i < r->n; i++) {
		Handler *h = r->entries[i].consumer.handler;

		h->ops->set_parked(h, (Str){ NULL, 0 }, false);
	}
	for (int i = 0; err == NULL && i < pg_rows_count(rows); i++) {
		Handler *h = find(r, pg_rows_text(rows, i, 0))->consumer.handler;

		h->ops->set_parked(h, pg_rows_str(rows, i, 1), true);
	}
	pg_rows_free(rows);
	finish(r, err);
}

static void on_claim(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;
	Buf names = { 0 };
	const char *params[] = { NULL, "t" };

	if (err != NULL) {
		finish(r, err);
		return;
	}
	for (int i = 0; i < pg_rows_count(rows); i++) {
		RosterEntry *e = find(r, pg_rows_text(rows, i, 0));

		e->runs = !pg_rows_null(rows, i, 2);
		e->claim = (GroupClaim){ pg_rows_i64(rows, i, 2), pg_rows_i64(rows, i, 3),
			pg_rows_i64(rows, i, 4) };
		if (!e->runs)
			r->report(r->owner, e->consumer.def->name, true, pg_rows_text(rows, i, 1));
	}
	pg_rows_free(rows);
	names_of(r, is_running, &names);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_DEAD_LETTERS_KEYS, 2, params, on_keys, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}

static void send_claim(Roster *r)
{
	Buf claims = { 0 };
	char pid[16];
	const char *params[] = { NULL, r->daemon, pid };

	buf_addc(&claims, '[');
	for (size_t i = 0; i < r->n; i++) {
		const Definition *def = r->entries[i].consumer.def;

		r->entries[i].runs = false;
		if (!is_owned(&r->entries[i]))
			continue;
		buf_addf(&claims,
			"%s{\"consumer\":\"%s\",\"kind\":\"projection\",\"version\":%d,\"digest\":"
			"\"%s\","
			"\"solo\":%s,\"retry\":%s}",
			claims.len > 1 ? "," : "", def->name, def->version, def->digest,
			r->entries[i].consumer.solo ? "true" : "false",
			r->entries[i].try_again ? "true" : "false");
		r->entries[i].try_again = false;
	}
	buf_addc(&claims, ']');
	snprintf(pid, sizeof(pid), "%d", pg_conn_pid(r->conn));
	params[0] = claims.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_CLAIM, 3, params, on_claim, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&claims);
}

static void send_ensure(Roster *r, RosterEntry *e);

static void on_rebuilt(void *owner, PgRows *rows, const Err *err)
{
	struct Ensure *w = owner;

	(void)err; /* a consumer that never ran has nothing to go back to */
	pg_rows_free(rows);
	send_ensure(w->roster, w->entry);
}

static void on_ensured(void *owner, PgRows *rows, const Err *err)
{
	struct Ensure *w = owner;
	Roster *r = w->roster;
	RosterEntry *e = w->entry;
	const char *name = e->consumer.def->name;

	if (err == NULL && pg_rows_bool(rows, 0, 5)) { /* its table has to be made anew */
		const char *params[] = { name };

		r->report(r->owner, name, false, pg_rows_text(rows, 0, 6));
		pg_rows_free(rows);
		pg_conn_run(r->conn, SQL_CONSUMER_REBUILD, 1, params, on_rebuilt, w);
		pg_conn_sync(r->conn, NULL, NULL);
		return;
	}
	if (err != NULL && err_is_retryable(err)) {
		finish(r, err);
		return;
	}
	if (err != NULL) {
		e->failed = true;
		r->report(r->owner, name, true, err->message);
	} else {
		e->ensured = true;
		if (!pg_rows_null(rows, 0, 1))
			consumer_set_statements(&e->consumer, pg_rows_text(rows, 0, 1),
				pg_rows_text(rows, 0, 2), pg_rows_text(rows, 0, 3));
	}
	pg_rows_free(rows);
	if (--r->waiting == 0 && r->done != NULL)
		send_claim(r);
}

static void send_ensure(Roster *r, RosterEntry *e)
{
	struct Ensure *w = &r->ensure[e - r->entries];
	const char *params[] = { e->consumer.def->spec.s };

	*w = (struct Ensure){ r, e };
	pg_conn_run(r->conn, SQL_PROJECTION_ENSURE, 1, params, on_ensured, w);
	pg_conn_sync(r->conn, NULL, NULL);
}

static void on_locked(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	if (err != NULL) {
		finish(r, err);
		return;
	}
	for (int i = 0; i < pg_rows_count(rows); i++)
		find(r, pg_rows_text(rows, i, 0))->owned = true;
	pg_rows_free(rows);
	r->waiting = 0;
	for (size_t i = 0; i < r->n; i++)
		if (is_owned(&r->entries[i]) && !r->entries[i].ensured)
			r->waiting++;
	if (r->waiting == 0)
		send_claim(r);
	for (size_t i = 0; i < r->n; i++)
		if (is_owned(&r->entries[i]) && !r->entries[i].ensured)
			send_ensure(r, &r->entries[i]);
}

static void send_lock(Roster *r, PgAnswer fn)
{
	Buf names = { 0 };
	const char *params[1];

	names_of(r, is_foreign, &names);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_LOCK, 1, params, fn, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}

void roster_claim(Roster *r, RosterDone fn, void *owner)
{
	r->done = fn;
	r->done_owner = owner;
	send_lock(r, on_locked);
}

static bool has(const RosterEntry *entries, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(entries[i].consumer.def->name, name) == 0)
			return true;
	return false;
}

void roster_release(Roster *r, const RosterEntry *keep, size_t n)
{
	Buf names = { 0 };
	const char *params[1];

	buf_addc(&names, '{');
	for (size_t i = 0; i < r->n; i++) {
		const char *name = r->entries[i].consumer.def->name;

		if (r->entries[i].owned && !has(keep, n, name))
			buf_addf(&names, "%s%s", names.len > 1 ? "," : "", name);
	}
	buf_addc(&names, '}');
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_UNLOCK, 1, params, NULL, NULL);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}

static void on_dissolved(void *owner, PgRows *rows, const Err *err)
{
	pg_rows_free(rows);
	finish(owner, err);
}

void roster_dissolve(Roster *r, RosterDone fn, void *owner)
{
	Buf groups = { 0 };
	const char *params[1];

	r->done = fn;
	r->done_owner = owner;
	buf_addc(&groups, '{');
	for (size_t i = 0; i < r->n; i++)
		if (is_running(&r->entries[i]))
			buf_addf(&groups, "%s%" PRId64, groups.len > 1 ? "," : "",
				r->entries[i].claim.group_id);
	buf_addc(&groups, '}');
	params[0] = groups.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_DISSOLVE, 1, params, on_dissolved, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&groups);
}

/* --- Taking over
 * ------------------------------------------------------------------------------------ */

static void on_tried(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	r->trying = false;
	if (err != NULL)
		return;
	r->any = pg_rows_count(rows) > 0;
	for (int i = 0; i < pg_rows_count(rows); i++)
		find(r, pg_rows_text(rows, i, 0))->owned = true;
	pg_rows_free(rows);
	r->gained(r->gained_owner, r->any);
}

/* Fenced already: what their sessions still send finds no group. Their locks go with them. */
static void on_silent(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;
	Buf pids = { 0 };
	const char *params[1];

	for (int i = 0; err == NULL && i < pg_rows_count(rows); i++)
		buf_addf(&pids, "%c%s", i ? ',' : '{', pg_rows_text(rows, i, 0));
	pg_rows_free(rows);
	if (pids.len > 0) {
		buf_addc(&pids, '}');
		params[0] = pids.s;
		pg_conn_run(r->conn, SQL_TERMINATE_BACKENDS, 1, params, NULL, NULL);
		pg_conn_sync(r->conn, NULL, NULL);
		r->report(r->owner, NULL, false,
			"another daemon gave no sign of life: its consumers are taken over");
	}
	buf_free(&pids);
	if (err == NULL)
		send_lock(r, on_tried);
}

void roster_try(Roster *r, double silence, RosterGained fn, void *owner)
{
	Buf names = { 0 };
	char seconds[32];
	const char *params[] = { NULL, seconds };

	if (r->trying || r->done != NULL || !roster_wants(r))
		return;
	r->trying = true;
	r->gained = fn;
	r->gained_owner = owner;
	names_of(r, is_foreign, &names);
	snprintf(seconds, sizeof(seconds), "%g", silence);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_SILENT, 2, params, on_silent, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}

bool roster_wants(const Roster *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (is_foreign(&r->entries[i]))
			return true;
	return false;
}

/* --- Heartbeat
 * -------------------------------------------------------------------------------------- */

static void on_beat(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	if (err == NULL)
		r->stale = pg_rows_count(rows) > 0;
	pg_rows_free(rows);
}

static void on_due(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	r->beating = false;
	if (err != NULL)
		return;
	memset(r->due, 0, r->n * sizeof(*r->due));
	for (int i = 0; i < pg_rows_count(rows); i++)
		r->due[find(r, pg_rows_text(rows, i, 0)) - r->entries] = true;
	r->letters = pg_rows_count(rows) > 0;
	pg_rows_free(rows);
	r->beat(r->beat_owner, r->stale, r->letters);
}

void roster_beat(Roster *r, RosterBeat fn, void *owner)
{
	Buf groups = { 0 }, epochs = { 0 }, names = { 0 };
	const char *params[2];

	if (r->beating || r->done != NULL)
		return;
	r->beating = true;
	r->beat = fn;
	r->beat_owner = owner;
	buf_addc(&groups, '{');
	buf_addc(&epochs, '{');
	for (size_t i = 0; i < r->n; i++) {
		const RosterEntry *e = &r->entries[i];

		if (!is_running(e))
			continue;
		buf_addf(&groups, "%s%" PRId64, groups.len > 1 ? "," : "", e->claim.group_id);
		buf_addf(&epochs, "%s%" PRId64, epochs.len > 1 ? "," : "", e->claim.epoch);
	}
	buf_addc(&groups, '}');
	buf_addc(&epochs, '}');
	params[0] = groups.s;
	params[1] = epochs.s;
	pg_conn_run(r->conn, SQL_HEARTBEAT, 2, params, on_beat, r);
	names_of(r, is_running, &names);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_DEAD_LETTERS_DUE, 1, params, on_due, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&groups);
	buf_free(&epochs);
	buf_free(&names);
}

bool roster_letters_due(const Roster *r, size_t entry)
{
	return r->due[entry];
}

/* --- Life
 * ------------------------------------------------------------------------------------------- */

Roster *roster_new(PgConn *control, const char *daemon, RosterEntry *entries, size_t n,
	RosterReport report, void *owner)
{
	Roster *r = mem_calloc(1, sizeof(*r));

	r->conn = control;
	r->daemon = daemon;
	r->entries = entries;
	r->n = n;
	r->due = mem_calloc(n, sizeof(*r->due));
	r->ensure = mem_calloc(n, sizeof(*r->ensure));
	r->report = report;
	r->owner = owner;
	return r;
}

void roster_free(Roster *r)
{
	if (r == NULL)
		return;
	free(r->due);
	free(r->ensure);
	free(r);
}
