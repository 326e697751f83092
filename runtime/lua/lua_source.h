#pragma once

#include <lua.h>

#include "lua/lua_host.h"

/* Where Lua's code comes from: the prelude that is compiled in, and the workspace's files. */

void lua_source_open(lua_State *L); /* gives the prelude its own `require`. [] -> [] */

void lua_source_prelude(lua_State *L, const char *name); /* [] -> [chunk] */

/* Loads a file of the workspace, with the scripts' globals. Raises where it cannot be read or
 * parsed. [] -> [chunk] */
void lua_source_script(lua_State *L, LuaHost *h, const char *path);

/* What a file of this path defines ("projections/x.lua": a projection), by its folder; NULL where
 * it defines nothing. */
const char *lua_source_kind(const char *path);

/* native.module(name) -> source, file | nil, problem: for the word `require`. */
int lua_source_module(lua_State *L);
