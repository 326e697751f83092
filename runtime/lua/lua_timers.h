#pragma once

#include "base/mem.h"

/* The timers of a rule: at most one for each key, the earliest that its state has. They fire in the
 * order of their instants, keys bytewise between equal ones. Keys are JSON texts. */
typedef struct Timers Timers;

typedef struct {
	Str key, name; /* until the timer is set again */
	int64_t due;   /* microseconds; INT64_MAX: the key has none any more */
} Timer;

Timers *timers_open(void);
void timers_close(Timers *t);
void timers_clear(Timers *t);

/* The key's timer from now on; due == INT64_MAX: none. */
void timers_set(Timers *t, Str key, int64_t due, Str name);
bool timers_get(const Timers *t, Str key, Timer *out); /* a held one, too */

bool timers_first(const Timers *t, Timer *out);

/* Those due before an instant, in order, at most `most` of them. *out lives until the next call. */
size_t timers_before(Timers *t, int64_t before, size_t most, const Timer **out);

/* A held timer keeps its instant but does not fire: it is none of the first ones until it is
 * released. Setting it leaves it held. */
void timers_hold(Timers *t, Str key);
void timers_release(Timers *t, Str key); /* s == NULL: all */

/* What is different from what was told (or restored) last, in no order; all of it counts as told
 * then. *out lives until the next call of anything. */
size_t timers_changed(Timers *t, const Timer **out);
void timers_told(Timers *t); /* as it is now */
