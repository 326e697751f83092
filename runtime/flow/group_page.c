#include "flow/group_parts.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>

#define TOLD  3   /* refused events that the log tells of; the letters have all */
#define SLICE 256 /* events of one crossing into a script; then the loop reads what has arrived */

/* --- Failures of scripts
 * -------------------------------------------------------------------------- */

static Str str_or_null(const char *s)
{
	return *s ? str_from(s) : (Str){ NULL, 0 };
}

/* The event was refused for good; its states are as they were before it. */
void group_refuse(Group *g, Consumer *c, size_t index, const Err *err)
{
	const Event *e = &g->page.events[index];
	HandlerOps const *ops = c->handler->ops;
	size_t nth = 0;
	Str key;

	if (c->def->on_error == ON_ERROR_STOP && g->retried < 0) {
		c->stopping = true;
		c->stop_position = e->id - 1;
		c->stop_err = *err;
		c->stop_err.event_id = e->id;
		return;
	}
	if (c->refused < TOLD && c->told != e->id)
		log_line(LOG_WARN, c->name,
			"event %" PRId64 " was refused: %s (see `moonwake dead-letters`)", e->id,
			err->message);
	c->told = e->id;
	key = ops->key_of(c->handler, g->page, index, 0);
	do
		consumer_add_letter(c, e->id, key.s ? key : STR(""), str_or_null(err->message),
			str_or_null(err->trace), c->def->on_error != ON_ERROR_SKIP);
	while ((key = ops->key_of(c->handler, g->page, index, ++nth)).s != NULL);
	if (c->def->on_error != ON_ERROR_SKIP)
		ops->park(c->handler, g->page, index);
}

/* The member at work has come up to `at`. */
static void passed(Group *g, size_t at)
{
	if (at == g->at)
		return;
	/* A letter's event was counted when it came; the one that stops a member comes again. */
	if (g->retried < 0 && !g->members[g->member]->stopping)
		deliveries_add(g->given, g->member, g->at, at);
	if (g->member == 0 || g->retried >= 0)
		g->uncommitted += at - g->at;
	g->members[g->member]->events += at - g->at;
	g->at = at;
	g->last = g->page.events[at - 1].id;
}

/* A handler raised. Without a copy of the states the batch is repeated, with one: then only the
 * event is lost. A `sql` script's copy is the transaction: such an event gets one of its own. */
static void failed(Group *g, Consumer *c, const Err *err)
{
	const Event *e = &g->page.events[g->at];
	bool careful = e->id <= c->careful_upto && (!c->def->sql || g->uncommitted == 0);

	if (!careful) {
		c->careful_upto = e->id + GROUP_BATCH_MOST;
		group_reset(g);
		return;
	}
	if (c->def->sql) { /* what the event had done is rolled back, with it alone */
		sink_abandon(g->sink);
		c->handler->ops->forget(c->handler);
	}
	group_refuse(g, c, g->at, err);
	passed(g, g->at + 1);
}

/* --- Handling a page
 * -------------------------------------------------------------------------------- */

/* How many events may still go into the transaction at hand. */
static size_t room(const Group *g, const Consumer *c)
{
	bool one_by_one = c->def->sql && c->careful_upto >= g->page.events[g->at].id;
	size_t most = one_by_one ? 1 : c->commit_most;

	if (most == 0)
		return SLICE;
	return g->uncommitted < most ? most - g->uncommitted : 1;
}

/* Where the next slice ends: at the page's end, where the transaction is full, or before a
 * poisonous event. */
static size_t bound(const Group *g, const Consumer *c)
{
	size_t most = room(g, c) < SLICE ? room(g, c) : SLICE, end = g->at;

	while (end < g->page.count && end - g->at < most && g->page.events[end].id != c->poison)
		end++;
	return end;
}

