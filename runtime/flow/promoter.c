#include "flow/promoter.h"

#include "base/clock.h"
#include "base/fault.h"

#include <inttypes.h>
#include <stdlib.h>

#define LOOK_MS  100
#define BACK_OFF 5000                  /* the longest pause between two tries, in ms */
#define PATIENCE UINT64_C(10000000000) /* so long others' transactions are waited for */

typedef struct {
	const char *name; /* of the projection */
	char build[24];
	char said[1024]; /* what was reported last */
	uint64_t waits_ns, next_ns;
	unsigned pause_ms;
	bool caught_up;
	bool decided; /* it needs approval, or was refused */
} Watch;

struct Promoter {
	uv_loop_t *loop;
	PgTarget target;
	RosterReport report;
	PromoterHandler fn;
	void *owner;
	uv_timer_t *timer;
	PgConn *conn;
	bool up, busy;
	Watch *watches;
	size_t n, at;   /* the one that is looked at */
	unsigned round; /* counts promoter_watch(): answers for an older one are dropped */
	unsigned asked;
};

static Watch *current(Promoter *p)
{
	p->busy = false;
	return p->asked == p->round && p->at < p->n ? &p->watches[p->at] : NULL;
}

static void say(Promoter *p, Watch *w, bool problem, const char *text)
{
	if (text[0] == '\0' || strcmp(w->said, text) == 0)
		return;
	snprintf(w->said, sizeof(w->said), "%s", text);
	p->report(p->owner, w->name, problem, text);
}

static void later(Watch *w)
{
	w->pause_ms = w->pause_ms == 0 ? LOOK_MS : w->pause_ms * 2;
	if (w->pause_ms > BACK_OFF)
		w->pause_ms = BACK_OFF;
	w->next_ns = clock_monotonic_ns() + w->pause_ms * UINT64_C(1000000);
}

static void decide(Promoter *p, Watch *w)
{
	w->decided = true;
	if (!promoter_pending(p))
		p->fn(p->owner, PROMOTER_SETTLED);
}

static void refuse(Promoter *p, Watch *w, const Err *err)
{
	const char *params[] = { w->build, err->message };

	say(p, w, true, err->message);
	pg_conn_run(p->conn, SQL_VERSION_NOTE, 2, params, NULL, NULL);
	pg_conn_sync(p->conn, NULL, NULL);
	decide(p, w);
}

static void on_promoted(void *owner, PgRows *rows, const Err *err)
{
	Promoter *p = owner;
	Watch *w = current(p);

	pg_rows_free(rows);
	if (w == NULL)
		return;
	if (err != NULL && err->kind == ERR_CONN)
		return;
	if (err != NULL && (err_is_retryable(err) || strcmp(err->sqlstate, "MW011") == 0)) {
		const char *params[] = { w->name };

		say(p, w, false, "its promotion waits: somebody reads the table, or it moved");
		if (!err_is_retryable(err)) { /* what was compared holds no longer */
			pg_conn_run(p->conn, SQL_VERSION_COMPARE_AGAIN, 1, params, NULL, NULL);
			pg_conn_sync(p->conn, NULL, NULL);
		}
		later(w);
		return;
	}
	if (err != NULL) {
		refuse(p, w, err);
		return;
	}
	FAULT("promote.after");
	p->report(p->owner, w->name, false, "the version that was built is live now");
	w->decided = true;
	p->fn(p->owner, PROMOTER_PROMOTED);
}

static void promote(Promoter *p, Watch *w)
{
	const char *params[] = { w->name };

	FAULT("promote.before");
	p->busy = true;
	pg_conn_run(p->conn, SQL_VERSION_PROMOTE, 1, params, on_promoted, p);
	pg_conn_sync(p->conn, NULL, NULL);
}

static void waits(Promoter *p, Watch *w)
{
	uint64_t now = clock_monotonic_ns();

	if (w->waits_ns == 0)
		w->waits_ns = now;
	else if (now - w->waits_ns > PATIENCE && !promoter_pending(p))
		p->fn(p->owner, PROMOTER_SETTLED);
}

