#pragma once

#include "lua/lua_column.h"

/* What a projection's states look like in Lua: rows of typed columns, or one JSON tree. */

typedef enum { FORM_COLUMNS, FORM_DOCUMENT, FORM_SQL } Form;

typedef struct Shape Shape;

/* From the checked definition on top of the stack. Raises, where a default does not fit its column
 * for one; *out is then to be closed all the same. [definition] -> [definition] */
void shape_open(lua_State *L, Shape **out);
void shape_close(Shape *s);

Form shape_form(const Shape *s);
size_t shape_nkeys(const Shape *s);
ColumnType shape_key_type(const Shape *s, size_t i);
size_t shape_owners(const Shape *s); /* how many owners a state needs */

/* [] -> [state]: as it is before its first event. Raises. */
void shape_push_fresh(lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key);

/* [] -> [state]: from the text of shape_encode() or of the load statement. */
bool shape_push_loaded(
	lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key, Str text, Err *err);

/* [] -> [copy]: from the text of shape_encode(), for another script: plain tables, with the key's
 * columns, in any lua_State. */
bool shape_push_copy(lua_State *L, const Shape *s, Str key, Str text, Err *err);

bool shape_has_column(const Shape *s, const char *name); /* the key's, too */

/* Checks the state on top of the stack after a handler changed it, and makes it what a reading
 * back would give. A `replacement` is a table that the handler returned: [table] -> [state]. */
bool shape_check(
	lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key, bool replacement, Err *err);

/* Appends the state as shape_push_loaded() takes it. */
bool shape_encode(lua_State *L, const Shape *s, int index, Buf *out, Err *err);

/* Appends the members of an upsert's row: `"column":value,…` or `"state":tree`. */
bool shape_encode_members(lua_State *L, const Shape *s, int index, Buf *out, Err *err);

/* Appends `"key column":part,…` of a key's JSON text. */
void shape_add_key(const Shape *s, Str key, Buf *out);

/* Appends the whole row (its key columns too) or document, as it stands: also in the middle of a
 * handler, where a value that its column cannot have is told as it is. False where it is no JSON at
 * the moment; `out` is then as it was. [] -> [] */
bool shape_show(lua_State *L, const Shape *s, int index, Str key, Buf *out);
