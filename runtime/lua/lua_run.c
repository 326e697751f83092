#include <lauxlib.h>

#include "lua/lua_script.h"
#include "lua/lua_saved.h"

/* Events into states: one protected call for a slice, one C loop in it. */

enum { AT_EVENT = 1, AT_ROWS }; /* on the stack all through a slice */

typedef struct {
	Script *s;
	EventSlice page;
	size_t at, to;
	bool careful;
	int64_t slot; /* at work; -1: none */
	Saved saved;
	size_t snapshots; /* how long they were before the event */
} Slice;

/* ---- one key ---- */

/* [] -> [state] */
static void push_state(lua_State *L, Script *s, uint32_t slot, const Event *e)
{
	const State *st = states_at(s->states, slot);

	if (st->exists) {
		lua_rawgeti(L, AT_ROWS, (int)slot + 1);
		return;
	}
	script_disown(L, s, slot);
	if (s->reducer != NULL)
		script_reducer_fresh(L, s, slot, e->id);
	else
		shape_push_fresh(L, s->shape, script_owners(s, slot), st->key);
}

/* "file:line: projection 'x': …": the place is the handler, which has returned by now. */
void script_fail_after(lua_State *L, Script *s, int handler, Err *err)
{
	char where[256];

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->handlers[handler]);
	lua_host_where(L, -1, where, sizeof(where));
	err_prefix(err, "%s: %s", where, lua_host_label(s->host));
	lua_host_raise(L, err);
}

static void mark_handled(Script *s, uint32_t slot, const Event *e, bool exists)
{
	State *st = states_at(s->states, slot);

	st->known = true;
	st->exists = exists;
	st->position = e->id;
	st->version = e->version;
	st->updated_us = e->timestamp_us;
	states_dirty(s->states, slot);
}

/* What the handler returned is on top, the state that it got below. [state result] -> [] */
static void take_result(lua_State *L, Slice *r, uint32_t slot, int handler)
{
	Script *s = r->s;
	bool replacement = lua_istable(L, -1) && !lua_rawequal(L, -1, -2);
	Err err = { 0 };

	if (lua_host_is_delete(s->host, L, -1)) {
		lua_pushnil(L);
		lua_rawseti(L, AT_ROWS, (int)slot + 1);
		script_disown(L, s, slot);
		mark_handled(s, slot, &r->page.events[r->at], false);
		lua_pop(L, 2);
		return;
	}
	if (replacement) {
		lua_replace(L, -2);
	} else if (!lua_isnil(L, -1) && !lua_istable(L, -1)) {
		err_set(&err, ERR_SCRIPT,
			"the handler returned a %s (return nothing, a state or delete)",
			luaL_typename(L, -1));
		script_fail_after(L, s, handler, &err);
	} else {
		lua_pop(L, 1);
	}
	if (!shape_check(L, s->shape, script_owners(s, slot), states_at(s->states, slot)->key,
		    replacement, &err))
		script_fail_after(L, s, handler, &err);
	lua_rawseti(L, AT_ROWS, (int)slot + 1);
	mark_handled(s, slot, &r->page.events[r->at], true);
}

static void run_key(lua_State *L, Slice *r, uint32_t slot, int handler)
{
	Script *s = r->s;
	const Event *e = script_event(s, r->page, r->at);

	r->slot = slot;
	if (s->tracing)
		script_steps_key(s, slot);
	push_state(L, s, slot, e);
	if (s->tracing)
		script_steps_state(L, s);
	if (s->reducer != NULL) {
		script_reducer_before(L, s, slot);
		lua_insert(L, -2); /* [event rows before state] */
	}
	lua_host_refill(s->host, e->id);
	lua_event_point(s->event, e);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->handlers[handler]);
	lua_pushvalue(L, -2);
	lua_pushvalue(L, AT_EVENT);
	lua_call(L, 2, 1);                /* [event rows state result] */
	take_result(L, r, slot, handler); /* it may need the rest of event.data */
	if (s->tracing)
		script_steps_done(L, s);
	lua_event_point(s->event, NULL);
	if (s->reducer == NULL)
		return;
	if (states_at(s->states, slot)->exists)
		script_reducer_handled(L, s, slot, handler, e);
	lua_pop(L, 1);
}

static void restore(lua_State *L, void *arg)
{
	Slice *r = arg;

	saved_put_back(L, r->s, &r->saved);
}

/* ---- one event, one slice ---- */

