#pragma once

#include "flow/deliveries.h"

/* Where a group stands: the row that fences its transactions. */
typedef struct {
	int64_t group_id, epoch;
	int64_t position; /* committed */
} GroupClaim;

/* One transaction of a group, sent as one pipeline: BEGIN, advance_cursor() first (it raises MW001
 * where the group is no longer ours), then what the members were given, every member's states,
 * statements and dead letters, COMMIT. */
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
