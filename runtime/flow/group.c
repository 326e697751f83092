#include "flow/group_parts.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>

/* In catch-up a transaction ends after so many events, so long, or when a script holds so much:
 * states that are not committed cannot be dropped. */
#define COMMIT_EVENTS 250000
#define COMMIT_NS     UINT64_C(2000000000)
#define COMMIT_MEMORY ((size_t)40 << 20)

static void step(Group *g);

static const unsigned allowed[] = {
	[CONNECTING] = 1u << READY | 1u << BROKEN,
	[READY] = 1u << RESTORING | 1u << LETTERS | 1u << LOADING | 1u << TICKING | 1u << ASKING |
		  1u << RUNNING | 1u << WAITING | 1u << STILL | 1u << BROKEN | 1u << RESETTING,
	[RESTORING] = 1u << READY | 1u << BROKEN | 1u << RESETTING,
	[LETTERS] = 1u << READY | 1u << LOADING | 1u << RUNNING | 1u << BROKEN | 1u << RESETTING,
	[LOADING] = 1u << RUNNING | 1u << BROKEN | 1u << RESETTING,
	[TICKING] = 1u << READY | 1u << BROKEN | 1u << RESETTING,
	[ASKING] = 1u << READY | 1u << BROKEN | 1u << RESETTING,
	[RUNNING] = 1u << READY | 1u << QUERYING | 1u << WAITING | 1u << RESETTING | 1u << BROKEN,
	[QUERYING] = 1u << RUNNING | 1u << RESETTING | 1u << BROKEN,
	[WAITING] = 1u << READY | 1u << RUNNING | 1u << RESETTING | 1u << BROKEN,
	[RESETTING] = 1u << READY | 1u << BROKEN,
	[STILL] = 1u << BROKEN,
	[BROKEN] = 0,
};

void group_to(Group *g, GroupState next) /* the only writer of g->state */
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

void group_run_on(Group *g, bool on)
{
	if (on)
		uv_idle_start(g->idle, on_turn);
	else
		uv_idle_stop(g->idle);
}

/* --- Giving back
 * ---------------------------------------------------------------------------------- */

static void broken(Group *g, GroupEvent ev, const Err *err)
{
	if (g->state == BROKEN)
		return;
	group_to(g, BROKEN);
	group_run_on(g, false);
	g->fn(g, g->owner, ev, err);
}

/* A member that did nothing since then has nothing to forget. */
static void reset_member(Group *g, Consumer *c)
{
	if (c->touched || c->sent || c->stopping || c->must_stop)
		consumer_forget(c);
	buf_clear(&c->letters);
	if (!c->must_stop)
		return;
	c->must_stop = false;
	c->stopping = g->ticked = true;
	c->stop_position = g->claim.position;
}

/* Back to the committed position: pages, states and letters since then never happened. What is
 * under way is waited for: the outcome of a commit decides where we stand. */
void group_reset(Group *g)
{
	if (g->state != READY)
		group_to(g, RESETTING);
	if (sink_busy(g->sink) || g->loads > 0) {
		group_to(g, RESETTING);
		return;
	}
	sink_abandon(g->sink);
	g->ticked = false;
	for (size_t i = 0; i < g->n; i++)
		reset_member(g, g->members[i]);
	feed_restart(g->feed, g->claim.position);
	deliveries_clear(g->given);
	event_page_clear(&g->letters);
	g->retried = -1;
	g->retrying = false;
	g->page = (EventSlice){ 0 };
	g->handled = g->sending = g->claim.position;
	g->uncommitted = 0;
	g->commits_done = g->commits_sent;
	g->stepped = false;
	g->bound_at = -1;
	g->round_to = INT64_MIN;
	group_to(g, READY);
	group_run_on(g, true);
}

void group_stop(Group *g, Consumer *c, const Err *err)
{
	c->must_stop = true;
	c->stop_err = *err;
	group_reset(g);
}

void group_dissolve(Group *g, const Err *err)
{
	g->dissolving = true;
	if (err != NULL)
		g->why = *err;
	group_reset(g);
}

/* --- The heart
 * ------------------------------------------------------------------------------------ */

/* Where it stops, or how far the log can be read. */
static int64_t end(const Group *g)
{
	int64_t settled = frontier_settled(g->frontier);

	if (g->pausing && g->pause_at >= 0 && g->pause_at < settled)
		return g->pause_at;
	return g->pausing && g->pause_at < 0 ? g->handled : settled;
}

static int64_t horizon(const Group *g)
{
	int64_t upto = end(g), rebuild = group_rebuild_end(g);

	return upto < rebuild ? upto : rebuild;
}

static void ask_ahead(Group *g)
{
	feed_ask(g->feed, horizon(g), frontier_oldest_after(g->frontier, feed_reached(g->feed)));
}

bool group_is_dirty(const Group *g)
{
	return g->handled > g->sending || g->ticked || g->retried >= 0;
}

