#pragma once

#include "pg/pg_db.h"

/* Appends events in batches with publish_events(). An event that the database refuses does not take
 * its batch along: the batch is sent again by halves until the culprit stands alone. */
typedef struct Publisher Publisher;

/* What became of an event. */
typedef struct {
	int64_t line; /* as it was given to publisher_add() */
	Str raw;      /* likewise */
	int64_t id, version;
	const char *event_id;
	bool appended; /* false: the log had this event_id already */
} Published;

typedef struct {
	bool atomic;     /* one transaction: nothing stays unless everything was accepted */
	bool repeatable; /* every event has an id of its own: a lost connection is made again and
			    the batch repeated */
	void (*published)(void *owner, const Published *event);
	void (*refused)(void *owner, int64_t line, Str raw, const Err *err);
	bool (*stopped)(void *owner); /* asked while it waits for a server that is away */
	void *owner;
} PublisherOptions;

/* Connects. The target's strings must outlive the publisher. */
Publisher *publisher_open(const PgTarget *target, const PublisherOptions *options, Err *err);

/* An event that never came this far was wrong: an atomic publisher will not commit. */
void publisher_spoil(Publisher *p);

/* Sends what waits, and ends the transaction of an atomic publisher: committed unless something was
 * refused. */
bool publisher_finish(Publisher *p, Err *err);
void publisher_close(Publisher *p);

/* Takes one event, a JSON object that json_check_jsonb() accepted; sends the batch when it is full.
 * False: the work cannot go on. */
bool publisher_add(Publisher *p, int64_t line, Str event, Str raw, Err *err);
bool publisher_flush(Publisher *p, Err *err);
size_t publisher_waiting(const Publisher *p); /* events taken and not yet sent */

PgDb *publisher_db(Publisher *p);
