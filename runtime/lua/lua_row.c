#include "lua/lua_row.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "lua/lua_gate.h"
#include "lua/lua_json_lazy.h"

struct Shape {
	Form form;
	size_t nkeys, ncolumns, njsonb; /* `columns` has the key's first */
	Column *columns;
	Column **lookup; /* by the address of the name */
	size_t mask;
	int names; /* registry reference: keeps the names' addresses */
};

/* ---- opening ---- */

static size_t slot_of(const Shape *s, const char *name)
{
	return ((uintptr_t)name >> 4 ^ (uintptr_t)name >> 11) & s->mask;
}

static Column *look_up(const Shape *s, const char *name)
{
	size_t slot = slot_of(s, name);

	while (s->lookup[slot] != NULL && s->lookup[slot]->name != name)
		slot = (slot + 1) & s->mask;
	return s->lookup[slot];
}

static void index_names(Shape *s)
{
	size_t size = 16;

	while (size < 4 * s->ncolumns)
		size *= 2;
	s->mask = size - 1;
	s->lookup = mem_calloc(size, sizeof(*s->lookup));
	for (size_t i = 0; i < s->ncolumns; i++) {
		size_t slot = slot_of(s, s->columns[i].name);

		while (s->lookup[slot] != NULL)
			slot = (slot + 1) & s->mask;
		s->lookup[slot] = &s->columns[i];
	}
}

/* [names … declaration] -> [names … declaration] */
static void read_column(lua_State *L, Shape *s, int names, bool is_key)
{
	Column *c = &s->columns[s->ncolumns];
	Buf text = { 0 }, label = { 0 }, subject = { 0 };
	Err err = { 0 };

	*c = (Column){ .is_key = is_key, .nth_jsonb = -1 };
	lua_getfield(L, -1, "name");
	c->name = lua_tolstring(L, -1, &c->name_len);
	lua_rawseti(L, names, (int)++s->ncolumns);
	buf_addf(&label, "\"%s\":", c->name);
	c->label = buf_str(&label);
	buf_addf(&subject, "column '%s'", c->name);
	c->subject = subject.s;
	lua_getfield(L, -1, "type");
	c->type = column_type(lua_tostring(L, -1));
	lua_getfield(L, -2, "not_null");
	c->not_null = lua_toboolean(L, -1);
	lua_getfield(L, -3, "default");
	if (!lua_isnil(L, -1)) {
		bool ok = lua_json_encode(L, lua_gettop(L), &text, c->subject, &err);

		c->fallback = buf_str(&text); /* owned by the column from here on */
		if (!ok)
			lua_host_raise(L, &err);
	}
	if (c->type == COL_JSONB)
		c->nth_jsonb = (int)s->njsonb++;
	lua_pop(L, 3);
}

/* [definition names] -> [definition names] */
static void read_columns(lua_State *L, Shape *s, const char *field, bool is_key)
{
	int names = lua_gettop(L), n;

	lua_getfield(L, names - 1, field);
	n = (int)lua_objlen(L, -1);
	s->columns = mem_realloc(s->columns, (s->ncolumns + (size_t)n + 1) * sizeof(*s->columns));
	for (int i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		read_column(L, s, names, is_key);
		lua_pop(L, 1);
	}
	if (is_key)
		s->nkeys = s->ncolumns;
	lua_pop(L, 1);
}

/* Shows at load, and not with the first event, that a default fits its column. */
static void check_defaults(lua_State *L, const Shape *s)
{
	LuaJsonOwner owner = { 0 };
	Err err = { 0 };

	for (size_t i = 0; i < s->ncolumns; i++) {
		const Column *c = &s->columns[i];

		if (c->fallback.s == NULL)
			continue;
		if (!lua_json_decode(L, c->fallback, &err) ||
			column_check(L, c, &owner, STR(""), &err) == VALUE_WRONG) {
			err_prefix(&err, "%s: %s: the default of %s",
				lua_host_script(lua_host_of(L)), lua_host_label(lua_host_of(L)),
				c->subject);
			lua_host_raise(L, &err);
		}
		lua_json_disown(L, &owner);
		lua_pop(L, 1);
	}
}

