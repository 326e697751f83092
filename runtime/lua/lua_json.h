#pragma once

#include <lua.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

/* JSON texts and Lua values, without a loss in either direction.
 *
 *   null    json.null, one value for all (it is true in a condition, and not nil)
 *   number  a Lua number where that is exact, otherwise a `decimal` (lua_decimal.h)
 *   []      a table with the array mark, so that it stays [] when it is empty
 *   {}      a table without
 *
 * Where nothing else is said, functions raise nothing but Lua's "not enough memory": call them
 * below a lua_pcall. Errors leave the stack as it was. */

enum { LUA_JSON_MAX_TEXT = 16 * 1024 * 1024 }; /* bytes of one encoded value */

/* Once per lua_State, before anything else here. [] -> [] */
void lua_json_setup(lua_State *L);

/* [] -> [value]; on failure [] -> [] and an ERR_DATA with line, column and offset. */
bool lua_json_decode(lua_State *L, Str text, Err *err);

/* Appends the JSON text of the value at `index`: members in bytewise order of their keys. What is
 * no JSON tree (a table reached twice, a cycle, a mixed or sparse table, NaN, a function, a string
 * that is not UTF-8 or holds a NUL) is an ERR_SCRIPT that names the path, which begins with
 * `subject` (NULL: "value"), as in `state.a.b[3]: a function is no JSON value`. `out` is then as it
 * was. [] -> [] */
bool lua_json_encode(lua_State *L, int index, Buf *out, const char *subject, Err *err);

/* Whose a state is. Zero-initialise; lives beside the state, one for each. */
typedef struct {
	int marks; /* registry reference; 0 until the state has a subtable */
	const void *object, *array,
		*root; /* identities: its two metatables, and its outermost table */
	size_t size;   /* of its JSON text, about, when it was adopted last: by its content alone */
} LuaJsonOwner;

/* To be called when a state was loaded and after each handler call. Refuses what encode refuses,
 * and tables that belong to another state; turns -0 into 0; marks every table as this owner's,
 * and sequences as arrays. Then cached and re-read from its JSON are the same. `subject` as above;
 * `key` names the state in the errors of others. After a failure the state is undefined: drop it
 * and its owner. [] -> [] */
bool lua_json_adopt(
	lua_State *L, int index, LuaJsonOwner *owner, const char *subject, Str key, Err *err);

/* When the state is dropped. Its tables cannot be adopted by another state even then. */
void lua_json_disown(lua_State *L, LuaJsonOwner *owner);

void lua_json_push_null(lua_State *L); /* [] -> [null] */
bool lua_json_is_null(lua_State *L, int index);
bool lua_json_is_array(lua_State *L, int index);   /* a table with the array mark */
void lua_json_mark_array(lua_State *L, int index); /* gives an unmarked table the array mark */

/* The word `array`: array{…} or array() -> the table, marked. Raises where it is no array. */
int lua_json_array(lua_State *L);

/* [] -> [table]: the word `json` with null, encode(value), decode(text), array(t), is_array(t). */
void lua_json_open(lua_State *L);
