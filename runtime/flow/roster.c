#include "flow/roster_parts.h"

#include <inttypes.h>
#include <stdlib.h>

static void on_dissolved(void *owner, PgRows *rows, const Err *err)
{
	pg_rows_free(rows);
	roster_finish(owner, err);
}

void roster_dissolve(Roster *r, RosterDone fn, void *owner)
{
	Buf groups = { 0 };
	const char *params[1];

	r->done = fn;
	r->done_owner = owner;
	buf_addc(&groups, '{');
	for (size_t i = 0; i < r->n; i++)
		if (roster_is_running(&r->entries[i]))
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

/* True where the roster is over: with its last answer it is freed. */
static bool retired(Roster *r)
{
	if (!r->retired)
		return false;
	if (!r->trying && !r->beating)
		roster_free(r);
	return true;
}

static void on_tried(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	r->trying = false;
	if (err == NULL && r->retired) /* the locks are asked for again by whoever follows */
		roster_give_back(r, rows);
	if (err != NULL || retired(r)) {
		pg_rows_free(rows);
		return;
	}
	r->any = roster_take_locks(r, rows) > 0;
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
	if (pids.len > 0 && !r->retired) {
		buf_addc(&pids, '}');
		params[0] = pids.s;
		pg_conn_run(r->conn, SQL_TERMINATE_BACKENDS, 1, params, NULL, NULL);
		pg_conn_sync(r->conn, NULL, NULL);
		r->report(r->owner, NULL, false,
			"another daemon gave no sign of life: its consumers are taken over");
	}
	buf_free(&pids);
	r->trying = err == NULL && !r->retired;
	if (r->trying)
		roster_send_lock(r, on_tried);
	else
		retired(r);
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
	roster_names(r, roster_is_foreign, &names);
	snprintf(seconds, sizeof(seconds), "%g", silence);
	params[0] = names.s;
	pg_conn_run(r->conn, SQL_CONSUMERS_SILENT, 2, params, on_silent, r);
	pg_conn_sync(r->conn, NULL, NULL);
	buf_free(&names);
}

bool roster_wants(const Roster *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (roster_is_foreign(&r->entries[i]))
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

static void on_stamp(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	r->replan = err == NULL && strcmp(pg_rows_text(rows, 0, 0), r->stamp) != 0;
	pg_rows_free(rows);
}

static void on_due(void *owner, PgRows *rows, const Err *err)
{
	Roster *r = owner;

	r->beating = false;
	if (retired(r)) {
		pg_rows_free(rows);
		return;
	}
	if (err != NULL)
		return;
	memset(r->due, 0, r->n * sizeof(*r->due));
	for (int i = 0; i < pg_rows_count(rows); i++)
		r->due[roster_find(r, pg_rows_text(rows, i, 0)) - r->entries] = true;
	r->letters = pg_rows_count(rows) > 0;
	pg_rows_free(rows);
	r->beat(r->beat_owner, r->stale, r->letters, r->replan);
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

		if (!roster_is_running(e))
			continue;
		buf_addf(&groups, "%s%" PRId64, groups.len > 1 ? "," : "", e->claim.group_id);
		buf_addf(&epochs, "%s%" PRId64, epochs.len > 1 ? "," : "", e->claim.epoch);
	}
	buf_addc(&groups, '}');
	buf_addc(&epochs, '}');
	params[0] = groups.s;
	params[1] = epochs.s;
	pg_conn_run(r->conn, SQL_HEARTBEAT, 2, params, on_beat, r);
	pg_conn_run(r->conn, SQL_PLAN_STAMP, 0, NULL, on_stamp, r);
	roster_names(r, roster_is_running, &names);
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
	const char *stamp, RosterReport report, void *owner)
{
	Roster *r = mem_calloc(1, sizeof(*r));

	r->conn = control;
	r->daemon = daemon;
	r->entries = entries;
	r->n = n;
	r->stamp = stamp;
	r->due = mem_calloc(n, sizeof(*r->due));
	r->ensure = mem_calloc(n, sizeof(*r->ensure));
	r->report = report;
	r->owner = owner;
	return r;
}

void roster_retire(Roster *r)
{
	r->retired = true;
	retired(r);
}

void roster_free(Roster *r)
{
	if (r == NULL)
		return;
	free(r->due);
	free(r->ensure);
	free(r);
}
