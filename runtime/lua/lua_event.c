#include "lua/lua_event.h"

#include <lauxlib.h>
#include <stdio.h>

#include "lua/lua_gate.h"
#include "lua/lua_json.h"
#include "lua/lua_json_lazy.h"

enum {
	LOOKUP_SIZE = 64, /* a power of two well above FIELD_COUNT */
	UP_TREES = 1,     /* upvalues of the __index function: data and metadata … */
	UP_NAMES = UP_TREES +
		   LAZY_COUNT, /* … and the fields' names, which keeps their addresses valid */
};

struct LuaEvent {
	const Event *event;
	LuaLazy *lazy;
	bool have[LAZY_COUNT];
	struct {
		const char *name; /* Lua keeps one copy of a string: the address identifies it */
		EventField field;
	} lookup[LOOKUP_SIZE];
};

static const Str names[FIELD_COUNT] = {
	[FIELD_ID] = { "id", 2 },
	[FIELD_EVENT_ID] = { "event_id", 8 },
	[FIELD_TYPE] = { "type", 4 },
	[FIELD_AGGREGATE_TYPE] = { "aggregate_type", 14 },
	[FIELD_AGGREGATE_ID] = { "aggregate_id", 12 },
	[FIELD_VERSION] = { "version", 7 },
	[FIELD_SCHEMA_VERSION] = { "schema_version", 14 },
	[FIELD_DATA] = { "data", 4 },
	[FIELD_METADATA] = { "metadata", 8 },
	[FIELD_SOURCE] = { "source", 6 },
	[FIELD_CORRELATION_ID] = { "correlation_id", 14 },
	[FIELD_CAUSATION_ID] = { "causation_id", 12 },
	[FIELD_ACTOR_TYPE] = { "actor_type", 10 },
	[FIELD_ACTOR_ID] = { "actor_id", 8 },
	[FIELD_SEVERITY] = { "severity", 8 },
	[FIELD_IMPACT] = { "impact", 6 },
	[FIELD_OCCURRED_AT] = { "occurred_at", 11 },
	[FIELD_TIMESTAMP] = { "timestamp", 9 },
	[FIELD_OCCURRENCES] = { "occurrences", 11 },
};

EventField lua_event_field(Str name)
{
	EventField field = 0;

	while (field < FIELD_COUNT && !str_eq(names[field], name))
		field++;
	return field;
}

static size_t slot_of(const char *name)
{
	return ((uintptr_t)name >> 4 ^ (uintptr_t)name >> 10) & (LOOKUP_SIZE - 1);
}

static EventField look_up(const LuaEvent *e, const char *name)
{
	size_t slot = slot_of(name);

	while (e->lookup[slot].name != NULL && e->lookup[slot].name != name)
		slot = (slot + 1) & (LOOKUP_SIZE - 1);
	return e->lookup[slot].name ? e->lookup[slot].field : FIELD_COUNT;
}

static int push_str(lua_State *L, Str s)
{
	if (s.s == NULL)
		lua_pushnil(L);
	else
		lua_pushlstring(L, s.s, s.len);
	return 1;
}

static int push_uuid(lua_State *L, const unsigned char uuid[16])
{
	char text[37];

	event_uuid_text(uuid, text);
	lua_pushlstring(L, text, 36);
	return 1;
}

static int push_number(lua_State *L, double v)
{
	lua_pushnumber(L, v);
	return 1;
}

/* On the first touch the tree is made, or what becomes one; it then stays in an upvalue. */
static int push_tree(lua_State *L, LuaEvent *e, LazyField field, Str text, const char *name)
{
	int upvalue = lua_upvalueindex(UP_TREES + (int)field);
	Err err = { 0 };

	if (!e->have[field]) {
		if (text.s == NULL)
			lua_pushnil(L);
		else if (!lua_lazy_push(L, e->lazy, field, text) && !lua_json_decode(L, text, &err))
			return luaL_error(L, "event.%s: %s", name, err.message);
		lua_replace(L, upvalue);
		e->have[field] = true;
	}
	lua_pushvalue(L, upvalue);
	return 1;
}

static int unknown_field(lua_State *L)
{
	lua_newtable(L);
	for (int i = 0; i < FIELD_COUNT; i++) {
		lua_pushstring(L, names[i].s);
		lua_rawseti(L, -2, i + 1);
	}
	if (lua_type(L, 2) != LUA_TSTRING)
		return luaL_error(
			L, "an event has named fields only, and no [%s]", luaL_typename(L, 2));
	lua_host_nearest(L, lua_host_of(L), lua_tostring(L, 2));
	return luaL_error(
		L, "an event has no field '%s'%s", lua_tostring(L, 2), lua_tostring(L, -1));
}

