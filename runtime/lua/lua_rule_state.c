#include "lua/lua_rule.h"

#include <lauxlib.h>

/* States of keys as the engine takes and leaves them, and their limits. */

enum { CHECK_EVERY = 64 }; /* items of a list */

/* The key's last event is in its state: the row says the same whether it was read or made.
 * [state] -> [state] */
void lua_rule_note_position(lua_State *L, State *st, int64_t otherwise)
{
	lua_getfield(L, -1, "id");
	if (lua_isnumber(L, -1))
		st->position = (int64_t)lua_tonumber(L, -1);
	else if (otherwise != 0)
		st->position = otherwise;
	lua_pop(L, 1);
}

/* [state] -> [state]: its earliest timer is the key's */
void lua_rule_note_timer(lua_State *L, Script *s, Str key)
{
	int64_t due = INT64_MAX;
	Str name = STR("");

	lua_getfield(L, -1, "next");
	lua_getfield(L, -2, "next_name");
	if (lua_isnumber(L, -2)) {
		due = (int64_t)lua_tonumber(L, -2);
		name.s = lua_tolstring(L, -1, &name.len);
		if (name.s == NULL)
			name = STR("");
	}
	timers_set(s->rule->timers, key, due, name);
	lua_pop(L, 2);
}

static void check_size(lua_State *L, Script *s, uint32_t slot)
{
	size_t size = script_owners(s, slot)->size;
	Str key = states_at(s->states, slot)->key;
	Err err = { 0 };

	if (size <= s->rule->max_state)
		return;
	err_set(&err, ERR_LIMIT,
		"%s: %s: the state of key %.*s would take %zu bytes, and max_state is %zu (keep "
		"less: a shorter window, fewer entries, or raise max_state)",
		s->def.path, s->subject, (int)(key.len < 200 ? key.len : 200), key.s, size,
		s->rule->max_state);
	lua_host_raise(L, &err);
}

/* A state that nothing had to be kept of never was. [state] -> [] */
void lua_rule_remove(lua_State *L, Script *s, uint32_t slot)
{
	State *st = states_at(s->states, slot);

	lua_pop(L, 1);
	script_disown(L, s, slot);
	st->known = true;
	if (!st->exists)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_pushnil(L);
	lua_rawseti(L, -2, (int)slot + 1);
	lua_pop(L, 1);
	st->exists = false;
	states_dirty(s->states, slot);
	s->rule->notes.keys--;
	timers_set(s->rule->timers, st->key, INT64_MAX, STR(""));
}

/* The items of the longest list in the table on top of the stack. [table] -> [table] */
static size_t longest_list(lua_State *L)
{
	size_t longest = 0, n;

	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
		longest = n > longest ? n : longest;
		lua_pop(L, 1);
	}
	return longest;
}

/* Where no function of a user's writes to the state it is sound, and only its size has to be known:
 * of a long list (a window's entries) once in so many, so that an event costs the same whatever the
 * window holds. It follows from the state alone, so that every replay does the same. */
static bool is_to_check(lua_State *L, const Rule *r)
{
	size_t longest, inner;

	if (!r->trusted)
		return true;
	longest = longest_list(L);
	lua_getfield(L, -1, "i");
	inner = lua_istable(L, -1) ? longest_list(L) : 0;
	lua_pop(L, 1);
	longest = inner > longest ? inner : longest;
	return longest < CHECK_EVERY || longest % CHECK_EVERY == 0;
}

static void check_state(lua_State *L, Script *s, uint32_t slot)
{
	Err err = { 0 };

	if (!shape_check(L, s->shape, script_owners(s, slot), states_at(s->states, slot)->key,
		    false, &err)) {
		err_prefix(&err, "%s: %s", s->def.path, s->subject);
		lua_host_raise(L, &err);
	}
	check_size(L, s, slot);
}

/* [state] -> [] */
void lua_rule_keep(lua_State *L, Script *s, uint32_t slot)
{
	State *st = states_at(s->states, slot);

	if (is_to_check(L, s->rule))
		check_state(L, s, slot);
	lua_rule_note_timer(L, s, st->key);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_insert(L, -2);
	lua_rawseti(L, -2, (int)slot + 1);
	lua_pop(L, 1);
	s->rule->notes.keys += !st->exists;
	st->known = st->exists = true;
	states_dirty(s->states, slot);
}

/* The engine changed the state, or returns `delete`, or false where it did nothing.
 * [state result] -> [] */
void lua_rule_take(lua_State *L, Script *s, uint32_t slot, int64_t position, int64_t at_us)
{
	State *st = states_at(s->states, slot);
	bool untouched = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
	bool gone = lua_host_is_delete(s->host, L, -1) || (untouched && !st->exists);

	lua_pop(L, 1);
	if (gone) {
		lua_rule_remove(L, s, slot);
	} else if (untouched) {
		lua_pop(L, 1);
	} else {
		lua_rule_note_position(L, st, position);
		st->updated_us = at_us;
		lua_rule_keep(L, s, slot);
	}
	if (s->tracing)
		script_steps_done(L, s);
}

/* [] -> [state] */
void lua_rule_push(lua_State *L, Script *s, uint32_t slot)
{
	if (s->tracing)
		script_steps_key(s, slot);
	if (states_at(s->states, slot)->exists) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
		lua_rawgeti(L, -1, (int)slot + 1);
		lua_replace(L, -2);
	} else {
		script_disown(L, s, slot);
		lua_newtable(L);
	}
	if (s->tracing)
		script_steps_state(L, s);
}

/* Once, however often the event is tried: from then on the count tells. */
static void say_full(const Script *s, Str key)
{
	Buf line = { 0 };

	if (s->rule->said_full)
		return;
	s->rule->said_full = true;
	buf_addf(&line,
		"%s has %lld keys, and max_keys is %lld: key %.*s and all other new ones are "
		"passed over (set a ttl, or raise max_keys)",
		s->subject, (long long)s->rule->notes.keys, (long long)s->rule->max_keys,
		(int)(key.len < 200 ? key.len : 200), key.s);
	lua_host_log(s->host, line.s);
	buf_free(&line);
}

/* A key beyond max_keys is passed over, and counted. */
bool lua_rule_full(lua_State *L, Script *s, uint32_t slot)
{
	const State *st = states_at(s->states, slot);

	if (st->exists || s->rule->notes.keys < s->rule->max_keys)
		return false;
	lua_rule_count(L, s, "max_keys");
	say_full(s, st->key);
	return true;
}
