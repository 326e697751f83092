#include "flow/group.h"

#include "base/clock.h"
#include "base/fault.h"
#include "flow/feed.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define SLICE         256    /* events of one crossing into a script; then the loop reads what has arrived */
#define COMMIT_EVENTS 50000  /* in catch-up a transaction ends after so many events … */
#define COMMIT_NS     INT64_C(500000000) /* … or after so long */
#define BATCH_MOST    5000

typedef enum { CONNECTING, READY, LETTERS, LOADING, RUNNING, QUERYING, WAITING, RESETTING, STILL, BROKEN } State;

struct Group {
	uv_loop_t *loop;
	uv_idle_t *idle;
	PgConn *reader, *writer;
	int connected;
	const Frontier *frontier;
	Feed *feed;
	Sink *sink;
	GroupClaim claim;
	Consumer *const *members;
	size_t n;
	GroupProgress *progress;
	GroupHandler fn;
	void *owner;

	State state;
	int64_t handled;      /* in memory */
	int64_t sending;      /* position of the commit under way */
	int64_t asked;        /* the feed has been asked up to here */
	size_t uncommitted;   /* events handled since the last commit was sent */
	size_t sent_events;   /* events of the commit under way … */
	int64_t last, sent_last; /* … and the id of the last one: handled, sent */
	bool full;            /* the last page was as large as pages get: there is a backlog */
	uint64_t first_ns;    /* when the first of them was handled */

	EventSlice page;
	int64_t page_end;     /* scanned_to of the page at hand */
	size_t member, at;    /* who is at work, and on which event */
	size_t loads;         /* answers that are awaited */
	struct Load { Group *group; Consumer *consumer; } *load;

	bool pausing;
	int64_t pause_at;
	bool *due;            /* members whose dead letters are to be retried */
	bool retrying;        /* the keys of the member that is at it have been set free */
	int retried;          /* the member that is at it, -1: none */
	EventPage letters;
	bool dissolving;      /* GROUP_BROKEN as soon as nothing is under way */
	Err why;
};

static void step(Group *g);

static const unsigned allowed[] = {
	[CONNECTING] = 1u << READY | 1u << BROKEN,
	[READY] = 1u << LETTERS | 1u << LOADING | 1u << RUNNING | 1u << WAITING | 1u << STILL | 1u << BROKEN |
		1u << RESETTING,
	[LETTERS] = 1u << READY | 1u << LOADING | 1u << RUNNING | 1u << BROKEN | 1u << RESETTING,
	[LOADING] = 1u << RUNNING | 1u << BROKEN | 1u << RESETTING,
	[RUNNING] = 1u << READY | 1u << QUERYING | 1u << WAITING | 1u << RESETTING | 1u << BROKEN,
	[QUERYING] = 1u << RUNNING | 1u << RESETTING | 1u << BROKEN,
	[WAITING] = 1u << READY | 1u << RUNNING | 1u << RESETTING | 1u << BROKEN,
	[RESETTING] = 1u << READY | 1u << BROKEN,
	[STILL] = 1u << BROKEN,
	[BROKEN] = 0,
};

static void to(Group *g, State next) /* the only writer of g->state */
{
	if (g->state == next)
		return;
	assert(allowed[g->state] & 1u << next);
	g->state = next;
}

static void on_turn(uv_idle_t *idle)
{
	step(idle->data);
}

static void run_on(Group *g, bool on)
{
	if (on)
		uv_idle_start(g->idle, on_turn);
	else
		uv_idle_stop(g->idle);
}

/* --- Giving back ---------------------------------------------------------------------------------- */

static void broken(Group *g, GroupEvent ev, const Err *err)
{
	if (g->state == BROKEN)
		return;
	to(g, BROKEN);
	run_on(g, false);
	g->fn(g, g->owner, ev, err);
}

/* Back to the committed position: pages, states and letters since then never happened. What is under way is
 * waited for: the outcome of a commit decides where we stand. */
