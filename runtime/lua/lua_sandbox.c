#include "lua/lua_sandbox.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <math.h>

#include "base/iso_time.h"
#include "lua/lua_decimal.h"
#include "lua/lua_gate.h"
#include "lua/lua_json.h"
#include "lua/lua_json_lazy.h"
#include "lua/lua_pattern.h"
#include "lua/lua_source.h"

/* ---- words about time ---- */

static int time_word(lua_State *L) /* [text] -> [seconds] */
{
	Str text;
	int64_t us;

	text.s = luaL_checklstring(L, 1, &text.len);
	if (!iso_time_parse(text, &us))
		return luaL_error(L, "time: '%s' is no time (write 2026-01-02T03:04:05Z)", text.s);
	lua_pushnumber(L, (double)us / 1e6);
	return 1;
}

static int64_t check_us(lua_State *L, const char *word)
{
	double us = rint(luaL_checknumber(L, 1) * 1e6);

	if (!(fabs(us) < 1e18) || !iso_time_in_range((int64_t)us))
		luaL_error(L, "%s: %f is no time between the years 1 and 9999 (give seconds)", word,
			us / 1e6);
	return (int64_t)us;
}

static int iso_word(lua_State *L) /* [seconds] -> [text] */
{
	char text[ISO_TIME_SIZE];

	iso_time_format(check_us(L, "iso"), text);
	lua_pushstring(L, text);
	return 1;
}

static int utc_date_word(lua_State *L) /* [seconds] -> [text] */
{
	char text[ISO_DATE_SIZE];

	iso_date_format(check_us(L, "utc_date"), text);
	lua_pushstring(L, text);
	return 1;
}

/* ---- Lua's words, without what differs from run to run ---- */

/* An address would differ in every run: a table is just "table". */
static int tostring_word(lua_State *L) /* [value] -> [text] */
{
	luaL_checkany(L, 1);
	lua_host_check_depth(L);
	if (luaL_callmeta(L, 1, "__tostring")) {
		if (!lua_isstring(L, -1))
			return luaL_error(L, "__tostring must return a string");
		return 1;
	}
	switch (lua_type(L, 1)) {
	case LUA_TNUMBER:
		lua_pushvalue(L, 1);
		lua_tostring(L, -1);
		break;
	case LUA_TSTRING:
		lua_pushvalue(L, 1);
		break;
	case LUA_TBOOLEAN:
		lua_pushstring(L, lua_toboolean(L, 1) ? "true" : "false");
		break;
	default:
		lua_pushstring(L, luaL_typename(L, 1));
	}
	return 1;
}

static int rawset_word(lua_State *L) /* [table key value] -> [table] */
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkany(L, 2);
	luaL_checkany(L, 3);
	lua_settop(L, 3);
	lua_lazy_check(L, 1);
	if (luaL_getmetafield(L, 1, "__metatable")) {
		if (luaL_getmetafield(L, 1, "__newindex"))
			return luaL_error(L, "rawset: the table is read-only");
		lua_settop(L, 3);
	}
	lua_rawset(L, 1);
	return 1;
}

/* ---- Lua's words that would tell a lazy table (lua_json_lazy.h) from an ordinary one ---- */

static int rawget_word(lua_State *L) /* [table key] -> [value] */
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkany(L, 2);
	lua_settop(L, 2);
	if (lua_lazy_at(L, 1))
		lua_gettable(L, 1);
	else
		lua_rawget(L, 1);
	return 1;
}

static int getmetatable_word(lua_State *L) /* [value] -> [metatable] */
{
	luaL_checkany(L, 1);
	if (lua_lazy_at(L, 1) || !lua_getmetatable(L, 1))
		lua_pushnil(L);
	else
		luaL_getmetafield(L, 1, "__metatable"); /* in place of the metatable */
	return 1;
}

