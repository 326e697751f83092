#include "lua/lua_states.h"

#include <stdlib.h>

enum { NOBODY = -1, SLOT_COST = 160 };

/* Numbers of slots. */
typedef struct {
	uint32_t *at;
	size_t count, cap;
} List;

struct States {
	State *slots;
	size_t nslots, cap;
	int32_t *table; /* open addressing; NOBODY: free */
	size_t mask, used;
	List free, dirty, unsettled;
	int32_t newest, oldest;
	uint64_t page;
	size_t bytes, limit;
};

static void list_add(List *list, uint32_t slot)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 64;
		list->at = mem_realloc(list->at, list->cap * sizeof(*list->at));
	}
	list->at[list->count++] = slot;
}

static void rehash(States *s, size_t size)
{
	free(s->table);
	s->table = mem_alloc(size * sizeof(*s->table));
	s->mask = size - 1;
	for (size_t i = 0; i < size; i++)
		s->table[i] = NOBODY;
	for (size_t i = 0; i < s->nslots; i++) {
		size_t at = s->slots[i].hash & s->mask;

		if (!s->slots[i].used)
			continue;
		while (s->table[at] != NOBODY)
			at = (at + 1) & s->mask;
		s->table[at] = (int32_t)i;
	}
}

States *states_open(size_t limit)
{
	States *s = mem_calloc(1, sizeof(*s));

	s->limit = limit;
	s->newest = s->oldest = NOBODY;
	s->page = 1;
	rehash(s, 256);
	return s;
}

void states_limit(States *s, size_t limit)
{
	s->limit = limit;
}

static void unlink_slot(States *s, State *slot)
{
	if (slot->newer != NOBODY)
		s->slots[slot->newer].older = slot->older;
	else
		s->newest = slot->older;
	if (slot->older != NOBODY)
		s->slots[slot->older].newer = slot->newer;
	else
		s->oldest = slot->newer;
}

static void link_newest(States *s, uint32_t slot)
{
	State *st = &s->slots[slot];

	st->newer = NOBODY;
	st->older = s->newest;
	if (s->newest != NOBODY)
		s->slots[s->newest].newer = (int32_t)slot;
	else
		s->oldest = (int32_t)slot;
	s->newest = (int32_t)slot;
}

static uint32_t new_number(States *s)
{
	if (s->free.count > 0)
		return s->free.at[--s->free.count];
	if (s->nslots == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 128;
		s->slots = mem_realloc(s->slots, s->cap * sizeof(*s->slots));
	}
	return (uint32_t)s->nslots++;
}

static uint32_t new_slot(States *s, Str key, uint64_t hash, size_t at)
{
	uint32_t slot = new_number(s);

	s->slots[slot] = (State){
		.key = { mem_strndup(key.s, key.len), key.len }, .hash = hash, .used = true
	};
	states_size(s, slot, SLOT_COST + key.len);
	s->table[at] = (int32_t)slot;
	link_newest(s, slot);
	if (++s->used * 2 > s->mask)
		rehash(s, (s->mask + 1) * 2);
	return slot;
}

uint32_t states_slot(States *s, Str key)
{
	uint64_t hash = str_hash(key);
	size_t at = hash & s->mask;
	uint32_t slot;

	for (; s->table[at] != NOBODY; at = (at + 1) & s->mask) {
		State *st = &s->slots[s->table[at]];

		if (st->hash == hash && str_eq(st->key, key))
			break;
	}
	if (s->table[at] == NOBODY) {
		slot = new_slot(s, key, hash, at);
	} else {
		slot = (uint32_t)s->table[at];
		if (s->newest != (int32_t)slot) {
			unlink_slot(s, &s->slots[slot]);
			link_newest(s, slot);
		}
	}
	s->slots[slot].page = s->page;
	return slot;
}

bool states_find(const States *s, Str key, uint32_t *slot)
{
	uint64_t hash = str_hash(key);

	for (size_t at = hash & s->mask; s->table[at] != NOBODY; at = (at + 1) & s->mask) {
		const State *st = &s->slots[s->table[at]];

		if (st->hash == hash && str_eq(st->key, key)) {
			*slot = (uint32_t)s->table[at];
			return true;
		}
	}
	return false;
}

State *states_at(States *s, uint32_t slot)
{
	return &s->slots[slot];
}

bool states_has(const States *s, size_t slot)
{
	return slot < s->nslots && s->slots[slot].used;
}

void states_page(States *s)
{
	s->page++;
}

bool states_in_page(const States *s, uint32_t slot)
{
	return s->slots[slot].page == s->page;
}

void states_dirty(States *s, uint32_t slot)
{
	if (s->slots[slot].dirty)
		return;
	s->slots[slot].dirty = true;
	list_add(&s->dirty, slot);
}

