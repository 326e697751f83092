#include "pg/pg_conn.h"

#include "pg/pg_target.h"

#include <assert.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>

typedef enum { C_CONNECTING, C_UP, C_LOST, C_CLOSED } State;

/* Something whose answer is awaited, in the order of sending. */
typedef struct Waiting {
	struct Waiting *next;
	enum { W_ROWS, W_PREPARE, W_SYNC } what;
	PgAnswer fn;
	void *owner;
	struct Prepared *prepared;
} Waiting;

typedef struct Prepared {
	struct Prepared *next;
	bool ready; /* sent, and not known to have failed */
	char *text; /* of named statements from sql/queries, for this schema */
	char name[];
} Prepared;

struct PgConn {
	uv_loop_t *loop;
	uv_poll_t *poll; /* on the heap and one per socket: libpq may exchange its socket */
	uv_timer_t *timer;
	PGconn *pg;
	char *schema;
	PgHandler fn;
	void *owner;
	State state;
	bool entered; /* a callback of ours is running: pg_conn_close() defers the free */
	bool failed;  /* a statement since the last sync has failed; the rest is skipped */
	Err failure;
	Waiting *first, **last;
	Prepared *prepared;
};

static const unsigned allowed[] = {
	[C_CONNECTING] = 1u << C_UP | 1u << C_LOST | 1u << C_CLOSED,
	[C_UP] = 1u << C_LOST | 1u << C_CLOSED,
	[C_LOST] = 1u << C_CLOSED,
	[C_CLOSED] = 0,
};

