#include "lua/lua_json_tree.h"

#include <math.h>
#include <stdlib.h>

#include "lua/lua_decimal.h"

enum { SMALL_SORT = 24, KEEP_MEMBERS = 65536 };

typedef struct {
	lua_State *L;
	LuaJson *json;
	Buf *out;
	size_t start; /* out->len before */
	const char *subject;
	Err *err;
} Encoder;

static bool encode_table(Encoder *e, Frame *at);

/* Copies the scalar on top of the stack into *m; a table is only noted. */
static bool read_value(Encoder *e, const Frame *at, Member *m)
{
	m->type = lua_type(e->L, -1);
	switch (m->type) {
	case LUA_TBOOLEAN:
		m->number = lua_toboolean(e->L, -1);
		return true;
	case LUA_TNUMBER:
		m->number = lua_tonumber(e->L, -1);
		return isfinite(m->number) ||
		       lua_json_fail_number(m->number, at, e->subject, e->err);
	case LUA_TSTRING:
		m->text.s = lua_tolstring(e->L, -1, &m->text.len);
		return json_storable(m->text) ||
		       lua_json_fail_text(m->text, at, e->subject, e->err);
	case LUA_TTABLE:
		return true;
	case LUA_TLIGHTUSERDATA:
		return lua_json_is_null(e->L, -1) ||
		       lua_json_fail_type(e->L, at, e->subject, e->err);
	default:
		m->text = lua_decimal_text(e->L, -1);
		return m->text.s != NULL || lua_json_fail_type(e->L, at, e->subject, e->err);
	}
}

static bool too_long(const Encoder *e)
{
	return e->out->len - e->start > LUA_JSON_MAX_TEXT;
}

static void write_scalar(Encoder *e, const Member *m)
{
	switch (m->type) {
	case LUA_TBOOLEAN:
		buf_adds(e->out, m->number != 0 ? "true" : "false");
		break;
	case LUA_TNUMBER:
		json_add_double(e->out, m->number);
		break;
	case LUA_TSTRING:
		json_add_string(e->out, m->text);
		break;
	case LUA_TUSERDATA:
		buf_add(e->out, m->text.s, m->text.len);
		break;
	default:
		buf_adds(e->out, "null");
	}
}

static Member *add_member(LuaJson *json)
{
	if (json->nmembers == json->members_cap) {
		json->members_cap = json->members_cap ? json->members_cap * 2 : 64;
		json->members = mem_realloc(json->members, json->members_cap * sizeof(Member));
	}
	return &json->members[json->nmembers++];
}

static uint64_t key_prefix(Str key)
{
	unsigned char bytes[8] = { 0 };
	uint64_t v = 0;

	memcpy(bytes, key.s, key.len < 8 ? key.len : 8);
	for (int i = 0; i < 8; i++)
		v = v << 8 | bytes[i];
	return v;
}

/* Notes the members of the table on top of the stack behind those that are there. */
static bool collect(Encoder *e, const Frame *at, Keys *keys)
{
	Frame value = { .up = at, .depth = at->depth + 1 };

	lua_pushnil(e->L);
	while (lua_next(e->L, -2) != 0) { /* [table key value] */
		Member m = { 0 };

		if (!lua_json_take_key(e->L, keys, &value, e->subject, e->err) ||
			!read_value(e, &value, &m))
			return false;
		m.key = value.key;
		if (m.key.s != NULL)
			m.prefix = key_prefix(m.key);
		else
			m.position = value.position;
		*add_member(e->json) = m;
		lua_pop(e->L, 1);
	}
	return true;
}

static int compare_keys(Str a, Str b)
{
	int order = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);

	if (order != 0)
		return order;
	return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_members(const void *x, const void *y)
{
	const Member *a = x, *b = y;

	if (a->key.s == NULL)
		return a->position < b->position ? -1 : a->position > b->position;
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	return compare_keys(a->key, b->key);
}