static int event_index(lua_State *L) /* [event name] -> [value] */
{
	LuaEvent *e = lua_touserdata(L, 1);
	const Event *ev = e->event;
	EventField field = FIELD_COUNT;

	if (lua_type(L, 2) == LUA_TSTRING)
		field = look_up(e, lua_tostring(L, 2));
	if (field == FIELD_COUNT)
		return unknown_field(L);
	if (ev == NULL)
		return luaL_error(L,
			"the event is used after its handler returned (keep what you need "
			"of it in the state)");
	switch (field) {
	case FIELD_ID:
		return push_number(L, (double)ev->id);
	case FIELD_EVENT_ID:
		return push_uuid(L, ev->event_id);
	case FIELD_TYPE:
		return push_str(L, ev->type);
	case FIELD_AGGREGATE_TYPE:
		return push_str(L, ev->aggregate_type);
	case FIELD_AGGREGATE_ID:
		return push_str(L, ev->aggregate_id);
	case FIELD_VERSION:
		return push_number(L, (double)ev->version);
	case FIELD_SCHEMA_VERSION:
		return push_number(L, ev->schema_version);
	case FIELD_DATA:
		return push_tree(L, e, LAZY_DATA, ev->data, "data");
	case FIELD_METADATA:
		return push_tree(L, e, LAZY_METADATA, ev->metadata, "metadata");
	case FIELD_SOURCE:
		return push_str(L, ev->source);
	case FIELD_CORRELATION_ID:
		return push_str(L, ev->correlation_id);
	case FIELD_CAUSATION_ID:
		return ev->has_causation ? push_uuid(L, ev->causation_id) : 0;
	case FIELD_ACTOR_TYPE:
		return push_str(L, ev->actor_type);
	case FIELD_ACTOR_ID:
		return push_str(L, ev->actor_id);
	case FIELD_SEVERITY:
		return push_str(L, ev->severity);
	case FIELD_IMPACT:
		return push_str(L, ev->impact);
	case FIELD_OCCURRED_AT:
		return push_number(L, (double)ev->occurred_us / 1e6);
	case FIELD_TIMESTAMP:
		return push_number(L, (double)ev->timestamp_us / 1e6);
	case FIELD_OCCURRENCES:
		return push_number(L, ev->occurrences);
	case FIELD_COUNT:
		break;
	}
	return 0;
}

static int event_newindex(lua_State *L)
{
	return luaL_error(L, "an event cannot be changed (keep what you need in the state)");
}

static int event_tostring(lua_State *L)
{
	const LuaEvent *e = lua_touserdata(L, 1);
	char text[40] = "event";

	if (e->event != NULL)
		snprintf(text, sizeof(text), "event %lld", (long long)e->event->id);
	lua_pushstring(L, text);
	return 1;
}

/* [event] -> [event names] */
static void intern_names(lua_State *L, LuaEvent *e)
{
	lua_createtable(L, FIELD_COUNT, 0);
	for (int i = 0; i < FIELD_COUNT; i++) {
		const char *name;
		size_t slot;

		lua_pushlstring(L, names[i].s, names[i].len);
		name = lua_tostring(L, -1);
		for (slot = slot_of(name); e->lookup[slot].name != NULL;)
			slot = (slot + 1) & (LOOKUP_SIZE - 1);
		e->lookup[slot].name = name;
		e->lookup[slot].field = (EventField)i;
		lua_rawseti(L, -2, i + 1);
	}
}

LuaEvent *lua_event_open(lua_State *L)
{
	LuaEvent *e = lua_newuserdata(L, sizeof(*e));

	memset(e, 0, sizeof(*e));
	e->lazy = lua_lazy_of(L);
	lua_createtable(L, 0, 4); /* [event meta] */
	lua_pushnil(L);
	lua_pushnil(L);
	intern_names(L, e); /* [event meta nil nil names] */
	lua_pushcclosure(L, event_index, UP_NAMES);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, event_newindex);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, event_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	return e;
}

/* [] -> [tree, or nil] */
static void push_text_tree(lua_State *L, Str text, const char *name)
{
	Err err = { 0 };

	if (text.s == NULL)
		lua_pushnil(L);
	else if (!lua_json_decode(L, text, &err))
		luaL_error(L, "event.%s: %s", name, err.message);
}

/* [copy] -> [copy copy of it] */
static void copy_table(lua_State *L)
{
	Buf text = { 0 };
	Err err = { 0 };
	bool ok = lua_json_encode(L, lua_gettop(L), &text, "event", &err) &&
		  lua_json_decode(L, buf_str(&text), &err);

	buf_free(&text);
	if (!ok)
		lua_host_raise(L, &err);
}

void lua_event_copy(lua_State *L)
{
	int event = lua_gettop(L);
	const LuaEvent *e = lua_touserdata(L, event);

	if (e == NULL) {
		luaL_checktype(L, event, LUA_TTABLE);
		copy_table(L);
		return;
	}
	lua_createtable(L, 0, FIELD_COUNT);
	for (int i = 0; i < FIELD_COUNT; i++) {
		lua_pushlstring(L, names[i].s, names[i].len);
		if (i == FIELD_DATA && e->event != NULL) {
			push_text_tree(L, e->event->data, "data");
		} else if (i == FIELD_METADATA && e->event != NULL) {
			push_text_tree(L, e->event->metadata, "metadata");
		} else {
			lua_pushvalue(L, -1);
			lua_gettable(L, event);
		}
		lua_rawset(L, -3);
	}
}

void lua_event_point(LuaEvent *e, const Event *event)
{
	e->event = event;
	e->have[LAZY_DATA] = e->have[LAZY_METADATA] = false;
	lua_lazy_over(e->lazy);
}

void lua_event_pause(LuaEvent *e)
{
	e->event = NULL;
}

/* Where the page was read anew meanwhile, what was pushed for it holds slices of the old one. */
void lua_event_resume(LuaEvent *e, const Event *event)
{
	if (lua_lazy_holds(e->lazy, LAZY_DATA, event->data) &&
		lua_lazy_holds(e->lazy, LAZY_METADATA, event->metadata))
		e->event = event;
	else
		lua_event_point(e, event);
}
