#include "flow/tape.h"

#include <stdlib.h>

#include "flow/tape_overlays.h"
#include "flow/tape_file.h"

typedef struct {
	const TapeRecord *record;
	int64_t id;
} Slot;

struct Tape {
	History *history; /* NULL: none, or its end was reached */
	TapeFile *file;
	Slot *slots;
	size_t count, cap;
	TapeOverlays *overlays;
	int64_t first_id;
	Event last; /* of those that came, without its texts */
	bool started, any, ended;
	bool ready;     /* the overlays are right, and done */
	bool unordered; /* filled by hand: ids may stand in any order */
	Event *events;  /* the last slice */
	size_t events_cap;
	Err failure;
};

Tape *tape_open(History *history, Err *err)
{
	Tape *t = mem_calloc(1, sizeof(*t));

	t->history = history;
	t->overlays = tape_overlays_new();
	t->file = tape_file_open(err);
	if (t->file != NULL)
		return t;
	tape_close(t);
	return NULL;
}

void tape_close(Tape *t)
{
	if (t == NULL)
		return;
	history_close(t->history);
	tape_file_close(t->file);
	tape_overlays_free(t->overlays);
	free(t->slots);
	free(t->events);
	free(t);
}

/* ---- events that come ---- */

static bool add_slot(Tape *t, const Event *e, Err *err)
{
	const TapeRecord *record = tape_file_add(t->file, e, err);

	if (record == NULL)
		return false;
	if (t->count == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 1024;
		t->slots = mem_realloc(t->slots, t->cap * sizeof(*t->slots));
	}
	t->slots[t->count++] = (Slot){ record, e->id };
	return true;
}

static bool insert_behind(Tape *t, int64_t id, const Event *neighbour, Err *err)
{
	Event e;

	for (size_t nth = 0; tape_overlays_inserted(t->overlays, id, nth, neighbour, &e, err);
		nth++)
		if (!add_slot(t, &e, err))
			return false;
	return err->kind == ERR_NONE;
}

static bool take_changed(Tape *t, const Event *original, Err *err)
{
	Event e = *original;
	bool dropped = false;

	if (!tape_overlays_change(t->overlays, original->id, &e, &dropped, err))
		return false;
	if (!dropped) {
		if (!add_slot(t, &e, err))
			return false;
		tape_overlays_place(t->overlays, original->id, t->count - 1);
	}
	return insert_behind(t, original->id, &e, err);
}

/* The event at whose place in time another is inserted that stands at the given one in the order.
 */
static Event neighbour_at(const Event *e, int64_t id, int64_t version)
{
	return (Event){ .id = id, .version = version, .timestamp_us = e->timestamp_us };
}

static bool take(Tape *t, const Event *e, Err *err)
{
	Event before = neighbour_at(e, 0, 0);

	if (!t->any) {
		t->any = true;
		t->first_id = e->id;
		if (!insert_behind(t, 0, &before, err))
			return false;
	}
	t->last = neighbour_at(e, e->id, e->version);
	if (tape_overlays_any(t->overlays) &&
		(t->unordered || e->id <= tape_overlays_last(t->overlays)))
		return take_changed(t, e, err);
	return add_slot(t, e, err);
}

static bool end_of_history(Tape *t, Err *err)
{
	history_close(t->history);
	t->history = NULL;
	t->ended = true;
	if (!t->any && !insert_behind(t, 0, &t->last, err))
		return false;
	return insert_behind(t, OVERLAY_AT_END, &t->last, err);
}

static bool pull(Tape *t, Err *err)
{
	EventSlice page;

	if (!history_next(t->history, &page, err))
		return false;
	if (page.count == 0)
		return end_of_history(t, err);
	for (size_t i = 0; i < page.count; i++)
		if (!take(t, &page.events[i], err))
			return false;
	return true;
}

static void swap_slots(void *owner, size_t a, size_t b)
{
	Tape *t = owner;
	Slot held = t->slots[a];

	t->slots[a] = t->slots[b];
	t->slots[b] = held;
}

/* Everything that an overlay names is read at once: a wrong one shows before anything else does,
 * and a swap has both of its events. */
