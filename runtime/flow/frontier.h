#pragma once

#include "pg/pg_conn.h"

/* The settled frontier: the number up to which the log cannot change any more.
 *
 * Numbers are drawn in one order and commit in another, so the newest visible row proves nothing
 * about the rows below it. What does: (1) read the last drawn number H; (2) then, in a later
 * statement, collect the transactions that hold a writer's lock on the log; (3) when each of these
 * has ended, every row up to H is visible to a new snapshot or will never exist, because a number
 * is drawn only under that lock. Writers that came later do not matter, nor does any transaction
 * that does not write events; no clock decides anything.
 *
 * One per session: what is known dies with the connection. */
typedef struct Frontier Frontier;

/* Called when settled() has risen, and when an observation found the log at rest: nothing drawn
 * beyond settled() and no writer. */
typedef void (*FrontierHandler)(void *owner, bool at_rest);

Frontier *frontier_new(uv_loop_t *loop, PgConn *conn, FrontierHandler fn, void *owner);
void frontier_free(Frontier *f); /* before its connection is closed, or after */

/* Something may have happened: observe, now or right after the observation under way. */
void frontier_look(Frontier *f);

/* Observations are numbered: what is committed before frontier_turn() was asked, the observation of
 * that number (nobody has begun it yet) finds; frontier_saw() tells whether it is through. */
uint64_t frontier_turn(const Frontier *f);
bool frontier_saw(const Frontier *f, uint64_t turn);

int64_t frontier_now(const Frontier *f);     /* the server's clock, about; 0: not known yet */
int64_t frontier_head(const Frontier *f);    /* the last drawn number that was seen */
int64_t frontier_settled(const Frontier *f); /* 0 before the first observation */

/* Pruning: no row with a number above `after` is older than this (microseconds since 1970;
 * INT64_MIN: nothing is known). Rises as frontier_prune() succeeds. */
int64_t frontier_oldest_after(const Frontier *f, int64_t after);
int64_t frontier_floor(const Frontier *f); /* that bound, for numbers high enough; 0: none yet */

/* Raises the log's floor to now, and learns the bound once every writer of before has ended. False
 * where the floor that was raised before is still to be proved. */
bool frontier_prune(Frontier *f);
