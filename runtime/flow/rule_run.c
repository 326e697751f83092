#include "flow/rule_run.h"

#include <stdlib.h>
#include <time.h>

#include "flow/rule_store.h"

enum {
	PART_MOST = 1024,    /* events between two commits in memory; few at first */
	CAREFUL_EVENTS = 256 /* after a failure so many are handled with copies of their states */
};

struct RuleRun {
	Handler *handler;
	const Definition *def;
	RuleWatch watch;
	RuleStore *store;
	RuleCost cost;
	size_t most_room; /* of the table of states */
	size_t part;      /* events until the next commit */
};

static int64_t cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- life ---- */

RuleRun *rule_run_open(Handler *h, const RuleWatch *watch, Err *err)
{
	RuleRun *r = mem_calloc(1, sizeof(*r));

	r->handler = h;
	r->def = h->ops->definition(h);
	r->watch = *watch;
	r->part = 1;
	r->store = rule_store_new();
	h->ops->forget(h);
	if (rule_store_restore(r->store, h, err))
		return r;
	rule_run_close(r);
	return NULL;
}

void rule_run_close(RuleRun *r)
{
	if (r == NULL)
		return;
	rule_store_free(r->store);
	free(r);
}

/* ---- what it did ---- */

static void tell_letters(RuleRun *r, const Effects *fx)
{
	for (size_t i = 0; i < fx->ndead; i++) {
		r->cost.letters++;
		if (r->watch.letter != NULL)
			r->watch.letter(r->watch.owner, &fx->dead[i]);
	}
}

/* The rows are counted through only where they have grown by a tenth. */
static void measure(RuleRun *r)
{
	const MemoryTable *states = rule_store_states(r->store);
	RuleCost *c = &r->cost;
	size_t n = memory_table_count(states), room = memory_table_bytes(states);
	MemoryRow *rows;

	c->most_keys = n > c->most_keys ? n : c->most_keys;
	if (room <= r->most_room + r->most_room / 10)
		return;
	r->most_room = room;
	rows = memory_table_rows(states, &c->keys);
	c->bytes = 0;
	for (size_t i = 0; i < c->keys; i++)
		c->bytes += rows[i].state.len;
	free(rows);
}

static bool commit(RuleRun *r, Err *err)
{
	Effects fx;

	if (!r->handler->ops->collect(r->handler, &fx, err))
		return false;
	rule_store_take(r->store, r->handler, &fx, r->watch.raised, r->watch.owner);
	tell_letters(r, &fx);
	r->handler->ops->settled(r->handler);
	measure(r);
	return true;
}

/* ---- events ---- */

static void tell_refused(RuleRun *r, EventSlice page, size_t at, const Err *why)
{
	HandlerOps const *ops = r->handler->ops;
	DeadLetter letter = { .event_id = page.events[at].id,
		.key = ops->key_of(r->handler, page, at, 0),
		.error = str_from(why->message),
		.trace = str_from(why->trace),
		.parked = r->def->on_error == ON_ERROR_PARK_KEY };

	letter.key = letter.key.s != NULL ? letter.key : STR("");
	r->cost.letters++;
	if (r->watch.letter != NULL)
		r->watch.letter(r->watch.owner, &letter);
	if (letter.parked)
		ops->park(r->handler, page, at);
}

/* Handles events [from, to), each of them or nothing of it. */
static bool run_carefully(RuleRun *r, EventSlice page, size_t from, size_t to, Err *err)
{
	HandlerOps const *ops = r->handler->ops;

	for (size_t at = from; at < to; at++) {
		if (ops->run(r->handler, page, &at, to, true, err) == RUN_DONE)
			return true;
		if (r->def->on_error == ON_ERROR_STOP)
			return false;
		tell_refused(r, page, at, err);
	}
	return true;
}

/* Handles events [from, *to). One that fails spoils the states since the last commit: they are
 * drawn from the table again, and *to becomes where the careful part ends. */
static bool run_part(RuleRun *r, EventSlice page, size_t from, size_t *to, Err *err)
{
	Handler *h = r->handler;
	size_t at = from;

	if (!rule_store_prepare(r->store, h, page, from, *to, err))
		return false;
	if (h->ops->run(h, page, &at, *to, false, err) == RUN_DONE)
		return true;
	h->ops->forget(h);
	*to = at + CAREFUL_EVENTS < *to ? at + CAREFUL_EVENTS : *to;
	return rule_store_prepare(r->store, h, page, from, *to, err) &&
	       run_carefully(r, page, from, *to, err);
}

static bool go_on(RuleRun *r, const Event *at, Err *err)
{
	return r->watch.pause == NULL || r->watch.pause(r->watch.owner, at) ||
	       err_set(err, ERR_STOPPED, "stopped");
}

bool rule_run_page(RuleRun *r, EventSlice page, Err *err)
{
	for (size_t from = 0, to; from < page.count; from = to) {
		int64_t began = cpu_now();

		to = page.count - from < r->part ? page.count : from + r->part;
		r->part = r->part < PART_MOST ? r->part * 2 : PART_MOST;
		if (!run_part(r, page, from, &to, err) || !commit(r, err))
			return false;
		r->cost.cpu_ns += cpu_now() - began;
		r->cost.events += (int64_t)(to - from);
		if (!go_on(r, &page.events[to - 1], err))
			return false;
	}
	return true;
}

bool rule_run_until(RuleRun *r, int64_t until_us, Err *err)
{
	HandlerOps const *ops = r->handler->ops;
	int64_t began = cpu_now();
	bool ok = true;

	while (ok && ops->next_due(r->handler) <= until_us)
		ok = rule_store_advance(r->store, r->handler, until_us, false, err) &&
		     commit(r, err) && go_on(r, NULL, err);
	r->cost.cpu_ns += cpu_now() - began;
	return ok;
}

const RuleCost *rule_run_cost(RuleRun *r)
{
	return &r->cost;
}

const MemoryTable *rule_run_states(const RuleRun *r)
{
	return rule_store_states(r->store);
}

Str rule_run_memory(const RuleRun *r)
{
	return rule_store_memory(r->store);
}
