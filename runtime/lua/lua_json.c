#include "lua/lua_json.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "lua/lua_decimal.h"
#include "lua/lua_json_tree.h"
#include "lua/lua_pattern.h"

static const char JSON_KEY = 0; /* its address is the registry key */

enum { KEEP_BYTES = 1 << 20 }; /* a buffer that grew beyond is given back */

LuaJson *lua_json_of(lua_State *L)
{
	LuaJson *json;

	lua_pushlightuserdata(L, (void *)&JSON_KEY);
	lua_rawget(L, LUA_REGISTRYINDEX);
	json = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return json;
}

static int free_json(lua_State *L)
{
	LuaJson *json = lua_touserdata(L, 1);

	buf_free(&json->scratch);
	buf_free(&json->text);
	free(json->members);
	free(json->seen);
	return 0;
}

/* A hidden metatable, kept in the registry. */
static int new_mark(lua_State *L, const void **mark)
{
	lua_createtable(L, 0, 1);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	*mark = lua_topointer(L, -1);
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int null_text(lua_State *L)
{
	lua_pushliteral(L, "null");
	return 1;
}

static int null_index(lua_State *L)
{
	if (lua_type(L, 2) == LUA_TSTRING)
		return luaL_error(L, "attempt to index null (field '%s')", lua_tostring(L, 2));
	return luaL_error(L, "attempt to index null");
}

/* All light userdata share one metatable, and null is the only one that scripts see. */
static void setup_null(lua_State *L)
{
	lua_json_push_null(L);
	lua_createtable(L, 0, 4);
	lua_pushcfunction(L, null_text);
	lua_setfield(L, -2, "__tostring");
	lua_pushcfunction(L, null_index);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, null_index);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

void lua_json_setup(lua_State *L)
{
	LuaJson *json;

	lua_pushlightuserdata(L, (void *)&JSON_KEY);
	json = lua_newuserdata(L, sizeof(*json));
	*json = (LuaJson){ 0 };
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, free_json);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
	json->array_ref = new_mark(L, &json->array_mark);
	json->root_ref = new_mark(L, &json->root_mark);
	json->root_array_ref = new_mark(L, &json->root_array_mark);
	json->lazy = lua_lazy_setup(L);
	setup_null(L);
	lua_decimal_setup(L);
}

/* [metatable] -> [metatable]: a state's, or a script's? */
static Mark state_mark(lua_State *L, const LuaJson *json)
{
	bool sealed, array;

	lua_rawgeti(L, -1, MARK_SLOT_SEAL); /* scripts cannot make light userdata */
	sealed = lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == json;
	lua_rawgeti(L, -2, MARK_SLOT_ARRAY);
	array = lua_isboolean(L, -1);
	lua_pop(L, 2);
	return !sealed ? MARK_ALIEN : array ? MARK_STATE_ARRAY : MARK_STATE;
}

Mark lua_json_mark(lua_State *L, const LuaJson *json, int index, const void **metatable)
{
	Mark mark;

	*metatable = NULL;
	if (!lua_getmetatable(L, index))
		return MARK_NONE;
	*metatable = lua_topointer(L, -1);
	if (*metatable == json->array_mark)
		mark = MARK_ARRAY;
	else if (*metatable == json->root_mark)
		mark = MARK_ROOT;
	else if (*metatable == json->root_array_mark)
		mark = MARK_ROOT_ARRAY;
	else if (lua_lazy_is_mark(json->lazy, *metatable))
		mark = MARK_LAZY;
	else
		mark = state_mark(L, json);
	lua_pop(L, 1);
	return mark;
}

void lua_json_push_null(lua_State *L)
{
	lua_pushlightuserdata(L, NULL);
}

bool lua_json_is_null(lua_State *L, int index)
{
	return lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL;
}

bool lua_json_is_array(lua_State *L, int index)
{
	const void *metatable;

	return lua_istable(L, index) &&
	       mark_is_array(lua_json_mark(L, lua_json_of(L), index, &metatable));
}

void lua_json_mark_array(lua_State *L, int index)
{
	lua_pushvalue(L, index);
	lua_rawgeti(L, LUA_REGISTRYINDEX, lua_json_of(L)->array_ref);
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

/* The table at 1 becomes an array and stays whose it was. */
static void turn_into_array(lua_State *L, Mark mark)
{
	LuaJson *json = lua_json_of(L);

	switch (mark) {
	case MARK_NONE:
		lua_json_mark_array(L, 1);
		break;
	case MARK_ROOT:
		lua_rawgeti(L, LUA_REGISTRYINDEX, json->root_array_ref);
		lua_setmetatable(L, 1);
		break;
	case MARK_STATE:
		lua_getmetatable(L, 1);
		lua_rawgeti(L, -1, MARK_SLOT_ARRAY);
		lua_setmetatable(L, 1);
		break;
	case MARK_ALIEN:
		luaL_argerror(L, 1, "a table with a metatable cannot be an array");
		break;
	default:
		break; /* it is one */
	}
}

int lua_json_array(lua_State *L)
{
	const char *subject = "array";
	Frame at = { .depth = 1 }, member = { .up = &at, .depth = 2 };
	const void *metatable;
	Keys keys = { 0 };
	Err err;
	bool array;

	lua_settop(L, 1);
	if (lua_isnil(L, 1)) {
		lua_newtable(L);
		lua_replace(L, 1);
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_lazy_check(L, 1);
	lua_pushnil(L);
	while (lua_next(L, 1) != 0) {
		if (!lua_json_take_key(L, &keys, &member, subject, &err))
			return luaL_error(L, "%s", err.message);
		lua_pop(L, 1);
	}
	if (!lua_json_shape(&keys, true, &at, subject, &array, &err))
		return luaL_error(L, "%s", err.message);
	turn_into_array(L, lua_json_mark(L, lua_json_of(L), 1, &metatable));
	lua_settop(L, 1);
	return 1;
}

static int word_is_array(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, lua_json_is_array(L, 1));
	return 1;
}

static int word_encode(lua_State *L)
{
	LuaJson *json = lua_json_of(L);
	bool ok;
	Err err;

	luaL_checkany(L, 1);
	buf_clear(&json->text);
	ok = lua_json_encode(L, 1, &json->text, NULL, &err);
	lua_pattern_spend(L, json->text.len);
	if (!ok)
		return luaL_error(L, "json.encode: %s", err.message);
	lua_pushlstring(L, buf_str(&json->text).s, json->text.len);
	if (json->text.cap > KEEP_BYTES)
		buf_free(&json->text);
	return 1;
}

static int word_decode(lua_State *L)
{
	Str text;
	Err err;

	luaL_checktype(L, 1, LUA_TSTRING);
	text.s = lua_tolstring(L, 1, &text.len);
	lua_pattern_spend(L, text.len);
	if (!lua_json_decode(L, text, &err))
		return luaL_error(L, "json.decode: %s", err.message);
	return 1;
}

void lua_json_open(lua_State *L)
{
	static const luaL_Reg words[] = { { "encode", word_encode }, { "decode", word_decode },
		{ "array", lua_json_array }, { "is_array", word_is_array } };

	lua_createtable(L, 0, 5);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		lua_pushcfunction(L, words[i].func);
		lua_setfield(L, -2, words[i].name);
	}
	lua_json_push_null(L);
	lua_setfield(L, -2, "null");
}