/* The transaction at hand is large enough. */
static bool is_full(const Group *g)
{
	if (g->uncommitted >= COMMIT_EVENTS || clock_monotonic_ns() - g->first_ns >= COMMIT_NS)
		return true;
	for (size_t i = 0; i < g->n; i++)
		if (g->members[i]->handler->ops->memory(g->members[i]->handler) >= COMMIT_MEMORY)
			return true;
	return false;
}

/* Live, every page is committed at once; with a backlog, many pages together. */
static bool should_commit(const Group *g)
{
	if (sink_busy(g->sink))
		return false;
	if (group_ends_rebuild(g))
		return true;
	if (!group_is_dirty(g))
		return false;
	return !g->full || g->pausing || g->retried >= 0 || g->stepped || is_full(g);
}

bool group_must_wait(const Group *g)
{
	return group_is_dirty(g) && sink_busy(g->sink) && is_full(g);
}

static void at_rest(Group *g)
{
	group_run_on(g, false);
	if (sink_busy(g->sink) || feed_busy(g->feed))
		return;
	if (g->dissolving) {
		broken(g, GROUP_BROKEN, g->why.kind != ERR_NONE ? &g->why : NULL);
	} else if (g->pausing && g->claim.position >= end(g)) {
		group_to(g, STILL);
		g->fn(g, g->owner, GROUP_PAUSED, NULL);
	} else if (g->claim.position >= frontier_settled(g->frontier)) {
		g->fn(g, g->owner, GROUP_IDLE, NULL);
	}
}

static bool take_page(Group *g)
{
	FeedPage *next;

	if (group_must_wait(g))
		return false;
	if (g->pausing && g->pause_at < 0) /* what has come is read again by whoever goes on */
		feed_restart(g->feed, g->handled);
	next = feed_take(g->feed);
	if (next == NULL)
		return false;
	g->page_end = next->scanned_to;
	g->full = next->scanned_to < horizon(g) && next->page.count > 0;
	group_begin_page(g, (EventSlice){ next->page.events, next->page.count });
	ask_ahead(g);
	return true;
}

static void step_ready(Group *g)
{
	if (g->dissolving) {
		at_rest(g);
		return;
	}
	if (group_begin_restore(g) || group_begin_clock(g))
		return;
	if (should_commit(g)) {
		if (group_begin_bound(g))
			return;
		group_commit(g);
	}
	if (!g->pausing && !sink_busy(g->sink) && group_begin_retry(g))
		return;
	if (take_page(g))
		return;
	ask_ahead(g);
	at_rest(g);
}

static void step(Group *g)
{
	if (g->state == RUNNING)
		group_run_slice(g);
	else if (g->state == READY)
		step_ready(g);
	else
		group_run_on(g, false);
}

static void on_feed(void *owner, const Err *err)
{
	Group *g = owner;

	if (err != NULL && err->kind == ERR_CONN)
		return;
	if (err != NULL) {
		group_dissolve(g, err);
		return;
	}
	if (g->state != RESETTING && g->state != BROKEN)
		ask_ahead(g); /* at once: the server works on while we handle what has come */
	if (g->state == READY)
		group_run_on(g, true);
}

/* --- Life
 * ----------------------------------------------------------------------------------------- */

static void on_conn(PgConn *conn, void *owner, PgEvent ev, int pid, const Err *err)
{
	Group *g = owner;

	(void)conn, (void)pid;
	if (ev == PG_LOST) {
		broken(g, GROUP_LOST, err);
	} else if (ev == PG_UP && ++g->connected == 2) {
		group_to(g, READY);
		group_run_on(g, true);
	}
}

Group *group_open(uv_loop_t *loop, const PgTarget *target, Frontier *frontier, GroupClaim claim,
	Consumer *const *members, size_t n, GroupProgress *progress, GroupHandler fn, void *owner)
{
	Group *g = mem_calloc(1, sizeof(*g));
	const Definition **defs = mem_calloc(n, sizeof(*defs));

	*g = (Group){ .loop = loop,
		.frontier = frontier,
		.claim = claim,
		.members = members,
		.n = n,
		.progress = progress,
		.fn = fn,
		.owner = owner,
		.state = CONNECTING,
		.bound_at = -1,
		.clock = INT64_MIN,
		.ceiling = INT64_MAX,
		.round_to = INT64_MIN,
		.retried = -1 };
	g->handled = g->sending = claim.position;
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
	feed_restart(g->feed, claim.position);
	g->sink = sink_new(g->writer, members, n, group_on_commit, g);
	g->given = deliveries_new(members, n);
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
	deliveries_free(g->given);
	event_page_free(&g->letters);
	free(g->load);
	free(g->due);
	free(g);
}

void group_wake(Group *g)
{
	if (g->state == READY)
		group_run_on(g, true);
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
	       !group_wants(g) && !group_is_dirty(g) && !group_clock_pending(g) &&
	       g->claim.position >= frontier_settled(g->frontier);
}

int group_backend(const Group *g)
{
	return pg_conn_pid(g->writer);
}