static void reset(Group *g)
{
	if (g->state != READY)
		to(g, RESETTING);
	if (sink_busy(g->sink) || g->loads > 0) {
		to(g, RESETTING);
		return;
	}
	sink_abandon(g->sink);
	for (size_t i = 0; i < g->n; i++)
		consumer_forget(g->members[i]);
	feed_discard(g->feed);
	event_page_clear(&g->letters);
	g->retried = -1;
	g->retrying = false;
	g->page = (EventSlice){ 0 };
	g->handled = g->asked = g->claim.position;
	g->uncommitted = 0;
	to(g, READY);
	run_on(g, true);
}

static void dissolve(Group *g, const Err *err)
{
	g->dissolving = true;
	if (err != NULL)
		g->why = *err;
	reset(g);
}

/* --- Failures of scripts -------------------------------------------------------------------------- */

static Str str_or_null(const char *s)
{
	return *s ? str_from(s) : (Str){ NULL, 0 };
}

/* The event was refused for good; its states are as they were before it. */
static void refuse(Group *g, Consumer *c, size_t index, const Err *err)
{
	const Event *e = &g->page.events[index];
	HandlerOps const *ops = c->handler->ops;

	if (c->def->on_error == ON_ERROR_STOP && g->retried < 0) {
		c->stopping = true;
		c->stop_position = e->id - 1;
		c->stop_err = *err;
		c->stop_err.event_id = e->id;
		return;
	}
	consumer_add_letter(c, e->id, ops->key_of(c->handler, g->page, index), str_or_null(err->message),
		str_or_null(err->trace), c->def->on_error != ON_ERROR_SKIP);
	if (c->def->on_error != ON_ERROR_SKIP)
		ops->park(c->handler, g->page, index);
}

/* The member at work has come up to `at`. */
static void passed(Group *g, size_t at)
{
	if (at == g->at)
		return;
	if (g->member == 0 || g->retried >= 0)
		g->uncommitted += at - g->at;
	g->members[g->member]->events += at - g->at;
	g->at = at;
	g->last = g->page.events[at - 1].id;
}

/* A handler raised. Without a copy of the states the batch is repeated, with one: then only the event is lost. A
 * `sql` script's copy is the transaction: such an event gets one of its own. */
static void failed(Group *g, Consumer *c, const Err *err)
{
	const Event *e = &g->page.events[g->at];
	bool careful = e->id <= c->careful_upto && (!c->def->sql || g->uncommitted == 0);

	if (!careful) {
		c->careful_upto = e->id + BATCH_MOST;
		reset(g);
		return;
	}
	if (c->def->sql) { /* what the event had done is rolled back, with it alone */
		sink_abandon(g->sink);
		c->handler->ops->forget(c->handler);
	}
	refuse(g, c, g->at, err);
	passed(g, g->at + 1);
}

/* --- Committing ----------------------------------------------------------------------------------- */

static const char *letters_done(Group *g, Buf *out)
{
	if (g->retried < 0)
		return NULL;
	for (size_t i = 0; i < g->letters.count; i++)
		buf_addf(out, "%c%" PRId64, i ? ',' : '{', g->letters.events[i].id);
	buf_adds(out, out->len ? "}" : "{}");
	return out->s;
}

static void commit(Group *g)
{
	Buf done = { 0 };

	FAULT("group.before_commit");
	g->sending = g->handled;
	g->sent_events = g->uncommitted;
	g->sent_last = g->last;
	g->uncommitted = 0;
	sink_commit(g->sink, g->claim, g->handled, letters_done(g, &done), g->retried);
	if (g->retried >= 0) {
		event_page_clear(&g->letters);
		g->retried = -1;
	}
	buf_free(&done);
	FAULT("group.after_send");
}

/* The server refused what a commit wanted to store. It is deterministic: the member is found by its statement, and
 * stands alone from then on; its event is found by halving the batch. */
