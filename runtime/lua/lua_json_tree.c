#include "lua/lua_json_tree.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_MAX_BYTES = 400 }; /* of an error's message */

static bool is_identifier(Str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.s[i];

		if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (i > 0 && c >= '0' && c <= '9')))
			return false;
	}
	return s.len > 0;
}

static void add_path(Buf *out, const Frame *at, const char *subject)
{
	if (at->up == NULL) {
		buf_adds(out, subject ? subject : "value");
		return;
	}
	add_path(out, at->up, subject);
	if (at->key.s == NULL) {
		buf_addf(out, "[%.14g]", at->position);
	} else if (is_identifier(at->key)) {
		buf_addc(out, '.');
		buf_add(out, at->key.s, at->key.len);
	} else {
		buf_addc(out, '[');
		json_add_string(out, at->key);
		buf_addc(out, ']');
	}
}

bool lua_json_fail(const Frame *at, const char *subject, Err *err, const char *fmt, ...)
{
	Buf path = { 0 };
	va_list ap;
	char what[512];

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	add_path(&path, at, subject);
	if (path.len <= PATH_MAX_BYTES)
		err_set(err, ERR_SCRIPT, "%s: %s", path.s, what);
	else
		err_set(err, ERR_SCRIPT, "%.*s…: %s", PATH_MAX_BYTES, path.s, what);
	buf_free(&path);
	return false;
}

bool lua_json_fail_type(lua_State *L, const Frame *at, const char *subject, Err *err)
{
	int type = lua_type(L, -1);

	return lua_json_fail(at, subject, err, "%s %s is no JSON value",
		type == LUA_TUSERDATA || type == LUA_TLIGHTUSERDATA ? "an object of type" : "a",
		lua_typename(L, type));
}

bool lua_json_fail_metatable(const Frame *at, const char *subject, Err *err)
{
	return lua_json_fail(at, subject, err, "a table with a metatable is no JSON value");
}

bool lua_json_fail_text(Str text, const Frame *at, const char *subject, Err *err)
{
	size_t bad = 0;

	if (!json_utf8(text, &bad))
		return lua_json_fail(at, subject, err, "a string is not UTF-8 (byte %zu)", bad);
	return lua_json_fail(at, subject, err,
		"a string holds a NUL (byte %zu), which jsonb cannot hold",
		strnlen(text.s, text.len));
}

bool lua_json_fail_number(double v, const Frame *at, const char *subject, Err *err)
{
	return lua_json_fail(at, subject, err, "%s is no JSON value",
		isnan(v) ? "NaN"
		: v > 0  ? "infinity"
			 : "-infinity");
}

bool lua_json_walk_mark(lua_State *L, const LuaJson *json, const Frame *at, const char *subject,
	Mark *mark, const void **metatable, Err *err)
{
	Err why;

	*mark = lua_json_mark(L, json, -1, metatable);
	if (*mark != MARK_LAZY)
		return true;
	*mark = MARK_NONE;
	*metatable = NULL;
	return lua_lazy_force(L, -1, &why) || lua_json_fail(at, subject, err, "%s", why.message);
}

void lua_json_begin_walk(LuaJson *json)
{
	json->nseen = 0;
	json->nmembers = 0;
	if (++json->generation == 0) { /* after 2^32 walks old entries could look new */
		memset(json->seen, 0, json->seen_cap * sizeof(Seen));
		json->generation = 1;
	}
}

static Seen *find_seen(Seen *seen, size_t cap, uint32_t generation, const void *table)
{
	uint64_t hash = (uint64_t)(uintptr_t)table * 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(hash >> 32) & (cap - 1);

	while (seen[i].generation == generation && seen[i].table != table)
		i = (i + 1) & (cap - 1);
	return &seen[i];
}

static void grow_seen(LuaJson *json)
{
	size_t cap = json->seen_cap ? json->seen_cap * 2 : 64;
	Seen *bigger = mem_calloc(cap, sizeof(Seen));

	for (size_t i = 0; i < json->seen_cap; i++)
		if (json->seen[i].generation == json->generation)
			*find_seen(bigger, cap, json->generation, json->seen[i].table) =
				json->seen[i];
	free(json->seen);
	json->seen = bigger;
	json->seen_cap = cap;
}

static bool fail_twice(const Frame *at, const char *subject, Err *err)
{
	for (const Frame *f = at->up; f != NULL; f = f->up)
		if (f->table == at->table)
			return lua_json_fail(at, subject, err, "a cycle: the table holds itself");
	return lua_json_fail(
		at, subject, err, "a table is reached twice (a state is a tree: copy the table)");
}

bool lua_json_enter(LuaJson *json, const Frame *at, const char *subject, Err *err)
{
	Seen *slot;

	if (at->depth > JSON_MAX_DEPTH)
		return lua_json_fail(
			at, subject, err, "nested deeper than %d levels", JSON_MAX_DEPTH);
	if (json->nseen * 2 >= json->seen_cap)
		grow_seen(json);
	slot = find_seen(json->seen, json->seen_cap, json->generation, at->table);
	if (slot->generation == json->generation)
		return fail_twice(at, subject, err);
	*slot = (Seen){ at->table, json->generation };
	json->nseen++;
	return true;
}

static bool fail_key(lua_State *L, const Frame *at, const char *subject, Err *err)
{
	if (lua_type(L, -2) == LUA_TNUMBER)
		return lua_json_fail(at, subject, err,
			"the key %.14g is no position of an array (a name is a string: "
			"tostring(key))",
			lua_tonumber(L, -2));
	return lua_json_fail(
		at, subject, err, "a key is a %s (a name is a string)", luaL_typename(L, -2));
}

bool lua_json_take_key(lua_State *L, Keys *keys, Frame *member, const char *subject, Err *err)
{
	if (lua_type(L, -2) == LUA_TSTRING) {
		member->key.s = lua_tolstring(L, -2, &member->key.len);
		keys->names++;
		return json_storable(member->key) ||
		       lua_json_fail_text(member->key, member->up, subject, err);
	}
	member->key = (Str){ 0 };
	member->position = lua_tonumber(L, -2);
	if (lua_type(L, -2) != LUA_TNUMBER || member->position < 1 ||
		member->position > INT32_MAX || member->position != floor(member->position))
		return fail_key(L, member->up, subject, err);
	keys->positions++;
	if (member->position > keys->last)
		keys->last = member->position;
	return true;
}

bool lua_json_shape(const Keys *keys, bool was_array, const Frame *at, const char *subject,
	bool *array, Err *err)
{
	*array = keys->positions > 0 || (keys->names == 0 && was_array);
	if (keys->positions > 0 && keys->names > 0)
		return lua_json_fail(at, subject, err,
			"a table has both positions and names (it is either an array or an "
			"object)");
	if (keys->names > 0 && was_array)
		return lua_json_fail(
			at, subject, err, "an array cannot have names (assign a new {})");
	if (keys->last != (double)keys->positions)
		return lua_json_fail(at, subject, err,
			"the positions up to %.14g have holes (json.null fills one; names are "
			"strings: "
			"tostring(key))",
			keys->last);
	return true;
}