static void on_step(void *owner, PgRows *rows, const Err *err)
{
	Promoter *p = owner;
	Watch *w = current(p);
	const char *state;

	if (w == NULL || err != NULL) {
		if (w != NULL && err->kind != ERR_CONN) {
			/* MW011: somebody else has settled it, and the plan will say so. */
			if (!err_is_retryable(err) && strcmp(err->sqlstate, "MW011") != 0)
				say(p, w, true, err->message);
			later(w);
		}
		pg_rows_free(rows);
		return;
	}
	state = pg_rows_text(rows, 0, 0);
	snprintf(w->build, sizeof(w->build), "%s", pg_rows_text(rows, 0, 2));
	say(p, w, false, pg_rows_text(rows, 0, 1));
	if (strcmp(state, "building") != 0 && !w->caught_up) {
		w->caught_up = true;
		FAULT("build.caught_up");
	}
	if (strcmp(state, "waiting") == 0)
		waits(p, w);
	if (strcmp(state, "ready") == 0)
		decide(p, w);
	else if (strcmp(state, "go") == 0)
		promote(p, w);
	else if (strcmp(state, "comparing") != 0)
		w->next_ns = clock_monotonic_ns() + LOOK_MS * UINT64_C(1000000);
	pg_rows_free(rows);
}

static void on_conn(PgConn *conn, void *owner, PgEvent ev, int pid, const Err *err)
{
	Promoter *p = owner;

	(void)pid, (void)err;
	p->up = ev == PG_UP || (p->up && ev != PG_LOST);
	if (ev != PG_LOST)
		return;
	pg_conn_close(conn); /* the session's own connections say what that means */
	p->conn = NULL;
	p->busy = false;
}

/* The next one whose time has come. */
static void on_timer(uv_timer_t *t)
{
	Promoter *p = t->data;
	uint64_t now = clock_monotonic_ns();

	if (p->busy)
		return;
	if (p->conn == NULL) {
		p->conn = pg_conn_open(p->loop, &p->target, on_conn, p);
		return;
	}
	for (size_t i = 0; p->up && i < p->n; i++) {
		Watch *w = &p->watches[p->at = (p->at + 1) % p->n];
		const char *params[] = { w->name };

		if (w->decided || w->next_ns > now)
			continue;
		p->busy = true;
		p->asked = p->round;
		pg_conn_run(p->conn, SQL_VERSION_STEP, 1, params, on_step, p);
		pg_conn_sync(p->conn, NULL, NULL);
		return;
	}
}

void promoter_watch(Promoter *p, const RosterEntry *entries, size_t n)
{
	Watch *old = p->watches;
	size_t nold = p->n;

	p->watches = mem_calloc(n + 1, sizeof(*p->watches));
	p->n = p->at = 0;
	p->round++;
	for (size_t i = 0; i < n; i++)
		if (entries[i].next && entries[i].owned && entries[i].runs)
			p->watches[p->n++] = (Watch){ .name = entries[i].consumer.def->name };
	for (size_t i = 0; i < p->n;
		i++) /* nothing is said twice, and nobody waited for for ever */
		for (size_t j = 0; j < nold; j++)
			if (strcmp(p->watches[i].name, old[j].name) == 0) {
				memcpy(p->watches[i].said, old[j].said, sizeof(old[j].said));
				p->watches[i].waits_ns = old[j].waits_ns;
			}
	free(old);
	if (p->n > 0)
		uv_timer_start(p->timer, on_timer, 0, LOOK_MS / 4);
	else
		uv_timer_stop(p->timer);
}

bool promoter_pending(const Promoter *p)
{
	uint64_t now = clock_monotonic_ns();

	for (size_t i = 0; i < p->n; i++)
		if (!p->watches[i].decided &&
			(p->watches[i].waits_ns == 0 || now - p->watches[i].waits_ns < PATIENCE))
			return true;
	return false;
}

Promoter *promoter_new(uv_loop_t *loop, const PgTarget *target, RosterReport report,
	PromoterHandler fn, void *owner)
{
	Promoter *p = mem_calloc(1, sizeof(*p));

	p->loop = loop;
	p->target = *target;
	p->report = report;
	p->fn = fn;
	p->owner = owner;
	p->timer = mem_calloc(1, sizeof(*p->timer));
	uv_timer_init(loop, p->timer);
	p->timer->data = p;
	return p;
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

void promoter_free(Promoter *p)
{
	if (p == NULL)
		return;
	if (p->conn != NULL)
		pg_conn_close(p->conn);
	uv_timer_stop(p->timer);
	uv_close((uv_handle_t *)p->timer, free_handle);
	free(p->watches);
	free(p);
}
