#pragma once

/* What decode, encode and adopt share: the lua_State's own memory, the marks on tables, and the
 * path that an error names. Private to lua_json*.c. */

#include <lauxlib.h>
#include <lua.h>

#include "lua/lua_json.h"
#include "lua/lua_json_lazy.h"

typedef struct {
	const void *table;
	uint32_t generation; /* of the walk that saw it */
} Seen;

/* A member of a table that is being encoded; scalars are copied, so that they need no second
 * look-up. */
typedef struct {
	Str key; /* s == NULL: a position */
	union {
		double position;
		uint64_t prefix; /* of the key: its first eight bytes, as a number to sort by */
	};
	int type; /* LUA_T…; LUA_TUSERDATA is a decimal */
	union {
		double number; /* also of a boolean */
		Str text;      /* of a string; the digits of a decimal */
	};
} Member;

enum { SIZE_HINTS = 64 };

/* One per lua_State, in its registry; freed by its __gc. */
typedef struct {
	Buf scratch; /* a string with escapes, while it is decoded */
	Buf text;    /* what json.encode() returns */
	Member *members;
	size_t nmembers, members_cap;
	Seen *seen;
	size_t nseen, seen_cap; /* seen_cap is a power of two */
	uint32_t generation;
	unsigned char sizes[SIZE_HINTS]; /* members of the last object, by its first key */
	int array_ref, root_ref, root_array_ref;
	const void *array_mark, *root_mark, *root_array_mark;
	LuaLazy *lazy;
} LuaJson;

LuaJson *lua_json_of(lua_State *L);

/* Whose mark a table carries. */
typedef enum {
	MARK_NONE,
	MARK_ARRAY, /* an array that belongs to no state */
	MARK_ROOT,  /* the outermost table of a state */
	MARK_ROOT_ARRAY,
	MARK_STATE, /* within a state */
	MARK_STATE_ARRAY,
	MARK_LAZY,  /* not decoded yet: to be forced before it is walked */
	MARK_ALIEN, /* a script's own metatable */
} Mark;

/* The slots of a state's two metatables. */
enum { MARK_SLOT_ARRAY = 1, MARK_SLOT_KEY = 2, MARK_SLOT_SEAL = 3 };

/* *metatable identifies it; NULL where there is none. */
Mark lua_json_mark(lua_State *L, const LuaJson *json, int index, const void **metatable);
static inline bool mark_is_array(Mark m)
{
	return m == MARK_ARRAY || m == MARK_ROOT_ARRAY || m == MARK_STATE_ARRAY;
}

/* Where a walk is: frames lie on the C stack, innermost first. */
typedef struct Frame {
	const struct Frame *up; /* NULL: the value itself */
	Str key;                /* s == NULL: `position` */
	double position;
	const void *table;
	int depth;
} Frame;

/* Fails with "subject.path: …". */
bool lua_json_fail(const Frame *at, const char *subject, Err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The value that `slice` is, within a text up to `end`. [] -> [value]; false, and [] -> [], where
 * it is none: decoding the whole text says why. */
bool lua_json_decode_slice(lua_State *L, LuaJson *json, Str slice, const char *end);

/* The mark of the table on top of the stack, which is forced where it is lazy. */
bool lua_json_walk_mark(lua_State *L, const LuaJson *json, const Frame *at, const char *subject,
	Mark *mark, const void **metatable, Err *err);

void lua_json_begin_walk(LuaJson *json);

/* Notes a table in this walk; fails where it was seen before or lies too deep. */
bool lua_json_enter(LuaJson *json, const Frame *at, const char *subject, Err *err);

/* Why the value on top of the stack is no JSON value. */
bool lua_json_fail_type(lua_State *L, const Frame *at, const char *subject, Err *err);
bool lua_json_fail_metatable(const Frame *at, const char *subject, Err *err);
bool lua_json_fail_text(Str text, const Frame *at, const char *subject, Err *err);
bool lua_json_fail_number(double v, const Frame *at, const char *subject, Err *err);

/* The keys of one table, counted while it is walked. */
typedef struct {
	size_t names, positions;
	double last; /* the largest position */
} Keys;

/* Takes the key at index -2 into account: fails where it is neither a name nor a position.
 * `member` becomes the frame of its value. */
bool lua_json_take_key(lua_State *L, Keys *keys, Frame *member, const char *subject, Err *err);

/* True where the keys are those of an array or those of an object; `was_array` tells what an empty
 * table is. */
bool lua_json_shape(const Keys *keys, bool was_array, const Frame *at, const char *subject,
	bool *array, Err *err);
