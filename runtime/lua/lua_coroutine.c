#include "lua/lua_sandbox.h"

#include <lauxlib.h>

#include "lua/lua_gate.h"

/* LuaJIT's own resume takes C stack for every level and has no limit: a script that resumes in
 * endless recursion would end the process. */

static lua_State *check_thread(lua_State *L)
{
	lua_State *co = lua_tothread(L, 1);

	if (co == NULL)
		luaL_typerror(L, 1, "coroutine");
	return co;
}

static const char *status_of(lua_State *L, lua_State *co)
{
	lua_Debug ar;

	if (L == co)
		return "running";
	switch (lua_status(co)) {
	case LUA_YIELD:
		return "suspended";
	case 0:
		if (lua_getstack(co, 0, &ar))
			return "normal";
		return lua_gettop(co) == 0 ? "dead" : "suspended";
	default:
		return "dead";
	}
}

/* Runs `co` with the top n values. True: its results are pushed, and counted in *n. */
static bool resume(lua_State *L, lua_State *co, int *n)
{
	const char *status = status_of(L, co);
	int rc;

	lua_host_check_depth(L);
	if (status[0] != 's') {
		lua_pushfstring(L, "cannot resume %s coroutine",
			status[0] == 'd' ? "dead" : "non-suspended");
		return false;
	}
	if (!lua_checkstack(co, *n))
		return luaL_error(L, "too many arguments to resume");
	lua_xmove(L, co, *n);
	rc = lua_resume(co, *n);
	*n = rc == 0 || rc == LUA_YIELD ? lua_gettop(co) : 1;
	if (!lua_checkstack(L, *n + 1))
		return luaL_error(L, "too many results to resume");
	lua_xmove(co, L, *n);
	return rc == 0 || rc == LUA_YIELD;
}

static int resume_word(lua_State *L) /* [thread args…] -> [ok results…] */
{
	lua_State *co = check_thread(L);
	int n = lua_gettop(L) - 1;

	if (!resume(L, co, &n)) {
		lua_pushboolean(L, 0);
		lua_insert(L, -2);
		return 2;
	}
	lua_pushboolean(L, 1);
	lua_insert(L, -n - 1);
	return n + 1;
}

static int create_word(lua_State *L) /* [function] -> [thread] */
{
	lua_State *co;

	luaL_checktype(L, 1, LUA_TFUNCTION);
	co = lua_newthread(L);
	lua_pushvalue(L, 1);
	lua_xmove(L, co, 1);
	return 1;
}

static int call_wrapped(lua_State *L) /* [args…] -> [results…] */
{
	int n = lua_gettop(L);

	if (!resume(L, lua_tothread(L, lua_upvalueindex(1)), &n))
		return lua_error(L);
	return n;
}

static int wrap_word(lua_State *L) /* [function] -> [function] */
{
	create_word(L);
	lua_pushcclosure(L, call_wrapped, 1);
	return 1;
}

static int status_word(lua_State *L) /* [thread] -> [status] */
{
	lua_pushstring(L, status_of(L, check_thread(L)));
	return 1;
}

void lua_coroutine_open(lua_State *L)
{
	static const luaL_Reg words[] = {
		{ "create", create_word },
		{ "resume", resume_word },
		{ "status", status_word },
		{ "wrap", wrap_word },
	};
	static const char *const kept[] = { "running", "yield" };

	lua_newtable(L);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		lua_pushcfunction(L, words[i].func);
		lua_setfield(L, -2, words[i].name);
	}
	lua_getglobal(L, "coroutine");
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		lua_getfield(L, -1, kept[i]);
		lua_setfield(L, -3, kept[i]);
	}
	lua_pop(L, 1);
	lua_setfield(L, -2, "coroutine");
}
