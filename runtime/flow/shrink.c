#include "flow/shrink.h"

#include <stdlib.h>

typedef struct {
	Event *now;     /* the smallest list so far */
	Event *attempt; /* the same without a part */
	size_t count, tests;
	ShrinkTest test;
	void *owner;
} Search;

/* Tries the list without [from, to), and takes it where it still fails. */
static bool try_without(Search *s, size_t from, size_t to, bool *taken, Err *err)
{
	size_t n = s->count - (to - from);

	memcpy(s->attempt, s->now, from * sizeof(*s->now));
	memcpy(s->attempt + from, s->now + to, (s->count - to) * sizeof(*s->now));
	s->tests++;
	if (!s->test(s->owner, (EventSlice){ s->attempt, n }, taken, err))
		return false;
	if (*taken) {
		Event *smaller = s->attempt;

		s->attempt = s->now;
		s->now = smaller;
		s->count = n;
	}
	return true;
}

static bool stopped(const volatile sig_atomic_t *stop)
{
	return stop != NULL && *stop != 0;
}

/* One round: parts of `size` events, from the last to the first, since what fails is mostly caused
 * by what is near. */
static bool round_of(Search *s, size_t size, const volatile sig_atomic_t *stop, bool *any, Err *err)
{
	size_t to = s->count;

	*any = false;
	while (to > 0 && s->count > 1 && !stopped(stop)) {
		size_t from = to > size ? to - size : 0;
		bool taken = false;

		if (to - from < s->count && !try_without(s, from, to, &taken, err))
			return false;
		*any = *any || taken;
		to = from;
	}
	return true;
}

bool shrink_events(EventSlice events, ShrinkTest test, void *owner,
	const volatile sig_atomic_t *stop, Shrunk *out, Err *err)
{
	size_t bytes = (events.count + 1) * sizeof(Event), size = (events.count + 1) / 2;
	Search s = { mem_alloc(bytes), mem_alloc(bytes), events.count, 0, test, owner };
	bool ok = true, any = false;

	memcpy(s.now, events.events, events.count * sizeof(Event));
	while (ok && size > 0 && !stopped(stop)) {
		ok = round_of(&s, size, stop, &any, err);
		/* The last round must have gone through without a success: only then no single
		 * event can be taken out. */
		if (size > 1)
			size = (size + 1) / 2;
		else if (!any)
			size = 0;
	}
	free(s.attempt);
	if (!ok) {
		free(s.now);
		return false;
	}
	*out = (Shrunk){ s.now, s.count, s.tests };
	return true;
}
