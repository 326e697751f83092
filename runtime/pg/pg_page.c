#include "pg/pg_page.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdlib.h>

/* The order of the columns in sql/queries/events_*.sql. */
enum {
	ID,
	EVENT_ID,
	TYPE,
	AGG_TYPE,
	AGG_ID,
	VERSION,
	SCHEMA_VERSION,
	DATA,
	METADATA,
	SOURCE,
	CORRELATION,
	CAUSATION,
	ACTOR_TYPE,
	ACTOR_ID,
	SEVERITY,
	IMPACT,
	OCCURRED,
	TIMESTAMP,
	OCCURRENCES,
	NCOLUMNS
};

#define PG_EPOCH_US INT64_C(946684800000000) /* PostgreSQL counts from 2000-01-01 */

static int64_t i64(const PGresult *r, int row, int col)
{
	uint64_t v;

	memcpy(&v, PQgetvalue(r, row, col), sizeof(v));
	return (int64_t)be64toh(v);
}

static int32_t i32(const PGresult *r, int row, int col)
{
	uint32_t v;

	memcpy(&v, PQgetvalue(r, row, col), sizeof(v));
	return (int32_t)be32toh(v);
}

static Str text(const PGresult *r, int row, int col)
{
	if (PQgetisnull(r, row, col))
		return (Str){ NULL, 0 };
	return (Str){ PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col) };
}

static Str json(const PGresult *r, int row, int col) /* jsonb: a version byte, then text */
{
	Str s = text(r, row, col);

	return s.s ? (Str){ s.s + 1, s.len - 1 } : s;
}

static void read_event(const PGresult *r, int row, Event *e)
{
	e->id = i64(r, row, ID);
	memcpy(e->event_id, PQgetvalue(r, row, EVENT_ID), 16);
	e->type = text(r, row, TYPE);
	e->aggregate_type = text(r, row, AGG_TYPE);
	e->aggregate_id = text(r, row, AGG_ID);
	e->version = i64(r, row, VERSION);
	e->schema_version = i32(r, row, SCHEMA_VERSION);
	e->data = json(r, row, DATA);
	e->metadata = json(r, row, METADATA);
	e->source = text(r, row, SOURCE);
	e->correlation_id = text(r, row, CORRELATION);
	e->has_causation = !PQgetisnull(r, row, CAUSATION);
	if (e->has_causation)
		memcpy(e->causation_id, PQgetvalue(r, row, CAUSATION), 16);
	e->actor_type = text(r, row, ACTOR_TYPE);
	e->actor_id = text(r, row, ACTOR_ID);
	e->severity = text(r, row, SEVERITY);
	e->impact = text(r, row, IMPACT);
	e->occurred_us = i64(r, row, OCCURRED) + PG_EPOCH_US;
	e->timestamp_us = i64(r, row, TIMESTAMP) + PG_EPOCH_US;
	e->occurrences = i32(r, row, OCCURRENCES);
}

static bool sizes_fit(const PGresult *r)
{
	static const struct {
		int column, size;
	} fixed[] = { { ID, 8 }, { EVENT_ID, 16 }, { VERSION, 8 }, { SCHEMA_VERSION, 4 },
		{ OCCURRED, 8 }, { TIMESTAMP, 8 }, { OCCURRENCES, 4 } };

	if (PQnfields(r) != NCOLUMNS)
		return false;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (PQfsize(r, fixed[i].column) != fixed[i].size)
			return false;
	return true;
}

bool event_page_fill(EventPage *page, PgRows *rows, Err *err)
{
	int n = PQntuples(rows);

	event_page_clear(page);
	page->rows = rows;
	if (!sizes_fit(rows))
		return err_set(
			err, ERR_DATA, "events: unexpected columns (run `moonwake migrate`)");
	if (page->cap < (size_t)n) {
		page->cap = (size_t)n;
		page->events = mem_realloc(page->events, page->cap * sizeof(Event));
	}
	for (int i = 0; i < n; i++) {
		if (PQgetisnull(rows, i, DATA) || PQgetisnull(rows, i, METADATA)) {
			page->cut = true;
			break;
		}
		read_event(rows, i, &page->events[page->count++]);
	}
	page->bytes = PQresultMemorySize(rows);
	return true;
}

size_t event_page_rest(
	const EventPage *page, int64_t *ids, size_t most, int64_t *from_us, int64_t *to_us)
{
	size_t n = 0;

	*from_us = INT64_MAX;
	*to_us = INT64_MIN;
	for (int row = (int)page->count; n < most && row < PQntuples(page->rows); row++) {
		int64_t us = i64(page->rows, row, TIMESTAMP) + PG_EPOCH_US;

		ids[n++] = i64(page->rows, row, ID);
		*from_us = us < *from_us ? us : *from_us;
		*to_us = us > *to_us ? us : *to_us;
	}
	return n;
}

void event_page_clear(EventPage *page)
{
	PQclear(page->rows);
	page->rows = NULL;
	page->count = page->bytes = 0;
	page->cut = false;
}

void event_page_free(EventPage *page)
{
	event_page_clear(page);
	free(page->events);
	*page = (EventPage){ 0 };
}