static void refused_by_server(Group *g, const Err *err, int culprit)
{
	Consumer *c;

	if (g->n > 1) {
		for (size_t i = 0; i < g->n; i++)
			if (culprit < 0 || culprit == (int)i)
				g->members[i]->solo = true;
		dissolve(g, err);
		return;
	}
	c = g->members[0];
	if (g->sent_events == 0) { /* no event's doing */
		dissolve(g, err);
		return;
	}
	if (g->sent_events == 1) {
		c->poison = g->sent_last;
		c->poison_err = *err;
	}
	c->commit_most = g->sent_events > 1 ? g->sent_events / 2 : 1;
	reset(g);
}

static void commit_went_well(Group *g)
{
	bool left = false;

	FAULT("group.after_commit");
	g->claim.position = g->sending;
	for (size_t i = 0; i < g->n; i++) {
		Consumer *c = g->members[i];

		c->handler->ops->settled(c->handler);
		left = left || c->stopping;
		if (c->commit_most != 0)
			c->commit_most = c->commit_most < BATCH_MOST ? c->commit_most * 2 : 0;
		if (c->commit_most == 0 && !c->def->sql)
			c->solo = false; /* it may join the others again */
	}
	if (left) {
		dissolve(g, &g->members[0]->stop_err);
		return;
	}
	if (g->state == WAITING)
		to(g, g->page.count > g->at ? RUNNING : READY);
	if (g->state == RESETTING)
		reset(g);
	if (g->state == READY || g->state == RUNNING)
		run_on(g, true);
	g->fn(g, g->owner, GROUP_MOVED, NULL);
}

static void on_commit(void *owner, const Err *err, int culprit)
{
	Group *g = owner;

	if (g->state == BROKEN || (err != NULL && err->kind == ERR_CONN))
		return; /* its outcome is unknown: the cursor is read again by whoever claims it next */
	if (err == NULL) {
		commit_went_well(g);
	} else if (err->kind == ERR_STALE) {
		dissolve(g, err);
	} else if (err_is_retryable(err)) {
		dissolve(g, err);
	} else {
		refused_by_server(g, err, culprit);
	}
}

/* --- Handling a page -------------------------------------------------------------------------------- */

static size_t bound(const Group *g, const Consumer *c)
{
	size_t to_index = g->at + SLICE < g->page.count ? g->at + SLICE : g->page.count;
	size_t most = c->def->sql && c->careful_upto >= g->page.events[g->at].id ? 1 : c->commit_most;

	if (most != 0 && to_index - g->at > most - (g->uncommitted < most ? g->uncommitted : most - 1))
		to_index = g->at + most - (g->uncommitted < most ? g->uncommitted : most - 1);
	for (size_t i = g->at; c->poison != 0 && i < to_index; i++)
		if (g->page.events[i].id == c->poison)
			return i;
	return to_index;
}

static void working(Group *g, const Consumer *c, int64_t event_id)
{
	atomic_store(&g->progress->since_ns, clock_monotonic_ns());
	atomic_store(&g->progress->event_id, event_id);
	atomic_store(&g->progress->script, c->def->name);
}

static void on_query_answer(void *owner, Str rows, const Err *err)
{
	Group *g = owner;
	Consumer *c = g->members[0];

	if (g->state == BROKEN || (err != NULL && err->kind == ERR_CONN))
		return;
	if (err != NULL && err_is_retryable(err)) {
		dissolve(g, err);
		return;
	}
	if (err != NULL && err->kind == ERR_STALE) {
		dissolve(g, err);
		return;
	}
	c->handler->ops->resume(c->handler, rows, err);
	to(g, RUNNING);
	run_on(g, true);
}

/* A batch may end in the middle of a page where one transaction must hold few events. */
static bool must_commit_now(const Group *g)
{
	const Consumer *c = g->members[0];

	if (g->n > 1 || g->uncommitted == 0 || g->retried >= 0 || c->stopping)
		return false;
	if (c->def->sql && g->at > 0 && c->careful_upto >= g->page.events[g->at - 1].id)
		return true;
	return c->commit_most != 0 && g->uncommitted >= c->commit_most;
}

static void end_page(Group *g)
{
	if (g->retried < 0)
		g->handled = g->page_end;
	g->page = (EventSlice){ 0 };
	g->member = g->at = 0;
	to(g, READY);
}

