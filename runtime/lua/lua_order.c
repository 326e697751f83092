#include "lua/lua_sandbox.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "lua/lua_decimal.h"
#include "lua/lua_gate.h"
#include "lua/lua_json_lazy.h"

/* Lua's own next() follows addresses and insertion: what it visits first may differ between two
 * runs over the same events. Ours goes by the keys: numbers ascending, strings bytewise, decimals.
 */

enum {
	STEPS_PER_KEY = 30, /* what collecting and sorting costs, roughly */
	STEPS_PER_MOVE = 2,
};

typedef enum { RANK_NUMBER, RANK_STRING, RANK_DECIMAL } Rank;

typedef struct {
	Rank rank;
	double number;
	Str text;
} Key;

static Key key_at(lua_State *L, int index, const char *word)
{
	Key key = { 0 };

	switch (lua_type(L, index)) {
	case LUA_TNUMBER:
		key.number = lua_tonumber(L, index);
		return key;
	case LUA_TSTRING:
		key.rank = RANK_STRING;
		key.text.s = lua_tolstring(L, index, &key.text.len);
		return key;
	default:
		key.rank = RANK_DECIMAL;
		key.text = lua_decimal_text(L, index);
		if (key.text.s == NULL)
			luaL_error(L,
				"%s: a %s as a key has no order that is the same in every run (use "
				"strings or numbers)",
				word, luaL_typename(L, index));
		return key;
	}
}

static int compare(const void *left, const void *right)
{
	const Key *a = left, *b = right;
	size_t shorter = a->text.len < b->text.len ? a->text.len : b->text.len;
	int order;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->rank == RANK_NUMBER)
		return a->number < b->number ? -1 : a->number > b->number;
	order = memcmp(a->text.s, b->text.s, shorter);
	return order ? order : a->text.len < b->text.len ? -1 : a->text.len > b->text.len;
}

/* How many keys the table has; *sequence where they are 1 … n in Lua's own order. */
static size_t count_keys(lua_State *L, int table, bool *sequence)
{
	size_t n = 0;

	*sequence = true;
	lua_pushnil(L);
	while (lua_next(L, table) != 0) {
		lua_pop(L, 1);
		n++;
		if (lua_type(L, -1) != LUA_TNUMBER || lua_tonumber(L, -1) != (double)n)
			*sequence = false;
	}
	return n;
}

static void push_key(lua_State *L, const Key *key, int by_text)
{
	if (key->rank == RANK_NUMBER)
		lua_pushnumber(L, key->number);
	else
		lua_pushlstring(L, key->text.s, key->text.len);
	if (key->rank == RANK_DECIMAL)
		lua_rawget(L, by_text);
}

/* The table's keys in order. [] -> [list]; the keys' bytes belong to the table. */
static void push_ordered(lua_State *L, int table, size_t n)
{
	Key *keys = lua_newuserdata(L, n * sizeof(*keys));
	int list, decimals;

	lua_createtable(L, (int)n, 0);
	list = lua_gettop(L);
	lua_newtable(L);
	decimals = lua_gettop(L);
	n = 0;
	lua_pushnil(L);
	while (lua_next(L, table) != 0) {
		lua_pop(L, 1);
		keys[n] = key_at(L, -1, "pairs");
		if (keys[n].rank == RANK_DECIMAL) {
			lua_pushlstring(L, keys[n].text.s, keys[n].text.len);
			lua_pushvalue(L, -2);
			lua_rawset(L, decimals);
		}
		n++;
	}
	qsort(keys, n, sizeof(*keys), compare);
	for (size_t i = 0; i < n; i++) {
		push_key(L, &keys[i], decimals);
		lua_rawseti(L, list, (int)i + 1);
	}
	lua_settop(L, list);
	lua_remove(L, list - 1);
}