void shape_open(lua_State *L, Shape **out)
{
	Shape *s = *out = mem_calloc(1, sizeof(*s));
	const char *form;

	lua_getfield(L, -1, "form");
	form = lua_tostring(L, -1);
	s->form = form[0] == 's' ? FORM_SQL : form[0] == 'd' ? FORM_DOCUMENT : FORM_COLUMNS;
	lua_pop(L, 1);
	lua_newtable(L);
	read_columns(L, s, "key", true);
	read_columns(L, s, "columns", false);
	s->names = luaL_ref(L, LUA_REGISTRYINDEX);
	index_names(s);
	check_defaults(L, s);
}

void shape_close(Shape *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->ncolumns; i++) {
		free((char *)s->columns[i].fallback.s);
		free((char *)s->columns[i].label.s);
		free(s->columns[i].subject);
	}
	free(s->columns);
	free(s->lookup);
	free(s);
}

Form shape_form(const Shape *s)
{
	return s->form;
}

size_t shape_nkeys(const Shape *s)
{
	return s->nkeys;
}

ColumnType shape_key_type(const Shape *s, size_t i)
{
	return s->columns[i].type;
}

size_t shape_owners(const Shape *s)
{
	return s->form == FORM_DOCUMENT ? 1 : s->njsonb;
}

/* ---- keys ---- */

/* Cuts the next part off a composite key's text. */
static Str next_part(const char **at, const char *end)
{
	Str part = { *at, 0 };
	bool quoted = false;
	const char *p = *at;

	for (; p < end && (quoted || (*p != ',' && *p != ']')); p++) {
		if (*p == '\\')
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	part.len = (size_t)(p - part.s);
	*at = p + 1;
	return part;
}

static Str key_part(const Shape *s, Str key, size_t i)
{
	const char *at = key.s + 1;
	Str part = key;

	if (s->nkeys == 1)
		return key;
	for (size_t n = 0; n <= i; n++)
		part = next_part(&at, key.s + key.len);
	return part;
}

static void add_label(Buf *out, const Column *c, bool first)
{
	if (!first)
		buf_addc(out, ',');
	buf_add(out, c->label.s, c->label.len);
}

void shape_add_key(const Shape *s, Str key, Buf *out)
{
	for (size_t i = 0; i < s->nkeys; i++) {
		Str part = key_part(s, key, i);

		add_label(out, &s->columns[i], i == 0);
		buf_add(out, part.s, part.len);
	}
}

/* [] -> [value]: a key column as the row shows it */
static void push_key_value(lua_State *L, const Shape *s, Str key, size_t i)
{
	Err err = { 0 };

	if (!lua_json_decode(L, key_part(s, key, i), &err))
		lua_host_raise(L, &err);
	if (s->columns[i].type == COL_TIMESTAMPTZ)
		column_check(L, &s->columns[i], NULL, key, &err);
}

/* [row] -> [row] */
static void set_keys(lua_State *L, const Shape *s, Str key)
{
	for (size_t i = 0; i < s->nkeys; i++) {
		lua_pushlstring(L, s->columns[i].name, s->columns[i].name_len);
		push_key_value(L, s, key, i);
		lua_rawset(L, -3);
	}
}

/* ---- rows ---- */

static bool column_wrong(const Column *c, Err *err)
{
	/* What is wrong within a JSON tree names its path, which begins with the column. */
	return c->type == COL_JSONB ? false : err_prefix(err, "%s", c->subject);
}

/* Takes the value on top as the row's column. [row … value] -> [row …] */
static bool set_column(
	lua_State *L, int row, const Column *c, LuaJsonOwner *owners, Str key, Err *err)
{
	LuaJsonOwner *owner = c->nth_jsonb >= 0 ? &owners[c->nth_jsonb] : NULL;

	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return true;
	}
	if (column_check(L, c, owner, key, err) == VALUE_WRONG)
		return column_wrong(c, err);
	lua_pushlstring(L, c->name, c->name_len);
	lua_insert(L, -2);
	lua_rawset(L, row);
	return true;
}