void states_undo_dirty(States *s, uint32_t slot)
{
	size_t i = s->dirty.count;

	while (i > 0 && s->dirty.at[i - 1] != slot)
		i--;
	if (i == 0)
		return;
	memmove(&s->dirty.at[i - 1], &s->dirty.at[i], (s->dirty.count - i) * sizeof(*s->dirty.at));
	s->dirty.count--;
	s->slots[slot].dirty = false;
}

const uint32_t *states_changed(const States *s, size_t *count)
{
	*count = s->dirty.count;
	return s->dirty.at;
}

void states_collected(States *s)
{
	for (size_t i = 0; i < s->dirty.count; i++) {
		State *st = &s->slots[s->dirty.at[i]];

		st->dirty = false;
		if (!st->unsettled)
			list_add(&s->unsettled, s->dirty.at[i]);
		st->unsettled = true;
	}
	s->dirty.count = 0;
}

/* Takes an entry out of the table; those behind it that it had pushed on move up. */
static void remove_entry(States *s, uint32_t slot)
{
	size_t hole = s->slots[slot].hash & s->mask, at;

	while (s->table[hole] != (int32_t)slot)
		hole = (hole + 1) & s->mask;
	for (at = (hole + 1) & s->mask; s->table[at] != NOBODY; at = (at + 1) & s->mask) {
		size_t home = s->slots[s->table[at]].hash & s->mask;

		if (((at - home) & s->mask) >= ((at - hole) & s->mask)) {
			s->table[hole] = s->table[at];
			hole = at;
		}
	}
	s->table[hole] = NOBODY;
	s->used--;
}

static void drop_slot(States *s, uint32_t slot)
{
	State *st = &s->slots[slot];

	remove_entry(s, slot);
	unlink_slot(s, st);
	s->bytes -= st->bytes;
	free((char *)st->key.s);
	*st = (State){ 0 };
	list_add(&s->free, slot);
}

void states_settled(States *s, void (*drop)(void *owner, uint32_t slot), void *owner)
{
	int32_t at = s->oldest;

	for (size_t i = 0; i < s->unsettled.count; i++)
		s->slots[s->unsettled.at[i]].unsettled = false;
	s->unsettled.count = 0;
	while (s->bytes > s->limit && at != NOBODY) {
		State *st = &s->slots[at];
		uint32_t slot = (uint32_t)at;

		at = st->newer;
		if (st->dirty || st->page == s->page)
			continue;
		drop(owner, slot);
		drop_slot(s, slot);
	}
}

void states_purge(States *s, void (*drop)(void *owner, uint32_t slot), void *owner)
{
	for (size_t i = 0; i < s->nslots; i++) {
		const State *st = &s->slots[i];

		if (!st->used || st->exists || st->dirty || st->unsettled || st->page == s->page)
			continue;
		drop(owner, (uint32_t)i);
		drop_slot(s, (uint32_t)i);
	}
}

size_t states_count(const States *s)
{
	return s->used;
}

void states_forget(States *s)
{
	for (size_t i = 0; i < s->nslots; i++)
		free((char *)s->slots[i].key.s);
	for (size_t i = 0; i <= s->mask; i++)
		s->table[i] = NOBODY;
	s->nslots = s->used = s->bytes = 0;
	s->free.count = s->dirty.count = s->unsettled.count = 0;
	s->newest = s->oldest = NOBODY;
}

size_t states_bytes(const States *s)
{
	return s->bytes;
}

void states_size(States *s, uint32_t slot, size_t bytes)
{
	State *st = &s->slots[slot];

	s->bytes += bytes - st->bytes;
	st->bytes = (uint32_t)bytes;
}

void states_close(States *s)
{
	if (s == NULL)
		return;
	states_forget(s);
	free(s->slots);
	free(s->table);
	free(s->free.at);
	free(s->dirty.at);
	free(s->unsettled.at);
	free(s);
}

/* A set is a cache of which only `known` is used. */
struct KeySet {
	States *keys;
	size_t count;
};

KeySet *key_set_open(void)
{
	KeySet *k = mem_calloc(1, sizeof(*k));

	k->keys = states_open(SIZE_MAX);
	return k;
}

void key_set_close(KeySet *k)
{
	if (k == NULL)
		return;
	states_close(k->keys);
	free(k);
}

void key_set_put(KeySet *k, Str key, bool present)
{
	uint32_t slot = states_slot(k->keys, key);

	if (states_at(k->keys, slot)->known != present)
		k->count += present ? 1 : (size_t)-1;
	if (present)
		states_at(k->keys, slot)->known = true;
	else
		drop_slot(k->keys, slot);
}

void key_set_clear(KeySet *k)
{
	states_forget(k->keys);
	k->count = 0;
}

bool key_set_has(const KeySet *k, Str key)
{
	uint32_t slot;

	return k->count > 0 && states_find(k->keys, key, &slot);
}
