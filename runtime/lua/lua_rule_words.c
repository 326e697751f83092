#include <lauxlib.h>

#include "base/digest.h"
#include "base/zone.h"
#include "lua/lua_json.h"
#include "lua/lua_rule.h"
#include "lua/lua_sandbox.h"

/* What the prelude of rules needs of C. */

/* ---- what a rule does ---- */

static Script *rule_at_work(lua_State *L, const char *word)
{
	Script *s = lua_host_owner(lua_host_of(L));

	if (s == NULL || s->rule == NULL)
		luaL_error(L, "%s: there is no rule at work", word);
	return s;
}

static int raise_word(lua_State *L) /* [table] -> [] */
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_rule_raise(L, rule_at_work(L, "raise"));
	return 0;
}

static int ref_word(lua_State *L) /* [place key] -> [row, or nil] */
{
	Script *s = rule_at_work(L, "ref");
	lua_Integer place = luaL_checkinteger(L, 1);

	lua_settop(L, 2);
	refs_push_row(L, s->rule->refs, (size_t)place - 1);
	return 1;
}

/* ---- identity ---- */

static int uuid_word(lua_State *L) /* [text] -> [text] */
{
	unsigned char uuid[16];
	char text[37];
	Str from;

	from.s = luaL_checklstring(L, 1, &from.len);
	digest_uuid(from, uuid);
	event_uuid_text(uuid, text);
	lua_pushlstring(L, text, 36);
	return 1;
}

static int hash_word(lua_State *L) /* [text] -> [32 hex digits] */
{
	char hex[65];
	Str from;

	from.s = luaL_checklstring(L, 1, &from.len);
	digest_sha256_hex(from, hex);
	lua_pushlstring(L, hex, 32);
	return 1;
}

/* ---- events ---- */

static int event_copy_word(lua_State *L) /* [event] -> [table] */
{
	luaL_checkany(L, 1);
	lua_settop(L, 1);
	lua_event_copy(L);
	return 1;
}

/* ---- files ---- */

static void push_file(lua_State *L, const char *path)
{
	LuaFiles *files = lua_host_files(lua_host_of(L));
	Err err = { 0 };
	Str text;

	if (!lua_files_read(files, path, &text, &err))
		lua_host_raise(L, &err);
	lua_pushlstring(L, text.s, text.len);
}

static int source_word(lua_State *L) /* [] -> [text] */
{
	push_file(L, lua_host_script(lua_host_of(L)));
	return 1;
}

static int text_word(lua_State *L) /* [path] -> [text, or nil] */
{
	const char *path = luaL_checkstring(L, 1);

	if (lua_files_has(lua_host_files(lua_host_of(L)), path))
		push_file(L, path);
	else
		lua_pushnil(L);
	return 1;
}

/* ---- functions, for the digest of what a rule means ---- */

static int where_word(lua_State *L) /* [function] -> [path first-line last-line] */
{
	lua_Debug ar;

	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_getinfo(L, ">S", &ar);
	lua_pushstring(L, ar.source + (ar.source[0] == '@'));
	lua_pushinteger(L, ar.linedefined);
	lua_pushinteger(L, ar.lastlinedefined);
	return 3;
}

static int upvalue_word(lua_State *L) /* [function n] -> [name value], or [] behind the last one */
{
	const char *name;

	luaL_checktype(L, 1, LUA_TFUNCTION);
	name = lua_getupvalue(L, 1, luaL_checkint(L, 2)); /* [function n value] */
	if (name == NULL)
		return 0;
	lua_pushstring(L, name);
	lua_insert(L, -2);
	return 2;
}

/* ---- time ---- */

static int zone_offset_word(lua_State *L) /* [zone seconds] -> [seconds] */
{
	const char *zone = luaL_checkstring(L, 1);
	double seconds = luaL_checknumber(L, 2);
	Err err = { 0 };
	int offset;

	if (!zone_offset(zone, (int64_t)seconds, &offset, &err))
		return luaL_error(L, "%s", err.message);
	lua_pushnumber(L, offset);
	return 1;
}

void lua_rule_words_open(lua_State *L)
{
	static const luaL_Reg words[] = {
		{ "raise", raise_word },
		{ "ref", ref_word },
		{ "uuid", uuid_word },
		{ "hash", hash_word },
		{ "event_copy", event_copy_word },
		{ "source", source_word },
		{ "text", text_word },
		{ "where", where_word },
		{ "upvalue", upvalue_word },
		{ "zone_offset", zone_offset_word },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		lua_pushcfunction(L, words[i].func);
		lua_setfield(L, -2, words[i].name);
	}
}
