#include "flow/session.h"

#include "base/clock.h"
#include "base/fault.h"
#include "flow/bell.h"
#include "flow/upkeep.h"

#include <assert.h>
#include <stdlib.h>

#define HEARTBEAT_MS 2000
#define TRY_MS       250   /* how often others' consumers are tried */
#define LINGER_MS    3
#define NEAR         5000  /* groups so close to each other are brought together */
#define PRUNE_NS     UINT64_C(600000000000)
#define RETRY_MS     200

typedef enum { OPENING, CHECKING, CLAIMING, RUNNING, PAUSING, QUIET, LOST } State;
typedef enum { AWAKE, RELEASING, LISTENING, ASLEEP } Sleep;

typedef struct {
	Group *group;
	Consumer **members;
	size_t *entries; /* their indexes in the roster */
	size_t n;
	bool still;
	bool over;       /* broken: nothing more will come from it */
} Team;

struct Session {
	uv_loop_t *loop;
	PgTarget target;
	SessionOptions options;
	RosterEntry *entries;
	size_t n;
	GroupProgress *progress;
	RosterReport report;
	SessionHandler fn;
	void *owner;

	State state;
	Sleep sleep;
	PgConn *control, *bell_conn, *upkeep_conn;
	int connected;
	int checked_pid;
	Frontier *frontier;
	Bell *bell;
	Roster *roster;
	Upkeep *upkeep;
	Team *teams;
	size_t nteams;
	uv_timer_t *poll, *beat, *tries, *later; /* slow poll or linger; heartbeat; others; deferred work */

	bool quiesce;          /* somebody waits for SESSION_QUIET … */
	bool for_good;         /* … and will not go on */
	bool observed;         /* the frontier is known: as the last observation found it */
	bool at_rest;
	int64_t settled;
	int64_t start_head;    /* what "caught up" means */
	bool told;
	uint64_t moved_ns, pruned_ns, gathered_ns, sleeps;
	Err lost;
};

static void regroup(Session *s, unsigned delay_ms);
static void consider_sleep(Session *s, bool at_rest);
static void wake(Session *s);

static uv_timer_t *timer_new(Session *s)
{
	uv_timer_t *t = mem_calloc(1, sizeof(*t));

	t->data = s;
	uv_timer_init(s->loop, t);
	return t;
}

/* --- The end -------------------------------------------------------------------------------------- */

static void on_lost(uv_timer_t *t)
{
	Session *s = t->data;

	s->fn(s->owner, SESSION_LOST, &s->lost);
}

/* Told on a turn of its own: the owner may close us then. */
static void lose(Session *s, const Err *err)
{
	if (s->state == LOST)
		return;
	s->state = LOST;
	s->lost = *err;
	uv_timer_stop(s->poll);
	uv_timer_stop(s->beat);
	uv_timer_stop(s->tries);
	uv_timer_start(s->later, on_lost, 0, 0);
}

/* --- Groups --------------------------------------------------------------------------------------- */

static void close_teams(Session *s)
{
	for (size_t i = 0; i < s->nteams; i++) {
		group_close(s->teams[i].group);
		free(s->teams[i].members);
		free(s->teams[i].entries);
	}
	free(s->teams);
	s->teams = NULL;
	s->nteams = 0;
}

static bool all_teams(const Session *s, bool (*is)(const Team *))
{
	for (size_t i = 0; i < s->nteams; i++)
		if (!is(&s->teams[i]))
			return false;
	return true;
}

static bool is_still(const Team *t)
{
	return t->still || t->over;
}

static bool is_idle(const Team *t)
{
	return group_is_idle(t->group);
}

static void on_group(Group *g, void *owner, GroupEvent ev, const Err *err);

static Team *team_of(Session *s, const Group *g)
{
	for (size_t i = 0; i < s->nteams; i++)
		if (s->teams[i].group == g)
			return &s->teams[i];
	return NULL;
}

/* Entries of one claim form a team. The claims come ordered, the entries do not. */
static void add_to_team(Session *s, size_t entry)
{
	const RosterEntry *e = &s->entries[entry];
	Team *t = NULL;

	for (size_t i = 0; i < s->nteams; i++)
		if (s->entries[s->teams[i].entries[0]].claim.group_id == e->claim.group_id)
			t = &s->teams[i];
	if (t == NULL) {
		s->teams = mem_realloc(s->teams, (s->nteams + 1) * sizeof(*s->teams));
		t = &s->teams[s->nteams++];
		*t = (Team){ 0 };
	}
	t->members = mem_realloc(t->members, (t->n + 1) * sizeof(*t->members));
	t->entries = mem_realloc(t->entries, (t->n + 1) * sizeof(*t->entries));
	t->members[t->n] = &s->entries[entry].consumer;
	t->entries[t->n++] = entry;
}

