#include "lua/lua_handler.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "lua/lua_script.h"
#include "lua/lua_source.h"

enum { TYPES_MAX = 4096 }; /* remembered types; types are a publisher's choice and may be many */

/* ---- types ---- */

static void clear_types(Script *s)
{
	for (size_t i = 0; s->types != NULL && i <= s->types_mask; i++)
		free((char *)s->types[i].type.s);
	free(s->types);
	s->types_mask = 4 * TYPES_MAX - 1;
	s->types = mem_calloc(s->types_mask + 1, sizeof(*s->types));
	s->ntypes = 0;
	s->last_type = NULL;
}

static TypeEntry *find_type(Script *s, Str type)
{
	size_t at = str_hash(type) & s->types_mask;

	while (s->types[at].type.s != NULL && !str_eq(s->types[at].type, type))
		at = (at + 1) & s->types_mask;
	return &s->types[at];
}

static const TypeEntry *type_of(Script *s, Str type)
{
	TypeEntry *entry;

	if (s->last_type != NULL && str_eq(s->last_type->type, type))
		return s->last_type;
	if (s->ntypes >= TYPES_MAX)
		clear_types(s);
	entry = find_type(s, type);
	if (entry->type.s == NULL) {
		*entry = (TypeEntry){ { mem_strndup(type.s, type.len), type.len },
			event_type_choose(s->def.types, s->nown, type), true,
			script_upcasts_take(s, type) };
		if (entry->handler == NO_HANDLER) {
			entry->own = false;
			entry->handler = event_type_choose(s->def.types, s->def.ntypes, type);
		}
		s->ntypes++;
	}
	s->last_type = entry;
	return entry;
}

/* What a rule raised itself is no news to it, live and replayed. */
static bool is_own_alert(const Script *s, const Event *e)
{
	return s->rule != NULL && str_eq(e->aggregate_type, STR("alert")) &&
	       e->actor_id.s != NULL && str_eq(e->actor_id, str_from(s->def.name)) &&
	       e->actor_type.s != NULL && str_eq(e->actor_type, STR("rule"));
}

const TypeEntry *script_takes(Script *s, const Event *e)
{
	const TypeEntry *type;

	if (is_own_alert(s, e))
		return NULL;
	if (s->reducer != NULL && !str_eq(e->aggregate_type, s->aggregate))
		return NULL;
	type = type_of(s, e->type);
	return type->handler != NO_HANDLER ? type : NULL;
}

/* ---- keys ---- */

LuaJsonOwner *script_owners(Script *s, uint32_t slot)
{
	return s->owners + slot * shape_owners(s->shape);
}

void script_disown(lua_State *L, Script *s, uint32_t slot)
{
	LuaJsonOwner *owners = script_owners(s, slot);

	for (size_t i = 0; i < shape_owners(s->shape); i++)
		lua_json_disown(L, &owners[i]);
}

static void make_room_for_owners(Script *s, uint32_t slot)
{
	size_t need = (slot + 1) * shape_owners(s->shape), before = s->nowners;

	if (need <= before)
		return;
	s->nowners = need * 2;
	s->owners = mem_realloc(s->owners, s->nowners * sizeof(*s->owners));
	memset(s->owners + before, 0, (s->nowners - before) * sizeof(*s->owners));
}

typedef struct {
	Script *s;
	const Event *event;
} Asking;

static void call_key_function(lua_State *L, void *arg)
{
	Asking *a = arg;

	lua_rawgeti(L, LUA_REGISTRYINDEX, a->s->event_ref);
	lua_event_point(a->s->event, a->event);
	lua_host_refill(a->s->host, a->event->id);
	key_rule_call(L, a->s->keys, &a->s->key_list);
}

bool script_keys_of(Script *s, const Event *e, Err *err)
{
	Asking asking = { s, e };
	Err unwanted;
	bool ok;

	if (err == NULL)
		err = &unwanted;
	if (!key_rule_is_function(s->keys))
		return key_rule_paths(s->keys, e, &s->key_list, err);
	ok = lua_gate(s->host, call_key_function, &asking, err);
	lua_event_point(s->event, NULL);
	if (!ok)
		s->key_list.count = 0;
	return ok;
}