static void push_fresh_row(lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key)
{
	Err err = { 0 };
	int row;

	lua_createtable(L, 0, (int)s->ncolumns);
	row = lua_gettop(L);
	set_keys(L, s, key);
	for (size_t i = s->nkeys; i < s->ncolumns; i++) {
		const Column *c = &s->columns[i];

		if (c->fallback.s == NULL)
			continue;
		if (!lua_json_decode(L, c->fallback, &err) ||
			!set_column(L, row, c, owners, key, &err))
			lua_host_raise(L, &err);
	}
}

void shape_push_fresh(lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key)
{
	Err err = { 0 };

	if (s->form == FORM_COLUMNS) {
		push_fresh_row(L, s, owners, key);
		return;
	}
	lua_newtable(L);
	if (!lua_json_adopt(L, lua_gettop(L), owners, "state", key, &err))
		lua_host_raise(L, &err);
}

/* [decoded] -> [row]; columns that the table has beside ours are passed over */
static bool take_row(lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key, Err *err)
{
	int from = lua_gettop(L), row = from + 1;

	if (!lua_istable(L, from))
		return err_set(err, ERR_DATA, "the stored row is no JSON object");
	lua_createtable(L, 0, (int)s->ncolumns);
	set_keys(L, s, key);
	for (size_t i = s->nkeys; i < s->ncolumns; i++) {
		lua_pushlstring(L, s->columns[i].name, s->columns[i].name_len);
		lua_rawget(L, from);
		if (!set_column(L, row, &s->columns[i], owners, key, err))
			return false;
	}
	lua_replace(L, from);
	return true;
}

bool shape_push_loaded(
	lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key, Str text, Err *err)
{
	if (!lua_json_decode(L, text, err))
		return false;
	if (s->form == FORM_COLUMNS)
		return take_row(L, s, owners, key, err);
	return lua_json_adopt(L, lua_gettop(L), owners, "state", key, err);
}

/* Nulls are what is not there, and times are seconds, as its own handlers have them.
 * [row] -> [row] */
static bool copy_column(lua_State *L, const Column *c, Str key, Err *err)
{
	lua_pushlstring(L, c->name, c->name_len);
	lua_pushvalue(L, -1);
	lua_rawget(L, -3); /* [row name value] */
	if (lua_json_is_null(L, -1)) {
		lua_pop(L, 1);
		lua_pushnil(L);
	} else if (!lua_isnil(L, -1) && c->type != COL_JSONB &&
		   column_check(L, c, NULL, key, err) == VALUE_WRONG) {
		return err_prefix(err, "%s", c->subject);
	}
	lua_rawset(L, -3);
	return true;
}

bool shape_push_copy(lua_State *L, const Shape *s, Str key, Str text, Err *err)
{
	if (!lua_json_decode(L, text, err))
		return false;
	if (s->form != FORM_COLUMNS)
		return true;
	set_keys(L, s, key);
	for (size_t i = s->nkeys; i < s->ncolumns; i++) {
		if (!copy_column(L, &s->columns[i], key, err))
			return false;
	}
	return true;
}

bool shape_has_column(const Shape *s, const char *name)
{
	size_t i = 0;

	while (i < s->ncolumns && strcmp(s->columns[i].name, name) != 0)
		i++;
	return i < s->ncolumns;
}

/* ---- after a handler ---- */