static void on_claimed(void *owner, const Err *err)
{
	Session *s = owner;

	if (s->state != CLAIMING)
		return;
	if (err != NULL && err_is_retryable(err) && err->kind != ERR_CONN) {
		regroup(s, RETRY_MS);
		return;
	}
	if (err != NULL) {
		lose(s, err);
		return;
	}
	s->state = RUNNING;
	for (size_t i = 0; i < s->n; i++)
		if (s->entries[i].owned && s->entries[i].runs)
			add_to_team(s, i);
	for (size_t i = 0; i < s->nteams; i++)
		s->teams[i].group = group_open(s->loop, &s->target, s->frontier,
			s->entries[s->teams[i].entries[0]].claim, s->teams[i].members, s->teams[i].n,
			s->progress, on_group, s);
	s->fn(s->owner, SESSION_RUNNING, NULL);
	wake(s);
	if (s->quiesce)
		regroup(s, 0);
}

static void on_quiet(void *owner, const Err *err)
{
	Session *s = owner;

	if (s->state == LOST)
		return;
	if (err != NULL) {
		lose(s, err);
		return;
	}
	s->quiesce = false;
	s->state = QUIET;
	s->fn(s->owner, SESSION_QUIET, NULL);
}

static void on_later_claim(uv_timer_t *t)
{
	Session *s = t->data;

	close_teams(s);
	s->state = CLAIMING;
	if (s->quiesce && s->for_good) {
		roster_dissolve(s->roster, on_quiet, s);
		return;
	}
	if (s->quiesce) {
		on_quiet(s, NULL);
		return;
	}
	roster_claim(s->roster, on_claimed, s);
}

/* Members change: all groups stop at a boundary, and new ones are claimed. One way for a new file, a consumer that was
 * gained or lost, a culprit that must be alone, and groups that met. */
static void regroup(Session *s, unsigned delay_ms)
{
	if (s->state == LOST || s->state == QUIET)
		return;
	s->state = PAUSING;
	for (size_t i = 0; i < s->nteams; i++)
		if (!is_still(&s->teams[i]))
			group_pause(s->teams[i].group, -1);
	if (all_teams(s, is_still))
		uv_timer_start(s->later, on_later_claim, delay_ms, 0);
}

/* Groups that came near each other meet at one exact position, and are one from then on. */
static void gather(Session *s)
{
	int64_t settled = frontier_settled(s->frontier);
	size_t near = 0;

	if (s->state != RUNNING || s->nteams < 2 || clock_monotonic_ns() - s->gathered_ns < 200000000u)
		return;
	for (size_t i = 0; i < s->nteams; i++)
		if (!s->teams[i].members[0]->solo &&
			group_claim(s->teams[i].group).position >= settled - NEAR)
			near++;
	if (near < 2)
		return;
	s->gathered_ns = clock_monotonic_ns();
	s->state = PAUSING;
	for (size_t i = 0; i < s->nteams; i++)
		group_pause(s->teams[i].group, settled);
}

static void tell_caught_up(Session *s)
{
	if (s->told || !s->observed || s->state != RUNNING || roster_wants(s->roster))
		return;
	for (size_t i = 0; i < s->nteams; i++)
		if (group_claim(s->teams[i].group).position < s->start_head)
			return;
	s->told = true;
	s->fn(s->owner, SESSION_CAUGHT_UP, NULL);
}

static void on_group(Group *g, void *owner, GroupEvent ev, const Err *err)
{
	Session *s = owner;
	Team *t = team_of(s, g);

	if (s->state == LOST)
		return;
	switch (ev) {
	case GROUP_MOVED:
		s->moved_ns = clock_monotonic_ns();
		frontier_look(s->frontier);
		gather(s);
		break;
	case GROUP_IDLE:
		tell_caught_up(s);
		gather(s);
		if (s->sleep == AWAKE)
			consider_sleep(s, s->at_rest);
		break;
	case GROUP_PAUSED:
		t->still = true;
		if (s->state == PAUSING && all_teams(s, is_still))
			uv_timer_start(s->later, on_later_claim, 0, 0);
		break;
	case GROUP_BROKEN:
		t->over = true;
		for (size_t i = 0; i < t->n; i++)
			if (t->members[i]->stop_err.kind != ERR_NONE) {
				s->report(s->owner, t->members[i]->def->name, true,
					t->members[i]->stop_err.message);
				err_clear(&t->members[i]->stop_err);
			}
		regroup(s, err != NULL && err_is_retryable(err) ? RETRY_MS : 0);
		break;
	case GROUP_LOST:
		lose(s, err);
		break;
	}
}