static void to(PgConn *c, State next) /* the only writer of c->state */
{
	assert(allowed[c->state] & 1u << next);
	c->state = next;
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

static void unwatch(PgConn *c)
{
	if (c->poll != NULL) {
		uv_poll_stop(c->poll);
		uv_close((uv_handle_t *)c->poll, free_handle);
		c->poll = NULL;
	}
}

static void free_if_closed(PgConn *c)
{
	Waiting *w;
	Prepared *p;

	if (c->state != C_CLOSED || c->entered)
		return;
	while ((w = c->first) != NULL) {
		c->first = w->next;
		free(w);
	}
	while ((p = c->prepared) != NULL) {
		c->prepared = p->next;
		free(p->text);
		free(p);
	}
	free(c->schema);
	free(c);
}

static void drop(PgConn *c)
{
	unwatch(c);
	if (c->timer != NULL) {
		uv_timer_stop(c->timer);
		uv_close((uv_handle_t *)c->timer, free_handle);
		c->timer = NULL;
	}
	PQfinish(c->pg);
	c->pg = NULL;
}

/* The one way down: every open answer hears of it, then the owner. */
static void lost(PgConn *c, const Err *err)
{
	Waiting *w;

	if (c->state == C_LOST || c->state == C_CLOSED)
		return;
	to(c, C_LOST);
	drop(c);
	while (c->state == C_LOST && (w = c->first) != NULL) {
		c->first = w->next;
		if (w->fn != NULL)
			w->fn(w->owner, NULL, err);
		free(w);
	}
	if (c->state == C_LOST) {
		c->last = &c->first;
		c->fn(c, c->owner, PG_LOST, 0, err);
	}
}

static void lost_says_libpq(PgConn *c)
{
	const char *text = PQerrorMessage(c->pg);
	Err err;

	err_set(&err, ERR_CONN, "database: %.*s", (int)strcspn(text, "\n"),
		*text ? text : "connection lost");
	lost(c, &err);
}

static void watch(PgConn *c, int events);

/* --- Sending ------------------------------------------------------------------------------------
 */

static void expect(PgConn *c, int what, Prepared *p, PgAnswer fn, void *owner)
{
	Waiting *w = mem_calloc(1, sizeof(*w));

	w->what = what;
	w->prepared = p;
	w->fn = fn;
	w->owner = owner;
	*c->last = w;
	c->last = &w->next;
}

static Prepared *prepared_find(PgConn *c, const char *name)
{
	Prepared *p = c->prepared;

	while (p != NULL && strcmp(p->name, name) != 0)
		p = p->next;
	if (p == NULL) {
		p = mem_calloc(1, sizeof(*p) + strlen(name) + 1);
		memcpy(p->name, name, strlen(name) + 1);
		p->next = c->prepared;
		c->prepared = p;
	}
	return p;
}

static void on_broken(uv_timer_t *t)
{
	PgConn *c = t->data;

	c->entered = true;
	lost_says_libpq(c);
	c->entered = false;
	free_if_closed(c);
}

/* A connection that cannot send is a lost one; said on the next turn, so that no callback runs
 * before the sender has returned. */
static void check_sent(PgConn *c, int sent)
{
	if (sent)
		watch(c, UV_READABLE | UV_WRITABLE);
	else
		uv_timer_start(c->timer, on_broken, 0, 0);
}

void pg_conn_send(PgConn *c, const PgStmt *stmt, int n, const char *const *params, bool binary,
	PgAnswer fn, void *owner)
{
	Prepared *p = NULL;
	int sent = 1;

	if (stmt->name != NULL) {
		p = prepared_find(c, stmt->name);
		if (!p->ready) {
			p->ready = true;
			expect(c, W_PREPARE, p, NULL, NULL);
			if (c->state == C_UP)
				sent = PQsendPrepare(c->pg, p->name, stmt->text, 0, NULL);
		}
	}
	expect(c, W_ROWS, p, fn, owner);
	if (c->state != C_UP)
		return;
	if (sent && p != NULL)
		sent = PQsendQueryPrepared(c->pg, p->name, n, params, NULL, NULL, binary);
	else if (sent)
		sent = PQsendQueryParams(c->pg, stmt->text, n, NULL, params, NULL, NULL, binary);
	check_sent(c, sent);
}

static void run(PgConn *c, SqlId id, int n, const char *const *params, bool binary, PgAnswer fn,
	void *owner)
{
	Prepared *p = prepared_find(c, sql_name(id));

	if (p->text == NULL) {
		Buf text = { 0 };

		sql_text(id, c->schema, &text);
		p->text = text.s;
	}
	pg_conn_send(c, &(PgStmt){ p->name, p->text }, n, params, binary, fn, owner);
}

void pg_conn_run(PgConn *c, SqlId id, int n, const char *const *params, PgAnswer fn, void *owner)
{
	run(c, id, n, params, false, fn, owner);
}

void pg_conn_run_binary(
	PgConn *c, SqlId id, int n, const char *const *params, PgAnswer fn, void *owner)
{
	run(c, id, n, params, true, fn, owner);
}

void pg_conn_sync(PgConn *c, PgAnswer fn, void *owner)
{
	expect(c, W_SYNC, NULL, fn, owner);
	if (c->state != C_UP)
		return;
	check_sent(c, PQpipelineSync(c->pg));
}

/* --- Receiving ----------------------------------------------------------------------------------
 */

static void answer(Waiting *w, PgRows *rows, const Err *err)
{
	if (w->prepared != NULL && w->what == W_PREPARE && err != NULL)
		w->prepared->ready = false;
	if (w->fn != NULL)
		w->fn(w->owner, rows, err);
	else
		PQclear(rows);
	free(w);
}

static Waiting *take(PgConn *c)
{
	Waiting *w = c->first;

	assert(w != NULL);
	c->first = w->next;
	if (c->first == NULL)
		c->last = &c->first;
	return w;
}

/* Hands one result to whoever waits for it. Only the first failure of a transaction has a reason of
 * its own; what was skipped after it is told the same one. */
static void dispatch(PgConn *c, PGresult *res)
{
	Waiting *w;
	Err err;

	switch (PQresultStatus(res)) {
	case PGRES_PIPELINE_SYNC:
		PQclear(res);
		w = take(c);
		assert(w->what == W_SYNC);
		err = c->failure;
		if (c->failed) {
			c->failed = false;
			answer(w, NULL, &err);
		} else {
			answer(w, NULL, NULL);
		}
		return;
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_EMPTY_QUERY:
		answer(take(c), res, NULL);
		return;
	case PGRES_PIPELINE_ABORTED:
		PQclear(res);
		err = c->failure;
		answer(take(c), NULL, &err);
		return;
	default:
		pg_rows_error(res, &err);
		PQclear(res);
		if (!c->failed) {
			c->failed = true;
			c->failure = err;
		}
		answer(take(c), NULL, &err);
	}
}

static void read_answers(PgConn *c)
{
	PGnotify *note;

	while (c->state == C_UP && c->first != NULL && !PQisBusy(c->pg)) {
		PGresult *res = PQgetResult(c->pg);

		if (res != NULL)
			dispatch(c, res);
		else if (PQisBusy(c->pg) || PQstatus(c->pg) == CONNECTION_BAD)
			break; /* NULL parts the answers of one pipeline; more of them may be here
				  already */
	}
	while (c->state == C_UP && (note = PQnotifies(c->pg)) != NULL) {
		int pid = note->be_pid;

		PQfreemem(note);
		c->fn(c, c->owner, PG_NOTIFY, pid, NULL);
	}
}

/* Everything that has arrived, not only one buffer of it: fewer turns of the loop. */
static bool consume(PgConn *c)
{
	struct pollfd fd = { .fd = PQsocket(c->pg), .events = POLLIN };
	int most = 64;

	do {
		if (!PQconsumeInput(c->pg))
			return false;
		PQisBusy(c->pg); /* parses, which makes room in the buffer */
	} while (--most > 0 && poll(&fd, 1, 0) > 0);
	return true;
}

static void step_up(PgConn *c, int events)
{
	int more = 0;

	if (events & UV_READABLE || events == 0) {
		if (!consume(c)) {
			read_answers(c); /* the server's last words, if there are any */
			if (c->state == C_UP)
				lost_says_libpq(c);
			return;
		}
		read_answers(c);
	}
	if (c->state == C_UP)
		more = PQflush(c->pg);
	if (c->state == C_UP && more < 0)
		lost_says_libpq(c);
	else if (c->state == C_UP)
		watch(c, UV_READABLE | (more > 0 ? UV_WRITABLE : 0));
}

/* --- Connecting ---------------------------------------------------------------------------------
 */

static void step_connect(PgConn *c)
{
	PostgresPollingStatusType status;

	unwatch(c); /* before the call: it may close the socket and open another */
	status = PQconnectPoll(c->pg);
	switch (status) {
	case PGRES_POLLING_READING:
		watch(c, UV_READABLE);
		return;
	case PGRES_POLLING_WRITING:
		watch(c, UV_WRITABLE);
		return;
	case PGRES_POLLING_OK:
		uv_timer_stop(c->timer);
		PQsetnonblocking(c->pg, 1);
		PQenterPipelineMode(c->pg);
		to(c, C_UP);
		watch(c, UV_READABLE);
		c->fn(c, c->owner, PG_UP, 0, NULL);
		return;
	default:
		lost_says_libpq(c);
	}
}

/* libuv's `status` is only a hint (POLLERR arrives as UV_EBADF): let libpq name the error. */
static void on_ready(uv_poll_t *w, int status, int events)
{
	PgConn *c = w->data;

	c->entered = true;
	if (c->state == C_CONNECTING)
		step_connect(c);
	else if (c->state == C_UP)
		step_up(c, status < 0 ? UV_READABLE : events);
	c->entered = false;
	free_if_closed(c);
}

static void on_connect_timeout(uv_timer_t *t)
{
	PgConn *c = t->data;
	Err err;

	err_set(&err, ERR_CONN,
		"database: no answer within 10 s (is the server up and reachable?)");
	c->entered = true;
	lost(c, &err);
	c->entered = false;
	free_if_closed(c);
}

static void watch(PgConn *c, int events)
{
	if (c->pg == NULL)
		return;
	if (c->poll == NULL) {
		c->poll = mem_calloc(1, sizeof(*c->poll));
		c->poll->data = c;
		uv_poll_init(c->loop, c->poll, PQsocket(c->pg));
	}
	uv_poll_start(c->poll, events, on_ready);
}

static void on_first_turn(uv_timer_t *t)
{
	PgConn *c = t->data;

	c->entered = true;
	uv_timer_start(t, on_connect_timeout, 10000, 0);
	if (PQstatus(c->pg) == CONNECTION_BAD)
		lost_says_libpq(c);
	else
		watch(c, UV_WRITABLE);
	c->entered = false;
	free_if_closed(c);
}

PgConn *pg_conn_open(uv_loop_t *loop, const PgTarget *target, PgHandler fn, void *owner)
{
	PgConn *c = mem_calloc(1, sizeof(*c));

	c->loop = loop;
	c->fn = fn;
	c->owner = owner;
	c->schema = mem_strdup(target->schema);
	c->last = &c->first;
	c->state = C_CONNECTING;
	c->pg = pg_connect_start(target);
	c->timer = mem_calloc(1, sizeof(*c->timer));
	c->timer->data = c;
	uv_timer_init(loop, c->timer);
	uv_timer_start(c->timer, on_first_turn, 0, 0); /* no callback before we have returned */
	return c;
}

int pg_conn_pid(const PgConn *c)
{
	return c->state == C_UP ? PQbackendPID(c->pg) : 0;
}

const char *pg_conn_schema(const PgConn *c)
{
	return c->schema;
}

void pg_conn_cancel(PgConn *c)
{
	PGcancel *cancel = c->state == C_UP ? PQgetCancel(c->pg) : NULL;
	char text[256];

	if (cancel != NULL)
		PQcancel(cancel, text, sizeof(text));
	PQfreeCancel(cancel);
}

void pg_conn_close(PgConn *c)
{
	if (c == NULL)
		return;
	if (c->state != C_LOST)
		drop(c);
	to(c, C_CLOSED);
	free_if_closed(c);
}