/* The keys, or an upcaster, failed in need(): now it is the event's turn to say so. */
void script_fail_keys(lua_State *L, Script *s, const Event *e)
{
	Err err = { 0 };

	if (s->upcasts != NULL) {
		script_upcast_raise(L, s, e, &s->upcast);
		e = &s->upcast.event;
	}
	lua_event_point(s->event, e);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->event_ref);
	if (key_rule_is_function(s->keys))
		key_rule_call(L, s->keys, &s->key_list);
	else if (!key_rule_paths(s->keys, e, &s->key_list, &err))
		err_prefix(&err, "%s: %s", s->def.path, lua_host_label(s->host));
	if (err.kind == ERR_NONE)
		err_set(&err, ERR_SCRIPT,
			"%s: %s: the key function or an upcaster failed first and then did not "
			"(it must depend on the event alone)",
			s->def.path, lua_host_label(s->host));
	lua_host_raise(L, &err);
}

/* An event is handled for all of its keys or for none: it waits if one of them does, and then all
 * of them do. */
bool script_waits(Script *s, const EventKeys *k, int64_t event_id)
{
	const uint32_t *slots = s->page.slots + k->first;
	bool parked = false;

	if (k->failed || !parked_any(s->parked))
		return false;
	for (uint32_t i = 0; i < k->count; i++)
		parked = parked || parked_has(s->parked, states_at(s->states, slots[i])->key);
	for (uint32_t i = 0; parked && i < k->count; i++)
		script_wait(s, event_id, states_at(s->states, slots[i])->key);
	return parked;
}

static void run_event(lua_State *L, Slice *r)
{
	Script *s = r->s;
	const EventKeys *k = &s->page.events[r->at - s->page.from];
	const uint32_t *slots = s->page.slots + k->first;

	r->slot = -1;
	if (s->reducer != NULL)
		r->snapshots = script_snapshots_mark(s);
	saved_drop(&r->saved);
	if (script_waits(s, k, r->page.events[r->at].id))
		return;
	if (k->failed)
		script_fail_keys(L, s, &r->page.events[r->at]);
	for (uint32_t i = 0; r->careful && i < k->count; i++)
		saved_add(L, s, &r->saved, slots[i]);
	for (uint32_t i = 0; i < k->count; i++)
		run_key(L, r, slots[i], k->handler);
	lua_host_relax(L, s->host);
}

static void run_slice(lua_State *L, void *arg)
{
	Slice *r = arg;

	lua_rawgeti(L, LUA_REGISTRYINDEX, r->s->event_ref);
	lua_rawgeti(L, LUA_REGISTRYINDEX, r->s->rows_ref);
	for (; r->at < r->to; r->at++) {
		if (r->s->page.events[r->at - r->s->page.from].handler != NO_HANDLER)
			run_event(L, r);
	}
}

void script_blame(const Event *e, Str key, Err *err)
{
	err->event_id = e->id;
	err_hint(err, "event %lld '%.*s'%s%.*s", (long long)e->id,
		(int)(e->type.len < 100 ? e->type.len : 100), e->type.s ? e->type.s : "",
		key.s ? ", key " : "", (int)(key.len < 200 ? key.len : 200), key.s ? key.s : "");
}

bool script_prepared(Script *s, size_t at, size_t to, Err *err)
{
	bool covered = at >= s->page.from && to <= s->page.from + s->page.count;

	if (at < to && s->broken.kind != ERR_NONE)
		*err = s->broken;
	else if (at < to && !covered)
		err_set(err, ERR_DATA, "%s: these events have not been prepared", s->def.path);
	else
		return true;
	return false;
}

RunResult script_run(Handler *h, EventSlice page, size_t *at, size_t to, bool careful, Err *err)
{
	Script *s = script_of(h);
	Slice r = { .s = s, .page = page, .at = *at, .to = to, .careful = careful, .slot = -1 };
	bool ok;

	if (s->sql != NULL)
		return script_sql_run(s, page, at, to, err);
	if (s->rule != NULL)
		return script_rule_run(s, page, at, to, careful, err);
	if (!script_prepared(s, *at, to, err))
		return RUN_FAILED;
	ok = lua_gate(s->host, run_slice, &r, err);
	lua_event_point(s->event, NULL);
	*at = r.at;
	if (!ok) {
		script_blame(&page.events[r.at],
			r.slot < 0 ? (Str){ NULL, 0 } : states_at(s->states, (uint32_t)r.slot)->key,
			err);
		if (s->tracing)
			script_steps_failed(s);
		if (careful)
			lua_gate(s->host, restore, &r, &s->broken);
		script_snapshots_back(s, r.snapshots);
		lua_host_subject(s->host, s->subject); /* an upcaster may have failed */
	}
	saved_free(&r.saved);
	return ok ? RUN_DONE : RUN_FAILED;
}
