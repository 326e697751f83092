#include "lua/lua_upcast.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "lua/lua_json.h"
#include "lua/lua_script.h"
#include "lua/lua_source.h"

/* Upcasters: what an old event's data is in the newest schema version. Applied when need() sees an
 * event, so that keys, handlers and debuggers all have the same one. */

typedef struct {
	const char *name, *path;
	Str type;
	int from;
	int up; /* registry */
} Upcaster;

/* What became of one event of the page. */
typedef struct {
	Event event;
	Str data;
	int32_t schema_version;
} Raised;

struct Upcasts {
	char **paths; /* of every upcaster in the workspace … */
	size_t npaths;
	Upcaster *list; /* … and those that concern the script */
	size_t n;
	Raised *raised;
	size_t nraised, cap;
	Arena *arena; /* the data of `raised` */
};

/* ---- loading ---- */

/* [… definition types] -> the same, with the upcaster's function in the registry */
static void add_upcaster(lua_State *L, Script *s, const char *path)
{
	struct Upcasts *u = s->upcasts;
	Upcaster *up;

	u->list = mem_realloc(u->list, (u->n + 1) * sizeof(*u->list));
	up = &u->list[u->n];
	*up = (Upcaster){ .path = arena_str(s->arena, str_from(path)).s };
	lua_getfield(L, -1, "name");
	up->name = arena_str(s->arena, str_from(lua_tostring(L, -1))).s;
	lua_getfield(L, -2, "type");
	up->type = arena_str(s->arena, str_from(lua_tostring(L, -1)));
	lua_getfield(L, -3, "from");
	up->from = (int)lua_tonumber(L, -1);
	lua_getfield(L, -4, "up");
	up->up = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 3);
	u->n++;
}

/* The last one of the list must not take what another does. */
static void check_double(lua_State *L, const struct Upcasts *u)
{
	const Upcaster *last = &u->list[u->n - 1];
	Err err = { 0 };

	for (const Upcaster *up = u->list; up < last; up++) {
		if (up->from != last->from || !str_eq(up->type, last->type))
			continue;
		err_set(&err, ERR_SCRIPT, "%s: %s takes '%s' from %d, too (keep one of them)",
			last->path, up->path, last->type.s, last->from);
		lua_host_raise(L, &err);
	}
}

/* One file: kept, with the modules that it required, if it concerns the script.
 * [types] -> [types] */
static void load_upcaster(lua_State *L, Script *s, const char *path)
{
	LuaFiles *files = lua_host_files(s->host);
	size_t before = lua_files_count(files);
	const char *name = path + strlen(LUA_UPCASTERS) + 1;

	lua_host_push_upcaster(L, s->host);
	lua_source_script(L, s->host, path);
	lua_pushlstring(L, name, strlen(name) - strlen(".lua"));
	lua_pushvalue(L, -4);
	lua_host_refill(s->host, 0);
	lua_call(L, 3, 1); /* [types upcaster] */
	if (lua_isnil(L, -1)) {
		lua_files_back(files, before);
	} else {
		add_upcaster(L, s, path);
		check_double(L, s->upcasts);
	}
	lua_pop(L, 1);
}

void script_upcasts_open(lua_State *L, Script *s)
{
	struct Upcasts *u = s->upcasts = mem_calloc(1, sizeof(*u));
	Err err = { 0 };

	if (!lua_files_list(lua_host_files(s->host), LUA_UPCASTERS, &u->paths, &u->npaths, &err))
		lua_host_raise(L, &err);
	lua_getfield(L, -1, "types");
	for (size_t i = 0; i < u->npaths; i++)
		load_upcaster(L, s, u->paths[i]);
	lua_pop(L, 1);
	if (u->n == 0) {
		script_upcasts_close(u);
		s->upcasts = NULL;
	}
}

void script_upcasts_close(struct Upcasts *u)
{
	if (u == NULL)
		return;
	lua_files_free_list(u->paths, u->npaths);
	arena_free(u->arena);
	free(u->raised);
	free(u->list);
	free(u);
}

/* ---- which one ---- */

/* An exact type wins over a glob, a longer glob over a shorter, the first by its file between
 * equals. */
static const Upcaster *find(const struct Upcasts *u, Str type, int from)
{
	const Upcaster *best = NULL;

	for (const Upcaster *up = u->list; up < u->list + u->n; up++) {
		if (up->from != from || !event_type_matches(up->type, type))
			continue;
		if (str_eq(up->type, type))
			return up;
		if (best == NULL || up->type.len > best->type.len)
			best = up;
	}
	return best;
}

bool script_upcasts_take(const Script *s, Str type)
{
	for (size_t i = 0; s->upcasts != NULL && i < s->upcasts->n; i++) {
		if (event_type_matches(s->upcasts->list[i].type, type))
			return true;
	}
	return false;
}

/* ---- applying ---- */

/* "file:line: upcaster 'x': …": the place is the function, which has returned by now. */
static void fail(lua_State *L, Script *s, const Upcaster *up, Err *err)
{
	char where[256];

	lua_rawgeti(L, LUA_REGISTRYINDEX, up->up);
	lua_host_where(L, -1, where, sizeof(where));
	err_prefix(err, "%s: %s", where, lua_host_label(s->host));
	lua_host_raise(L, err);
}

/* [data result] -> [result], which may be the data */
static void take_result(lua_State *L, Script *s, const Upcaster *up)
{
	Err err = { 0 };

	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	if (!lua_istable(L, -1)) {
		err_set(&err, ERR_SCRIPT,
			"up returned a %s (return the new data, or nothing where it was changed)",
			luaL_typename(L, -1));
		fail(L, s, up, &err);
	}
	lua_replace(L, -2);
}

