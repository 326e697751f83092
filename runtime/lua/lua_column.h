#pragma once

#include <lua.h>

#include "base/err.h"
#include "base/mem.h"
#include "lua/lua_json.h"

/* Values of typed columns, as PostgreSQL will store them: a row in memory and the row that is read
 * back are the same. */

typedef enum {
	COL_BOOLEAN,
	COL_SMALLINT,
	COL_INTEGER,
	COL_BIGINT,
	COL_DOUBLE,
	COL_NUMERIC,
	COL_TEXT,
	COL_UUID,
	COL_DATE,
	COL_TIMESTAMPTZ,
	COL_JSONB,
	COL_COUNT
} ColumnType;

typedef struct {
	const char *name; /* Lua's own copy: its address identifies it */
	size_t name_len;
	Str label;     /* `"name":` */
	char *subject; /* "column 'name'" */
	ColumnType type;
	bool not_null, is_key;
	int nth_jsonb; /* which of the row's owners a jsonb column has; -1 */
	Str fallback;  /* JSON text of the default; s == NULL: none */
} Column;

/* COL_COUNT where it is no type. */
ColumnType column_type(const char *name);
const char *column_type_name(ColumnType type);

typedef enum { VALUE_KEPT, VALUE_CHANGED, VALUE_WRONG } ValueCheck;

/* Checks the value on top of the stack. CHANGED: [value] -> [value as it will be stored]; WRONG:
 * *err is what is wrong, without a place. `owner` is for jsonb, `key` names the row there. */
ValueCheck column_check(lua_State *L, const Column *c, LuaJsonOwner *owner, Str key, Err *err);

/* Appends the JSON of a checked value. */
bool column_encode(lua_State *L, int index, const Column *c, Buf *out, Err *err);

/* Appends an integer; without printf, since every row that is written has some. */
void column_add_integer(Buf *out, int64_t v);

/* A part of a key: what stands in an event, or what a key function returned. */
typedef struct {
	enum { PART_NULL, PART_STRING, PART_NUMBER, PART_BOOLEAN, PART_NAN, PART_OTHER } kind;
	Str text; /* of a number: as JSON writes it; of a boolean: true or false */
} KeyPart;

/* Appends the part's one JSON text for a key column of this type. */
bool column_key(ColumnType type, KeyPart part, Buf *out, Err *err);
