#include "lua/lua_json_lazy.h"

#include "base/json_scan.h"
#include "lua/lua_json_tree.h"

enum {
	MEMBERS_MAX = 64, /* members are searched one by one */
	FILLED_MAX = 6,   /* who reads so many gets the rest at once, which is faster */
	NESTED_MAX = JSON_MAX_DEPTH - 1, /* lua_json_decode() says what is wrong with more */
};

typedef struct {
	const char *key, *value; /* value == NULL: the table has it, or had it */
	uint32_t key_len, value_len;
} Slice;

typedef struct {
	LuaJson *json;
	const char *name;
	const void *mark;  /* the metatable … */
	int ref;           /* … kept in the registry */
	const void *table; /* the only one that may be filled; NULL: none */
	Str text;
	size_t count, filled;
	bool ascending; /* jsonb's order: shorter keys first, then by bytes; so none is repeated */
	size_t hint;    /* how many members were read the last time */
	Slice members[MEMBERS_MAX];
} Document;

struct LuaLazy {
	Document documents[LAZY_COUNT];
};

/* ---- the index ---- */

static inline const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* Behind the string that begins at the quote p; NULL where it does not end. */
static inline const char *skip_string(const char *p, const char *end)
{
	for (p++;; p += 2) {
		p = scan_string(p, end, false);
		if (p < end && *p == '"')
			return p + 1;
		if (end - p < 2 || *p != '\\')
			return NULL;
	}
}

static const char *skip_nested(const char *p, const char *end)
{
	int depth = 0;

	while (p != NULL && p < end) {
		switch (*p) {
		case '"':
			p = skip_string(p, end);
			continue;
		case '{':
		case '[':
			if (++depth > NESTED_MAX)
				return NULL;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return p + 1;
			break;
		}
		p++;
	}
	return NULL;
}

/* Behind the value at p < end. Only where it ends is looked for: decoding it checks it. */
static inline const char *skip_value(const char *p, const char *end)
{
	const char *start = p;

	if (*p == '"')
		return skip_string(p, end);
	if (*p == '{' || *p == '[')
		return skip_nested(p, end);
	while (p < end && (unsigned char)*p > ' ' && *p != ',' && *p != '}')
		p++;
	return p > start ? p : NULL;
}

/* One `"key": value`. Behind it, or NULL. */
static inline const char *read_member(Slice *m, const char *p, const char *end)
{
	const char *key = p + 1, *stop;

	if (p == end || *p != '"')
		return NULL;
	stop = scan_string(key, end, true);
	if (stop < end && (signed char)*stop < 0) {
		stop = scan_string(stop, end, false);
		if (!json_utf8((Str){ key, (size_t)(stop - key) }, NULL))
			return NULL;
	}
	if (stop == end || *stop != '"')
		return NULL;
	p = skip_space(stop + 1, end);
	if (p == end || *p != ':')
		return NULL;
	p = skip_space(p + 1, end);
	*m = (Slice){ key, p, (uint32_t)(stop - key), 0 };
	p = p < end ? skip_value(p, end) : NULL;
	if (p != NULL)
		m->value_len = (uint32_t)(p - m->value);
	return p;
}

static inline bool follows(const Slice *m)
{
	const Slice *before = m - 1;

	return m->key_len > before->key_len ||
	       (m->key_len == before->key_len && memcmp(m->key, before->key, m->key_len) > 0);
}

static bool read_members(Document *d, Str text)
{
	const char *p = text.s, *end = text.s + text.len;

	d->count = d->filled = 0;
	d->ascending = true;
	if (text.len == 0 || text.len > UINT32_MAX || *p != '{')
		return false;
	do {
		if (d->count == MEMBERS_MAX)
			return false;
		p = read_member(&d->members[d->count], skip_space(p + 1, end), end);
		if (p == NULL)
			return false;
		p = skip_space(p, end);
		d->ascending = d->ascending && (d->count == 0 || follows(&d->members[d->count]));
		d->count++;
	} while (p < end && *p == ',');
	return p < end && *p == '}' && skip_space(p + 1, end) == end;
}

/* Of a repeated key the last one counts. */
static inline Slice *find(Document *d, const char *key, size_t len)
{
	for (size_t i = d->count; i-- > 0;) {
		Slice *m = &d->members[i];

		if (m->key_len == len && (len == 0 || m->key[len - 1] == key[len - 1]) &&
			memcmp(m->key, key, len) == 0)
			return m;
	}
	return NULL;
}

/* ---- filling ---- */

/* The error of the whole document names its lines and columns. */
static bool fail_text(lua_State *L, const Document *d, Err *err)
{
	if (lua_json_decode(L, d->text, err)) {
		lua_pop(L, 1);
		err_set(err, ERR_DATA, "malformed");
	}
	err_prefix(err, "event.%s", d->name);
	return false;
}

static bool fail_over(const Document *d, Err *err)
{
	return err_set(err, ERR_SCRIPT,
		"event.%s belongs to an event that is over (keep what you need of it in the state)",
		d->name);
}

/* [… key] -> [… value]; the table gets it too */
static bool fill(lua_State *L, Document *d, int table, Slice *m, Err *err)
{
	if (!lua_json_decode_slice(
		    L, d->json, (Str){ m->value, m->value_len }, d->text.s + d->text.len))
		return fail_text(L, d, err);
	m->value = NULL;
	d->filled++;
	lua_pushvalue(L, -1);
	lua_insert(L, -3); /* [… value key value] */
	lua_rawset(L, table);
	return true;
}

