#include "flow/bell.h"

#include <assert.h>
#include <stdlib.h>

typedef enum { RELEASED, QUEUED, HELD, CANCELLING, RELEASING } State;

struct Bell {
	PgConn *conn, *control;
	BellHandler fn;
	void *owner;
	State state;
	bool wanted; /* hold again as soon as the release is through */
};

static const unsigned allowed[] = {
	[RELEASED] = 1u << QUEUED,
	[QUEUED] = 1u << HELD | 1u << CANCELLING,
	[HELD] = 1u << RELEASING,
	[CANCELLING] = 1u << RELEASING | 1u << RELEASED,
	[RELEASING] = 1u << RELEASED,
};

static void to(Bell *b, State next)
{
	assert(allowed[b->state] & 1u << next);
	b->state = next;
}

static void released(Bell *b)
{
	to(b, RELEASED);
	if (b->wanted)
		bell_hold(b);
	else
		b->fn(b->owner);
}

static void send_unlock(Bell *b);

static void on_unlocked(void *owner, PgRows *rows, const Err *err)
{
	pg_rows_free(rows);
	if (err == NULL)
		released(owner);
	else if (err->kind ==
		 ERR_BUSY) /* a cancel that came too late for the wait hit this statement */
		send_unlock(owner);
	/* otherwise the connection is lost, and with it the lock; its owner hears of it */
}

static void send_unlock(Bell *b)
{
	pg_conn_run(b->conn, SQL_BELL_RELEASE, 0, NULL, on_unlocked, b);
	pg_conn_sync(b->conn, NULL, NULL);
}

static void unlock(Bell *b)
{
	to(b, RELEASING);
	send_unlock(b);
}

static void on_lock(void *owner, PgRows *rows, const Err *err)
{
	Bell *b = owner;

	pg_rows_free(rows);
	if (err == NULL && b->state == QUEUED)
		to(b, HELD);
	else if (err == NULL)
		unlock(b); /* it was granted before the cancel arrived */
	else if (err->kind == ERR_BUSY && b->state == CANCELLING)
		unlock(b); /* the cancel may have come just after the grant: a session's lock
			      survives it */
	else if (err->kind == ERR_BUSY &&
		 b->state == QUEUED) { /* someone else's cancel: queue again */
		b->state = RELEASED;
		bell_hold(b);
	}
}

void bell_hold(Bell *b)
{
	b->wanted = true;
	if (b->state != RELEASED)
		return;
	to(b, QUEUED);
	pg_conn_run(b->conn, SQL_BELL_HOLD, 0, NULL, on_lock, b);
	pg_conn_sync(b->conn, NULL, NULL);
}

static void cancel(Bell *b)
{
	char pid[16];
	const char *params[] = { pid };

	to(b, CANCELLING);
	snprintf(pid, sizeof(pid), "%d", pg_conn_pid(b->conn));
	pg_conn_run(b->control, SQL_CANCEL_BACKEND, 1, params, NULL, NULL);
	pg_conn_sync(b->control, NULL, NULL);
}

void bell_release(Bell *b)
{
	b->wanted = false;
	if (b->state == HELD)
		unlock(b);
	else if (b->state == QUEUED)
		cancel(b);
}

Bell *bell_new(PgConn *conn, PgConn *control, BellHandler on_released, void *owner)
{
	Bell *b = mem_calloc(1, sizeof(*b));

	b->conn = conn;
	b->control = control;
	b->fn = on_released;
	b->owner = owner;
	return b;
}

void bell_free(Bell *b)
{
	free(b);
}
