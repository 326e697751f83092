#include "flow/group_parts.h"

#include "base/clock.h"
#include "base/fault.h"

#include <inttypes.h>

/* The clocks of rules where no event moves them. A timer may fire once no event can come any more
 * that is older: the frontier's floor says so, or the log itself, for what is read from history. */

#define TIMERS_MOST 2000 /* whose states are loaded at a time */

/* --- How far the clocks may go
 * ------------------------------------------------------------------- */

/* No event that is still to be handled is older than this. */
static int64_t proven(const Group *g)
{
	int64_t floor = frontier_oldest_after(g->frontier, g->handled);

	return g->bound_at == g->handled && g->bound > floor ? g->bound : floor;
}

/* Whether a rebuild ends here: its timers fire first, as they did before it. */
static bool ends_rebuild(const Group *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (consumer_ends_rebuild(g->members[i], g->handled))
			return true;
	return false;
}

int64_t group_rebuild_end(const Group *g)
{
	int64_t end = INT64_MAX;

	for (size_t i = 0; i < g->n; i++) {
		int64_t from = g->members[i]->live_from;

		if (from != 0 && from < end && !g->members[i]->stopping)
			end = from;
	}
	return end;
}

/* A rule over alerts waits for the others; not where a rebuild ends, since what it waits for then
 * lies behind that. */
static bool is_late(const Group *g, const Consumer *c)
{
	return c->def->after_alerts && !consumer_ends_rebuild(c, g->handled);
}

/* The member of one sort whose clock has the earliest thing to do; equal ones by their names, so
 * that it does not matter how they came together. g->n: none of them has anything. */
static size_t earliest(const Group *g, bool late, size_t but)
{
	size_t best = g->n;

	for (size_t i = 0; i < g->n; i++) {
		const Consumer *c = g->members[i], *b = best < g->n ? g->members[best] : NULL;

		if (i == but || c->due == INT64_MAX || c->stopping || is_late(g, c) != late)
			continue;
		if (b == NULL || c->due < b->due ||
			(c->due == b->due && strcmp(c->name, b->name) < 0))
			best = i;
	}
	return best;
}

static int64_t due_of(const Group *g, size_t member)
{
	return member < g->n ? g->members[member]->due : INT64_MAX;
}

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* --- Firing
 * -------------------------------------------------------------------------------------- */

static void tick(Group *g)
{
	Consumer *c = g->members[g->member];
	Err bad;
	bool ok;

	FAULT("group.before_advance");
	if (!group_is_dirty(g))
		g->first_ns = clock_monotonic_ns();
	atomic_store(&g->progress->script, c->name);
	ok = c->handler->ops->advance(c->handler, g->tick_to, g->tick_once, &bad);
	atomic_store(&g->progress->script, NULL);
	consumer_touch(c);
	g->ticked = true;
	g->stepped = g->stepped || g->tick_once;
	group_to(g, READY);
	group_run_on(g, true);
	if (!ok)
		group_stop(g, c, &bad);
}

static void on_due(void *owner, PgRows *rows, const Err *err)
{
	struct Load *load = owner;
	Group *g = load->group;
	Err bad;
	bool ok = true;

	g->loads--;
	if (err != NULL) {
		if (err->kind != ERR_CONN && g->state != BROKEN)
			group_dissolve(g, err);
		return;
	}
	if (g->state == TICKING)
		ok = group_take_states(load, rows, &bad);
	pg_rows_free(rows);
	if (g->state == RESETTING) {
		group_reset(g);
	} else if (g->state == TICKING && ok) {
		tick(g);
	} else if (g->state == TICKING) {
		group_stop(g, load->consumer, &bad);
	}
}

