#include "pg/pg_db.h"

#include "pg/pg_target.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct PgDb {
	PGconn *pg;
	char *schema;
	bool prepared[SQL_COUNT];
	void (*notice)(void *owner, const char *text);
	void *notice_owner;
	struct {
		bool under_way; /* the connection is the thread's until it is joined */
		pthread_t thread;
		SqlId id;
		int n;
		const char *const *params;
		PGresult *answer;
	} sent;
};

static void on_notice(void *arg, const PGresult *res)
{
	PgDb *db = arg;
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (db->notice != NULL && text != NULL)
		db->notice(db->notice_owner, text);
}

static bool connect_failed(PgDb *db, Err *err)
{
	const char *text = PQerrorMessage(db->pg);

	err_set(err, ERR_CONN, "database: %.*s", (int)strcspn(text, "\n"), text);
	if (strstr(text, "No such file") || strstr(text, "refused"))
		err_hint(err, "is the server running? name it with --db or DATABASE_URL, or use "
			      "`moonwake dev`");
	else if (strstr(text, "unsupported startup parameter"))
		err_hint(err, "a pooler is in between: connect to the server directly");
	else if (strstr(text, "does not exist") || strstr(text, "authentication"))
		err_hint(err, "check the user and the database name in --db or DATABASE_URL");
	return false;
}

/* Waits for the socket rather than in PQconnectdb(), so that a signal ends it. */
static PostgresPollingStatusType await(PGconn *pg)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (PQstatus(pg) != CONNECTION_BAD && status != PGRES_POLLING_OK) {
		struct pollfd fd = { .fd = PQsocket(pg),
			.events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT };

		if (poll(&fd, 1, 10000) <= 0)
			return PGRES_POLLING_FAILED;
		status = PQconnectPoll(pg);
		if (status == PGRES_POLLING_FAILED)
			break;
	}
	return status;
}

PgDb *pg_db_open(const PgTarget *target, Err *err)
{
	PgDb *db = mem_calloc(1, sizeof(*db));

	db->schema = mem_strdup(target->schema);
	db->pg = pg_connect_start(target);
	if (await(db->pg) != PGRES_POLLING_OK) {
		if (PQstatus(db->pg) == CONNECTION_BAD)
			connect_failed(db, err);
		else
			err_set(err, ERR_CONN,
				"database: no answer within 10 s (is the server up?)");
		pg_db_close(db);
		return NULL;
	}
	PQsetNoticeReceiver(db->pg, on_notice, db);
	return db;
}

/* Before any other use of the connection. */
static void join(PgDb *db)
{
	if (db->sent.under_way)
		pthread_join(db->sent.thread, NULL);
	db->sent.under_way = false;
}

void pg_db_close(PgDb *db)
{
	if (db == NULL)
		return;
	if (db->sent.under_way)
		pg_db_cancel(db);
	join(db);
	PQclear(db->sent.answer);
	PQfinish(db->pg);
	free(db->schema);
	free(db);
}

static PgRows *checked(PgDb *db, PGresult *res, Err *err)
{
	ExecStatusType status = PQresultStatus(res);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
		return res;
	if (PQstatus(db->pg) == CONNECTION_BAD) {
		err_set(err, ERR_CONN, "database: connection lost");
		err_hint(err, "the server stopped or the network was cut; try again");
	} else {
		pg_rows_error(res, err);
	}
	PQclear(res);
	return NULL;
}

PgRows *pg_db_query(PgDb *db, const char *sql, int n, const char *const *params, Err *err)
{
	join(db);
	return checked(db, PQexecParams(db->pg, sql, n, NULL, params, NULL, NULL, 0), err);
}

static bool prepare(PgDb *db, SqlId id, Err *err)
{
	Buf text = { 0 };
	PgRows *rows;

	join(db);
	if (db->prepared[id])
		return true;
	sql_text(id, db->schema, &text);
	rows = checked(db, PQprepare(db->pg, sql_name(id), text.s, 0, NULL), err);
	buf_free(&text);
	db->prepared[id] = rows != NULL;
	pg_rows_free(rows);
	return db->prepared[id];
}

PgRows *pg_db_run(PgDb *db, SqlId id, int n, const char *const *params, Err *err)
{
	if (!prepare(db, id, err))
		return NULL;
	return checked(db, PQexecPrepared(db->pg, sql_name(id), n, params, NULL, NULL, 0), err);
}

static void *in_thread(void *arg)
{
	PgDb *db = arg;

	db->sent.answer = PQexecPrepared(
		db->pg, sql_name(db->sent.id), db->sent.n, db->sent.params, NULL, NULL, 1);
	return NULL;
}

/* A thread reads the answer, so that no full socket holds the server up. Signals are for the
 * caller's. */
bool pg_db_send(PgDb *db, SqlId id, int n, const char *const *params, Err *err)
{
	sigset_t all, before;

	if (!prepare(db, id, err))
		return false;
	assert(db->sent.answer == NULL);
	db->sent.id = id;
	db->sent.n = n;
	db->sent.params = params;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	db->sent.under_way = pthread_create(&db->sent.thread, NULL, in_thread, db) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return db->sent.under_way || err_set(err, ERR_NOMEM, "database: no thread can be started");
}

PgRows *pg_db_take(PgDb *db, Err *err)
{
	PGresult *answer;

	join(db);
	answer = db->sent.answer;
	db->sent.answer = NULL;
	return checked(db, answer, err);
}

bool pg_db_script(PgDb *db, const char *sql, Err *err)
{
	PgRows *rows;

	join(db);
	rows = checked(db, PQexec(db->pg, sql), err);
	pg_rows_free(rows);
	return rows != NULL;
}

/* True where a notification was waiting; takes all of them. */
static bool notified(PgDb *db)
{
	bool any = false;
	PGnotify *note;

	while ((note = PQnotifies(db->pg)) != NULL) {
		PQfreemem(note);
		any = true;
	}
	return any;
}

bool pg_db_wait_notify(PgDb *db, int timeout_ms, Err *err)
{
	struct pollfd fd = { .fd = PQsocket(db->pg), .events = POLLIN };

	err_clear(err);
	join(db);
	if (notified(db))
		return true;
	if (poll(&fd, 1, timeout_ms) <= 0)
		return false;
	if (!PQconsumeInput(db->pg))
		return err_set(err, ERR_CONN, "database: connection lost");
	return notified(db);
}

void pg_db_on_notice(PgDb *db, void (*fn)(void *owner, const char *text), void *owner)
{
	db->notice = fn;
	db->notice_owner = owner;
}

bool pg_db_cancel(PgDb *db)
{
	PGcancel *cancel = PQgetCancel(db->pg);
	char text[256];
	bool ok = cancel != NULL && PQcancel(cancel, text, sizeof(text));

	PQfreeCancel(cancel);
	return ok;
}

const char *pg_db_schema(const PgDb *db)
{
	return db->schema;
}