/* --- Sleeping and waking -------------------------------------------------------------------------- */

static void on_poll(uv_timer_t *t)
{
	wake(t->data);
}

static void set_poll(Session *s, unsigned ms)
{
	if (ms > 0)
		uv_timer_start(s->poll, on_poll, ms, 0);
	else
		uv_timer_stop(s->poll);
}

static void wake(Session *s)
{
	if (s->state == LOST || s->frontier == NULL)
		return;
	if (s->options.fast_poll_ms > 0) {
		set_poll(s, s->options.fast_poll_ms);
	} else {
		if (s->sleep != AWAKE) {
			s->sleep = AWAKE;
			s->moved_ns = clock_monotonic_ns();
		}
		bell_hold(s->bell);
		set_poll(s, s->options.slow_poll_ms);
	}
	frontier_look(s->frontier);
}

/* The bell was given up; whoever looked at it before did not ring: look once more. */
static void on_released(void *owner)
{
	Session *s = owner;

	if (s->state == LOST || s->sleep != RELEASING)
		return;
	FAULT("session.released");
	s->sleep = LISTENING;
	frontier_look(s->frontier);
}

static void consider_sleep(Session *s, bool at_rest)
{
	bool idle = s->state == RUNNING && at_rest && all_teams(s, is_idle);

	if (s->options.fast_poll_ms > 0)
		return;
	if (s->sleep == LISTENING && idle) {
		s->sleep = ASLEEP;
		s->sleeps++;
		set_poll(s, s->options.slow_poll_ms);
	} else if (s->sleep == LISTENING) {
		wake(s);
	} else if (s->sleep == AWAKE && idle && clock_monotonic_ns() - s->moved_ns >= s->options.linger_ms * UINT64_C(1000000)) {
		s->sleep = RELEASING;
		bell_release(s->bell);
	} else if (s->sleep == AWAKE && idle) {
		set_poll(s, LINGER_MS);
	}
}

static void on_frontier(void *owner, bool at_rest)
{
	Session *s = owner;
	uint64_t now = clock_monotonic_ns();

	if (s->state == LOST)
		return;
	if (!s->observed) {
		s->observed = true;
		s->start_head = frontier_head(s->frontier);
	}
	if (frontier_settled(s->frontier) > s->settled)
		for (size_t i = 0; i < s->nteams; i++)
			group_wake(s->teams[i].group);
	s->settled = frontier_settled(s->frontier);
	s->at_rest = at_rest;
	tell_caught_up(s);
	if (s->pruned_ns == 0 || now - s->pruned_ns > PRUNE_NS) {
		s->pruned_ns = now;
		frontier_prune(s->frontier);
	}
	consider_sleep(s, at_rest);
}

/* --- Upkeep and ownership ------------------------------------------------------------------------- */

static void on_gained(void *owner, bool any)
{
	Session *s = owner;

	if (any && s->state == RUNNING)
		regroup(s, 0);
}

static void on_tries(uv_timer_t *t)
{
	Session *s = t->data;

	if (s->state == RUNNING)
		roster_try(s->roster, s->options.takeover_after, on_gained, s);
}

