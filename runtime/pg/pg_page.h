#pragma once

#include "model/event.h"
#include "pg/pg_rows.h"

/* A page of the log as it came from the server (binary format): the events point into its rows. */
typedef struct {
	PgRows *rows;
	Event *events;
	size_t count, cap;
	size_t bytes; /* that the rows take in memory */
	bool cut; /* an event with a large document follows, which did not travel with this page */
} EventPage;

/* Takes the rows over. False: the columns are not those of events_page.sql. */
bool event_page_fill(EventPage *page, PgRows *rows, Err *err);

/* The ids of the rows from the cut on, at most `most` of them: how many. [*from_us, *to_us] becomes
 * the span of their `timestamp`. */
size_t event_page_rest(
	const EventPage *page, int64_t *ids, size_t most, int64_t *from_us, int64_t *to_us);

void event_page_clear(EventPage *page); /* gives the rows back, keeps the array */
void event_page_free(EventPage *page);
