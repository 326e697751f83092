#include "lua/lua_saved.h"

#include <stdlib.h>

struct SavedState {
	uint32_t slot;
	bool known, exists, dirty;
	int64_t position, updated_us, version;
	Buf text; /* keeps its room for the next one */
};

static struct SavedState *next(Saved *u)
{
	if (u->count == u->cap) {
		size_t cap = u->cap ? u->cap * 2 : 4;

		u->at = mem_realloc(u->at, cap * sizeof(*u->at));
		memset(u->at + u->cap, 0, (cap - u->cap) * sizeof(*u->at));
		u->cap = cap;
	}
	return &u->at[u->count++];
}

void saved_add(lua_State *L, Script *s, Saved *u, uint32_t slot)
{
	const State *st = states_at(s->states, slot);
	struct SavedState *saved = next(u);
	Err err = { 0 };
	bool ok;

	buf_clear(&saved->text);
	*saved = (struct SavedState){ slot, st->known, st->exists, st->dirty, st->position,
		st->updated_us, st->version, saved->text };
	if (!st->exists)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_rawgeti(L, -1, (int)slot + 1);
	ok = shape_encode(L, s->shape, lua_gettop(L), &saved->text, &err);
	if (!ok)
		lua_host_raise(L, &err);
	lua_pop(L, 2);
}

/* [rows] -> [rows] */
static void put_back(lua_State *L, Script *s, const struct SavedState *saved)
{
	State *st = states_at(s->states, saved->slot);
	Err err = { 0 };

	if (st->dirty && !saved->dirty)
		states_undo_dirty(s->states, saved->slot);
	st->known = saved->known;
	st->exists = saved->exists;
	st->position = saved->position;
	st->updated_us = saved->updated_us;
	st->version = saved->version;
	script_disown(L, s, saved->slot);
	if (!saved->exists)
		lua_pushnil(L);
	else if (!shape_push_loaded(L, s->shape, script_owners(s, saved->slot), st->key,
			 buf_str(&saved->text), &err))
		lua_host_raise(L, &err);
	lua_rawseti(L, -2, (int)saved->slot + 1);
}

/* Backwards: a state that was saved twice becomes what it was first. */
void saved_put_back(lua_State *L, Script *s, Saved *u)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	for (size_t i = u->count; i > 0; i--)
		put_back(L, s, &u->at[i - 1]);
	lua_pop(L, 1);
}

size_t saved_count(const Saved *u)
{
	return u->count;
}

uint32_t saved_slot(const Saved *u, size_t i)
{
	return u->at[i].slot;
}

void saved_drop(Saved *u)
{
	u->count = 0;
}

void saved_free(Saved *u)
{
	for (size_t i = 0; i < u->cap; i++)
		buf_free(&u->at[i].text);
	free(u->at);
	*u = (Saved){ 0 };
}