static bool fill_all(lua_State *L, Document *d, int table, Err *err)
{
	if (lua_topointer(L, table) != d->table)
		return fail_over(d, err);
	if (!lua_checkstack(L, 8))
		return err_set(err, ERR_LIMIT, "no room on Lua's stack");
	for (size_t i = 0; i < d->count; i++) {
		Slice *m = &d->members[i];

		if (m->value == NULL || (!d->ascending && find(d, m->key, m->key_len) != m))
			continue;
		lua_pushlstring(L, m->key, m->key_len);
		if (!fill(L, d, table, m, err)) {
			lua_pop(L, 1);
			return false;
		}
		lua_pop(L, 1);
	}
	d->table = NULL;
	lua_pushnil(L);
	lua_setmetatable(L, table);
	return true;
}

/* NULL: not a lazy table. */
static Document *document_at(lua_State *L, int index)
{
	const void *metatable;
	LuaLazy *z;

	if (!lua_istable(L, index) || !lua_getmetatable(L, index))
		return NULL;
	metatable = lua_topointer(L, -1);
	lua_pop(L, 1);
	z = lua_lazy_of(L);
	for (int i = 0; i < LAZY_COUNT; i++)
		if (z->documents[i].mark == metatable)
			return &z->documents[i];
	return NULL;
}

bool lua_lazy_at(lua_State *L, int index)
{
	return document_at(L, index) != NULL;
}

bool lua_lazy_force(lua_State *L, int index, Err *err)
{
	Document *d = document_at(L, index);

	return d == NULL || fill_all(L, d, index < 0 ? lua_gettop(L) + 1 + index : index, err);
}

void lua_lazy_check(lua_State *L, int index)
{
	Err err;

	if (!lua_lazy_force(L, index, &err))
		luaL_error(L, "%s", err.message);
}

/* ---- the metatables ---- */

/* The upvalue is the document. */
static int lazy_index(lua_State *L) /* [table key] -> [value] */
{
	Document *d = lua_touserdata(L, lua_upvalueindex(1));
	const char *key;
	size_t len;
	Slice *m;
	Err err;

	if (lua_type(L, 2) != LUA_TSTRING)
		return 0;
	if (lua_topointer(L, 1) != d->table) {
		fail_over(d, &err);
		return luaL_error(L, "%s", err.message);
	}
	key = lua_tolstring(L, 2, &len);
	m = find(d, key, len);
	if (m == NULL || m->value == NULL) /* a member that was set to nil stays away */
		return 0;
	if (!fill(L, d, 1, m, &err) || (d->filled == FILLED_MAX && !fill_all(L, d, 1, &err)))
		return luaL_error(L, "%s", err.message);
	return 1;
}

static int lazy_newindex(lua_State *L) /* [table key value] -> [] */
{
	lua_settop(L, 3);
	lua_lazy_check(L, 1);
	lua_settable(L, 1); /* an ordinary table by now, and Lua's own errors */
	return 0;
}

static void open_document(lua_State *L, Document *d, const char *name)
{
	d->json = lua_json_of(L);
	d->name = name;
	lua_createtable(L, 0, 4);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushlightuserdata(L, d);
	lua_pushcclosure(L, lazy_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, lazy_newindex);
	lua_setfield(L, -2, "__newindex");
	d->mark = lua_topointer(L, -1);
	d->ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

LuaLazy *lua_lazy_setup(lua_State *L)
{
	LuaLazy *z = lua_newuserdata(L, sizeof(*z));

	memset(z, 0, sizeof(*z));
	luaL_ref(L, LUA_REGISTRYINDEX);
	open_document(L, &z->documents[LAZY_DATA], "data");
	open_document(L, &z->documents[LAZY_METADATA], "metadata");
	return z;
}

LuaLazy *lua_lazy_of(lua_State *L)
{
	return lua_json_of(L)->lazy;
}

/* ---- events ---- */

bool lua_lazy_push(lua_State *L, LuaLazy *z, LazyField field, Str text)
{
	Document *d = &z->documents[field];

	if (!read_members(d, text))
		return false;
	d->text = text;
	lua_createtable(L, 0, (int)(d->hint < d->count ? d->hint : d->count));
	d->table = lua_topointer(L, -1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, d->ref);
	lua_setmetatable(L, -2);
	return true;
}

void lua_lazy_over(LuaLazy *z)
{
	for (int i = 0; i < LAZY_COUNT; i++) {
		Document *d = &z->documents[i];

		d->table = NULL;
		d->text = (Str){ 0 };
		if (d->filled > 0)
			d->hint = d->filled;
		d->filled = 0;
	}
}

bool lua_lazy_holds(const LuaLazy *z, LazyField field, Str text)
{
	const Document *d = &z->documents[field];

	return d->table == NULL || (d->text.s == text.s && d->text.len == text.len);
}

bool lua_lazy_is_mark(const LuaLazy *z, const void *metatable)
{
	return metatable == z->documents[LAZY_DATA].mark ||
	       metatable == z->documents[LAZY_METADATA].mark;
}
