#pragma once

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* Pattern matching with Lua 5.1's patterns whose work is counted, and string functions whose
 * results are bounded: one call from a script into C can neither run long nor take much memory. */

enum { LUA_RESULT_MAX = 16 * 1024 * 1024 }; /* bytes of one result of rep, format, concat, gsub */

/* What a handler call may spend in them; a step takes a few nanoseconds at most. The owner of the
 * lua_State refills it before each call. Once it is below zero every function here raises, so that
 * pcall cannot hide it. */
typedef struct {
	int64_t steps;
} LuaBudget;

/* Before the open functions. `budget` must outlive L. [] -> [] */
void lua_pattern_budget(lua_State *L, LuaBudget *budget);

/* Takes what handling so many bytes costs, and raises where the budget is used up; does nothing
 * where there is none. For other C functions that a script can make run long. */
void lua_pattern_spend(lua_State *L, size_t bytes);

/* Replaces find, match, gmatch, gsub; bounds rep, format, lower, upper, reverse.
 * [string table] -> [string table] */
void lua_pattern_open(lua_State *L);

/* Bounds concat. [table table] -> [table table] */
void lua_pattern_open_table(lua_State *L);
