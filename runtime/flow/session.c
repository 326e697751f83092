#include "flow/session_parts.h"

#include <assert.h>
#include <stdlib.h>

#define HEARTBEAT_MS 2000
#define TRY_MS       250 /* how often others' consumers are tried */

static uv_timer_t *timer_new(Session *s)
{
	uv_timer_t *t = mem_calloc(1, sizeof(*t));

	t->data = s;
	uv_timer_init(s->loop, t);
	return t;
}

/* --- The end
 * -------------------------------------------------------------------------------------- */

static void on_lost(uv_timer_t *t)
{
	Session *s = t->data;

	s->fn(s->owner, SESSION_LOST, &s->lost);
}

/* Told on a turn of its own: the owner may close us then. */
void session_lose(Session *s, const Err *err)
{
	if (s->state == LOST)
		return;
	s->state = LOST;
	s->lost = *err;
	uv_timer_stop(s->poll);
	uv_timer_stop(s->beat);
	uv_timer_stop(s->tries);
	uv_timer_stop(s->clock);
	uv_timer_start(s->later, on_lost, 0, 0);
}

/* --- Upkeep and ownership
 * ------------------------------------------------------------------------- */

static void on_gained(void *owner, bool any)
{
	Session *s = owner;

	if (any && s->state == RUNNING)
		session_regroup(s, 0);
}

static void on_tries(uv_timer_t *t)
{
	Session *s = t->data;

	if (s->state == RUNNING)
		roster_try(s->roster, s->options.takeover_after, on_gained, s);
}

static void on_beaten(void *owner, bool stale, bool letters, bool replan)
{
	Session *s = owner;

	if (s->state != RUNNING)
		return;
	if (replan)
		session_tell_stale(s);
	if (stale) {
		session_regroup(s, 0);
		return;
	}
	for (size_t i = 0; letters && i < s->nteams; i++)
		for (size_t j = 0; j < s->teams[i].n; j++)
			if (roster_letters_due(s->roster, s->teams[i].entries[j]))
				group_retry(s->teams[i].group, j);
}

static void beat(Session *s)
{
	if (s->state != RUNNING && s->state != PAUSING)
		return;
	roster_beat(s->roster, on_beaten, s);
	upkeep_tick(s->upkeep, frontier_settled(s->frontier),
		s->state != RUNNING || !session_is_idle(s));
}

static void on_heartbeat(uv_timer_t *t)
{
	beat(t->data);
}

static void on_upkeep(void *owner, bool fatal, const Err *err)
{
	Session *s = owner;

	if (fatal)
		session_lose(s, err);
	else
		s->report(s->owner, NULL, true, err->message);
}

/* --- Beginning
 * ------------------------------------------------------------------------------------ */

