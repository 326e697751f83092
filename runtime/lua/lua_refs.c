#include "lua/lua_refs.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_each.h"
#include "lua/lua_handler.h"
#include "lua/lua_json.h"

#define STATES_MAX ((size_t)256 * 1024 * 1024) /* bytes of one copy's rows */

enum { ROWS_MAX = 200000 };

/* A projection. */
typedef struct {
	Script *script;
	size_t rows;
} Source;

/* What the engine reads of one. */
typedef struct {
	size_t source;
	char *column; /* NULL: the row */
} Place;

struct Refs {
	Script *rule;
	Source *sources;
	size_t nsources;
	Place *places;
	size_t nplaces;
	const Place *expect; /* whose keys are expected; NULL: there is no such set */
	bool *present;       /* of an event's keys, before it */
	RefChange *changes;
	size_t cap;
	Buf text, key;
};

/* ---- opening ---- */

static void fail(lua_State *L, const Script *s, const char *name, Err *err)
{
	err_prefix(err, "%s: %s: ref \"%s\"", s->def.path, s->subject, name);
	lua_host_raise(L, err);
}

/* " (did you mean 'x'?)" among the projections' files. [] -> [text] */
static void push_nearest(lua_State *L, const Script *s, const char *name)
{
	Err err = { 0 };
	char **paths;
	size_t n;

	lua_newtable(L);
	if (lua_files_list(lua_host_files(s->host), "projections", &paths, &n, &err)) {
		for (size_t i = 0; i < n; i++) {
			const char *base = strrchr(paths[i], '/') + 1;

			lua_pushlstring(L, base, strcspn(base, "."));
			lua_rawseti(L, -2, (int)i + 1);
		}
		lua_files_free_list(paths, n);
	}
	lua_host_nearest(L, s->host, name);
}

static void open_source(lua_State *L, Refs *refs, const char *name)
{
	Script *s = refs->rule;
	LuaOptions options = *lua_host_options(s->host);
	Source *source = &refs->sources[refs->nsources];
	Err err = { 0 };
	Handler *h;

	options.states = STATES_MAX;
	options.progress = NULL; /* the rule is at work, whatever it reads */
	lua_pushfstring(L, "projections/%s.lua", name);
	if (!lua_files_has(lua_host_files(s->host), lua_tostring(L, -1))) {
		push_nearest(L, s, name);
		err_set(&err, ERR_SCRIPT, "there is no file %s%s", lua_tostring(L, -2),
			lua_tostring(L, -1));
		fail(L, s, name, &err);
	}
	h = lua_handler_open(&options, lua_tostring(L, -1), &err);
	if (h == NULL) {
		fail(L, s, name, &err);
		return;
	}
	lua_pop(L, 1);
	*source = (Source){ .script = script_of(h) };
	refs->nsources++;
	states_limit(source->script->states, SIZE_MAX); /* no row comes a second time */
	if (source->script->sql == NULL)
		return;
	err_set(&err, ERR_SCRIPT,
		"a projection with sql = true keeps its rows in tables of its own, which a rule "
		"cannot read (write one with columns)");
	fail(L, s, name, &err);
}

static size_t find_source(const Refs *refs, const char *name)
{
	size_t i = 0;

	while (i < refs->nsources && strcmp(refs->sources[i].script->def.name, name) != 0)
		i++;
	return i;
}

static void check_column(lua_State *L, const Refs *refs, const char *name, const char *column)
{
	const Shape *shape = refs->sources[find_source(refs, name)].script->shape;
	Err err = { 0 };

	if (shape_form(shape) == FORM_DOCUMENT || shape_has_column(shape, column))
		return;
	err_set(&err, ERR_SCRIPT, "the projection has no column '%s'", column);
	fail(L, refs->rule, name, &err);
}

/* [… {name, column}] -> the same */
static void open_place(lua_State *L, Refs *refs)
{
	Place *place = &refs->places[refs->nplaces];
	const char *name;

	lua_getfield(L, -1, "name");
	name = lua_tostring(L, -1);
	place->source = find_source(refs, name);
	if (place->source == refs->nsources)
		open_source(L, refs, name);
	lua_getfield(L, -2, "column");
	if (lua_isstring(L, -1)) {
		check_column(L, refs, name, lua_tostring(L, -1));
		place->column = mem_strdup(lua_tostring(L, -1));
	}
	refs->nplaces++;
	lua_pop(L, 2);
}

