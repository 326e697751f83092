#pragma once

#include "flow/history.h"

/* A history that one can go about in: events by number, from 0, drawn from a History as far as
 * anybody asked, and kept in a temporary file that nobody else sees. What-if overlays change what
 * is on it, never the log. */
typedef struct Tape Tape;

/* Takes the history over; NULL history: a tape of its own, filled by tape_add(). */
Tape *tape_open(History *history, Err *err);
void tape_close(Tape *t);

/* The event with this number; false and ERR_NONE: the tape ends before it. *out lives until the
 * tape is closed. */
bool tape_event(Tape *t, size_t number, Event *out, Err *err);
/* Up to `most` events from a number on; an empty slice at the end. Lives until the next call. */
bool tape_slice(Tape *t, size_t number, size_t most, EventSlice *out, Err *err);

/* The first number whose event has this id, or stands behind it; SIZE_MAX: none. Reads on. */
bool tape_find(Tape *t, int64_t id, size_t *number, Err *err);
/* The first whose `timestamp` is at or after this. */
bool tape_find_time(Tape *t, int64_t timestamp_us, size_t *number, Err *err);

bool tape_all(Tape *t, size_t *count, Err *err); /* reads to the end: how many there are */
void tape_add(Tape *t, const Event *event);      /* behind all others; copied */

/* --- Overlays: to be given before the first event is asked for. Each names events by id. ERR_USAGE
 * from the first tape_event() on where one names an event that the history does not have. --- */
void tape_drop(Tape *t, int64_t id);
/* `patch`: a JSON Patch (RFC 6902, an array) or a merge patch (RFC 7396, an object) of the event as
 * `tail --json` shows it. False: no patch. */
bool tape_edit(Tape *t, int64_t id, Str patch, Err *err);
/* `json`: one event as `publish` takes it; "after" in it names the id behind which it stands
 * (0: before all others; default: at the end). What it does not say of id, version, timestamp and
 * occurred_at is as with that event. */
bool tape_insert(Tape *t, Str json, Err *err);
/* The two change places; each keeps its id, its version and its times. */
void tape_swap(Tape *t, int64_t a, int64_t b);
bool tape_is_changed(const Tape *t); /* it has overlays */