/* Upvalues: the table, its keys (nil: 1 … n), n, how many were visited. */
static int step(lua_State *L) /* [] -> [key value], or [] at the end */
{
	lua_Integer n = lua_tointeger(L, lua_upvalueindex(3));
	lua_Integer at = lua_tointeger(L, lua_upvalueindex(4));
	bool sequence = lua_isnil(L, lua_upvalueindex(2));

	while (++at <= n) {
		lua_settop(L, 0);
		if (sequence)
			lua_pushinteger(L, at);
		else
			lua_rawgeti(L, lua_upvalueindex(2), (int)at);
		lua_pushvalue(L, 1);
		lua_rawget(L, lua_upvalueindex(1));
		if (lua_isnil(L, 2))
			continue; /* removed meanwhile */
		lua_pushinteger(L, at);
		lua_replace(L, lua_upvalueindex(4));
		return 2;
	}
	lua_pushinteger(L, n);
	lua_replace(L, lua_upvalueindex(4));
	lua_pushnil(L);
	return 1;
}

static int pairs_word(lua_State *L) /* [table] -> [step] */
{
	bool sequence;
	size_t n;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_lazy_check(L, 1);
	n = count_keys(L, 1, &sequence);
	lua_host_spend(L, (int64_t)n * STEPS_PER_KEY);
	if (sequence)
		lua_pushnil(L);
	else
		push_ordered(L, 1, n);
	lua_pushinteger(L, (lua_Integer)n);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, step, 4);
	return 1;
}

/* The least key above the given one. A walk with next() is quadratic: pairs() is for walks. */
static int next_word(lua_State *L) /* [table key] -> [key value], or [nil] */
{
	bool first = lua_isnoneornil(L, 2);
	Key after = { 0 }, best = { 0 };
	size_t n = 0;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	lua_lazy_check(L, 1);
	if (!first)
		after = key_at(L, 2, "next");
	lua_pushnil(L); /* [table key best] */
	lua_pushnil(L);
	while (lua_next(L, 1) != 0) { /* [table key best candidate value] */
		Key key;

		lua_pop(L, 1);
		key = key_at(L, -1, "next");
		n++;
		if ((!first && compare(&key, &after) <= 0) ||
			(!lua_isnil(L, 3) && compare(&key, &best) >= 0))
			continue;
		best = key;
		lua_pushvalue(L, -1);
		lua_replace(L, 3);
	}
	lua_host_spend(L, (int64_t)n * STEPS_PER_KEY);
	if (lua_isnil(L, 3))
		return 1;
	lua_pushvalue(L, 3);
	lua_rawget(L, 1);
	return 2;
}

static int insert_word(lua_State *L) /* [table (position) value] -> [] */
{
	int n, at;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_lazy_check(L, 1);
	n = (int)lua_objlen(L, 1);
	if (lua_gettop(L) == 2) {
		lua_rawseti(L, 1, n + 1);
		return 0;
	}
	if (lua_gettop(L) != 3)
		return luaL_error(L, "wrong number of arguments to 'insert'");
	at = luaL_checkint(L, 2);
	if (at < 1 || at > n + 1)
		return luaL_error(L, "bad argument #2 to 'insert' (position out of bounds)");
	lua_host_spend(L, (int64_t)(n - at) * STEPS_PER_MOVE);
	for (int i = n; i >= at; i--) {
		lua_rawgeti(L, 1, i);
		lua_rawseti(L, 1, i + 1);
	}
	lua_rawseti(L, 1, at);
	return 0;
}

static int sort_word(lua_State *L) /* [table (less)] -> []; the upvalue is Lua's own */
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_host_check_depth(L);
	lua_host_spend(L, (int64_t)lua_objlen(L, 1) * STEPS_PER_KEY);
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 0);
	return 0;
}

void lua_order_open(lua_State *L)
{
	lua_pushcfunction(L, pairs_word);
	lua_setfield(L, -2, "pairs");
	lua_pushcfunction(L, next_word);
	lua_setfield(L, -2, "next");
	lua_pushcfunction(L, insert_word);
	lua_setfield(L, -2, "insert");
	lua_getglobal(L, "table");
	lua_getfield(L, -1, "sort");
	lua_remove(L, -2);
	lua_pushcclosure(L, sort_word, 1);
	lua_setfield(L, -2, "sort");
}