static void sort_members(Member *m, size_t n)
{
	if (n > SMALL_SORT) {
		qsort(m, n, sizeof(*m), compare_members);
		return;
	}
	for (size_t i = 1; i < n; i++) {
		Member one = m[i];
		size_t j = i;

		for (; j > 0 && compare_members(&m[j - 1], &one) > 0; j--)
			m[j] = m[j - 1];
		m[j] = one;
	}
}

/* An array's members come in order, mostly. */
static bool is_sorted(const Member *m, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (compare_members(&m[i - 1], &m[i]) > 0)
			return false;
	return true;
}

/* [table] -> [table] */
static bool write_member(Encoder *e, const Member *m, const Frame *at)
{
	Frame value = { .up = at, .key = m->key, .depth = at->depth + 1 };
	bool ok;

	if (m->key.s == NULL)
		value.position = m->position;
	if (m->key.s != NULL) {
		json_add_string(e->out, m->key);
		buf_addc(e->out, ':');
	}
	if (m->type != LUA_TTABLE) {
		write_scalar(e, m);
		return !too_long(e) || lua_json_fail(&value, e->subject, e->err,
					       "more than %d bytes of JSON", LUA_JSON_MAX_TEXT);
	}
	if (m->key.s != NULL)
		lua_pushlstring(e->L, m->key.s, m->key.len);
	else
		lua_pushnumber(e->L, m->position);
	lua_rawget(e->L, -2); /* [table value] */
	ok = encode_table(e, &value);
	lua_pop(e->L, 1);
	return ok;
}

/* [table] -> [table], or anything above it on failure */
static bool write_members(Encoder *e, size_t first, size_t n, bool array, const Frame *at)
{
	if (!is_sorted(e->json->members + first, n))
		sort_members(e->json->members + first, n);
	buf_addc(e->out, array ? '[' : '{');
	for (size_t i = 0; i < n; i++) {
		Member m = e->json->members[first + i]; /* a copy: the list may move meanwhile */

		if (i > 0)
			buf_addc(e->out, ',');
		if (!write_member(e, &m, at))
			return false;
	}
	buf_addc(e->out, array ? ']' : '}');
	return true;
}

/* [table] -> [table], or anything above it on failure */
static bool encode_table(Encoder *e, Frame *at)
{
	const void *metatable;
	size_t first = e->json->nmembers;
	Keys keys = { 0 };
	bool array, ok;
	Mark mark;

	at->table = lua_topointer(e->L, -1);
	if (!lua_json_enter(e->json, at, e->subject, e->err))
		return false;
	if (!lua_checkstack(e->L, 8))
		return lua_json_fail(at, e->subject, e->err, "no room on Lua's stack");
	if (!lua_json_walk_mark(e->L, e->json, at, e->subject, &mark, &metatable, e->err))
		return false;
	if (mark == MARK_ALIEN)
		return lua_json_fail_metatable(at, e->subject, e->err);
	ok = collect(e, at, &keys) &&
	     lua_json_shape(&keys, mark_is_array(mark), at, e->subject, &array, e->err) &&
	     write_members(e, first, e->json->nmembers - first, array, at);
	e->json->nmembers = first;
	return ok;
}

static void trim(LuaJson *json)
{
	if (json->members_cap > KEEP_MEMBERS) {
		free(json->members);
		json->members = NULL;
		json->members_cap = 0;
	}
}

bool lua_json_encode(lua_State *L, int index, Buf *out, const char *subject, Err *err)
{
	Encoder e = { L, lua_json_of(L), out, out->len, subject, err };
	Frame root = { .depth = 1 };
	Member m = { 0 };
	int top = lua_gettop(L);
	bool ok = false;

	if (!lua_checkstack(L, 8))
		return err_set(err, ERR_LIMIT, "no room on Lua's stack");
	lua_json_begin_walk(e.json);
	lua_pushvalue(L, index);
	if (!read_value(&e, &root, &m))
		goto out;
	if (m.type == LUA_TTABLE)
		ok = encode_table(&e, &root);
	else
		write_scalar(&e, &m), ok = true;
out:
	if (!ok) {
		out->len = e.start;
		if (out->s)
			out->s[out->len] = '\0';
	}
	lua_settop(L, top);
	trim(e.json);
	return ok;
}
