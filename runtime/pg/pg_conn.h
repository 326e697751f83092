#pragma once

#include "pg/pg_db.h"

#include <uv.h>

/* A connection on the loop, always in pipeline mode: statements are sent without waiting for the
 * answers of those before. What lies between two syncs is one transaction of the server's, unless
 * it says BEGIN and COMMIT itself; when one statement fails, the rest up to the sync is not
 * executed. */
typedef struct PgConn PgConn;

typedef enum { PG_UP, PG_NOTIFY, PG_LOST } PgEvent;

/* The one callback for what nobody asked for. `pid` is the notifying backend (NOTIFY), `err` the
 * reason (LOST: every open answer has been called with it already). It may call any pg_conn
 * function, including pg_conn_close(). */
typedef void (*PgHandler)(PgConn *conn, void *owner, PgEvent ev, int pid, const Err *err);

/* One answer: `rows` (now the callee's to free), or NULL and `err`. */
typedef void (*PgAnswer)(void *owner, PgRows *rows, const Err *err);

/* A statement with a name is prepared once per connection and then executed by its name. */
typedef struct {
	const char *name; /* NULL: executed as it stands */
	const char *text;
} PgStmt;

PgConn *pg_conn_open(uv_loop_t *loop, const PgTarget *target, PgHandler fn, void *owner);

/* Queues one statement. Parameters are texts (NULL = SQL NULL) and are copied; the answer comes in
 * text format, or binary. `fn` may be NULL: an error then still reaches the other answers of
 * the transaction. Only between PG_UP and PG_LOST; never fails here: a lost connection answers. */
void pg_conn_send(PgConn *conn, const PgStmt *stmt, int n, const char *const *params, bool binary,
	PgAnswer fn, void *owner);
void pg_conn_run(
	PgConn *conn, SqlId id, int n, const char *const *params, PgAnswer fn, void *owner);
void pg_conn_run_binary(
	PgConn *conn, SqlId id, int n, const char *const *params, PgAnswer fn, void *owner);

/* Ends a transaction. `fn` is called when all before it has been answered: rows is always NULL; err
 * is the first error since the sync before, or NULL. */
void pg_conn_sync(PgConn *conn, PgAnswer fn, void *owner);

int pg_conn_pid(const PgConn *conn); /* the server's process; 0 while not connected */
const char *pg_conn_schema(const PgConn *conn);

/* Asks the server to stop the statement under way. Its answer is an error (57014) or, if it was
 * quicker, its rows. Opens and closes a second connection, blocking for its duration. */
void pg_conn_cancel(PgConn *conn);

/* Stops all; open answers are not called. Safe from within any callback of this connection. */
void pg_conn_close(PgConn *conn);
