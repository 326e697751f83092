#include "flow/undo.h"

#include <stdlib.h>

struct Undo {
	UndoStep *steps; /* a ring */
	size_t first, count, cap;
	size_t bytes, limit;
};

Undo *undo_new(size_t limit)
{
	Undo *u = mem_calloc(1, sizeof(*u));

	u->limit = limit;
	return u;
}

static UndoStep *step_at(const Undo *u, size_t nth)
{
	return &u->steps[(u->first + nth) % u->cap];
}

static void release(Undo *u, UndoStep *s)
{
	u->bytes -= s->bytes;
	free(s->err);
	free(s->states); /* with the texts behind them */
}

void undo_clear(Undo *u)
{
	while (u->count > 0)
		undo_pop(u);
}

void undo_free(Undo *u)
{
	if (u == NULL)
		return;
	undo_clear(u);
	free(u->steps);
	free(u);
}

static void drop_oldest(Undo *u)
{
	while (u->bytes > u->limit && u->count > 1) {
		release(u, step_at(u, 0));
		u->first = (u->first + 1) % u->cap;
		u->count--;
	}
}

void undo_limit(Undo *u, size_t bytes)
{
	u->limit = bytes;
	drop_oldest(u);
}

size_t undo_count(const Undo *u)
{
	return u->count;
}

static void grow(Undo *u)
{
	size_t cap = u->cap ? u->cap * 2 : 64;
	UndoStep *steps = mem_alloc(cap * sizeof(*steps));

	for (size_t i = 0; i < u->count; i++)
		steps[i] = *step_at(u, i);
	free(u->steps);
	u->steps = steps;
	u->cap = cap;
	u->first = 0;
}

static Str put(char **at, Str text)
{
	Str copy = { text.s != NULL ? *at : NULL, text.len };

	if (text.s != NULL)
		memcpy(*at, text.s, text.len);
	*at += text.len;
	return copy;
}

/* The states and their texts become one block. */
static UndoStep copy_of(const UndoStep *s)
{
	UndoStep copy = *s;
	size_t size = s->nstates * sizeof(*s->states);
	char *texts;

	for (size_t i = 0; i < s->nstates; i++)
		size += s->states[i].key.len + s->states[i].state.len + 1;
	copy.bytes = sizeof(copy) + size + (s->err != NULL ? sizeof(*s->err) : 0);
	copy.states = mem_alloc(size);
	texts = (char *)(copy.states + s->nstates);
	for (size_t i = 0; i < s->nstates; i++) {
		copy.states[i] = s->states[i];
		copy.states[i].key = put(&texts, s->states[i].key);
		copy.states[i].state = put(&texts, s->states[i].state);
	}
	if (s->err != NULL) {
		copy.err = mem_alloc(sizeof(*copy.err));
		*copy.err = *s->err;
	}
	return copy;
}

void undo_push(Undo *u, const UndoStep *step)
{
	UndoStep copy = copy_of(step);

	if (u->count == u->cap)
		grow(u);
	u->bytes += copy.bytes;
	*step_at(u, u->count++) = copy;
	drop_oldest(u);
}

const UndoStep *undo_last(const Undo *u)
{
	return u->count > 0 ? step_at(u, u->count - 1) : NULL;
}

void undo_pop(Undo *u)
{
	release(u, step_at(u, --u->count));
}
