#include "lua/lua_source.h"

#include <lauxlib.h>
#include <stdio.h>

#include "lua/lua_gate.h"

static const struct {
	const char *name, *text;
} prelude[] = {
#define PRELUDE(name, text) { name, text },
#include "prelude_data.inc"
#undef PRELUDE
};

void lua_source_prelude(lua_State *L, const char *name)
{
	for (size_t i = 0; i < sizeof(prelude) / sizeof(prelude[0]); i++) {
		char chunk[64];

		if (strcmp(prelude[i].name, name) != 0)
			continue;
		snprintf(chunk, sizeof(chunk), "@prelude/%s.lua", name);
		if (luaL_loadbuffer(L, prelude[i].text, strlen(prelude[i].text), chunk) != 0)
			lua_error(L);
		return;
	}
	luaL_error(L, "no prelude module '%s'", name);
}

/* require "prelude.x", for the prelude's own modules; the upvalue has what is loaded. */
static int require_prelude(lua_State *L) /* [name] -> [module] */
{
	const char *name = luaL_checkstring(L, 1);

	lua_getfield(L, lua_upvalueindex(1), name);
	if (!lua_isnil(L, -1))
		return 1;
	lua_source_prelude(L, strncmp(name, "prelude.", 8) == 0 ? name + 8 : name);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -1);
	lua_setfield(L, lua_upvalueindex(1), name);
	return 1;
}

void lua_source_open(lua_State *L)
{
	lua_newtable(L);
	lua_pushcclosure(L, require_prelude, 1);
	lua_setglobal(L, "require");
}

const char *lua_source_kind(const char *path)
{
	static const struct {
		const char *folder, *kind;
	} kinds[] = { { "projections", "projection" }, { "rules", "rule" },
		{ "rules/receivers", "receiver" }, { "rules/calendars", "calendar" },
		{ "scripts/reducers", "reducer" }, { "scripts/upcasters", "upcaster" } };
	const char *slash = strrchr(path, '/');
	size_t len = slash != NULL ? (size_t)(slash - path) : 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strlen(kinds[i].folder) == len && memcmp(path, kinds[i].folder, len) == 0)
			return kinds[i].kind;
	}
	return NULL;
}

/* [] -> [source]; raises */
static void push_source(lua_State *L, LuaHost *h, const char *path)
{
	Err err = { 0 };
	Str text;

	if (!lua_files_read(lua_host_files(h), path, &text, &err))
		lua_host_raise(L, &err);
	lua_pushlstring(L, text.s, text.len);
}

void lua_source_script(lua_State *L, LuaHost *h, const char *path)
{
	const char *source;
	Err err = { 0 };
	size_t len;

	push_source(L, h, path);
	source = lua_tolstring(L, -1, &len);
	lua_pushfstring(L, "@%s", path);
	if (luaL_loadbuffer(L, source, len, lua_tostring(L, -1)) != 0) {
		err_set(&err, ERR_SCRIPT, "%s", lua_tostring(L, -1));
		lua_host_raise(L, &err);
	}
	lua_host_push_environment(L, h); /* [source name chunk environment] */
	lua_setfenv(L, -2);
	lua_replace(L, -3);
	lua_pop(L, 1);
}

int lua_source_module(lua_State *L)
{
	LuaFiles *files = lua_host_files(lua_host_of(L));
	const char *name = luaL_checkstring(L, 1), *path;
	Err err = { 0 };
	Str text;

	lua_pushfstring(L, "scripts/lib/%s.lua", luaL_gsub(L, name, ".", "/"));
	path = lua_tostring(L, -1);
	if (!lua_files_has(files, path)) {
		lua_pushnil(L);
		lua_pushfstring(L, "no module '%s' (there is no file %s)", name, path);
	} else if (!lua_files_read(files, path, &text, &err)) {
		lua_pushnil(L);
		lua_pushstring(L, err.message);
	} else {
		lua_pushlstring(L, text.s, text.len);
		lua_pushvalue(L, -2);
	}
	return 2;
}