/* A copy's key is a key of the rule: it must have as many parts. [engine] -> [engine] */
static void read_expect(lua_State *L, Refs *refs)
{
	Script *s = refs->rule;
	const Script *source;
	size_t parts;
	Err err = { 0 };

	lua_getfield(L, -1, "expect_ref");
	if (!lua_isnumber(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	refs->expect = &refs->places[(size_t)lua_tonumber(L, -1) - 1];
	lua_pop(L, 1);
	source = refs->sources[refs->expect->source].script;
	lua_getfield(L, -2, "key");
	parts = lua_objlen(L, -1);
	lua_pop(L, 1);
	if (shape_nkeys(source->shape) == parts)
		return;
	err_set(&err, ERR_SCRIPT,
		"expect: its key has %zu parts, and the rule's has %zu (they must be the same key)",
		shape_nkeys(source->shape), parts);
	fail(L, s, source->def.name, &err);
}

static bool has_type(const Definition *def, Str type)
{
	size_t i = 0;

	while (i < def->ntypes && !str_eq(def->types[i], type))
		i++;
	return i < def->ntypes;
}

/* The rule is given their events, too, and is made of their files. */
static void add_source(lua_State *L, Script *s, const Script *source)
{
	const Definition *other = &source->def;
	Str *types = arena_alloc(s->arena, (s->def.ntypes + other->ntypes) * sizeof(*types));
	Err err = { 0 };

	memcpy(types, s->def.types, s->def.ntypes * sizeof(*types));
	s->def.types = types;
	for (size_t i = 0; i < other->ntypes; i++) {
		if (!has_type(&s->def, other->types[i]))
			types[s->def.ntypes++] = arena_str(s->arena, other->types[i]);
	}
	if (!lua_files_adopt(lua_host_files(s->host), lua_host_files(source->host), &err))
		lua_host_raise(L, &err);
}

void refs_open(lua_State *L, Script *s, Refs **out)
{
	Refs *refs;
	size_t n;

	lua_getfield(L, -1, "refs");
	n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
	if (n == 0) {
		lua_pop(L, 1);
		return;
	}
	refs = *out = mem_calloc(1, sizeof(*refs));
	refs->rule = s;
	refs->sources = mem_calloc(n, sizeof(*refs->sources));
	refs->places = mem_calloc(n, sizeof(*refs->places));
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		open_place(L, refs);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	read_expect(L, refs);
	for (size_t i = 0; i < refs->nsources; i++)
		add_source(L, s, refs->sources[i].script);
}

void refs_close(Refs *refs)
{
	if (refs == NULL)
		return;
	for (size_t i = 0; i < refs->nsources; i++)
		refs->sources[i].script->base.ops->close(&refs->sources[i].script->base);
	for (size_t i = 0; i < refs->nplaces; i++)
		free(refs->places[i].column);
	free(refs->sources);
	free(refs->places);
	free(refs->present);
	free(refs->changes);
	buf_free(&refs->text);
	buf_free(&refs->key);
	free(refs);
}

size_t refs_memory(const Refs *refs)
{
	size_t bytes = 0;

	for (size_t i = 0; refs != NULL && i < refs->nsources; i++)
		bytes += lua_host_memory(refs->sources[i].script->host);
	return bytes;
}

/* ---- stored rows ---- */

static bool restore_row(Refs *refs, Source *source, Str row, Err *err)
{
	Script *s = source->script;
	Str key, state;
	uint32_t slot;

	buf_clear(&refs->text);
	buf_reserve(&refs->text, 1);
	if (!json_path(row, "key", &key) || !json_unescape(&refs->text, key) ||
		!json_path(row, "state", &state))
		return err_set(err, ERR_DATA, "a stored row is no {\"key\", \"state\"}");
	script_ask(s, buf_str(&refs->text));
	source->rows++;
	return states_find(s->states, buf_str(&refs->text), &slot) &&
	       s->base.ops->load(&s->base, slot, state, err);
}

static bool restore_source(Refs *refs, Source *source, Str rows, Err *err)
{
	JsonEach each = json_each(rows);
	Str name, row;
	bool ok = true;

	source->rows = 0;
	script_ask_begin(source->script);
	while (ok && json_each_next(&each, &name, &row))
		ok = restore_row(refs, source, row, err);
	script_ask_end(source->script);
	return ok || err_prefix(err, "%s: %s: ref \"%s\"", refs->rule->def.path,
			     refs->rule->subject, source->script->def.name);
}

bool refs_restore(Refs *refs, Str json, Err *err)
{
	refs_forget(refs);
	for (size_t i = 0; i < refs->nsources; i++) {
		Source *source = &refs->sources[i];
		Str rows = STR("[]");

		if (json.s != NULL)
			json_path(json, source->script->def.name, &rows);
		if (!restore_source(refs, source, rows, err))
			return false;
	}
	return true;
}

void refs_forget(Refs *refs)
{
	for (size_t i = 0; i < refs->nsources; i++) {
		Script *s = refs->sources[i].script;

		s->base.ops->forget(&s->base);
		refs->sources[i].rows = 0;
	}
}

/* Of rows that are gone nothing has to be kept. */
void refs_settled(Refs *refs)
{
	for (size_t i = 0; i < refs->nsources; i++) {
		Script *s = refs->sources[i].script;

		s->base.ops->settled(&s->base);
		if (states_count(s->states) > 2 * refs->sources[i].rows + 1000)
			script_purge(s);
	}
}

/* ---- events ---- */

static void add_text_part(Buf *out, Str part)
{
	bool bare = part.len > 0 && part.s[0] != '"';

	buf_adds(out, bare ? "\"" : "");
	buf_add(out, part.s, part.len);
	buf_adds(out, bare ? "\"" : "");
}

/* The rule has texts where the projection may have numbers. */
Str refs_key(Refs *refs, Str key)
{
	JsonEach each = json_each(key);
	Str name, part;

	buf_clear(&refs->key);
	if (key.s[0] != '[') {
		add_text_part(&refs->key, key);
		return buf_str(&refs->key);
	}
	while (json_each_next(&each, &name, &part)) {
		buf_addc(&refs->key, refs->key.len > 0 ? ',' : '[');
		add_text_part(&refs->key, part);
	}
	buf_addc(&refs->key, ']');
	return buf_str(&refs->key);
}

static bool takes(const Script *s, size_t index)
{
	return s->page.events[index - s->page.from].handler != NO_HANDLER;
}

void refs_need(Refs *refs, Script *s, EventSlice page, size_t from, size_t to)
{
	Script *expected = refs->expect ? refs->sources[refs->expect->source].script : NULL;
	Str missing;

	for (size_t i = 0; i < refs->nsources; i++) {
		Script *source = refs->sources[i].script;

		source->base.ops->need(&source->base, page, from, to, &missing);
	}
	for (size_t i = 0; expected != NULL && i < expected->page.nslots; i++) {
		uint32_t slot = expected->page.slots[i];

		script_ask(s, refs_key(refs, states_at(expected->states, slot)->key));
	}
}

Str refs_touched(Refs *refs, size_t index, size_t nth)
{
	const Script *s = refs->expect ? refs->sources[refs->expect->source].script : NULL;
	const EventKeys *k = s ? &s->page.events[index - s->page.from] : NULL;

	if (k == NULL || !takes(s, index) || nth >= k->count)
		return (Str){ NULL, 0 };
	return refs_key(refs, states_at(s->states, s->page.slots[k->first + nth])->key);
}

typedef struct {
	Refs *refs;
	const EventKeys *keys;
	bool *present;
} Looking;

/* [rows] -> [rows] */
static bool is_present(lua_State *L, const Refs *refs, const Script *s, uint32_t slot)
{
	bool present;

	if (!states_at(s->states, slot)->exists)
		return false;
	if (refs->expect->column == NULL)
		return true;
	lua_rawgeti(L, -1, (int)slot + 1);
	lua_pushstring(L, refs->expect->column);
	lua_rawget(L, -2);
	present = lua_toboolean(L, -1) && !lua_json_is_null(L, -1);
	lua_pop(L, 2);
	return present;
}

static void look(lua_State *L, void *arg)
{
	Looking *a = arg;
	const Script *s = a->refs->sources[a->refs->expect->source].script;

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	for (uint32_t i = 0; i < a->keys->count; i++)
		a->present[i] = is_present(L, a->refs, s, s->page.slots[a->keys->first + i]);
}

static void make_room(Refs *refs, size_t n)
{
	if (n <= refs->cap)
		return;
	refs->cap = n * 2;
	refs->present = mem_realloc(refs->present, 2 * refs->cap * sizeof(*refs->present));
	refs->changes = mem_realloc(refs->changes, refs->cap * sizeof(*refs->changes));
}

static size_t rows_of(const Script *s, const EventKeys *k)
{
	size_t n = 0;

	for (uint32_t i = 0; i < k->count; i++)
		n += states_at(s->states, s->page.slots[k->first + i])->exists;
	return n;
}

/* What a projection skips its copy skips. */
static bool feed(Source *source, EventSlice page, size_t index, Err *err)
{
	Script *s = source->script;
	const EventKeys *k = &s->page.events[index - s->page.from];
	size_t before = rows_of(s, k), at = index;
	bool ok = s->base.ops->run(&s->base, page, &at, index + 1, true, err) == RUN_DONE ||
		  s->def.on_error == ON_ERROR_SKIP;

	source->rows += rows_of(s, k) - before;
	if (ok && source->rows > ROWS_MAX)
		return err_set(err, ERR_LIMIT,
			"it has more than %d rows (a rule keeps a copy of them all: read a "
			"projection with fewer)",
			ROWS_MAX);
	return ok;
}

static bool feed_expected(Refs *refs, EventSlice page, size_t index, size_t *n, Err *err)
{
	Source *source = &refs->sources[refs->expect->source];
	Script *s = source->script;
	const EventKeys *k = &s->page.events[index - s->page.from];
	Looking before, after;
	bool ok;

	make_room(refs, k->count);
	before = (Looking){ refs, k, refs->present };
	after = (Looking){ refs, k, refs->present + refs->cap };
	ok = lua_gate(s->host, look, &before, err) && feed(source, page, index, err) &&
	     lua_gate(s->host, look, &after, err);
	for (uint32_t i = 0; ok && i < k->count; i++) {
		Str key = states_at(s->states, s->page.slots[k->first + i])->key;

		if (before.present[i] != after.present[i])
			refs->changes[(*n)++] = (RefChange){ key, after.present[i] };
	}
	return ok;
}

bool refs_feed(
	Refs *refs, EventSlice page, size_t index, const RefChange **changes, size_t *n, Err *err)
{
	bool ok = true;

	*n = 0;
	for (size_t i = 0; i < refs->nsources; i++) {
		Source *source = &refs->sources[i];
		Err why = { 0 };
		bool fed = !takes(source->script, index) ||
			   (refs->expect != NULL && refs->expect->source == i
					   ? feed_expected(refs, page, index, n, &why)
					   : feed(source, page, index, &why));

		if (!fed && ok) {
			*err = why;
			err_prefix(err, "ref \"%s\"", source->script->def.name);
		}
		ok = ok && fed;
	}
	*changes = refs->changes;
	return ok;
}

/* ---- reading ---- */

typedef struct {
	Script *s;
	uint32_t slot;
	Buf *text;
} Encoding;

static void encode_row(lua_State *L, void *arg)
{
	Encoding *a = arg;
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, a->s->rows_ref);
	lua_rawgeti(L, -1, (int)a->slot + 1);
	if (!shape_encode(L, a->s->shape, lua_gettop(L), a->text, &err))
		lua_host_raise(L, &err);
}

void refs_push_row(lua_State *L, Refs *refs, size_t place)
{
	Script *s = refs->sources[refs->places[place].source].script;
	Encoding a = { .s = s, .text = &refs->text };
	Err err = { 0 };

	buf_clear(&refs->text);
	if (lua_isnil(L, -1))
		return;
	if (!key_of_value(L, s->shape, &refs->text, &err)) {
		err_prefix(&err, "ref \"%s\"", s->def.name);
		luaL_error(L, "%s", err.message);
	}
	lua_pop(L, 1);
	if (!states_find(s->states, buf_str(&refs->text), &a.slot) ||
		!states_at(s->states, a.slot)->exists) {
		lua_pushnil(L);
		return;
	}
	buf_clear(&refs->text);
	if (!lua_gate(s->host, encode_row, &a, &err) ||
		!shape_push_copy(
			L, s->shape, states_at(s->states, a.slot)->key, buf_str(&refs->text), &err))
		lua_host_raise(L, &err);
}

/* ---- collecting ---- */

typedef struct {
	Script *s;
	const char *rule;
	Buf *out;
	size_t n;
} Collecting;

static void collect_rows(lua_State *L, void *arg)
{
	Collecting *c = arg;
	size_t count;
	const uint32_t *changed = states_changed(c->s->states, &count);

	lua_rawgeti(L, LUA_REGISTRYINDEX, c->s->rows_ref);
	for (size_t i = 0; i < count; i++) {
		const State *st = states_at(c->s->states, changed[i]);
		Err err = { 0 };

		buf_addf(c->out,
			"%s{\"kind\":\"part\",\"rule\":\"%s\",\"part\":\"ref %s\",\"key\":",
			c->out->len > 0 ? "," : "", c->rule, c->s->def.name);
		json_add_string(c->out, st->key);
		buf_adds(c->out, ",\"state\":");
		lua_rawgeti(L, -1, (int)changed[i] + 1);
		if (!st->exists)
			buf_adds(c->out, "null");
		else if (!shape_encode(L, c->s->shape, lua_gettop(L), c->out, &err))
			lua_host_raise(L, &err);
		lua_pop(L, 1);
		buf_addc(c->out, '}');
		c->n++;
	}
}

bool refs_collect(Refs *refs, Buf *out, size_t *n, Err *err)
{
	for (size_t i = 0; i < refs->nsources; i++) {
		Collecting c = { refs->sources[i].script, refs->rule->def.name, out, 0 };

		if (!lua_gate(c.s->host, collect_rows, &c, err))
			return false;
		states_collected(c.s->states);
		*n += c.n;
	}
	return true;
}
