#include "lua/lua_json_tree.h"

#include <math.h>

#include "lua/lua_decimal.h"

typedef struct {
	lua_State *L;
	LuaJson *json;
	LuaJsonOwner *owner;
	const char *subject;
	Str key;
	const void *root; /* the table that is adopted as the outermost one */
	size_t size;      /* of its JSON text, about */
	Err *err;
} Adopter;

static bool adopt_table(Adopter *a, Frame *at);

/* An integer's digits, without printing them; the longest where it has a fraction. */
static size_t number_size(double v)
{
	size_t size = v < 0 ? 2 : 1;

	if (v != floor(v) || fabs(v) >= 1e15)
		return 18;
	for (v = fabs(v); v >= 10; v /= 10)
		size++;
	return size;
}

/* The value at -1 under the key at -2 of the table at -3. */
static bool adopt_value(Adopter *a, Frame *at)
{
	lua_State *L = a->L;
	double v;
	Str s;

	switch (lua_type(L, -1)) {
	case LUA_TBOOLEAN:
		a->size += 5;
		return true;
	case LUA_TNUMBER:
		v = lua_tonumber(L, -1);
		a->size += number_size(v);
		if (v == 0 && signbit(v) &&
			at->up != NULL) { /* a JSON text has no -0 to give back */
			lua_pushvalue(L, -2);
			lua_pushnumber(L, 0);
			lua_rawset(L, -5);
		}
		return isfinite(v) || lua_json_fail_number(v, at, a->subject, a->err);
	case LUA_TSTRING:
		s.s = lua_tolstring(L, -1, &s.len);
		a->size += s.len + 2;
		return json_storable(s) || lua_json_fail_text(s, at, a->subject, a->err);
	case LUA_TTABLE:
		return adopt_table(a, at);
	case LUA_TLIGHTUSERDATA:
		a->size += 4;
		return lua_json_is_null(L, -1) || lua_json_fail_type(L, at, a->subject, a->err);
	default:
		s = lua_decimal_text(L, -1);
		a->size += s.len;
		return s.s != NULL || lua_json_fail_type(L, at, a->subject, a->err);
	}
}

/* [table] -> [table], or anything above it on failure */
static bool adopt_members(Adopter *a, const Frame *at, Keys *keys)
{
	Frame value = { .up = at, .depth = at->depth + 1 };

	lua_pushnil(a->L);
	while (lua_next(a->L, -2) != 0) { /* [table key value] */
		if (!lua_json_take_key(a->L, keys, &value, a->subject, a->err) ||
			!adopt_value(a, &value))
			return false;
		a->size += 1 + (value.key.s != NULL ? value.key.len + 3 : 0);
		lua_pop(a->L, 1);
	}
	a->size += 2;
	return true;
}

static bool fail_foreign(Adopter *a, const Frame *at, Mark mark)
{
	const char *key = NULL;

	if (mark == MARK_STATE || mark == MARK_STATE_ARRAY) {
		lua_getmetatable(a->L, -1);
		lua_rawgeti(a->L, -1, MARK_SLOT_KEY);
		key = lua_tostring(a->L, -1);
	}
	lua_json_fail(at, a->subject, a->err,
		"a table is reached twice: it also belongs to %s%s (copy the table)",
		key ? "the state of key " : "another state", key ? key : "");
	return false;
}

/* May the table on top of the stack, with this mark, stand here? */
static bool may_own(Adopter *a, const Frame *at, Mark mark, const void *metatable)
{
	switch (mark) {
	case MARK_NONE:
	case MARK_ARRAY:
		return true;
	case MARK_ROOT:
	case MARK_ROOT_ARRAY: /* also where a handler returns { old = state } */
		return at->table == a->owner->root || fail_foreign(a, at, mark);
	case MARK_STATE:
		return metatable == a->owner->object || fail_foreign(a, at, mark);
	case MARK_STATE_ARRAY:
		return metatable == a->owner->array || fail_foreign(a, at, mark);
	default:
		return lua_json_fail_metatable(at, a->subject, a->err);
	}
}

