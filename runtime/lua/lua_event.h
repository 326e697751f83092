#pragma once

#include <lua.h>

#include "model/event.h"

/* The event that a handler gets: one read-only userdata per host, pointed at one event after
 * another. Nothing is copied out of an event before the script touches it. */
typedef struct LuaEvent LuaEvent;

typedef enum {
	FIELD_ID,
	FIELD_EVENT_ID,
	FIELD_TYPE,
	FIELD_AGGREGATE_TYPE,
	FIELD_AGGREGATE_ID,
	FIELD_VERSION,
	FIELD_SCHEMA_VERSION,
	FIELD_DATA,
	FIELD_METADATA,
	FIELD_SOURCE,
	FIELD_CORRELATION_ID,
	FIELD_CAUSATION_ID,
	FIELD_ACTOR_TYPE,
	FIELD_ACTOR_ID,
	FIELD_SEVERITY,
	FIELD_IMPACT,
	FIELD_OCCURRED_AT,
	FIELD_TIMESTAMP,
	FIELD_OCCURRENCES,
	FIELD_COUNT
} EventField;

/* FIELD_COUNT where no field has the name. */
EventField lua_event_field(Str name);

/* [] -> [event]; to be called once, and kept by the caller (the pointer lives as long as it). */
LuaEvent *lua_event_open(lua_State *L);

/* What the userdata is from now on; `data` and `metadata` are decoded anew. NULL: no event, and
 * touching it raises. */
void lua_event_point(LuaEvent *e, const Event *event);

/* A plain table of all fields, also of a table that is such a copy. Raises.
 * [event] -> [event copy] */
void lua_event_copy(lua_State *L);

/* While a handler waits: touching the event raises, but it is the same one afterwards, with the
 * same `data` and `metadata`. */
void lua_event_pause(LuaEvent *e);
void lua_event_resume(LuaEvent *e, const Event *event);