static void next_member(Group *g)
{
	g->at = 0;
	g->member = g->retried >= 0 ? g->n : g->member + 1;
	if (g->member >= g->n)
		end_page(g);
}

/* The event whose effects the server refused is not handled again. */
static RunResult run_member(Group *g, Consumer *c, Err *err)
{
	size_t at = g->at;
	int64_t id = g->page.events[at].id;
	RunResult result;

	if (id == c->poison) {
		refuse(g, c, at, &c->poison_err);
		c->poison = 0;
		passed(g, at + 1);
		return RUN_DONE;
	}
	working(g, c, id);
	result = c->handler->ops->run(c->handler, g->page, &at, bound(g, c), id <= c->careful_upto, err);
	atomic_store(&g->progress->script, NULL);
	passed(g, at);
	return result;
}

static void run_slice(Group *g)
{
	Consumer *c = g->members[g->member];
	RunResult result;
	Err err;

	if (c->stopping || g->at >= g->page.count) {
		next_member(g);
		return;
	}
	result = run_member(g, c, &err);
	if (result == RUN_QUERY) {
		to(g, QUERYING);
		run_on(g, false);
		sink_query(g->sink, g->claim, (int)g->member, on_query_answer, g);
	} else if (result == RUN_FAILED) {
		failed(g, c, &err);
	}
	if (g->state == RUNNING && must_commit_now(g)) {
		g->handled = g->last;
		if (g->at == g->page.count)
			end_page(g);
		else
			to(g, READY);
		to(g, WAITING);
		commit(g);
		run_on(g, false);
	}
}

static void on_load(void *owner, PgRows *rows, const Err *err)
{
	struct Load *load = owner;
	Group *g = load->group;
	Err bad;

	g->loads--;
	if (err != NULL) {
		if (err->kind != ERR_CONN && g->state != BROKEN)
			dissolve(g, err);
		return;
	}
	for (int i = 0; g->state == LOADING && i < pg_rows_count(rows); i++)
		if (!load->consumer->handler->ops->load(load->consumer->handler,
			    (size_t)pg_rows_i64(rows, i, 0), pg_rows_str(rows, i, 1), &bad)) {
			load->consumer->stopping = true;
			load->consumer->stop_position = g->handled;
			load->consumer->stop_err = bad;
		}
	pg_rows_free(rows);
	if (g->loads > 0)
		return;
	if (g->state == RESETTING) {
		reset(g);
	} else if (g->state == LOADING) {
		to(g, RUNNING);
		run_on(g, true);
	}
}

/* The states of the whole page's keys, one statement for each script that lacks any. */
static void begin_page(Group *g, EventSlice page)
{
	g->page = page;
	g->member = g->retried >= 0 ? (size_t)g->retried : 0;
	g->at = 0;
	g->loads = 0;
	if (g->uncommitted == 0)
		g->first_ns = clock_monotonic_ns();
	for (size_t i = g->member; i < (g->retried >= 0 ? g->member + 1 : g->n); i++) {
		Consumer *c = g->members[i];
		Str missing = { NULL, 0 };

		c->handler->ops->need(c->handler, page, 0, page.count, &missing);
		if (missing.len == 0 || c->load.text == NULL)
			continue;
		g->load[i] = (struct Load){ g, c };
		pg_conn_send(g->reader, &c->load, 1, &missing.s, false, on_load, &g->load[i]);
		g->loads++;
	}
	if (g->loads > 0)
		pg_conn_sync(g->reader, NULL, NULL);
	to(g, g->loads > 0 ? LOADING : RUNNING);
	run_on(g, g->loads == 0);
}

/* --- Dead letters --------------------------------------------------------------------------------- */

/* Dead letters are tried again one by one, each in a transaction of its own, in the order of the log; one that
 * fails again parks its key, so that those behind it stay where they are. */
