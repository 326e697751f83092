#include "flow/walk.h"

#include <stdlib.h>

#include "flow/replay.h"
#include "flow/undo.h"

enum {
	REMEMBERED = 256, /* steps before a place that was gone to */
	SLICE = 10000
};

#define UNDO_BYTES ((size_t)256 << 20)

struct Walk {
	Handler *handler;
	Tape *tape;
	Replay *replay;
	MemoryTable *table;   /* the replay's */
	MemoryTable *initial; /* what stood in it before the first step; NULL: not moved yet */
	Undo *undo;
	size_t position;
	int64_t failures;
	bool (*on_pause)(void *owner); /* may be NULL */
	void *pause_owner;
	int64_t run_from; /* the replay's events when the run to somewhere began; -1: none is under
			     way */
	Arena *arena;     /* of the last step */
	Arena *kept;      /* what a step back showed, while a rule comes from the beginning again */
	WalkChange *changes;
	UndoState *before;
	size_t nkeys, cap;
};

Walk *walk_open(Handler *h, Tape *tape)
{
	Walk *w = mem_calloc(1, sizeof(*w));

	w->handler = h;
	w->run_from = -1;
	w->tape = tape;
	w->replay = replay_open(h);
	w->table = replay_table(w->replay);
	w->undo = undo_new(UNDO_BYTES);
	w->arena = arena_new(16384);
	w->kept = arena_new(4096);
	return w;
}

void walk_close(Walk *w)
{
	if (w == NULL)
		return;
	replay_close(w->replay);
	memory_table_free(w->initial);
	undo_free(w->undo);
	arena_free(w->arena);
	arena_free(w->kept);
	free(w->changes);
	free(w->before);
	free(w);
}

void walk_limit(Walk *w, size_t bytes)
{
	undo_limit(w->undo, bytes);
}

void walk_on_pause(Walk *w, bool (*fn)(void *owner), void *owner)
{
	w->on_pause = fn;
	w->pause_owner = owner;
	replay_on_pause(w->replay, fn, owner);
}

static void copy_rows(MemoryTable *to, const MemoryTable *from)
{
	size_t n;
	MemoryRow *rows = memory_table_rows(from, &n);

	for (size_t i = 0; i < n; i++)
		memory_table_put(to, &rows[i]);
	free(rows);
}

static void begin(Walk *w)
{
	if (w->initial != NULL)
		return;
	w->initial = memory_table_new();
	copy_rows(w->initial, w->table);
}

static void restart(Walk *w)
{
	w->handler->ops->forget(w->handler);
	memory_table_clear(w->table);
	copy_rows(w->table, w->initial);
	undo_clear(w->undo);
	w->position = 0;
	w->failures = 0;
}

/* ---- one step ---- */

static bool is_taken(const Definition *def, const Event *e)
{
	if (def->kind == KIND_REDUCER && !str_eq(str_from(def->aggregate), e->aggregate_type))
		return false;
	for (size_t i = 0; i < def->ntypes; i++)
		if (event_type_matches(def->types[i], e->type))
			return true;
	return false;
}

static void add_key(Walk *w, Str key)
{
	const MemoryRow *row = memory_table_get(w->table, key);

	if (w->nkeys == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 8;
		w->changes = mem_realloc(w->changes, w->cap * sizeof(*w->changes));
		w->before = mem_realloc(w->before, w->cap * sizeof(*w->before));
	}
	w->before[w->nkeys] = (UndoState){ .key = arena_str(w->arena, key) };
	if (row != NULL) {
		w->before[w->nkeys].state = arena_str(w->arena, row->state);
		w->before[w->nkeys].position = row->position;
		w->before[w->nkeys].updated_us = row->updated_us;
	}
	w->nkeys++;
}

/* The states of the event's keys, as they are before it. */
static void note_before(Walk *w, const Event *e)
{
	EventSlice page = { e, 1 };
	Str key;

	arena_reset(w->arena);
	w->nkeys = 0;
	if (!is_taken(w->handler->ops->definition(w->handler), e))
		return;
	for (size_t nth = 0;; nth++) {
		key = w->handler->ops->key_of(w->handler, page, 0, nth);
		if (key.s == NULL)
			return;
		add_key(w, key);
	}
}

static Str state_now(const Walk *w, Str key)
{
	const MemoryRow *row = memory_table_get(w->table, key);

	return row != NULL ? arena_str(w->arena, row->state) : (Str){ NULL, 0 };
}

/* before: from w->before; after: as the table has it. */
static void fill_changes(Walk *w, WalkStep *out)
{
	for (size_t i = 0; i < w->nkeys; i++)
		w->changes[i] = (WalkChange){ w->before[i].key, w->before[i].state,
			state_now(w, w->before[i].key) };
	out->changes = w->changes;
	out->nchanges = w->nkeys;
}

static bool handle(Walk *w, const Event *e, WalkStep *out, Err *err)
{
	HandlerOps const *ops = w->handler->ops;
	EventSlice page = { e, 1 };
	size_t at = 0;

	if (!memory_table_prepare(w->table, w->handler, page, 0, 1, err))
		return false;
	out->failed = ops->run(w->handler, page, &at, 1, true, &out->err) == RUN_FAILED;
	return memory_table_commit(w->table, w->handler, err);
}