static int setmetatable_word(lua_State *L) /* [table metatable] -> [table] */
{
	luaL_checktype(L, 1, LUA_TTABLE);
	if (!lua_isnil(L, 2) && !lua_istable(L, 2))
		return luaL_argerror(L, 2, "nil or table expected");
	lua_settop(L, 2);
	lua_lazy_check(L, 1);
	if (luaL_getmetafield(L, 1, "__metatable"))
		return luaL_error(L, "cannot change a protected metatable");
	lua_setmetatable(L, 1);
	return 1;
}

/* They walk in an order that depends on the table's history; pairs() does not. */
static void drop_foreach(lua_State *L)
{
	lua_getglobal(L, "table");
	lua_pushnil(L);
	lua_setfield(L, -2, "foreach");
	lua_pushnil(L);
	lua_setfield(L, -2, "foreachi");
	lua_pop(L, 1);
}

static void hide_laziness(lua_State *L)
{
	lua_pushcfunction(L, rawget_word);
	lua_setglobal(L, "rawget");
	lua_pushcfunction(L, getmetatable_word);
	lua_setglobal(L, "getmetatable");
	lua_pushcfunction(L, setmetatable_word);
	lua_setglobal(L, "setmetatable");
	drop_foreach(L);
}

static int log_word(lua_State *L) /* [line] -> [] */
{
	lua_host_log(lua_host_of(L), luaL_checkstring(L, 1));
	return 0;
}

static int delete_tostring(lua_State *L) /* [delete] -> [text] */
{
	lua_pushliteral(L, "delete");
	return 1;
}

/* [native] -> [native] */
static void add_words(lua_State *L)
{
	static const luaL_Reg words[] = {
		{ "time", time_word },
		{ "iso", iso_word },
		{ "utc_date", utc_date_word },
		{ "tostring", tostring_word },
		{ "rawset", rawset_word },
		{ "log", log_word },
		{ "array", lua_json_array },
		{ "decimal", lua_decimal_new },
		{ "module", lua_source_module },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		lua_pushcfunction(L, words[i].func);
		lua_setfield(L, -2, words[i].name);
	}
	lua_json_open(L);
	lua_setfield(L, -2, "json");
	lua_newuserdata(L, 1);
	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, delete_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_setfield(L, -2, "delete");
}

static void open_library(lua_State *L, lua_CFunction open, const char *name)
{
	lua_pushcfunction(L, open);
	lua_pushstring(L, name);
	lua_call(L, 1, 0);
}

/* Only what the prelude's allow list chooses from: no io, os, debug, ffi or package is ever opened.
 */
static void open_libraries(lua_State *L)
{
	open_library(L, luaopen_base, "");
	open_library(L, luaopen_table, LUA_TABLIBNAME);
	open_library(L, luaopen_string, LUA_STRLIBNAME);
	open_library(L, luaopen_math, LUA_MATHLIBNAME);
	open_library(L, luaopen_bit, LUA_BITLIBNAME);
	open_library(L, luaopen_jit, LUA_JITLIBNAME); /* it initialises the compiler … */
	luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
	lua_getglobal(L, "string");
	lua_pattern_open(L);
	lua_getglobal(L, "table");
	lua_pattern_open_table(L);
	lua_pop(L, 2);
	lua_getglobal(L, "tonumber");
	lua_decimal_wrap_tonumber(L);
	lua_setglobal(L, "tonumber");
	hide_laziness(L);
}

/* "projections/x.lua" defines the projection x; files elsewhere define nothing. [native] ->
 * [native]
 */
static void add_script_name(lua_State *L, LuaHost *h)
{
	const char *path = lua_host_script(h), *kind = lua_source_kind(path);

	if (kind == NULL)
		return;
	path = strrchr(path, '/') + 1;
	lua_pushlstring(L, path, strcspn(path, "."));
	lua_setfield(L, -2, "script");
	lua_pushstring(L, kind);
	lua_setfield(L, -2, "kind");
}

void lua_sandbox_open(lua_State *L, LuaHost *h)
{
	lua_json_setup(L);
	open_libraries(L);
	lua_settop(L, 0);
	lua_newtable(L);
	add_words(L);
	lua_order_open(L);
	lua_coroutine_open(L);
	lua_rule_words_open(L);
	add_script_name(L, h);
}
