#pragma once

#include "pg/pg_rows.h"
#include "pg/sql_text.h"

/* A blocking connection, for commands that do one thing after another. The daemon never uses it. */
typedef struct PgDb PgDb;

/* Where to connect. Plain data; the strings are the caller's and must outlive what is opened with
 * it. */
typedef struct {
	const char *dsn;    /* conninfo or URI; "" or NULL: libpq's own defaults (PG*) */
	const char *schema; /* "moonwake" unless --schema said otherwise */
	const char *role;   /* application_name; "moonwake COMMAND" */
} PgTarget;

/* Connects, waits up to connect_timeout. NULL and a message with a hint on failure (server down,
 * wrong password, no such database, a transaction pooler in between). */
PgDb *pg_db_open(const PgTarget *target, Err *err);
void pg_db_close(PgDb *db);

/* Runs one statement with text parameters (NULL = SQL NULL) and returns its rows, or NULL and why.
 * `pg_db_run` takes a named statement (prepared on first use), the other any text. */
PgRows *pg_db_run(PgDb *db, SqlId id, int n, const char *const *params, Err *err);
PgRows *pg_db_query(PgDb *db, const char *sql, int n, const char *const *params, Err *err);

/* The same in two halves, with the rows in binary format: between them the server works, and its
 * answer arrives, while the caller does something else. One at a time; any other call waits for it
 * first. The parameters must live until the answer is taken. */
bool pg_db_send(PgDb *db, SqlId id, int n, const char *const *params, Err *err);
PgRows *pg_db_take(PgDb *db, Err *err);

/* Runs a script of several statements (simple protocol, one implicit transaction unless it says
 * BEGIN). */
bool pg_db_script(PgDb *db, const char *sql, Err *err);

/* Waits up to timeout_ms (-1: for ever) for a NOTIFY on a channel that the session LISTENs to. Also
 * returns on a signal. True when one came. */
bool pg_db_wait_notify(PgDb *db, int timeout_ms, Err *err);

/* Lines that the server sent as NOTICE since the last call are handed to `fn` ("" = nobody
 * listens). */
void pg_db_on_notice(PgDb *db, void (*fn)(void *owner, const char *text), void *owner);

bool pg_db_cancel(PgDb *db); /* asks the server to stop the statement under way; safe from a signal
				handler's flag loop */
const char *pg_db_schema(const PgDb *db);
