#pragma once

#include "base/err.h"
#include "model/event.h"

/* What-if changes to a history: which there are, and what they do to an event that comes. Each
 * names events by id. */
typedef struct TapeOverlays TapeOverlays;

#define OVERLAY_AT_END INT64_MAX /* the id of insertions behind all others */

TapeOverlays *tape_overlays_new(void);
void tape_overlays_free(TapeOverlays *o);

/* As tape.h describes them. */
void tape_overlays_drop(TapeOverlays *o, int64_t id);
bool tape_overlays_edit(TapeOverlays *o, int64_t id, Str patch, Err *err);
bool tape_overlays_insert(TapeOverlays *o, Str json, Err *err);
void tape_overlays_swap(TapeOverlays *o, int64_t a, int64_t b);

bool tape_overlays_any(const TapeOverlays *o);
int64_t tape_overlays_last(
	const TapeOverlays *o); /* the greatest id that one of them names; 0: none */

/* Applies drops and edits to the event of this id; *dropped is raised where it is one. Its texts
 * live until the next call. */
bool tape_overlays_change(TapeOverlays *o, int64_t id, Event *e, bool *dropped, Err *err);

/* The nth event to be inserted behind the one of this id; false and ERR_NONE behind the last. What
 * it does not say is as with `neighbour`. Its texts live until the next call. */
bool tape_overlays_inserted(
	TapeOverlays *o, int64_t id, size_t nth, const Event *neighbour, Event *out, Err *err);

/* The event of this id stands at this number, before all swaps. */
void tape_overlays_place(TapeOverlays *o, int64_t id, size_t number);
/* Tells every swap as two numbers, in order; each has to be done before the next. Once only. */
void tape_overlays_swap_all(
	TapeOverlays *o, void (*swap)(void *owner, size_t a, size_t b), void *owner);

/* False: one names an event that never came (ERR_USAGE). first, last: the ids of those that did;
 * 0, 0: none. */
bool tape_overlays_check(const TapeOverlays *o, int64_t first, int64_t last, Err *err);
