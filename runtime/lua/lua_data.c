#include "lua/lua_data.h"

#include <lauxlib.h>

#include "lua/lua_gate.h"
#include "lua/lua_json.h"
#include "lua/lua_source.h"

/* What a definition can do is for scripts: here is what it says. [definition] -> [definition] */
static void drop_functions(lua_State *L)
{
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		if (lua_isfunction(L, -1)) {
			lua_pushvalue(L, -2);
			lua_pushnil(L);
			lua_rawset(L, -5);
		}
		lua_pop(L, 1);
	}
}

static void run_file(lua_State *L, void *arg)
{
	LuaHost *h = lua_host_of(L);
	const char *path = lua_host_script(h), *kind = lua_source_kind(path);
	Err err = { 0 };

	lua_source_script(L, h, path);
	lua_call(L, 0, 0);
	lua_host_push_definition(L, h);
	if (lua_isnil(L, -1))
		luaL_error(L, "%s: nothing is defined in it (write %s \"name\" { … })", path,
			kind != NULL ? kind : "receiver");
	drop_functions(L);
	if (!lua_json_encode(L, lua_gettop(L), arg, kind, &err)) {
		err_prefix(&err, "%s", path);
		lua_host_raise(L, &err);
	}
}

bool lua_data_definition(const LuaOptions *options, const char *path, Buf *json, Err *err)
{
	LuaHost *h = lua_host_open(options, path, err);
	bool ok;

	buf_clear(json);
	ok = h != NULL && lua_gate(h, run_file, json, err);
	lua_host_close(h);
	return ok;
}