static bool unknown_column(lua_State *L, const Shape *s, int name, Err *err)
{
	if (lua_type(L, name) != LUA_TSTRING)
		return err_set(err, ERR_SCRIPT, "a row has named columns only, and no [%s]",
			luaL_typename(L, name));
	lua_createtable(L, (int)s->ncolumns, 0);
	for (size_t i = 0; i < s->ncolumns; i++) {
		lua_pushlstring(L, s->columns[i].name, s->columns[i].name_len);
		lua_rawseti(L, -2, (int)i + 1);
	}
	lua_host_nearest(L, lua_host_of(L), lua_tostring(L, name));
	return err_set(err, ERR_SCRIPT, "unknown column '%.60s'%s", lua_tostring(L, name),
		lua_tostring(L, -1));
}

/* The usual key is a text without escapes: it is compared as it stands. */
static bool is_plain_key(lua_State *L, Str part)
{
	Str value;

	if (lua_type(L, -1) != LUA_TSTRING || part.len < 2)
		return false;
	value.s = lua_tolstring(L, -1, &value.len);
	return value.len + 2 == part.len && memcmp(part.s + 1, value.s, value.len) == 0 &&
	       memchr(value.s, '\\', value.len) == NULL;
}

static bool check_key_column(lua_State *L, const Shape *s, const Column *c, Str key, Err *err)
{
	size_t nth = (size_t)(c - s->columns);
	bool same;

	if (c->type != COL_TIMESTAMPTZ && is_plain_key(L, key_part(s, key, nth)))
		return true;
	push_key_value(L, s, key, nth);
	same = lua_rawequal(L, -1, -2);
	lua_pop(L, 1);
	return same || err_set(err, ERR_SCRIPT,
			       "column '%s' is the row's key and cannot be changed", c->name);
}

/* The value on top, the column's name below it, the row at `row`. [name value] -> [name] */
static bool check_cell(
	lua_State *L, int row, const Column *c, LuaJsonOwner *owners, Str key, Err *err)
{
	LuaJsonOwner *owner = c->nth_jsonb >= 0 ? &owners[c->nth_jsonb] : NULL;

	switch (column_check(L, c, owner, key, err)) {
	case VALUE_KEPT:
		lua_pop(L, 1);
		return true;
	case VALUE_CHANGED:
		if (lua_isnil(L, -1) && c->not_null)
			return err_set(err, ERR_SCRIPT, "column '%s' is not null and has no value",
				c->name);
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, row);
		return true;
	default:
		return column_wrong(c, err);
	}
}

static bool check_not_null(lua_State *L, const Shape *s, int row, Err *err)
{
	for (size_t i = 0; i < s->ncolumns; i++) {
		bool missing;

		if (!s->columns[i].not_null)
			continue;
		lua_pushlstring(L, s->columns[i].name, s->columns[i].name_len);
		lua_rawget(L, row);
		missing = lua_isnil(L, -1);
		lua_pop(L, 1);
		if (missing)
			return err_set(err, ERR_SCRIPT, "column '%s' is not null and has no value",
				s->columns[i].name);
	}
	return true;
}

/* Counts the key columns that are there: a handler may have removed one. */
static bool check_row(lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key, Err *err)
{
	int row = lua_gettop(L);
	size_t keys = 0;

	if (lua_getmetatable(L, row))
		return err_set(err, ERR_SCRIPT, "the row has a metatable (a row is a plain table)");
	lua_pushnil(L);
	while (lua_next(L, row) != 0) { /* [row name value] */
		const Column *c = NULL;

		if (lua_type(L, -2) == LUA_TSTRING)
			c = look_up(s, lua_tostring(L, -2));
		if (c == NULL)
			return unknown_column(L, s, lua_gettop(L) - 1, err);
		if (c->is_key) {
			if (!check_key_column(L, s, c, key, err))
				return false;
			keys++;
			lua_pop(L, 1);
		} else if (!check_cell(L, row, c, owners, key, err)) {
			return false;
		}
	}
	if (keys != s->nkeys)
		return err_set(err, ERR_SCRIPT,
			"column '%s' is the row's key and cannot be removed", s->columns[0].name);
	return check_not_null(L, s, row, err);
}

