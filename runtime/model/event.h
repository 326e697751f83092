#pragma once

#include "base/mem.h"

/* One row of the log. Slices point into the page that carries the event: they live until the
 * page is released, and are not NUL-terminated by promise. s == NULL is SQL NULL. */
typedef struct {
	int64_t id;
	int64_t version;      /* 1, 2, 3 … within the aggregate */
	int64_t occurred_us;  /* when it happened; microseconds since 1970-01-01 UTC */
	int64_t timestamp_us; /* when it was appended; the same unit */
	int32_t schema_version;
	int32_t occurrences; /* 1, or how many equal events were folded into this row */
	unsigned char event_id[16];
	unsigned char causation_id[16];
	bool has_causation;
	Str type, aggregate_type, aggregate_id;
	Str data, metadata; /* JSON text */
	Str source, correlation_id, actor_type, actor_id, severity, impact;
} Event;

/* A page of events in id order. */
typedef struct {
	const Event *events;
	size_t count;
} EventSlice;

/* Writes the canonical 36-character text of a uuid and a NUL. */
void event_uuid_text(const unsigned char uuid[16], char out[37]);

/* True where `pattern` takes events of this type: an exact type, or a glob in which `*` stands
 * for any run of characters ("container.*", "*.failed", "*"). */
bool event_type_matches(Str pattern, Str type);

/* Which of the patterns takes events of this type: an exact type wins over a glob, a longer glob
 * over a shorter, the first between equals. -1: none. */
int event_type_choose(const Str *patterns, size_t n, Str type);