static void begin(Session *s)
{
	s->state = CLAIMING;
	s->frontier = frontier_new(s->loop, s->control, session_on_frontier, s);
	s->bell = bell_new(s->bell_conn, s->control, session_on_released, s);
	s->upkeep = upkeep_new(s->upkeep_conn, on_upkeep, s);
	s->roster = roster_new(
		s->control, s->options.daemon, s->entries, s->n, s->stamp, s->report, s->owner);
	pg_conn_run(s->control, SQL_LISTEN, 0, NULL, NULL, NULL);
	pg_conn_sync(s->control, NULL, NULL);
	uv_timer_start(s->beat, on_heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
	uv_timer_start(s->tries, on_tries, TRY_MS, TRY_MS);
	roster_claim(s->roster, session_on_claimed, s);
}

/* What the frontier's argument stands on: see sql/queries/session_check.sql. Asked in two
 * transactions: behind a transaction pooler they may run in two sessions, and no lock or LISTEN
 * would last. */
static void on_check(void *owner, PgRows *rows, const Err *err)
{
	Session *s = owner;
	int pid;
	Err bad = { 0 };

	if (err != NULL) {
		if (err->kind != ERR_CONN)
			session_lose(s, err);
		return;
	}
	pid = (int)pg_rows_i64(rows, 0, 1);
	if (pg_rows_bool(rows, 0, 0)) {
		err_set(&bad, ERR_CONN, "database: the server is in recovery");
		err_hint(&bad, "a standby does not know the writers of its primary: connect to the "
			       "primary");
	} else if (pg_rows_i64(rows, 0, 2) != 1) {
		err_set(&bad, ERR_DATA,
			"events_id_seq: its CACHE is not 1, so numbers are drawn out of order");
		err_hint(&bad, "ALTER SEQUENCE moonwake.events_id_seq CACHE 1");
	} else if (pg_rows_i64(rows, 0, 5) > pg_rows_i64(rows, 0, 3)) {
		err_set(&bad, ERR_DATA, "events: rows lie above the last number of events_id_seq");
		err_hint(&bad, "the log was restored or replicated: SELECT setval(…) to max(id)");
	} else if (pid != pg_conn_pid(s->control) ||
		   (s->checked_pid != 0 && pid != s->checked_pid)) {
		err_set(&bad, ERR_DATA, "database: a transaction pooler is in between");
		err_hint(&bad, "locks and LISTEN need a session of their own: connect to the "
			       "server directly");
	}
	pg_rows_free(rows);
	if (bad.kind != ERR_NONE) {
		session_lose(s, &bad);
		return;
	}
	if (s->checked_pid != 0 && s->state == CHECKING)
		begin(s);
	s->checked_pid = pid;
}

static bool is_ours(const Session *s, int pid)
{
	for (size_t i = 0; i < s->nteams; i++)
		if (group_backend(s->teams[i].group) == pid)
			return true;
	return false;
}

static void on_conn(PgConn *conn, void *owner, PgEvent ev, int pid, const Err *err)
{
	Session *s = owner;

	(void)conn;
	if (ev == PG_LOST) {
		session_lose(s, err);
	} else if (ev == PG_NOTIFY) {
		if (!is_ours(s, pid))
			session_wake(s);
	} else if (++s->connected == 3 && s->state == OPENING) {
		s->state = CHECKING;
		for (int i = 0; i < 2; i++) {
			pg_conn_run(s->control, SQL_SESSION_CHECK, 0, NULL, on_check, s);
			pg_conn_sync(s->control, NULL, NULL);
		}
	}
}

Session *session_open(uv_loop_t *loop, const PgTarget *target, const SessionOptions *options,
	RosterEntry *entries, size_t n, const char *stamp, GroupProgress *progress,
	RosterReport report, SessionHandler fn, void *owner)
{
	Session *s = mem_calloc(1, sizeof(*s));

	*s = (Session){ .loop = loop,
		.target = *target,
		.options = *options,
		.entries = entries,
		.n = n,
		.stamp = stamp,
		.progress = progress,
		.report = report,
		.fn = fn,
		.owner = owner };
	s->poll = timer_new(s);
	s->beat = timer_new(s);
	s->tries = timer_new(s);
	s->later = timer_new(s);
	s->clock = timer_new(s);
	s->promoter = promoter_new(loop, target, report, session_on_promoter, s);
	s->control = pg_conn_open(loop, target, on_conn, s);
	s->bell_conn = pg_conn_open(loop, target, on_conn, s);
	s->upkeep_conn = pg_conn_open(loop, target, on_conn, s);
	return s;
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

static void timer_close(uv_timer_t *t)
{
	uv_timer_stop(t);
	uv_close((uv_handle_t *)t, free_handle);
}

void session_close(Session *s)
{
	if (s == NULL)
		return;
	session_close_teams(s);
	promoter_free(s->promoter);
	pg_conn_close(s->upkeep_conn);
	pg_conn_close(s->bell_conn);
	pg_conn_close(s->control);
	timer_close(s->clock);
	timer_close(s->later);
	timer_close(s->tries);
	timer_close(s->beat);
	timer_close(s->poll);
	upkeep_free(s->upkeep);
	roster_free(s->roster);
	bell_free(s->bell);
	frontier_free(s->frontier);
	free(s);
}

/* --- Exchanging entries
 * --------------------------------------------------------------------------- */

void session_quiesce(Session *s, bool for_good)
{
	s->quiesce = true;
	s->for_good = s->for_good || for_good;
	if (s->state == RUNNING)
		session_regroup(s, 0);
}

void session_resume(Session *s, RosterEntry *entries, size_t n, const char *stamp)
{
	assert(s->state == QUIET);
	promoter_watch(s->promoter, NULL, 0);
	roster_release(s->roster, entries, n);
	roster_retire(s->roster);
	s->entries = entries;
	s->stamp = stamp;
	s->stale = false;
	s->n = n;
	s->roster =
		roster_new(s->control, s->options.daemon, entries, n, stamp, s->report, s->owner);
	s->state = CLAIMING;
	roster_claim(s->roster, session_on_claimed, s);
}

uint64_t session_sleeps(const Session *s)
{
	return s->sleeps;
}

int64_t session_position(const Session *s, size_t entry)
{
	for (size_t i = 0; i < s->nteams; i++)
		for (size_t j = 0; j < s->teams[i].n; j++)
			if (s->teams[i].entries[j] == entry)
				return group_claim(s->teams[i].group).position;
	return -1;
}