/* A returned table is copied, so that no script keeps a row. [table] -> [row] */
static bool copy_row(lua_State *L, const Shape *s, Str key, Err *err)
{
	int from = lua_gettop(L);

	if (!lua_lazy_force(L, from, err))
		return false;
	if (lua_getmetatable(L, from))
		return err_set(
			err, ERR_SCRIPT, "the returned row has a metatable (return a plain table)");
	lua_createtable(L, 0, (int)s->ncolumns);
	set_keys(L, s, key);
	lua_pushnil(L);
	while (lua_next(L, from) != 0) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, from + 1);
	}
	lua_replace(L, from);
	return true;
}

bool shape_check(
	lua_State *L, const Shape *s, LuaJsonOwner *owners, Str key, bool replacement, Err *err)
{
	if (s->form == FORM_DOCUMENT)
		return lua_json_adopt(L, lua_gettop(L), owners, "state", key, err);
	if (replacement && !copy_row(L, s, key, err))
		return false;
	return check_row(L, s, owners, key, err);
}

/* ---- writing ---- */

static bool encode_columns(lua_State *L, const Shape *s, int index, Buf *out, Err *err)
{
	for (size_t i = s->nkeys; i < s->ncolumns; i++) {
		const Column *c = &s->columns[i];
		bool ok;

		add_label(out, c, i == s->nkeys);
		lua_pushlstring(L, c->name, c->name_len);
		lua_rawget(L, index);
		ok = column_encode(L, lua_gettop(L), c, out, err);
		lua_pop(L, 1);
		if (!ok)
			return false;
	}
	return true;
}

bool shape_encode(lua_State *L, const Shape *s, int index, Buf *out, Err *err)
{
	bool ok;

	if (s->form == FORM_DOCUMENT)
		return lua_json_encode(L, index, out, "state", err);
	buf_addc(out, '{');
	ok = encode_columns(L, s, index, out, err);
	buf_addc(out, '}');
	return ok;
}

bool shape_encode_members(lua_State *L, const Shape *s, int index, Buf *out, Err *err)
{
	if (s->form == FORM_COLUMNS)
		return encode_columns(L, s, index, out, err);
	buf_adds(out, "\"state\":");
	return lua_json_encode(L, index, out, "state", err);
}

/* The value on top of the stack, which is dropped. [value] -> [] */
static void show_column(lua_State *L, const Column *c, Str key, Buf *out)
{
	Err err = { 0 };
	bool shown;

	if (c->type == COL_JSONB || lua_isnil(L, -1) ||
		column_check(L, c, NULL, key, &err) == VALUE_WRONG)
		shown = lua_json_encode(L, lua_gettop(L), out, c->subject, &err);
	else
		shown = column_encode(L, lua_gettop(L), c, out, &err);
	if (!shown && lua_isnil(L, -1))
		buf_adds(out, "null");
	else if (!shown)
		buf_addf(out, "\"a %s\"", luaL_typename(L, -1));
	lua_pop(L, 1);
}

bool shape_show(lua_State *L, const Shape *s, int index, Str key, Buf *out)
{
	Err err = { 0 };

	if (s->form == FORM_DOCUMENT)
		return lua_json_encode(L, index, out, "state", &err);
	buf_addc(out, '{');
	shape_add_key(s, key, out);
	for (size_t i = s->nkeys; i < s->ncolumns; i++) {
		add_label(out, &s->columns[i], false);
		lua_pushlstring(L, s->columns[i].name, s->columns[i].name_len);
		lua_rawget(L, index);
		show_column(L, &s->columns[i], key, out);
	}
	buf_addc(out, '}');
	return true;
}
