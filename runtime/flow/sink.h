#pragma once

#include "flow/deliveries.h"

/* Where a group stands: the row that fences its transactions. */
typedef struct {
	int64_t group_id, epoch;
	int64_t position; /* committed */
} GroupClaim;

/* One transaction of a group, sent as one pipeline: BEGIN, advance_cursor() first (it raises MW001
 * where the group is no longer ours), then what the members were given, every member's states,
 * timers, statements and dead letters, then what rules raised, COMMIT. */
typedef struct Sink Sink;

/* `culprit` is the index of the member whose statement was refused; -1: none in particular. */
typedef void (*SinkHandler)(void *owner, const Err *err, int culprit);
/* The answer to a script's query; err: it was refused, and the transaction is lost. */
typedef void (*SinkAnswer)(void *owner, Str rows, const Err *err);

Sink *sink_new(PgConn *conn, Consumer *const *members, size_t n, SinkHandler fn, void *owner);
void sink_free(Sink *s); /* after its connection was closed */

/* Collects every member's effects and commits them with the position `to` and with what was `given`
 * to the members, which begins anew. `done` are events of dead letters of member `retried` that
 * were handled this time (NULL: none). */
void sink_commit(
	Sink *s, GroupClaim claim, int64_t to, Deliveries *given, const char *done, int retried);

/* Runs a script's query inside the transaction that the next sink_commit() ends. */
void sink_query(Sink *s, GroupClaim claim, int member, SinkAnswer fn, void *owner);

/* Gives up the transaction that a query has opened, if there is one. */
void sink_abandon(Sink *s);
bool sink_busy(const Sink *s); /* a commit is under way */
bool sink_raised_late(
	const Sink *s); /* the same of rules over alerts: others may not have waited */
bool sink_raised(
	const Sink *s); /* the commit that ended last brought alerts, or other news of rules */

/* What rules raise goes out in one statement for all, in the order of their clocks; or, to find out
 * whose the server refuses, in one for each. */
void sink_apart(Sink *s, bool apart);