static bool start(Tape *t, Err *err)
{
	t->started = true;
	while (t->history != NULL && ((!t->any && tape_overlays_any(t->overlays)) ||
					     t->last.id < tape_overlays_last(t->overlays)))
		if (!pull(t, err))
			return false;
	if (t->history == NULL && !t->ended && !end_of_history(t, err))
		return false;
	if (!tape_overlays_check(t->overlays, t->first_id, t->last.id, err))
		return false;
	tape_overlays_swap_all(t->overlays, swap_slots, t);
	t->ready = true;
	return true;
}

/* Reads on until `count` events are there, or all. */
static bool have(Tape *t, size_t count, Err *err)
{
	if (t->failure.kind == ERR_NONE && !t->started)
		start(t, &t->failure);
	while (t->failure.kind == ERR_NONE && t->count < count && t->history != NULL)
		pull(t, &t->failure);
	/* What has come stays, whatever became of the rest; wrong overlays spoil all of it. */
	if (t->failure.kind == ERR_NONE || (t->ready && t->count >= count))
		return true;
	*err = t->failure;
	return false;
}

/* ---- events ---- */

bool tape_event(Tape *t, size_t number, Event *out, Err *err)
{
	err_clear(err);
	if (!have(t, number + 1, err) || number >= t->count)
		return false;
	tape_record_event(t->slots[number].record, out);
	return true;
}

bool tape_slice(Tape *t, size_t number, size_t most, EventSlice *out, Err *err)
{
	size_t n;

	*out = (EventSlice){ 0 };
	if (!have(t, number + 1, err))
		return false;
	n = number < t->count ? t->count - number : 0;
	n = n < most ? n : most;
	if (n > t->events_cap) {
		t->events_cap = n;
		t->events = mem_realloc(t->events, n * sizeof(*t->events));
	}
	for (size_t i = 0; i < n; i++)
		tape_record_event(t->slots[number + i].record, &t->events[i]);
	*out = (EventSlice){ t->events, n };
	return true;
}

/* Behind what overlays name, ids ascend. */
bool tape_find(Tape *t, int64_t id, size_t *number, Err *err)
{
	size_t behind = SIZE_MAX, i = 0;

	*number = SIZE_MAX;
	for (;; i++) {
		if (!have(t, i + 1, err))
			return false;
		if (i >= t->count)
			break;
		if (t->slots[i].id == id) {
			*number = i;
			return true;
		}
		if (t->slots[i].id > id && behind == SIZE_MAX)
			behind = i;
		if (t->slots[i].id > id && !t->unordered &&
			t->slots[i].id > tape_overlays_last(t->overlays))
			break;
	}
	*number = behind;
	return true;
}

bool tape_find_time(Tape *t, int64_t timestamp_us, size_t *number, Err *err)
{
	Event e;

	*number = SIZE_MAX;
	for (size_t i = 0; *number == SIZE_MAX; i++) {
		if (!have(t, i + 1, err))
			return false;
		if (i >= t->count)
			return true;
		tape_record_event(t->slots[i].record, &e);
		if (e.timestamp_us >= timestamp_us)
			*number = i;
	}
	return true;
}

bool tape_all(Tape *t, size_t *count, Err *err)
{
	bool ok = have(t, SIZE_MAX, err);

	*count = t->count;
	return ok;
}

void tape_add(Tape *t, const Event *event)
{
	t->unordered = true;
	if (t->failure.kind == ERR_NONE)
		take(t, event, &t->failure);
}

/* ---- overlays ---- */

void tape_drop(Tape *t, int64_t id)
{
	tape_overlays_drop(t->overlays, id);
}

bool tape_edit(Tape *t, int64_t id, Str patch, Err *err)
{
	return tape_overlays_edit(t->overlays, id, patch, err);
}

bool tape_insert(Tape *t, Str json, Err *err)
{
	return tape_overlays_insert(t->overlays, json, err);
}

void tape_swap(Tape *t, int64_t a, int64_t b)
{
	tape_overlays_swap(t->overlays, a, b);
}

bool tape_is_changed(const Tape *t)
{
	return tape_overlays_any(t->overlays);
}
