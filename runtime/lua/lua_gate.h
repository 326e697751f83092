#pragma once

#include <lua.h>

#include "lua/lua_files.h"
#include "lua/lua_host.h"

/* The inside of lua/: how its files enter a host's Lua. All that can raise happens below
 * lua_gate(); stack effects are written [before] -> [after]. */

/* Runs with an empty stack of its own and may raise. What it leaves on the stack is dropped. */
typedef void (*LuaStep)(lua_State *L, void *arg);

/* One protected call. On failure *err has the kind, "file:line: subject: what", and the traceback
 * of the script's own lines. */
bool lua_gate(LuaHost *h, LuaStep step, void *arg, Err *err);

LuaHost *lua_host_of(lua_State *L);
lua_State *lua_host_state(LuaHost *h);

/* What the words of its prelude work for; NULL before somebody said. */
void lua_host_own(LuaHost *h, void *owner);
void *lua_host_owner(const LuaHost *h);

const char *lua_host_script(const LuaHost *h);
LuaFiles *lua_host_files(const LuaHost *h);
void lua_host_log(const LuaHost *h, const char *line);
void lua_host_push_environment(lua_State *L, LuaHost *h); /* [] -> [the scripts' globals] */

/* What the errors say between file and message from now on ("projection 'x'"); copied. */
void lua_host_subject(LuaHost *h, const char *subject);
const char *lua_host_label(const LuaHost *h); /* the subject, or the script's path */
/* 0: as the options said. */
void lua_host_limits(LuaHost *h, size_t memory, int64_t budget, bool jit);
const LuaOptions *lua_host_options(const LuaHost *h); /* while it is opened */
size_t lua_host_states_limit(const LuaHost *h);

/* Gives the next call of a script its whole budget, and tells the watchdog. */
void lua_host_refill(LuaHost *h, int64_t event_id);

/* What is left of the budget, to go on with it in another lua_gate(). What was run since the hook
 * looked last is not known, so that going on costs as much as it could have been. */
int64_t lua_host_left(const LuaHost *h);
void lua_host_go_on(LuaHost *h, int64_t left);

/* Takes steps of about a nanosecond from the budget, for C functions that a script can make run
 * long; raises where it is used up. */
void lua_host_spend(lua_State *L, int64_t steps);

/* Before each line of Lua that runs, in coroutines too: `fn` may look at Lua's values and must not
 * raise. `ar` has currentline and can be asked for more. Nothing is compiled to machine code
 * meanwhile. NULL: no more. */
typedef void (*LuaLine)(void *owner, lua_State *L, lua_Debug *ar);
void lua_host_watch(LuaHost *h, LuaLine fn, void *owner);

/* On: the budget counts for a script with jit = true as well, until it is off again. */
void lua_host_guard(LuaHost *h, bool on);

/* Between two events: collects garbage where the limit comes near. */
void lua_host_relax(lua_State *L, LuaHost *h);

/* Between two batches: a small heap is collected often, since it then stays in the processor's
 * cache; a large one seldom, since every collection visits all cached states. */
void lua_host_pace(lua_State *L, LuaHost *h);

/* Raises where C calls Lua calls C … too deeply; for C functions that call back into scripts. */
void lua_host_check_depth(lua_State *L);

/* Raises *err as it is: lua_gate() gives it to its caller. */
int lua_host_raise(lua_State *L, const Err *err);

/* The error value at the top of `from`'s stack becomes *err, as lua_gate() would describe it; for
 * coroutines, which have no message handler. */
void lua_host_describe(LuaHost *h, lua_State *from, int rc, Err *err);

/* [] -> [definition, or nil] */
void lua_host_push_definition(lua_State *L, LuaHost *h);

/* [] -> [function(chunk, name, types) -> an upcaster's definition, or nil] */
void lua_host_push_upcaster(lua_State *L, LuaHost *h);

/* [list] -> [text]: " (did you mean 'x'?)", or "" */
void lua_host_nearest(lua_State *L, LuaHost *h, const char *word);

/* "file:line" where the function at `index` begins. */
void lua_host_where(lua_State *L, int index, char *out, size_t size);

bool lua_host_is_delete(const LuaHost *h, lua_State *L, int index);
