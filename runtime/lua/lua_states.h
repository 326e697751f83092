#pragma once

#include "base/mem.h"

/* The states that a handler knows, by key: what of them is changed, what is committed, and what may
 * be dropped when there are too many. Their Lua tables belong to the caller, under the same
 * numbers. A slot keeps its number while it lives. */
typedef struct States States;

typedef struct {
	Str key;                      /* JSON text */
	int64_t position, updated_us; /* of the last event that was handled for it … */
	int64_t version;              /* … within its aggregate */
	uint32_t bytes;               /* about what it takes in Lua */
	bool known;                   /* loaded, or known not to exist */
	bool exists;
	bool dirty;     /* changed since the last states_collected() */
	bool unsettled; /* collected, and not committed yet */
	bool asked;     /* the caller's: already in the list of what to load */
	uint64_t hash;  /* from here on the cache's own */
	uint64_t page;
	int32_t older, newer;
	bool used;
} State;

States *states_open(size_t limit);
void states_limit(States *s, size_t limit);
void states_close(States *s);

/* Finds the slot of a key, or makes one; it is not dropped before the next states_page(). */
uint32_t states_slot(States *s, Str key);
/* The same without making one, and without keeping it longer. */
bool states_find(const States *s, Str key, uint32_t *slot);
State *states_at(States *s, uint32_t slot); /* valid until the next states_slot() */
bool states_has(const States *s, size_t slot);

bool states_in_page(const States *s, uint32_t slot); /* asked for since the last states_page() */

/* A new page of events begins: the slots of the last one may be dropped again. */
void states_page(States *s);

void states_dirty(States *s, uint32_t slot);
void states_undo_dirty(States *s, uint32_t slot); /* of a slot that was clean before */
/* The changed slots since the last states_collected(), in the order of their first change. */
const uint32_t *states_changed(const States *s, size_t *count);
void states_collected(States *s);

/* All that was collected is committed. Then drops the longest unused while they take more than the
 * limit; `drop` is told of each. */
void states_settled(States *s, void (*drop)(void *owner, uint32_t slot), void *owner);

void states_forget(States *s); /* every slot is gone */
/* Drops the clean slots of no state, which say no more than that there is none. */
void states_purge(States *s, void (*drop)(void *owner, uint32_t slot), void *owner);
size_t states_count(const States *s);
size_t states_bytes(const States *s);
void states_size(States *s, uint32_t slot, size_t bytes);

/* Keys alone. */
typedef struct KeySet KeySet;

KeySet *key_set_open(void);
void key_set_close(KeySet *k);
void key_set_put(KeySet *k, Str key, bool present);
void key_set_clear(KeySet *k);
bool key_set_has(const KeySet *k, Str key);