static void on_letters(void *owner, PgRows *rows, const Err *err)
{
	Group *g = owner;
	Consumer *c;
	Err bad;

	if (err != NULL || g->state != LETTERS) {
		pg_rows_free(rows);
		if (err != NULL && err->kind != ERR_CONN && g->state == LETTERS)
			dissolve(g, err);
		return;
	}
	c = g->members[g->retried];
	if (!event_page_fill(&g->letters, rows, &bad) || g->letters.count == 0) {
		g->due[g->retried] = g->retrying = false;
		g->retried = -1;
		to(g, READY);
		run_on(g, true);
		return;
	}
	if (c->careful_upto < g->letters.events[0].id)
		c->careful_upto = g->letters.events[0].id;
	begin_page(g, (EventSlice){ g->letters.events, g->letters.count });
}

static void on_keys(void *owner, PgRows *rows, const Err *err)
{
	Group *g = owner;

	for (int i = 0; err == NULL && g->state == LETTERS && i < pg_rows_count(rows); i++) {
		Handler *h = g->members[g->retried]->handler;

		h->ops->set_parked(h, pg_rows_str(rows, i, 1), true);
	}
	pg_rows_free(rows);
}

/* Sets the keys free whose letters are all due; the others stay parked. */
static void free_keys(Group *g, Consumer *c)
{
	char names[80];
	const char *params[] = { names, "f" };

	g->retrying = true;
	snprintf(names, sizeof(names), "{%s}", c->def->name);
	c->handler->ops->set_parked(c->handler, (Str){ NULL, 0 }, false);
	pg_conn_run(g->reader, SQL_DEAD_LETTERS_KEYS, 2, params, on_keys, g);
}

static bool begin_retry(Group *g)
{
	size_t i = 0;
	const char *params[1];

	while (i < g->n && !g->due[i])
		i++;
	if (i == g->n)
		return false;
	g->retried = (int)i;
	to(g, LETTERS);
	run_on(g, false);
	if (!g->retrying)
		free_keys(g, g->members[i]);
	params[0] = g->members[i]->def->name;
	pg_conn_run_binary(g->reader, SQL_EVENTS_DEAD, 1, params, on_letters, g);
	pg_conn_sync(g->reader, NULL, NULL);
	return true;
}

/* --- The heart ------------------------------------------------------------------------------------ */

static int64_t horizon(const Group *g)
{
	int64_t settled = frontier_settled(g->frontier);

	if (g->pausing && g->pause_at >= 0 && g->pause_at < settled)
		return g->pause_at;
	return g->pausing && g->pause_at < 0 ? g->handled : settled;
}

static void ask_ahead(Group *g)
{
	if (feed_busy(g->feed) || g->asked < 0 || g->asked >= horizon(g))
		return;
	feed_ask(g->feed, g->asked, horizon(g), frontier_oldest_after(g->frontier, g->asked), 0);
	g->asked = -1; /* known again when the page is taken */
}

/* Live, every page is committed at once; with a backlog, many pages together. */
static bool should_commit(const Group *g)
{
	bool dirty = g->handled > g->claim.position || g->retried >= 0;

	if (!dirty || sink_busy(g->sink))
		return false;
	return !g->full || g->pausing || g->retried >= 0 || g->uncommitted >= COMMIT_EVENTS ||
		clock_monotonic_ns() - g->first_ns >= COMMIT_NS;
}

static void at_rest(Group *g)
{
	run_on(g, false);
	if (sink_busy(g->sink) || feed_busy(g->feed))
		return;
	if (g->dissolving) {
		broken(g, GROUP_BROKEN, g->why.kind != ERR_NONE ? &g->why : NULL);
	} else if (g->pausing && g->claim.position >= horizon(g)) {
		to(g, STILL);
		g->fn(g, g->owner, GROUP_PAUSED, NULL);
	} else if (g->claim.position >= frontier_settled(g->frontier)) {
		g->fn(g, g->owner, GROUP_IDLE, NULL);
	}
}