bool walk_step(Walk *w, WalkStep *out, Err *err)
{
	UndoStep undo;

	begin(w);
	*out = (WalkStep){ .number = w->position };
	if (!tape_event(w->tape, w->position, &out->event, err))
		return false;
	out->taken = is_taken(w->handler->ops->definition(w->handler), &out->event);
	note_before(w, &out->event);
	if (!handle(w, &out->event, out, err))
		return false;
	fill_changes(w, out);
	undo = (UndoStep){ .taken = out->taken,
		.err = out->failed ? &out->err : NULL,
		.states = w->before,
		.nstates = w->nkeys };
	undo_push(w->undo, &undo);
	w->failures += out->failed;
	w->position++;
	return true;
}

/* ---- back ---- */

static void undo_states(Walk *w, const UndoStep *undo)
{
	for (size_t i = 0; i < undo->nstates; i++) {
		const UndoState *s = &undo->states[i];

		memory_table_put(
			w->table, &(MemoryRow){ s->key, s->state, s->position, s->updated_us });
	}
	w->failures -= undo->err != NULL;
	w->position--;
}

static void recall(Walk *w, const UndoStep *undo, WalkStep *out)
{
	arena_reset(w->arena);
	w->nkeys = 0;
	for (size_t i = 0; i < undo->nstates; i++) {
		add_key(w, undo->states[i].key);
		w->before[i].state = arena_str(w->arena, undo->states[i].state);
	}
	fill_changes(w, out);
	out->taken = undo->taken;
	out->failed = undo->err != NULL;
	if (out->failed)
		out->err = *undo->err;
}

/* Timers, counts and referenced rows are no states of the event's keys: a rule goes back by coming
 * there again. */
static bool has_clock(const Walk *w)
{
	return w->handler->ops->definition(w->handler)->has_clock;
}

static bool come_again(Walk *w, size_t number, WalkStep *out, Err *err)
{
	WalkChange *changes;

	arena_reset(w->kept);
	changes = arena_alloc(w->kept, (out->nchanges + 1) * sizeof(*changes));
	for (size_t i = 0; i < out->nchanges; i++)
		changes[i] = (WalkChange){ arena_str(w->kept, out->changes[i].key),
			arena_str(w->kept, out->changes[i].before),
			arena_str(w->kept, out->changes[i].after) };
	out->changes = changes;
	restart(w);
	return walk_to(w, number, err);
}

bool walk_back(Walk *w, WalkStep *out, Err *err)
{
	err_clear(err);
	*out = (WalkStep){ .number = w->position - 1 };
	if (w->position == 0)
		return false;
	if (undo_count(w->undo) == 0) {
		size_t here = w->position;

		restart(w);
		if (!walk_to(w, here, err))
			return false;
	}
	if (!tape_event(w->tape, w->position - 1, &out->event, err))
		return false;
	recall(w, undo_last(w->undo), out);
	if (has_clock(w))
		return come_again(w, w->position - 1, out, err);
	undo_states(w, undo_last(w->undo));
	undo_pop(w->undo);
	w->handler->ops->forget(w->handler);
	return true;
}

/* ---- far ---- */

/* At full speed up to a number, or the end. Steps from before then cannot be taken back. */
static bool run_to(Walk *w, size_t number, Err *err)
{
	begin(w);
	if (w->position < number)
		undo_clear(w->undo);
	while (w->position < number) {
		size_t most = number - w->position < SLICE ? number - w->position : SLICE;
		int64_t events = replay_events(w->replay), failures = replay_failures(w->replay);
		EventSlice slice;
		bool ok;

		if (!tape_slice(w->tape, w->position, most, &slice, err))
			return false;
		if (slice.count == 0)
			return true;
		w->run_from = events;
		ok = replay_page(w->replay, slice, err);
		w->run_from = -1;
		w->failures += replay_failures(w->replay) - failures;
		w->position += (size_t)(replay_events(w->replay) - events);
		if (!ok)
			return false;
	}
	return true;
}

static bool step_to(Walk *w, size_t number, Err *err)
{
	WalkStep step;

	while (w->position < number) {
		if (w->on_pause != NULL && !w->on_pause(w->pause_owner))
			return err_set(err, ERR_STOPPED, "stopped");
		if (!walk_step(w, &step, err))
			return err->kind == ERR_NONE;
	}
	return true;
}

bool walk_to(Walk *w, size_t number, Err *err)
{
	err_clear(err);
	begin(w);
	if (number < w->position && (has_clock(w) || w->position - number > undo_count(w->undo))) {
		restart(w);
	} else if (number < w->position) {
		while (w->position > number) {
			undo_states(w, undo_last(w->undo));
			undo_pop(w->undo);
		}
		w->handler->ops->forget(w->handler);
	}
	if (number - w->position > REMEMBERED && !run_to(w, number - REMEMBERED, err))
		return false;
	return step_to(w, number, err);
}

bool walk_run(Walk *w, Err *err)
{
	err_clear(err);
	return run_to(w, SIZE_MAX, err);
}

MemoryTable *walk_table(Walk *w)
{
	return w->table;
}

int64_t walk_failures(const Walk *w)
{
	return w->failures;
}

size_t walk_position(const Walk *w)
{
	int64_t under_way = w->run_from >= 0 ? replay_events(w->replay) - w->run_from : 0;

	return w->position + (size_t)under_way;
}
