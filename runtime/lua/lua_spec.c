#include "lua/lua_spec.h"

#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>

#include "base/iso_time.h"
#include "lua/lua_decimal.h"
#include "lua/lua_json.h"
#include "lua/lua_source.h"
#include "lua/lua_trial.h"

/* The modules of the prelude that the embedded specs' Lua uses too. */
static const char *const from_prelude[] = { "api", "nearest" };

static const struct {
	const char *name, *text;
} embedded[] = {
#define PRELUDE(name, text) { name, text },
#include "spec_data.inc"
#undef PRELUDE
};

static int iso_word(lua_State *L) /* [microseconds] -> [text] */
{
	double us = rint(luaL_checknumber(L, 1));
	char text[ISO_TIME_SIZE];

	if (!(fabs(us) < 1e18) || !iso_time_in_range((int64_t)us))
		return 0;
	iso_time_format((int64_t)us, text);
	lua_pushstring(L, text);
	return 1;
}

static int time_word(lua_State *L) /* [text] -> [microseconds], or [nil] */
{
	Str text;
	int64_t us;

	text.s = luaL_checklstring(L, 1, &text.len);
	if (!iso_time_parse(text, &us))
		return 0;
	lua_pushnumber(L, (lua_Number)us);
	return 1;
}

static int load_embedded(lua_State *L) /* [name] -> [module] */
{
	const char *name = lua_tostring(L, lua_upvalueindex(1));
	char chunk[64];

	for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]); i++) {
		if (strcmp(embedded[i].name, name) != 0)
			continue;
		snprintf(chunk, sizeof(chunk), "@moonwake/%s.lua", name);
		if (luaL_loadbuffer(L, embedded[i].text, strlen(embedded[i].text), chunk) != 0)
			return lua_error(L);
		lua_call(L, 0, 1);
		return 1;
	}
	return luaL_error(L, "no embedded module '%s'", name);
}

static int load_prelude(lua_State *L) /* [name] -> [module] */
{
	lua_source_prelude(L, lua_tostring(L, lua_upvalueindex(1)));
	lua_call(L, 0, 1);
	return 1;
}

/* [package.preload] -> [package.preload] */
static void preload(lua_State *L, const char *folder, const char *name, lua_CFunction loader)
{
	lua_pushfstring(L, "%s.%s", folder, name);
	lua_pushstring(L, name);
	lua_pushcclosure(L, loader, 1);
	lua_rawset(L, -3);
}

static void open_modules(lua_State *L)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]); i++)
		preload(L, "moonwake.spec", embedded[i].name, load_embedded);
	for (size_t i = 0; i < sizeof(from_prelude) / sizeof(from_prelude[0]); i++)
		preload(L, "prelude", from_prelude[i], load_prelude);
	lua_pop(L, 2);
}

/* [] -> [native]: what the embedded Lua gets from C */
static void push_native(lua_State *L, TrialMaker *maker, Str options)
{
	lua_newtable(L);
	lua_pushlightuserdata(L, maker);
	lua_pushcclosure(L, lua_trial_open, 1);
	lua_setfield(L, -2, "open");
	lua_pushcfunction(L, iso_word);
	lua_setfield(L, -2, "iso");
	lua_pushcfunction(L, time_word);
	lua_setfield(L, -2, "time");
	lua_pushcfunction(L, lua_json_array);
	lua_setfield(L, -2, "array");
	lua_pushcfunction(L, lua_decimal_new);
	lua_setfield(L, -2, "decimal");
	lua_json_open(L);
	lua_setfield(L, -2, "json");
	lua_pushlstring(L, options.s, options.len);
	lua_setfield(L, -2, "options");
}

typedef struct {
	TrialMaker maker;
	Str options;
	bool passed;
	Err *err;
} Run;

/* What the embedded Lua says that could not be done: [nil message usage] */
static void take_problem(lua_State *L, Run *run)
{
	err_set(run->err, lua_toboolean(L, -1) ? ERR_USAGE : ERR_IO, "%s", lua_tostring(L, -2));
}

static int run_specs(lua_State *L) /* [run] -> [] */
{
	Run *run = lua_touserdata(L, 1);

	luaL_openlibs(L);
	lua_json_setup(L);
	lua_trial_setup(L);
	open_modules(L);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonwake.spec.init");
	lua_call(L, 1, 1);
	push_native(L, &run->maker, run->options);
	lua_call(L, 1, 3); /* [passed], or [nil message usage] */
	if (lua_isnil(L, -3))
		take_problem(L, run);
	else
		run->passed = lua_toboolean(L, -3);
	return 0;
}

static int with_trace(lua_State *L) /* [error] -> [text] */
{
	lua_getglobal(L, "debug");
	lua_getfield(L, -1, "traceback");
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

bool lua_spec_run(const SpecOps *ops, void *owner, Str options, bool *passed, Err *err)
{
	Run run = { .maker = { ops, owner }, .options = options, .err = err };
	lua_State *L = luaL_newstate();

	if (L == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a Lua state");
	err_clear(err);
	lua_pushcfunction(L, with_trace);
	lua_pushcfunction(L, run_specs);
	lua_pushlightuserdata(L, &run);
	if (lua_pcall(L, 1, 0, 1) != 0)
		err_set(err, ERR_SCRIPT, "%s", lua_tostring(L, -1) ? lua_tostring(L, -1) : "?");
	lua_close(L);
	*passed = run.passed;
	return err->kind == ERR_NONE;
}
