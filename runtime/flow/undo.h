#pragma once

#include "flow/memory_table.h"

/* What steps changed, to take them back: the last ones, within a bound of memory. */
typedef struct Undo Undo;

typedef struct {
	Str key, state; /* as it was before; state.s == NULL: there was none */
	int64_t position, updated_us;
} UndoState;

typedef struct {
	bool taken;
	Err *err; /* why the event failed; NULL: it did not */
	UndoState *states;
	size_t nstates;
	size_t bytes;
} UndoStep;

Undo *undo_new(size_t limit);
void undo_free(Undo *u);
void undo_clear(Undo *u);
void undo_limit(Undo *u, size_t bytes);
size_t undo_count(const Undo *u);

/* Remembers a step (copied), and forgets the oldest beyond the limit; never this one. */
void undo_push(Undo *u, const UndoStep *step);
/* The last step, or NULL. It lives until undo_pop(). */
const UndoStep *undo_last(const Undo *u);
void undo_pop(Undo *u);