/* ---- need and load ---- */

void script_add_key(const Script *s, Str key, Buf *out)
{
	if (s->rule == NULL) {
		shape_add_key(s->shape, key, out);
	} else {
		buf_adds(out, "\"key\":");
		json_add_string(out, key);
	}
}

static void add_slot(Page *page, uint32_t slot)
{
	if (page->nslots == page->slots_cap) {
		page->slots_cap = page->slots_cap ? page->slots_cap * 2 : 1024;
		page->slots = mem_realloc(page->slots, page->slots_cap * sizeof(*page->slots));
	}
	page->slots[page->nslots++] = slot;
}

void script_ask(Script *s, Str key)
{
	uint32_t slot = states_slot(s->states, key);
	State *st = states_at(s->states, slot);

	make_room_for_owners(s, slot);
	add_slot(&s->page, slot);
	if (st->known || st->asked)
		return;
	st->asked = true;
	buf_addf(&s->missing, "%s{\"n\":%u,", s->missing.len ? "," : "[", slot);
	script_add_key(s, st->key, &s->missing);
	buf_addc(&s->missing, '}');
}

void script_ask_begin(Script *s)
{
	buf_clear(&s->missing);
	states_page(s->states);
	s->page.count = s->page.nslots = 0;
}

/* Between need() and run() a state that was asked for and did not come is one that does not exist:
 * the next need() asks again, since its page may be another attempt. */
Str script_ask_end(Script *s)
{
	for (size_t i = 0; i < s->page.nslots; i++)
		states_at(s->states, s->page.slots[i])->asked = false;
	if (s->missing.len == 0)
		return STR("");
	buf_addc(&s->missing, ']');
	return buf_str(&s->missing);
}

static void find_keys(Script *s, const Event *e, EventKeys *k)
{
	const TypeEntry *type = script_takes(s, e);

	*k = (EventKeys){ .handler = type ? type->handler : NO_HANDLER,
		.first = (uint32_t)s->page.nslots };
	if (type == NULL || !type->own)
		return;
	if (type->upcast)
		k->failed = !script_upcast_page(s, e, &k->upcast);
	if (k->upcast != 0)
		e = script_upcast_event(s, e, k->upcast);
	k->failed = k->failed || !script_keys_of(s, e, NULL);
	k->count = k->failed ? 0 : (uint32_t)s->key_list.count;
	for (uint32_t i = 0; i < k->count; i++)
		script_ask(s, key_list_at(&s->key_list, i));
}

static void script_need(Handler *h, EventSlice page, size_t from, size_t to, Str *missing)
{
	Script *s = script_of(h);

	*missing = STR("");
	if (s->sql != NULL)
		return;
	script_ask_begin(s);
	s->page.from = from;
	s->page.count = to - from;
	script_upcasts_page(s);
	if (s->page.count > s->page.cap) {
		s->page.cap = s->page.count;
		s->page.events = mem_realloc(s->page.events, s->page.cap * sizeof(*s->page.events));
	}
	for (size_t i = from; i < to; i++)
		find_keys(s, &page.events[i], &s->page.events[i - from]);
	if (s->rule != NULL)
		script_rule_need(s, page, from, to);
	*missing = script_ask_end(s);
}

typedef struct {
	Script *s;
	uint32_t slot;
	Str text;
} Loading;

static void load_state(lua_State *L, void *arg)
{
	Loading *l = arg;
	Script *s = l->s;
	State *st = states_at(s->states, l->slot);
	Str text = l->text;
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	script_disown(L, s, l->slot);
	if (!script_reducer_stored(s, &text, &st->version, &err) ||
		!shape_push_loaded(L, s->shape, script_owners(s, l->slot), st->key, text, &err)) {
		err_prefix(&err, "%s: %s: the stored state of key %.*s", s->def.path,
			lua_host_label(s->host), (int)(st->key.len < 200 ? st->key.len : 200),
			st->key.s);
		lua_host_raise(L, &err);
	}
	lua_rawseti(L, 1, (int)l->slot + 1);
	st->known = st->exists = true;
	states_size(s->states, l->slot, script_state_bytes(l->text.len));
	lua_host_relax(L, s->host);
}