/* Fires a member's timers up to a horizon, or the first of them. */
static void begin_tick(Group *g, size_t member, int64_t to, bool once)
{
	Consumer *c = g->members[member];
	Str missing = { NULL, 0 };

	g->member = member;
	g->tick_to = to;
	g->tick_once = once;
	group_to(g, TICKING);
	c->handler->ops->due(c->handler, to, TIMERS_MOST, &missing);
	if (missing.len == 0) {
		tick(g);
		return;
	}
	group_run_on(g, false);
	g->loads = 1;
	g->load[member] = (struct Load){ g, c };
	pg_conn_send(g->reader, &c->load, 1, &missing.s, false, on_due, &g->load[member]);
	pg_conn_sync(g->reader, NULL, NULL);
}

/* --- Rules over alerts
 * --------------------------------------------------------------------------- */

/* They go to the same instant as the others, when what the others raised until there has been read
 * and handled; then always the one with the earliest timer, up to the first thing that is raised,
 * which the others have to hear before anybody goes on. */

static void expect_echo(Echo *e, uint64_t commit, bool only)
{
	*e = (Echo){ .commit = commit, .head = INT64_MAX, .only = only };
}

/* Whether what that commit raised, and all before it, was handled, and what came of it committed.
 */
static bool heard(Group *g, Echo *e)
{
	if (g->commits_done < e->commit)
		return false;
	if (e->turn == 0) {
		e->turn = frontier_turn(g->frontier);
		frontier_look(g->frontier);
	}
	if (e->head == INT64_MAX && frontier_saw(g->frontier, e->turn))
		e->head = frontier_head(g->frontier);
	return g->claim.position >= e->head;
}

/* What they did with events is not known to the others yet. */
static bool are_late_at_work(const Group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		const Consumer *c = g->members[i];

		if (c->def->after_alerts && (c->touched || c->sent))
			return true;
	}
	return false;
}

static bool begin_late_tick(Group *g, int64_t horizon)
{
	size_t first = earliest(g, true, g->n);
	int64_t due = due_of(g, first), next;

	if (due > g->round_to) { /* the round before is over: as far as the others are */
		horizon = min(horizon, g->ceiling);
		if (due > horizon)
			return false;
		g->round_to = horizon;
		expect_echo(&g->round, g->commits_sent + group_is_dirty(g), false);
	}
	if (are_late_at_work(g) || !heard(g, &g->round))
		return false;
	next = due_of(g, earliest(g, true, first));
	expect_echo(&g->round, g->commits_sent + 1, true);
	begin_tick(g, first, min(g->round_to, next > due ? next - 1 : due), true);
	return true;
}

void group_listen(Group *g, bool raised, bool late)
{
	g->commits_done = g->commits_sent;
	if (raised)
		expect_echo(&g->echo, g->commits_done, true);
	if (late) /* by an event that the others have heard: now they have to hear of this */
		expect_echo(&g->round, g->commits_done, false);
	else if (!raised && g->round.only && g->round.commit == g->commits_done)
		g->round.head = 0; /* there is nothing to be heard */
}

bool group_begin_clock(Group *g)
{
	int64_t horizon = proven(g);
	size_t first = earliest(g, false, g->n);

	if (g->pausing || group_must_wait(g))
		return false;
	if (due_of(g, first) <= horizon) {
		begin_tick(g, first, horizon, false);
		return true;
	}
	return begin_late_tick(g, horizon);
}

bool group_clock_pending(const Group *g)
{
	return group_next_due(g, INT64_MIN) <= proven(g);
}

/* --- History
 * ------------------------------------------------------------------------------------- */

static void on_oldest(void *owner, PgRows *rows, const Err *err)
{
	Group *g = owner;

	g->loads--;
	if (err != NULL) {
		if (err->kind != ERR_CONN && g->state != BROKEN)
			group_dissolve(g, err);
		return;
	}
	g->bound_at = g->handled;
	if (!pg_rows_null(rows, 0, 0))
		g->bound = min(g->bound, pg_rows_i64(rows, 0, 0));
	pg_rows_free(rows);
	if (g->state == RESETTING) {
		group_reset(g);
	} else if (g->state == ASKING) {
		group_to(g, READY);
		group_run_on(g, true);
	}
}