static void on_beaten(void *owner, bool stale, bool letters)
{
	Session *s = owner;

	if (s->state != RUNNING)
		return;
	if (stale) {
		regroup(s, 0);
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
	upkeep_tick(s->upkeep, frontier_settled(s->frontier));
}

static void on_heartbeat(uv_timer_t *t)
{
	beat(t->data);
}

static void on_upkeep(void *owner, bool fatal, const Err *err)
{
	Session *s = owner;

	if (fatal)
		lose(s, err);
	else
		s->report(s->owner, NULL, true, err->message);
}

/* --- Beginning ------------------------------------------------------------------------------------ */

static void begin(Session *s)
{
	s->state = CLAIMING;
	s->frontier = frontier_new(s->loop, s->control, on_frontier, s);
	s->bell = bell_new(s->bell_conn, s->control, on_released, s);
	s->upkeep = upkeep_new(s->upkeep_conn, on_upkeep, s);
	s->roster = roster_new(s->control, s->options.daemon, s->entries, s->n, s->report, s->owner);
	pg_conn_run(s->control, SQL_LISTEN, 0, NULL, NULL, NULL);
	pg_conn_sync(s->control, NULL, NULL);
	uv_timer_start(s->beat, on_heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
	uv_timer_start(s->tries, on_tries, TRY_MS, TRY_MS);
	roster_claim(s->roster, on_claimed, s);
}

/* What the frontier's argument stands on: see sql/queries/session_check.sql. Asked in two transactions: behind a
 * transaction pooler they may run in two sessions, and no lock or LISTEN would last. */
static void on_check(void *owner, PgRows *rows, const Err *err)
{
	Session *s = owner;
	int pid;
	Err bad = { 0 };

	if (err != NULL) {
		if (err->kind != ERR_CONN)
			lose(s, err);
		return;
	}
	pid = (int)pg_rows_i64(rows, 0, 1);
	if (pg_rows_bool(rows, 0, 0)) {
		err_set(&bad, ERR_CONN, "database: the server is in recovery");
		err_hint(&bad, "a standby does not know the writers of its primary: connect to the primary");
	} else if (pg_rows_i64(rows, 0, 2) != 1) {
		err_set(&bad, ERR_DATA, "events_id_seq: its CACHE is not 1, so numbers are drawn out of order");
		err_hint(&bad, "ALTER SEQUENCE moonwake.events_id_seq CACHE 1");
	} else if (pg_rows_i64(rows, 0, 5) > pg_rows_i64(rows, 0, 3)) {
		err_set(&bad, ERR_DATA, "events: rows lie above the last number of events_id_seq");
		err_hint(&bad, "the log was restored or replicated: SELECT setval(…) to max(id)");
	} else if (pid != pg_conn_pid(s->control) || (s->checked_pid != 0 && pid != s->checked_pid)) {
		err_set(&bad, ERR_DATA, "database: a transaction pooler is in between");
		err_hint(&bad, "locks and LISTEN need a session of their own: connect to the server directly");
	}
	pg_rows_free(rows);
	if (bad.kind != ERR_NONE) {
		lose(s, &bad);
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
		lose(s, err);
	} else if (ev == PG_NOTIFY) {
		if (!is_ours(s, pid))
			wake(s);
	} else if (++s->connected == 3 && s->state == OPENING) {
		s->state = CHECKING;
		for (int i = 0; i < 2; i++) {
			pg_conn_run(s->control, SQL_SESSION_CHECK, 0, NULL, on_check, s);
			pg_conn_sync(s->control, NULL, NULL);
		}
	}
}

Session *session_open(uv_loop_t *loop, const PgTarget *target, const SessionOptions *options,
	RosterEntry *entries, size_t n, GroupProgress *progress, RosterReport report, SessionHandler fn,
	void *owner)
{
	Session *s = mem_calloc(1, sizeof(*s));

	*s = (Session){ .loop = loop, .target = *target, .options = *options, .entries = entries, .n = n,
		.progress = progress, .report = report, .fn = fn, .owner = owner };
	s->poll = timer_new(s);
	s->beat = timer_new(s);
	s->tries = timer_new(s);
	s->later = timer_new(s);
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
	close_teams(s);
	pg_conn_close(s->upkeep_conn);
	pg_conn_close(s->bell_conn);
	pg_conn_close(s->control);
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

/* --- Exchanging entries --------------------------------------------------------------------------- */

void session_quiesce(Session *s, bool for_good)
{
	s->quiesce = true;
	s->for_good = s->for_good || for_good;
	if (s->state == RUNNING)
		regroup(s, 0);
}

void session_resume(Session *s, RosterEntry *entries, size_t n)
{
	assert(s->state == QUIET);
	roster_release(s->roster, entries, n);
	roster_free(s->roster);
	s->entries = entries;
	s->n = n;
	s->roster = roster_new(s->control, s->options.daemon, entries, n, s->report, s->owner);
	s->state = CLAIMING;
	roster_claim(s->roster, on_claimed, s);
}

const Frontier *session_frontier(const Session *s)
{
	return s->frontier;
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
