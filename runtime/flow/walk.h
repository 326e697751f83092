#pragma once

#include "flow/memory_table.h"
#include "flow/tape.h"

/* A script stepped over a tape, forward and back. Going back restores exactly the states that going
 * forward showed: what a step changed is remembered, within a bound of memory, and a place that is
 * further back is reached again from the beginning. */
typedef struct Walk Walk;

typedef struct {
	Str key;
	Str before, after; /* as MemoryRow.state; s == NULL: there is none */
} WalkChange;

typedef struct {
	size_t number; /* of the event on the tape */
	Event event;
	bool taken;  /* the script has a handler for it */
	bool failed; /* err says why; the states are as they were */
	Err err;
	const WalkChange *changes; /* one for each key of the event, changed or not */
	size_t nchanges;
} WalkStep;

Walk *walk_open(Handler *h, Tape *tape);
void walk_close(Walk *w); /* neither the handler nor the tape */

/* What going back may remember, in bytes; 256 MB where nothing is said. One step always is. */
void walk_limit(Walk *w, size_t bytes);

/* Asked now and then on a long way: false ends it, anywhere, with ERR_STOPPED. */
void walk_on_pause(Walk *w, bool (*fn)(void *owner), void *owner);

size_t walk_position(const Walk *w); /* events behind us: 0 at the start */

/* One event on. *out lives until the next call. False and ERR_NONE: the tape has ended. */
bool walk_step(Walk *w, WalkStep *out, Err *err);
/* One event back: *out is the step that was undone. False and ERR_NONE: we are at the start. */
bool walk_back(Walk *w, WalkStep *out, Err *err);
/* To just before the event with this number, or the end of the tape: at full speed, but for the
 * last steps, which are remembered. */
bool walk_to(Walk *w, size_t number, Err *err);
/* Whole pages at full speed, to the end, without remembering how to go back. */
bool walk_run(Walk *w, Err *err);

/* The states as they stand. What is put in before the first step is where the walk begins. */
MemoryTable *walk_table(Walk *w);
int64_t walk_failures(const Walk *w); /* events that failed on the way here */
