#pragma once

#include "flow/group.h"
#include "flow/roster.h"

/* One daemon's time with one server: its connections, the frontier, the bell, and the groups of
 * consumers. What is known dies with the connections: when one is lost, all of it is thrown away
 * and a new session begins. */
typedef struct Session Session;

typedef struct {
	const char *daemon;    /* name in consumer_groups, e.g. "host:pid" */
	double takeover_after; /* seconds of silence after which an owner is replaced */
	unsigned slow_poll_ms; /* the poll behind the bell; 0: none (specs) */
	unsigned fast_poll_ms; /* instead of the bell (benchmarks); 0: the bell */
	unsigned linger_ms;    /* stays awake so long after the last commit */
} SessionOptions;

typedef enum {
	SESSION_RUNNING,   /* groups are (again) at work */
	SESSION_CAUGHT_UP, /* everything that was in the log when the session began is committed;
			      told once */
	SESSION_QUIET, /* as session_quiesce() asked: no group is at work, entries may be exchanged
			*/
	SESSION_STALE, /* other versions of projections are live or built than the entries say: plan
			  anew, quiesce, resume */
	SESSION_LOST,  /* over: err says why; retry if err_is_retryable() */
} SessionEvent;

typedef void (*SessionHandler)(void *owner, SessionEvent ev, const Err *err);

/* `stamp` belongs to the plan that the entries come from (plan_stamp(), see
 * sql/0013_plans.sql). */
Session *session_open(uv_loop_t *loop, const PgTarget *target, const SessionOptions *options,
	RosterEntry *entries, size_t n, const char *stamp, GroupProgress *progress,
	RosterReport report, SessionHandler fn, void *owner);
/* Not from within its handlers. What was not committed is given back. */
void session_close(Session *s);

/* Stops all groups at a batch boundary; then SESSION_QUIET. With `for_good` their consumers are
 * given up. */
void session_quiesce(Session *s, bool for_good);
/* Goes on with these entries: `owned` has to be as it was in the old ones of the same name, which
 * must still be there. The locks of those that are gone are given back. */
void session_resume(Session *s, RosterEntry *entries, size_t n, const char *stamp);

uint64_t session_sleeps(const Session *s); /* how often it fell asleep */
/* Position of an entry: committed, -1 where it is not at work here. */
int64_t session_position(const Session *s, size_t entry);