static void on_query_answer(void *owner, Str rows, const Err *err)
{
	Group *g = owner;
	Consumer *c = g->members[0];

	if (g->state == BROKEN || (err != NULL && err->kind == ERR_CONN))
		return;
	if (err != NULL && (err_is_retryable(err) || err->kind == ERR_STALE)) {
		group_dissolve(g, err);
		return;
	}
	c->handler->ops->resume(c->handler, rows, err);
	group_to(g, RUNNING);
	group_run_on(g, true);
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
	if (g->retried < 0 && g->page.count > 0)
		g->newest = g->page.events[g->page.count - 1].timestamp_us;
	if (g->retried < 0)
		g->handled = g->page_end;
	g->page = (EventSlice){ 0 };
	g->member = g->at = 0;
	group_to(g, READY);
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
		group_refuse(g, c, at, &c->poison_err);
		c->poison = 0;
		passed(g, at + 1);
		return RUN_DONE;
	}
	atomic_store(&g->progress->script, c->name);
	result = c->handler->ops->run(
		c->handler, g->page, &at, bound(g, c), id <= c->careful_upto, err);
	atomic_store(&g->progress->script, NULL);
	consumer_touch(c);
	passed(g, at);
	return result;
}

/* A member that takes no event of the page has nothing to do with it. */
static bool concerned(const Group *g, size_t member)
{
	return g->retried >= 0 || deliveries_concern(g->given, member);
}

static void pass_over(Group *g)
{
	if (g->member == 0)
		g->uncommitted += g->page.count - g->at;
	g->last = g->page.events[g->page.count - 1].id;
}

void group_run_slice(Group *g)
{
	Consumer *c = g->members[g->member];
	RunResult result;
	Err err;

	if (c->stopping || g->at >= g->page.count) {
		next_member(g);
		return;
	}
	if (!concerned(g, g->member)) {
		pass_over(g);
		next_member(g);
		return;
	}
	result = run_member(g, c, &err);
	if (result == RUN_QUERY) {
		group_to(g, QUERYING);
		group_run_on(g, false);
		sink_query(g->sink, g->claim, (int)g->member, on_query_answer, g);
	} else if (result == RUN_FAILED) {
		failed(g, c, &err);
	}
	if (g->state == RUNNING && must_commit_now(g)) {
		g->handled = g->last;
		if (g->at == g->page.count)
			end_page(g);
		else
			group_to(g, READY);
		group_to(g, WAITING);
		group_commit(g);
		group_run_on(g, false);
	}
}

bool group_take_states(struct Load *load, const PgRows *rows, Err *err)
{
	Handler *h = load->consumer->handler;

	for (int i = 0; i < pg_rows_count(rows); i++)
		if (!h->ops->load(h, (size_t)pg_rows_i64(rows, i, 0), pg_rows_str(rows, i, 1), err))
			return false;
	return true;
}

static void on_load(void *owner, PgRows *rows, const Err *err)
{
	struct Load *load = owner;
	Group *g = load->group;
	Err bad;

	g->loads--;
	if (err != NULL) {
		if (err->kind != ERR_CONN && g->state != BROKEN)
			group_dissolve(g, err);
		return;
	}
	if (g->state == LOADING && !group_take_states(load, rows, &bad)) {
		load->consumer->stopping = true;
		load->consumer->stop_position = g->handled;
		load->consumer->stop_err = bad;
	}
	pg_rows_free(rows);
	if (g->loads > 0)
		return;
	if (g->state == RESETTING) {
		group_reset(g);
	} else if (g->state == LOADING) {
		group_to(g, RUNNING);
		group_run_on(g, true);
	}
}

/* The states of the whole page's keys, one statement for each script that lacks any. */
void group_begin_page(Group *g, EventSlice page)
{
	g->page = page;
	if (g->retried < 0)
		deliveries_page(g->given, page);
	g->member = g->retried >= 0 ? (size_t)g->retried : 0;
	g->at = 0;
	g->loads = 0;
	if (g->uncommitted == 0)
		g->first_ns = clock_monotonic_ns();
	for (size_t i = g->member; i < (g->retried >= 0 ? g->member + 1 : g->n); i++) {
		Consumer *c = g->members[i];
		Str missing = { NULL, 0 };

		if (!concerned(g, i))
			continue;
		atomic_store(&g->progress->script, c->name);
		c->handler->ops->need(c->handler, page, 0, page.count, &missing);
		atomic_store(&g->progress->script, NULL);
		if (missing.len == 0 || c->load.text == NULL)
			continue;
		g->load[i] = (struct Load){ g, c };
		pg_conn_send(g->reader, &c->load, 1, &missing.s, false, on_load, &g->load[i]);
		g->loads++;
	}
	if (g->loads > 0)
		pg_conn_sync(g->reader, NULL, NULL);
	group_to(g, g->loads > 0 ? LOADING : RUNNING);
	group_run_on(g, g->loads == 0);
}
