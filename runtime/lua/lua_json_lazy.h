#pragma once

#include <lua.h>

#include "base/err.h"
#include "base/mem.h"

/* event.data and event.metadata, decoded member by member: a table that is empty at first, with a
 * hidden metatable that finds what is read. Whatever needs the whole object forces it; from then on
 * it is an ordinary table, as lua_json_decode() would have made it. To a script the two are the
 * same, but that a member which nobody has read cannot be read once the event is over. What is
 * decoded when depends on the event and the script alone, never on events before, so that a replay
 * does the same. */
typedef struct LuaLazy LuaLazy;

typedef enum { LAZY_DATA, LAZY_METADATA, LAZY_COUNT } LazyField;

/* Once per lua_State, after lua_json_setup() made the rest. [] -> [] */
LuaLazy *lua_lazy_setup(lua_State *L);
LuaLazy *lua_lazy_of(lua_State *L);

/* [] -> [table]; the text must stay where it is until lua_lazy_over(). False, and [] -> [], where
 * the text is better decoded at once: no object, an empty or a large one, keys with escapes, no
 * JSON. */
bool lua_lazy_push(lua_State *L, LuaLazy *z, LazyField field, Str text);

/* The event is over: what was pushed for it cannot be read any more. */
void lua_lazy_over(LuaLazy *z);

/* True while `text` is what the field's table was pushed for, or there is none. */
bool lua_lazy_holds(const LuaLazy *z, LazyField field, Str text);

bool lua_lazy_is_mark(const LuaLazy *z, const void *metatable);

bool lua_lazy_at(lua_State *L, int index); /* not decoded yet? */

/* Makes the table at `index` an ordinary one; passes over everything else. [] -> [] */
bool lua_lazy_force(lua_State *L, int index, Err *err);
void lua_lazy_check(lua_State *L, int index); /* the same, and raises */
