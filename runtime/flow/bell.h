#pragma once

#include "pg/pg_conn.h"

/* The doorbell. NOTIFY in every commit would make all publishers wait for one lock through the WAL
 * flush, so publishers ring only when they can share an advisory lock, that is: when nobody is
 * awake. A waking daemon queues for that lock exclusively; already the waiting request stops the
 * ringing (a try in a loop would starve under ringing publishers). To sleep it gives the lock, or
 * the wait, up; the caller then has to look at the log once more, because whoever looked at the
 * bell before did not ring. */
typedef struct Bell Bell;

typedef void (*BellHandler)(void *owner); /* released: from now on publishers ring */

/* `conn` belongs to the bell alone (it may wait for a long time); `control` carries the cancel. */
Bell *bell_new(PgConn *conn, PgConn *control, BellHandler on_released, void *owner);
void bell_free(Bell *b);

void bell_hold(Bell *b);    /* awake: publishers need not ring */
void bell_release(Bell *b); /* calls the handler when done; nothing if it is released already */
