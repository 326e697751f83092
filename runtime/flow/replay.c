#include "flow/replay.h"

#include "base/clock.h"

#include <stdlib.h>

/* After a failure so many events are handled with copies of their states, so that others that fail
 * with it cost no repetition. */
enum { CAREFUL_EVENTS = 512 };

/* Events between two pauses: as many as take about a tenth of a second. */
enum { PART_FIRST = 32, PART_LEAST = 8, PART_MOST = 16384, PART_NS = 100000000 };

struct Replay {
	Handler *handler;
	MemoryTable *table;
	ReplayFailure on_failure;
	void *owner;
	int64_t events, failures;
	ReplayPause on_pause; /* may be NULL */
	void *pause_owner;
	size_t part;
};

Replay *replay_open(Handler *h)
{
	Replay *r = mem_calloc(1, sizeof(*r));

	r->handler = h;
	r->part = SIZE_MAX;
	r->table = memory_table_new();
	h->ops->forget(h);
	return r;
}

void replay_close(Replay *r)
{
	if (r == NULL)
		return;
	memory_table_free(r->table);
	free(r);
}

void replay_on_failure(Replay *r, ReplayFailure fn, void *owner)
{
	r->on_failure = fn;
	r->owner = owner;
}

void replay_on_pause(Replay *r, ReplayPause fn, void *owner)
{
	r->on_pause = fn;
	r->pause_owner = owner;
	r->part = fn != NULL ? PART_FIRST : SIZE_MAX;
}

static void adapt_part(Replay *r, uint64_t began)
{
	bool slow = clock_monotonic_ns() - began > PART_NS;

	if (slow && r->part > PART_LEAST)
		r->part /= 2;
	else if (!slow && r->part < PART_MOST)
		r->part *= 2;
}

static void note_failure(Replay *r, const Event *e, const Err *err)
{
	r->failures++;
	if (r->on_failure != NULL)
		r->on_failure(r->owner, e, err);
}

/* Handles events [from, to), passing over those that fail. */
static void run_carefully(Replay *r, EventSlice page, size_t from, size_t to)
{
	Handler *h = r->handler;
	Err why;

	for (size_t at = from; at < to; at++)
		if (h->ops->run(h, page, &at, to, true, &why) == RUN_FAILED)
			note_failure(r, &page.events[at], &why);
}

/* Handles events [from, *to). One that fails spoils the states since the last commit: they are
 * drawn from the table again, and *to becomes where the careful part ends. */
static bool run_stretch(Replay *r, EventSlice page, size_t from, size_t *to, Err *err)
{
	Handler *h = r->handler;
	size_t at = from;

	if (!memory_table_prepare(r->table, h, page, from, *to, err))
		return false;
	if (h->ops->run(h, page, &at, *to, false, err) == RUN_DONE)
		return true;
	h->ops->forget(h);
	*to = at + CAREFUL_EVENTS < *to ? at + CAREFUL_EVENTS : *to;
	if (!memory_table_prepare(r->table, h, page, from, *to, err))
		return false;
	run_carefully(r, page, from, *to);
	return true;
}

bool replay_page(Replay *r, EventSlice page, Err *err)
{
	for (size_t from = 0, to; from < page.count; from = to) {
		uint64_t began = r->on_pause != NULL ? clock_monotonic_ns() : 0;

		to = page.count - from < r->part ? page.count : from + r->part;
		if (!run_stretch(r, page, from, &to, err) ||
			!memory_table_commit(r->table, r->handler, err))
			return false;
		r->events += (int64_t)(to - from);
		if (r->on_pause == NULL)
			continue;
		adapt_part(r, began);
		if (!r->on_pause(r->pause_owner))
			return err_set(err, ERR_STOPPED, "stopped");
	}
	return true;
}

MemoryTable *replay_table(Replay *r)
{
	return r->table;
}

int64_t replay_events(const Replay *r)
{
	return r->events;
}

int64_t replay_failures(const Replay *r)
{
	return r->failures;
}