static bool script_load(Handler *h, size_t n, Str state, Err *err)
{
	Script *s = script_of(h);
	Loading l = { s, (uint32_t)n, state };

	if (!states_has(s->states, n))
		return err_set(err, ERR_DATA, "%s: state %zu was not asked for", s->def.path, n);
	return lua_gate(s->host, load_state, &l, err);
}

/* ---- after a batch ---- */

static void drop_row(void *owner, uint32_t slot)
{
	Script *s = owner;
	lua_State *L = lua_host_state(s->host);

	script_disown(L, s, slot);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_pushnil(L);
	lua_rawseti(L, -2, (int)slot + 1);
	lua_pop(L, 1);
}

static void settle(lua_State *L, void *arg)
{
	Script *s = arg;

	states_settled(s->states, drop_row, s);
	lua_host_pace(L, s->host);
}

static void purge(lua_State *L, void *arg)
{
	Script *s = arg;

	(void)L;
	states_purge(s->states, drop_row, s);
}

void script_purge(Script *s)
{
	lua_gate(s->host, purge, s, NULL);
}

static void script_settled(Handler *h)
{
	Script *s = script_of(h);

	parked_settled(s->parked);
	if (s->rule != NULL)
		script_rule_settled(s);
	lua_gate(s->host, settle, s, NULL); /* clearing fields needs no memory: it cannot fail */
}

static void forget_rows(lua_State *L, void *arg)
{
	Script *s = arg;

	for (size_t i = 0; i < s->nowners; i++)
		lua_json_disown(L, &s->owners[i]);
	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, s->rows_ref);
}

static void script_forget(Handler *h)
{
	Script *s = script_of(h);

	err_clear(&s->broken);
	lua_gate(s->host, forget_rows, s, &s->broken);
	states_forget(s->states);
	s->page.count = s->page.nslots = 0;
	script_snapshots_back(s, 0);
	script_drop_letters(s);
	parked_forget(s->parked);
	if (s->rule != NULL)
		script_rule_forget(s);
	if (s->sql != NULL)
		script_sql_forget(s);
}

/* ---- parked keys ---- */

/* The keys of an event that need() may not have seen. */
static bool keys_of_raw(Script *s, const Event *raw)
{
	const TypeEntry *type = script_takes(s, raw);
	const Event *e = script_upcast(s, raw, &s->upcast, NULL);

	return e != NULL && (type == NULL || type->own) && script_keys_of(s, e, NULL);
}

static void script_park(Handler *h, EventSlice page, size_t index)
{
	Script *s = script_of(h);

	if (!keys_of_raw(s, &page.events[index]))
		return;
	for (size_t i = 0; i < s->key_list.count; i++)
		parked_add(s->parked, key_list_at(&s->key_list, i));
}

static void script_set_parked(Handler *h, Str key, bool parked)
{
	Script *s = script_of(h);

	if (key.s == NULL) {
		parked_clear(s->parked);
		if (s->rule != NULL)
			script_rule_release(s, key);
		return;
	}
	buf_clear(&s->key);
	key_list_stored(key, &s->key);
	if (s->key.len == 0)
		return;
	parked_set(s->parked, buf_str(&s->key), parked);
	if (s->rule != NULL && !parked)
		script_rule_release(s, buf_str(&s->key));
}

static Str script_key_of(Handler *h, EventSlice page, size_t index, size_t nth)
{
	Script *s = script_of(h);

	if (!keys_of_raw(s, &page.events[index]) || nth >= s->key_list.count)
		return (Str){ NULL, 0 };
	return key_list_at(&s->key_list, nth);
}

/* ---- opening ---- */

static const Definition *script_definition(Handler *h)
{
	return &script_of(h)->def;
}