static bool take_page(Group *g)
{
	FeedPage *next;

	if (g->uncommitted >= COMMIT_EVENTS) /* the commit under way comes first */
		return false;
	next = feed_take(g->feed);
	if (next == NULL)
		return false;
	g->page_end = next->scanned_to;
	g->asked = next->scanned_to;
	g->full = next->scanned_to < horizon(g) && next->page.count > 0;
	begin_page(g, (EventSlice){ next->page.events, next->page.count });
	ask_ahead(g); /* after the states were asked for: they come first */
	return true;
}

static void step_ready(Group *g)
{
	if (g->dissolving) {
		at_rest(g);
		return;
	}
	if (should_commit(g))
		commit(g);
	if (!g->pausing && !sink_busy(g->sink) && begin_retry(g))
		return;
	if (take_page(g))
		return;
	ask_ahead(g);
	at_rest(g);
}

static void step(Group *g)
{
	if (g->state == RUNNING)
		run_slice(g);
	else if (g->state == READY)
		step_ready(g);
	else
		run_on(g, false);
}

static void on_feed(void *owner, const Err *err)
{
	Group *g = owner;

	if (err != NULL && err->kind == ERR_CONN)
		return;
	if (err != NULL) {
		dissolve(g, err);
		return;
	}
	if (g->state == READY)
		run_on(g, true);
}

/* --- Life ----------------------------------------------------------------------------------------- */

static void on_conn(PgConn *conn, void *owner, PgEvent ev, int pid, const Err *err)
{
	Group *g = owner;

	(void)conn, (void)pid;
	if (ev == PG_LOST) {
		broken(g, GROUP_LOST, err);
	} else if (ev == PG_UP && ++g->connected == 2) {
		to(g, READY);
		run_on(g, true);
	}
}

Group *group_open(uv_loop_t *loop, const PgTarget *target, const Frontier *frontier, GroupClaim claim,
	Consumer *const *members, size_t n, GroupProgress *progress, GroupHandler fn, void *owner)
{
	Group *g = mem_calloc(1, sizeof(*g));
	const Definition **defs = mem_calloc(n, sizeof(*defs));

	*g = (Group){ .loop = loop, .frontier = frontier, .claim = claim, .members = members, .n = n,
		.progress = progress, .fn = fn, .owner = owner, .state = CONNECTING, .retried = -1 };
	g->handled = g->asked = claim.position;
	g->load = mem_calloc(n, sizeof(*g->load));
	g->due = mem_calloc(n, sizeof(*g->due));
	g->idle = mem_calloc(1, sizeof(*g->idle));
	g->idle->data = g;
	uv_idle_init(loop, g->idle);
	for (size_t i = 0; i < n; i++)
		defs[i] = members[i]->def;
	g->reader = pg_conn_open(loop, target, on_conn, g);
	g->writer = pg_conn_open(loop, target, on_conn, g);
	g->feed = feed_new(g->reader, defs, n, on_feed, g);
	g->sink = sink_new(g->writer, members, n, on_commit, g);
	free(defs);
	return g;
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

void group_close(Group *g)
{
	if (g == NULL)
		return;
	pg_conn_close(g->reader);
	pg_conn_close(g->writer);
	for (size_t i = 0; i < g->n; i++)
		consumer_forget(g->members[i]);
	uv_idle_stop(g->idle);
	uv_close((uv_handle_t *)g->idle, free_handle);
	feed_free(g->feed);
	sink_free(g->sink);
	event_page_free(&g->letters);
	free(g->load);
	free(g->due);
	free(g);
}

void group_wake(Group *g)
{
	if (g->state == READY)
		run_on(g, true);
}

void group_pause(Group *g, int64_t at)
{
	g->pausing = true;
	g->pause_at = at;
	group_wake(g);
}

void group_retry(Group *g, size_t member)
{
	g->due[member] = true;
	group_wake(g);
}

GroupClaim group_claim(const Group *g)
{
	return g->claim;
}

bool group_is_idle(const Group *g)
{
	return g->state == READY && !sink_busy(g->sink) && !feed_busy(g->feed) && !g->pausing &&
		g->claim.position >= frontier_settled(g->frontier);
}

int group_backend(const Group *g)
{
	return pg_conn_pid(g->writer);
}
