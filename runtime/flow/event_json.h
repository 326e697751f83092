#pragma once

#include "base/err.h"
#include "model/event.h"

/* One event as a JSON object, with the members that `tail --json` shows: id, event_id, event_type,
 * aggregate_type, aggregate_id, version, schema_version, data, metadata, source, correlation_id,
 * causation_id, actor_type, actor_id, severity, impact, occurred_at, timestamp, occurrences. */
void event_to_json(Buf *out, const Event *e);

/* Reads what event_to_json() or a person wrote. What *e is before the call stands where the object
 * says nothing; event_type (or `type`), aggregate_type, aggregate_id have to be there in the end.
 * Times are ISO 8601 or seconds since 1970. Texts are copied into the arena. An unknown member, or
 * one of a wrong type, is an ERR_DATA that names it. */
bool event_from_json(Str json, Arena *arena, Event *e, Err *err);

/* What an event is that says no more than its type and aggregate: version 1, no data. */
Event event_blank(void);