static size_t script_memory(Handler *h)
{
	Script *s = script_of(h);

	return lua_host_memory(s->host) + (s->rule ? script_rule_memory(s) : 0);
}

static void note_key_paths(Script *s)
{
	size_t n = shape_nkeys(s->shape);
	Str *paths = arena_alloc(s->arena, n * sizeof(*paths));

	s->def.key_paths = paths;
	for (size_t i = 0; i < n && key_rule_path(s->keys, i) != NULL; i++) {
		paths[i] = arena_str(s->arena, str_from(key_rule_path(s->keys, i)));
		s->def.nkey_paths++;
	}
}

static void open_script(lua_State *L, void *arg)
{
	Script *s = arg;
	const char *kind = lua_source_kind(s->def.path);

	lua_source_script(L, s->host, s->def.path);
	lua_call(L, 0, 0);
	lua_host_push_definition(L, s->host);
	if (lua_isnil(L, -1))
		luaL_error(L, "%s: nothing is defined in it (write %s \"name\" { … })", s->def.path,
			kind != NULL ? kind : "projection");
	script_read_definition(L, s);
	shape_open(L, &s->shape);
	s->keys = key_rule_open(L, s->shape);
	note_key_paths(s);
	s->states = states_open(lua_host_states_limit(s->host));
	s->event = lua_event_open(L);
	s->event_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	s->rows_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	if (s->def.sql)
		s->sql = script_sql_open(L);
}

static void script_close(Handler *h)
{
	Script *s = script_of(h);

	script_sql_close(s->sql);
	script_expressions_close(s->expressions);
	script_steps_close(s->steps);
	script_cover_close(s->cover);
	script_lines_close(s->lines);
	lua_host_close(s->host);
	shape_close(s->shape);
	key_rule_close(s->keys);
	states_close(s->states);
	parked_close(s->parked);
	key_list_free(&s->key_list);
	for (size_t i = 0; i <= s->types_mask; i++)
		free((char *)s->types[i].type.s);
	free(s->types);
	free(s->handlers);
	free(s->owners);
	free(s->page.events);
	free(s->page.slots);
	buf_free(&s->missing);
	buf_free(&s->upserts);
	buf_free(&s->deletes);
	buf_free(&s->key);
	buf_free(&s->shown);
	script_upcasts_close(s->upcasts);
	script_upcast_free(&s->upcast);
	script_reducer_close(s->reducer);
	script_rule_close(s->rule);
	free(s->letters.at);
	free(s->handed.at);
	arena_free(s->letters.arena);
	arena_free(s->handed.arena);
	arena_free(s->arena);
	free(s);
}

static const HandlerOps ops = {
	.definition = script_definition,
	.need = script_need,
	.load = script_load,
	.run = script_run,
	.query = script_query,
	.resume = script_resume,
	.collect = script_collect,
	.settled = script_settled,
	.forget = script_forget,
	.park = script_park,
	.set_parked = script_set_parked,
	.key_of = script_key_of,
	.state = script_state,
	.expression = script_expression,
	.evaluate = script_evaluate,
	.trace = script_trace,
	.cover = script_cover,
	.coverage = script_coverage,
	.wants = script_wants,
	.restore = script_restore,
	.next_due = script_next_due,
	.due = script_due,
	.advance = script_advance,
	.probe = script_probe,
	.memory = script_memory,
	.close = script_close,
};

Handler *lua_handler_open(const LuaOptions *options, const char *path, Err *err)
{
	Script *s = mem_calloc(1, sizeof(*s));

	s->base.ops = &ops;
	s->arena = arena_new(4096);
	s->parked = parked_open();
	s->def.path = arena_str(s->arena, str_from(path)).s;
	clear_types(s);
	s->host = lua_host_open(options, path, err);
	if (s->host != NULL)
		lua_host_own(s->host, s);
	if (s->host == NULL || !lua_gate(s->host, open_script, s, err)) {
		script_close(&s->base);
		return NULL;
	}
	return &s->base;
}
