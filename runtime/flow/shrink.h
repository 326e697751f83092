#pragma once

#include "base/err.h"
#include "model/event.h"

#include <signal.h>

/* Makes a failing list of events small: delta debugging (ddmin). What remains still fails, and no
 * single event can be taken out of it. */

/* Whether a list fails in the way that matters. False: it cannot be told (err). */
typedef bool (*ShrinkTest)(void *owner, EventSlice events, bool *fails, Err *err);

typedef struct {
	Event *events; /* to be freed; what the events point to stays the caller's */
	size_t count;
	size_t tests; /* lists that were tried */
} Shrunk;

/* `events` must fail. *stop, where not NULL, ends the search early once it is raised: what was
 * reached by then fails too, but may not be the smallest. False: a test could not be made. */
bool shrink_events(EventSlice events, ShrinkTest test, void *owner,
	const volatile sig_atomic_t *stop, Shrunk *out, Err *err);
