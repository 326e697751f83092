#include <lauxlib.h>
#include <stdio.h>

#include "lua/lua_json.h"
#include "lua/lua_script.h"

/* The checked definition, as the prelude made it, into C. */

#define MB ((size_t)1024 * 1024)

static const char *field(lua_State *L, const char *name)
{
	const char *text;

	lua_getfield(L, -1, name);
	text = lua_tostring(L, -1);
	lua_pop(L, 1); /* the definition keeps it */
	return text;
}

double script_field_number(lua_State *L, const char *name)
{
	double v;

	lua_getfield(L, -1, name);
	v = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return v;
}

bool script_field_flag(lua_State *L, const char *name)
{
	bool v;

	lua_getfield(L, -1, name);
	v = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return v;
}

int script_field_keep(lua_State *L, const char *name)
{
	lua_getfield(L, -1, name);
	if (!lua_isnil(L, -1))
		return luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 1);
	return LUA_NOREF;
}

/* [definition] -> [definition] */
static void read_on(lua_State *L, Script *s)
{
	Str *types;

	lua_getfield(L, -1, "types");
	s->def.ntypes = s->nown = lua_objlen(L, -1);
	s->def.types = types = arena_alloc(s->arena, s->def.ntypes * sizeof(*types));
	lua_getfield(L, -2, "handlers");
	s->handlers = mem_calloc(s->def.ntypes, sizeof(*s->handlers));
	for (size_t i = 0; i < s->def.ntypes; i++) {
		Str type;

		lua_rawgeti(L, -2, (int)i + 1);
		type.s = lua_tolstring(L, -1, &type.len);
		types[i] = arena_str(s->arena, type);
		lua_pop(L, 1);
		lua_rawgeti(L, -1, (int)i + 1);
		s->handlers[i] = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_pop(L, 2);
}

static void read_spec(lua_State *L, Script *s)
{
	Buf text = { 0 };
	Err err = { 0 };

	lua_getfield(L, -1, "spec");
	if (lua_json_encode(L, lua_gettop(L), &text, "definition", &err))
		s->def.spec = arena_str(s->arena, buf_str(&text));
	buf_free(&text);
	if (err.kind != ERR_NONE)
		lua_host_raise(L, &err);
	lua_pop(L, 1);
}

static void read_files(Script *s)
{
	LuaFiles *files = lua_host_files(s->host);
	Buf bundle = { 0 };

	lua_files_seal(files);
	lua_files_digest(files, s->def.digest);
	lua_files_bundle(files, &bundle);
	s->def.files = arena_str(s->arena, buf_str(&bundle));
	buf_free(&bundle);
}

/* [definition] -> [definition] */
static OnError read_on_error(lua_State *L)
{
	const char *word = field(L, "on_error");

	return strcmp(word, "skip") == 0       ? ON_ERROR_SKIP
	       : strcmp(word, "park_key") == 0 ? ON_ERROR_PARK_KEY
					       : ON_ERROR_STOP;
}

void script_read_definition(lua_State *L, Script *s)
{
	const char *name = field(L, "name"), *kind = field(L, "kind");

	s->def.name = arena_str(s->arena, str_from(name)).s;
	s->def.kind = strcmp(kind, "reducer") == 0 ? KIND_REDUCER
		      : strcmp(kind, "rule") == 0  ? KIND_RULE
						   : KIND_PROJECTION;
	s->def.version = (int)script_field_number(L, "version");
	s->def.on_error = read_on_error(L);
	s->def.sql = script_field_flag(L, "sql");
	snprintf(s->subject, sizeof(s->subject), "%s '%s'", kind, name);
	read_on(L, s);
	read_spec(L, s);
	if (s->def.kind == KIND_RULE)
		script_rule_open(L, s);
	script_upcasts_open(L, s);
	read_files(s);
	lua_host_subject(s->host, s->subject);
	lua_host_limits(s->host, (size_t)script_field_number(L, "memory") * MB,
		(int64_t)script_field_number(L, "budget"), script_field_flag(L, "jit"));
	if (s->def.kind == KIND_REDUCER)
		script_reducer_open(L, s);
}