/* One version: the data of `now` becomes *out. [] -> [] */
static void raise_once(lua_State *L, Script *s, const Upcaster *up, const Event *now, Buf *out)
{
	char subject[80];
	Err err = { 0 };

	snprintf(subject, sizeof(subject), "upcaster '%s'", up->name);
	lua_host_subject(s->host, subject);
	lua_host_refill(s->host, now->id);
	if (!lua_json_decode(L, now->data.s ? now->data : STR("null"), &err))
		fail(L, s, up, &err);
	lua_event_point(s->event, now);
	lua_rawgeti(L, LUA_REGISTRYINDEX, up->up);
	lua_pushvalue(L, -2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->event_ref);
	lua_call(L, 2, 1); /* [data result] */
	take_result(L, s, up);
	buf_clear(out);
	if (!lua_json_encode(L, lua_gettop(L), out, "data", &err))
		fail(L, s, up, &err);
	if (out->s[0] != '{') {
		err_set(&err, ERR_SCRIPT, "the data became %s, and must be an object",
			out->s[0] == '[' ? "an array" : "a single value");
		fail(L, s, up, &err);
	}
	lua_event_point(s->event, NULL);
	lua_pop(L, 1);
	lua_host_relax(L, s->host);
}

void script_upcast_raise(lua_State *L, Script *s, const Event *e, Upcast *into)
{
	const Upcaster *up;

	into->event = *e;
	while ((up = find(s->upcasts, e->type, into->event.schema_version)) != NULL) {
		raise_once(L, s, up, &into->event, &into->spare);
		Buf text = into->spare;

		into->spare = into->text;
		into->text = text;
		into->event.data = buf_str(&into->text);
		into->event.schema_version++;
	}
	lua_host_subject(s->host, s->subject);
}

typedef struct {
	Script *s;
	const Event *event;
	Upcast *into;
} Raising;

static void raise_below(lua_State *L, void *arg)
{
	Raising *r = arg;

	script_upcast_raise(L, r->s, r->event, r->into);
}

static bool is_old(const Script *s, const Event *e)
{
	return s->upcasts != NULL && find(s->upcasts, e->type, e->schema_version) != NULL;
}

const Event *script_upcast(Script *s, const Event *e, Upcast *into, Err *err)
{
	Raising raising = { s, e, into };
	bool ok;

	into->event.id = 0;
	if (!is_old(s, e))
		return e;
	ok = lua_gate(s->host, raise_below, &raising, err);
	if (ok)
		return &into->event;
	lua_event_point(s->event, NULL);
	lua_host_subject(s->host, s->subject);
	into->event.id = 0;
	return NULL;
}

const Event *script_upcast_again(Upcast *known, const Event *e)
{
	Event fresh = *e;

	if (known->event.id != e->id)
		return e;
	fresh.data = known->event.data;
	fresh.schema_version = known->event.schema_version;
	known->event = fresh;
	return &known->event;
}

void script_upcast_free(Upcast *u)
{
	buf_free(&u->text);
	buf_free(&u->spare);
}

/* ---- the page ---- */

void script_upcasts_page(Script *s)
{
	if (s->upcasts == NULL)
		return;
	s->upcasts->nraised = 0;
	if (s->upcasts->arena != NULL)
		arena_reset(s->upcasts->arena);
}

bool script_upcast_page(Script *s, const Event *e, uint32_t *place)
{
	struct Upcasts *u = s->upcasts;
	const Event *now = script_upcast(s, e, &s->upcast, NULL);

	if (now == NULL || now == e)
		return now != NULL;
	if (u->arena == NULL)
		u->arena = arena_new(64 * 1024);
	if (u->nraised == u->cap) {
		u->cap = u->cap ? u->cap * 2 : 64;
		u->raised = mem_realloc(u->raised, u->cap * sizeof(*u->raised));
	}
	u->raised[u->nraised++] =
		(Raised){ *e, arena_str(u->arena, now->data), now->schema_version };
	*place = (uint32_t)u->nraised;
	return true;
}

/* The page may have moved since need(): everything else is taken from where it is now. */
const Event *script_upcast_event(Script *s, const Event *e, uint32_t place)
{
	Raised *r = &s->upcasts->raised[place - 1];

	r->event = *e;
	r->event.data = r->data;
	r->event.schema_version = r->schema_version;
	return &r->event;
}

/* ---- checking one ---- */

static void check_upcaster(lua_State *L, void *arg)
{
	LuaHost *h = lua_host_of(L);
	UpcasterInfo *out = arg;

	lua_source_script(L, h, lua_host_script(h));
	lua_call(L, 0, 0);
	lua_host_push_definition(L, h);
	if (lua_isnil(L, -1))
		luaL_error(L, "%s: nothing is defined in it (write upcaster \"name\" { … })",
			lua_host_script(h));
	lua_getfield(L, -1, "type");
	snprintf(out->type, sizeof(out->type), "%s", lua_tostring(L, -1));
	lua_getfield(L, -2, "from");
	out->from = (int)lua_tonumber(L, -1);
}

bool lua_upcaster_check(const LuaOptions *options, const char *path, UpcasterInfo *out, Err *err)
{
	LuaHost *h = lua_host_open(options, path, err);
	bool ok = h != NULL && lua_gate(h, check_upcaster, out, err);

	lua_host_close(h);
	return ok;
}
