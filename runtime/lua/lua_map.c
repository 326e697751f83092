#include "lua/lua_map.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "lua/lua_gate.h"
#include "lua/lua_json.h"
#include "lua/lua_source.h"

struct LuaMap {
	LuaHost *host;
	int function; /* registry reference */
	int64_t calls;
};

static void fail(lua_State *L, LuaMap *m, const char *what, const char *type)
{
	char where[256];
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, m->function);
	lua_host_where(L, -1, where, sizeof(where));
	err_set(&err, ERR_SCRIPT, "%s: %s%s", where, what, type);
	lua_host_raise(L, &err);
}

static void load_map(lua_State *L, void *arg)
{
	LuaMap *m = arg;

	lua_source_script(L, m->host, lua_host_script(m->host));
	lua_call(L, 0, 1);
	if (!lua_isfunction(L, -1))
		luaL_error(L, "%s: a mapping script returns a function(record), not a %s",
			lua_host_script(m->host), luaL_typename(L, -1));
	m->function = luaL_ref(L, LUA_REGISTRYINDEX);
}

bool lua_map_open(const LuaOptions *options, const char *path, LuaMap **out, Err *err)
{
	LuaMap *m = mem_calloc(1, sizeof(*m));

	*out = NULL;
	m->host = lua_host_open(options, path, err);
	if (m->host == NULL || !lua_gate(m->host, load_map, m, err)) {
		lua_map_close(m);
		return false;
	}
	*out = m;
	return true;
}

void lua_map_close(LuaMap *m)
{
	if (m == NULL)
		return;
	lua_host_close(m->host);
	free(m);
}

typedef struct {
	LuaMap *m;
	Str record;
	Buf *out;
} MapCall;

static void map_record(lua_State *L, void *arg)
{
	MapCall *c = arg;
	LuaMap *m = c->m;
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, m->function);
	if (!lua_json_decode(L, c->record, &err)) {
		err_prefix(&err, "the record");
		lua_host_raise(L, &err);
	}
	lua_host_refill(m->host, ++m->calls);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1))
		return;
	if (!lua_istable(L, -1))
		fail(L, m, "the mapping returned a ", luaL_typename(L, -1));
	if (!lua_json_encode(L, lua_gettop(L), c->out, "event", &err))
		fail(L, m, err.message, "");
	if (c->out->s[0] != '{')
		fail(L, m, "the mapping returned an array (return one event, or nil to skip)", "");
	lua_host_relax(L, m->host);
}

bool lua_map_call(LuaMap *m, Str record_json, Buf *event_json, Err *err)
{
	MapCall c = { m, record_json, event_json };

	buf_clear(event_json);
	if (lua_gate(m->host, map_record, &c, err))
		return true;
	buf_clear(event_json);
	return false;
}
