#include "flow/frontier.h"

#include "base/clock.h"

#include <stdlib.h>

#define POLL_FIRST_MS 1 /* while writers are waited for: doubled up to … */
#define POLL_LAST_MS  50

typedef struct {
	char (*names)[32]; /* virtualtransaction, e.g. "12/3456" */
	size_t count, cap;
} Writers;

struct Frontier {
	uv_timer_t *timer;
	PgConn *conn;
	FrontierHandler fn;
	void *owner;

	bool observing;        /* answers of one observation are awaited */
	bool again;            /* somebody asked meanwhile */
	uint64_t begun, ended; /* observations */
	int64_t now;           /* the server's clock … */
	uint64_t now_ns;       /* … when ours was this */
	int64_t head, settled;
	int64_t target; /* H of the round under way; it is settled when `waited` has ended */
	Writers waited;
	bool waiting;
	unsigned poll_ms;

	bool quiet; /* the last look at the writers found none */

	int64_t raised; /* the floor that is to be proved; 0 = none */
	bool raising;
	bool proves_floor; /* the round under way began after the floor had been raised */
	bool floor_proved; /* it has ended: the next number that is read bounds the rows below the
			      floor */
	int64_t floor, floor_after;
};

static void observe(Frontier *f);

/* --- Sets of writers ----------------------------------------------------------------------------
 */

static bool holds(const Writers *w, const char *name)
{
	for (size_t i = 0; i < w->count; i++)
		if (strcmp(w->names[i], name) == 0)
			return true;
	return false;
}

static void add(Writers *w, const char *name)
{
	if (holds(w, name))
		return;
	if (w->count == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 16;
		w->names = mem_realloc(w->names, w->cap * sizeof(w->names[0]));
	}
	memset(w->names[w->count], 0, sizeof(w->names[0]));
	memcpy(w->names[w->count++], name, strnlen(name, sizeof(w->names[0]) - 1));
}

/* Keeps those of `w` that are among the rows still. PREPARE gives a transaction another name
 * ("-1/…"), so any prepared one may be one of them. */
static void keep_present(Writers *w, const PgRows *rows)
{
	size_t kept = 0;

	for (int r = 0; r < pg_rows_count(rows); r++)
		if (strncmp(pg_rows_text(rows, r, 0), "-1/", 3) == 0)
			add(w, pg_rows_text(rows, r, 0));
	for (size_t i = 0; i < w->count; i++)
		for (int r = 0; r < pg_rows_count(rows); r++)
			if (strcmp(w->names[i], pg_rows_text(rows, r, 0)) == 0) {
				memmove(w->names[kept++], w->names[i], sizeof(w->names[0]));
				break;
			}
	w->count = kept;
}

/* --- Rounds -------------------------------------------------------------------------------------
 */

static void settle(Frontier *f, int64_t upto)
{
	if (upto > f->settled)
		f->settled = upto;
}

static void end_round(Frontier *f)
{
	if (f->target > f->settled)
		f->poll_ms = POLL_FIRST_MS;
	settle(f, f->target);
	f->waiting = false;
	f->floor_proved = f->floor_proved || f->proves_floor;
	f->proves_floor = false;
}

static void begin_round(Frontier *f, const PgRows *writers)
{
	f->target = f->head;
	f->waited.count = 0;
	for (int r = 0; r < pg_rows_count(writers); r++)
		add(&f->waited, pg_rows_text(writers, r, 0));
	f->proves_floor = f->raised != 0;
	f->waiting = f->waited.count > 0;
	if (!f->waiting)
		end_round(f);
}

static void on_head(void *owner, PgRows *rows, const Err *err)
{
	Frontier *f = owner;

	if (err != NULL)
		return; /* the connection's owner hears of it */
	f->head = pg_rows_i64(rows, 0, 0);
	f->now = pg_rows_i64(rows, 0, 1);
	f->now_ns = clock_monotonic_ns();
	pg_rows_free(rows);
	if (f->floor_proved) { /* all who might have used an older floor had drawn their numbers by
				  now */
		f->floor_proved = false;
		f->floor = f->raised;
		f->floor_after = f->head;
		f->raised = 0;
	}
}

static void on_contiguous(void *owner, PgRows *rows, const Err *err)
{
	Frontier *f = owner;

	if (err != NULL)
		return;
	settle(f, pg_rows_i64(rows, 0, 0));
	pg_rows_free(rows);
}

static void on_timer(uv_timer_t *t)
{
	observe(t->data);
}