/* [] -> [metatable], with the slots that lua_json_mark() reads */
static void push_new_mark(Adopter *a)
{
	lua_State *L = a->L;

	lua_createtable(L, MARK_SLOT_SEAL, 1);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushlstring(L, a->key.s ? a->key.s : "", a->key.len);
	lua_rawseti(L, -2, MARK_SLOT_KEY);
	lua_pushlightuserdata(L, a->json);
	lua_rawseti(L, -2, MARK_SLOT_SEAL);
}

/* [] -> [metatable] */
static void push_own_mark(Adopter *a, bool array)
{
	lua_State *L = a->L;
	LuaJsonOwner *owner = a->owner;

	if (owner->marks == 0) {
		push_new_mark(a); /* [object] */
		push_new_mark(a); /* [object array] */
		lua_pushboolean(L, 1);
		lua_rawseti(L, -2, MARK_SLOT_ARRAY); /* an array's own slot only says so … */
		owner->object = lua_topointer(L, -2);
		owner->array = lua_topointer(L, -1);
		lua_rawseti(L, -2, MARK_SLOT_ARRAY); /* … and an object's leads to it */
		owner->marks = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, owner->marks);
	if (array) {
		lua_rawgeti(L, -1, MARK_SLOT_ARRAY);
		lua_replace(L, -2);
	}
}

/* Marks the table on top of the stack. */
static void set_mark(Adopter *a, const Frame *at, const void *metatable, bool array)
{
	bool root = at->table == a->root;
	const void *own = array ? a->owner->array : a->owner->object;

	if (root)
		own = array ? a->json->root_array_mark : a->json->root_mark;
	if (own != NULL && own == metatable)
		return;
	if (root)
		lua_rawgeti(a->L, LUA_REGISTRYINDEX,
			array ? a->json->root_array_ref : a->json->root_ref);
	else
		push_own_mark(a, array);
	lua_setmetatable(a->L, -2);
}

/* [table] -> [table], or anything above it on failure */
static bool adopt_table(Adopter *a, Frame *at)
{
	const void *metatable;
	Keys keys = { 0 };
	bool array;
	Mark mark;

	at->table = lua_topointer(a->L, -1);
	if (!lua_json_enter(a->json, at, a->subject, a->err))
		return false;
	if (!lua_checkstack(a->L, 8))
		return lua_json_fail(at, a->subject, a->err, "no room on Lua's stack");
	if (!lua_json_walk_mark(a->L, a->json, at, a->subject, &mark, &metatable, a->err))
		return false;
	if (!may_own(a, at, mark, metatable) || !adopt_members(a, at, &keys) ||
		!lua_json_shape(&keys, mark_is_array(mark), at, a->subject, &array, a->err))
		return false;
	set_mark(a, at, metatable, array);
	return true;
}

bool lua_json_adopt(
	lua_State *L, int index, LuaJsonOwner *owner, const char *subject, Str key, Err *err)
{
	Adopter a = { L, lua_json_of(L), owner, subject, key, NULL, 0, err };
	Frame root = { .depth = 1 };
	int top = lua_gettop(L);
	bool ok;

	if (!lua_checkstack(L, 8))
		return err_set(err, ERR_LIMIT, "no room on Lua's stack");
	lua_json_begin_walk(a.json);
	lua_pushvalue(L, index);
	a.root = lua_istable(L, -1) ? lua_topointer(L, -1) : NULL;
	ok = adopt_value(&a, &root);
	if (ok)
		owner->root = a.root;
	owner->size = a.size;
	lua_settop(L, top);
	return ok;
}

void lua_json_disown(lua_State *L, LuaJsonOwner *owner)
{
	if (owner->marks != 0)
		luaL_unref(L, LUA_REGISTRYINDEX, owner->marks);
	*owner = (LuaJsonOwner){ 0 };
}
