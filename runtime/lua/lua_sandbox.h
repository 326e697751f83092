#pragma once

#include <lua.h>

#include "lua/lua_host.h"

/* Opens what a script may have of Lua's library, and our words that need C. [] -> [native]: the
 * table of functions that the prelude arranges. */
void lua_sandbox_open(lua_State *L, LuaHost *h);

/* pairs, next, insert and sort: in an order that follows from the keys alone, within the budget.
 * [native] -> [native] */
void lua_order_open(lua_State *L);

/* What the prelude of rules needs of C. [native] -> [native] */
void lua_rule_words_open(lua_State *L);

/* coroutine's functions, with a limit on their depth. [native] -> [native] */
void lua_coroutine_open(lua_State *L);