static void on_writers(void *owner, PgRows *rows, const Err *err)
{
	Frontier *f = owner;

	if (err != NULL)
		return;
	if (f->waiting) {
		keep_present(&f->waited, rows);
		if (f->waited.count == 0)
			end_round(f);
	}
	if (!f->waiting && f->head > f->settled)
		begin_round(f, rows);
	else if (!f->waiting && f->raised != 0 && !f->floor_proved)
		begin_round(f, rows);
	f->quiet = pg_rows_count(rows) == 0;
	pg_rows_free(rows);
}

static void on_observed(void *owner, PgRows *rows, const Err *err)
{
	Frontier *f = owner;
	/* Who asked while this observation was under way gets the answer of the next one. */
	bool again = f->again || f->floor_proved, at_rest;

	(void)rows;
	if (err != NULL)
		return;
	at_rest = f->quiet && f->head <= f->settled && !again;
	f->observing = false;
	f->ended = f->begun;
	if (again) {
		observe(f);
	} else if (f->waiting || !f->quiet) {
		uv_timer_start(f->timer, on_timer, f->poll_ms, 0);
		f->poll_ms = f->poll_ms * 2 < POLL_LAST_MS ? f->poll_ms * 2 : POLL_LAST_MS;
	}
	f->fn(f->owner, at_rest);
}

/* Three statements, each with a snapshot of its own and executed in this order. */
static void observe(Frontier *f)
{
	char from[24];
	const char *params[] = { from };

	uv_timer_stop(f->timer);
	f->observing = true;
	f->again = false;
	f->begun++;
	pg_conn_run(f->conn, SQL_FRONTIER_HEAD, 0, NULL, on_head, f);
	pg_conn_sync(f->conn, NULL, NULL);
	pg_conn_run(f->conn, SQL_FRONTIER_WRITERS, 0, NULL, on_writers, f);
	pg_conn_sync(f->conn, NULL, NULL);
	if (f->waiting && f->settled > 0) { /* rows without a gap before them need no settling */
		snprintf(from, sizeof(from), "%lld", (long long)f->settled);
		pg_conn_run(f->conn, SQL_FRONTIER_CONTIGUOUS, 1, params, on_contiguous, f);
	}
	pg_conn_sync(f->conn, on_observed, f);
}

void frontier_look(Frontier *f)
{
	if (f->observing)
		f->again = true;
	else
		observe(f);
}

/* --- Pruning ------------------------------------------------------------------------------------
 */

static void on_raised(void *owner, PgRows *rows, const Err *err)
{
	Frontier *f = owner;

	f->raising = false;
	if (err != NULL)
		return;
	f->raised = pg_rows_i64(rows, 0, 0); /* proved by the first round that begins after this */
	pg_rows_free(rows);
}

bool frontier_prune(Frontier *f)
{
	if (f->raising || f->raised != 0)
		return false;
	f->raising = true;
	pg_conn_run(f->conn, SQL_RAISE_FLOOR, 0, NULL, on_raised, f);
	pg_conn_sync(f->conn, NULL, NULL);
	frontier_look(f);
	return true;
}

int64_t frontier_floor(const Frontier *f)
{
	return f->floor;
}

int64_t frontier_oldest_after(const Frontier *f, int64_t after)
{
	return f->floor != 0 && after >= f->floor_after ? f->floor : INT64_MIN;
}

/* --- Life ---------------------------------------------------------------------------------------
 */

static void free_handle(uv_handle_t *h)
{
	free(h);
}

Frontier *frontier_new(uv_loop_t *loop, PgConn *conn, FrontierHandler fn, void *owner)
{
	Frontier *f = mem_calloc(1, sizeof(*f));

	f->conn = conn;
	f->fn = fn;
	f->owner = owner;
	f->poll_ms = POLL_FIRST_MS;
	f->timer = mem_calloc(1, sizeof(*f->timer));
	f->timer->data = f;
	uv_timer_init(loop, f->timer);
	return f;
}

void frontier_free(Frontier *f)
{
	if (f == NULL)
		return;
	uv_timer_stop(f->timer);
	uv_close((uv_handle_t *)f->timer, free_handle);
	free(f->waited.names);
	free(f);
}

uint64_t frontier_turn(const Frontier *f)
{
	return f->begun + 1;
}

bool frontier_saw(const Frontier *f, uint64_t turn)
{
	return f->ended >= turn;
}

int64_t frontier_now(const Frontier *f)
{
	return f->now == 0 ? 0 : f->now + (int64_t)((clock_monotonic_ns() - f->now_ns) / 1000);
}

int64_t frontier_head(const Frontier *f)
{
	return f->head;
}

int64_t frontier_settled(const Frontier *f)
{
	return f->settled;
}
