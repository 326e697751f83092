#include <lauxlib.h>
#include <stdlib.h>

#include "base/json.h"
#include "lua/lua_script.h"

/* What a reducer has beyond a projection: a first state, a state machine, snapshots. */

struct Reducer {
	int initial;           /* registry: makes a new aggregate's state; LUA_NOREF: {} */
	int check, begin;      /* registry: of the transitions; LUA_NOREF: there are none */
	int field, first;      /* registry: the machine's field, and what it begins with */
	Buf snapshots, handed; /* since the last collect(), and what it gave away */
	int64_t version;       /* of the state at work, before its event */
};

void script_reducer_open(lua_State *L, Script *s)
{
	struct Reducer *r = s->reducer = mem_calloc(1, sizeof(*r));
	Str aggregate;

	lua_getfield(L, -1, "aggregate");
	aggregate.s = lua_tolstring(L, -1, &aggregate.len);
	s->aggregate = arena_str(s->arena, aggregate);
	s->def.aggregate = s->aggregate.s;
	lua_pop(L, 1);
	s->def.snapshot_every = (int)script_field_number(L, "snapshot_every");
	r->initial = script_field_keep(L, "initial");
	r->check = r->begin = r->field = r->first = LUA_NOREF;
	lua_getfield(L, -1, "transitions");
	if (!lua_isnil(L, -1)) {
		r->check = script_field_keep(L, "check");
		r->begin = script_field_keep(L, "begin");
		r->field = script_field_keep(L, "field");
		r->first = script_field_keep(L, "initial");
	}
	lua_pop(L, 1);
}

void script_reducer_close(struct Reducer *r)
{
	if (r == NULL)
		return;
	buf_free(&r->snapshots);
	buf_free(&r->handed);
	free(r);
}

/* ---- a new aggregate ---- */

/* "file:line: reducer 'x': initial() …" */
static void fail_initial(lua_State *L, Script *s, Err *err)
{
	char where[256];

	if (s->reducer->initial != LUA_NOREF) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, s->reducer->initial);
		lua_host_where(L, -1, where, sizeof(where));
		err_prefix(err, "%s: %s", where, lua_host_label(s->host));
	}
	lua_host_raise(L, err);
}

/* [state] -> [state]: the machine's field is set */
static void begin_machine(lua_State *L, Script *s)
{
	struct Reducer *r = s->reducer;
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, r->field);
	lua_rawget(L, -2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, r->first); /* [state value first] */
	if (lua_isnil(L, -2)) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, r->field);
		lua_pushvalue(L, -2);
		lua_rawset(L, -5);
	} else if (!lua_rawequal(L, -1, -2)) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, r->begin);
		lua_pushvalue(L, -3);
		lua_call(L, 1, 1);
		err_set(&err, ERR_SCRIPT, "%s", lua_tostring(L, -1));
		fail_initial(L, s, &err);
	}
	lua_pop(L, 2);
}

void script_reducer_fresh(lua_State *L, Script *s, uint32_t slot, int64_t event_id)
{
	struct Reducer *r = s->reducer;
	Str key = states_at(s->states, slot)->key;
	Err err = { 0 };

	if (r->initial == LUA_NOREF) {
		lua_newtable(L);
	} else {
		lua_host_refill(s->host, event_id);
		lua_rawgeti(L, LUA_REGISTRYINDEX, r->initial);
		lua_call(L, 0, 1);
	}
	if (!lua_istable(L, -1)) {
		err_set(&err, ERR_SCRIPT,
			"initial() returned a %s (return a table: the state of a new aggregate)",
			luaL_typename(L, -1));
		fail_initial(L, s, &err);
	}
	/* A second call that returns the same table is told here. */
	if (!shape_check(L, s->shape, script_owners(s, slot), key, true, &err))
		fail_initial(L, s, &err);
	if (r->field != LUA_NOREF)
		begin_machine(L, s);
}

/* ---- after an event ---- */

void script_reducer_before(lua_State *L, Script *s, uint32_t slot)
{
	const State *st = states_at(s->states, slot);

	s->reducer->version = st->exists ? st->version : 0;
	if (s->reducer->field == LUA_NOREF) {
		lua_pushnil(L);
		return;
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->reducer->field);
	lua_rawget(L, -2);
}

/* [machine state] -> the same */
static void check_transition(lua_State *L, Script *s, int handler)
{
	struct Reducer *r = s->reducer;
	Err err = { 0 };

	if (r->field == LUA_NOREF)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, r->field);
	lua_rawget(L, -2); /* [machine state after] */
	if (!lua_rawequal(L, -1, -3)) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, r->check);
		lua_pushvalue(L, -4);
		lua_pushvalue(L, -3);
		lua_call(L, 2, 1); /* [machine state after problem] */
		if (!lua_isnil(L, -1)) {
			err_set(&err, ERR_SCRIPT, "%s", lua_tostring(L, -1));
			script_fail_after(L, s, handler, &err);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* The state on top of the stack. */
static void add_snapshot(lua_State *L, Script *s, const State *st, const Event *e)
{
	struct Reducer *r = s->reducer;
	Buf *out = &r->snapshots;
	Err err = { 0 };

	buf_addf(out, "%s{\"aggregate_id\":", out->len ? "," : "[");
	buf_add(out, st->key.s, st->key.len);
	buf_addf(out, ",\"version\":%lld,\"event_id\":%lld,\"state\":", (long long)e->version,
		(long long)e->id);
	if (!shape_encode(L, s->shape, lua_gettop(L), out, &err)) {
		err_prefix(&err, "%s: %s", s->def.path, lua_host_label(s->host));
		lua_host_raise(L, &err);
	}
	buf_addc(out, '}');
}

void script_reducer_handled(lua_State *L, Script *s, uint32_t slot, int handler, const Event *e)
{
	int every = s->def.snapshot_every;

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_rawgeti(L, -1, (int)slot + 1);
	lua_replace(L, -2); /* [machine state] */
	check_transition(L, s, handler);
	if (e->version / every > s->reducer->version / every)
		add_snapshot(L, s, states_at(s->states, slot), e);
	lua_pop(L, 1);
}

size_t script_snapshots_mark(const Script *s)
{
	return s->reducer ? s->reducer->snapshots.len : 0;
}

void script_snapshots_back(Script *s, size_t mark)
{
	if (s->reducer != NULL && s->reducer->snapshots.len > mark)
		s->reducer->snapshots.len = mark;
}

Str script_snapshots_collect(Script *s)
{
	struct Reducer *r = s->reducer;
	Buf handed;

	if (r == NULL || r->snapshots.len == 0)
		return STR("");
	handed = r->handed;
	r->handed = r->snapshots;
	r->snapshots = handed;
	buf_clear(&r->snapshots);
	buf_addc(&r->handed, ']');
	return buf_str(&r->handed);
}

/* ---- stored states ---- */

bool script_reducer_stored(const Script *s, Str *text, int64_t *version, Err *err)
{
	Str number, state;

	if (s->reducer == NULL)
		return true;
	if (!json_path(*text, "version", &number) || !json_path(*text, "state", &state))
		return err_set(err, ERR_DATA, "it is no {\"version\", \"state\"}");
	*version = strtoll(number.s, NULL, 10);
	*text = state;
	return true;
}