/* In history the floor is far away: before a commit the log is asked for the oldest event behind
 * it, so that alerts go to the log in the order of their instants. */
bool group_begin_bound(Group *g)
{
	int64_t settled = frontier_settled(g->frontier);
	int64_t floor = frontier_oldest_after(g->frontier, settled);
	int64_t due = due_of(g, earliest(g, false, g->n));
	char from[24], to[24];
	const char *params[] = { from, to };

	if (g->bound_at == g->handled || floor == INT64_MIN || g->retried >= 0 ||
		frontier_oldest_after(g->frontier, g->handled) != INT64_MIN)
		return false;
	if (!group_ends_rebuild(g) && (!g->full || due > g->newest))
		return false;
	g->bound = floor;
	g->loads = 1;
	snprintf(from, sizeof(from), "%" PRId64, g->handled);
	snprintf(to, sizeof(to), "%" PRId64, settled);
	group_to(g, ASKING);
	group_run_on(g, false);
	pg_conn_run(g->reader, SQL_EVENTS_OLDEST, 2, params, on_oldest, g);
	pg_conn_sync(g->reader, NULL, NULL);
	return true;
}

/* A rebuild ends with a commit of its own, when it is known how far the timers have to go: to the
 * next event, or as far as they may have fired before it began. */
bool group_ends_rebuild(const Group *g)
{
	return !g->pausing && ends_rebuild(g) &&
	       frontier_oldest_after(g->frontier, frontier_settled(g->frontier)) >= g->since;
}

void group_mark_rebuilt(Group *g)
{
	bool known = group_ends_rebuild(g) && proven(g) != INT64_MIN;

	for (size_t i = 0; i < g->n; i++)
		g->members[i]->rebuilt = known && consumer_ends_rebuild(g->members[i], g->handled);
}

/* --- What the session asks
 * ----------------------------------------------------------------------- */

bool group_has_late(const Group *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->members[i]->def->after_alerts)
			return true;
	return false;
}

void group_set_ceiling(Group *g, int64_t us)
{
	if (g->ceiling == us)
		return;
	g->ceiling = us;
	group_wake(g);
}

bool group_is_behind(const Group *g)
{
	return frontier_oldest_after(g->frontier, g->claim.position) == INT64_MIN;
}

/* What it did is committed, and its timers are known. */
static bool is_settled(const Group *g)
{
	return !group_is_dirty(g) && g->commits_done == g->commits_sent && !group_wants(g) &&
	       group_rebuild_end(g) == INT64_MAX;
}

int64_t group_clock(Group *g)
{
	bool plain = false;

	for (size_t i = 0; i < g->n; i++)
		plain = plain ||
			(g->members[i]->def->has_clock && !g->members[i]->def->after_alerts);
	if (!plain)
		return INT64_MAX;
	if (is_settled(g) && !group_is_behind(g) &&
		due_of(g, earliest(g, false, g->n)) > frontier_floor(g->frontier))
		g->clock = frontier_floor(g->frontier);
	return g->clock;
}

int64_t group_next_due(const Group *g, int64_t after)
{
	int64_t due = INT64_MAX;

	for (size_t i = 0; i < g->n; i++)
		if (g->members[i]->due > after && !g->members[i]->stopping)
			due = min(due, g->members[i]->due);
	return due;
}

int64_t group_wants_floor(const Group *g, int64_t floor)
{
	if (ends_rebuild(g) && g->since > floor)
		return g->since;
	return group_is_behind(g) ? INT64_MAX : group_next_due(g, floor);
}

int64_t group_late_due(const Group *g)
{
	return due_of(g, earliest(g, true, g->n));
}

bool group_listens(const Group *g)
{
	return g->round.turn != 0 && g->round.head == INT64_MAX;
}

bool group_has_heard(Group *g)
{
	return is_settled(g) && heard(g, &g->echo);
}
