#pragma once

#include "flow/consumer.h"

/* What the members of a group were given since the last commit: for each of them, and each range of
 * 65,536 ids, how many events and a hash of their ids in order. It is stored by the transaction
 * that moves the position, so that the log can prove later that each saw every event once. */
typedef struct Deliveries Deliveries;

Deliveries *deliveries_new(Consumer *const *members, size_t n);
void deliveries_free(Deliveries *d);

/* A page is at hand. It has to stay until the next one, or deliveries_clear(). */
void deliveries_page(Deliveries *d, EventSlice page);

/* Whether the member takes any event of the page at hand (of a reducer: by its type). */
bool deliveries_concern(const Deliveries *d, size_t member);

/* A member was given the events [from, to) of the page: those of them that it takes count. */
void deliveries_add(Deliveries *d, size_t member, size_t from, size_t to);

/* What was not committed never happened. */
void deliveries_clear(Deliveries *d);

/* Queues the statement, if there is anything to store, and begins anew. */
void deliveries_send(Deliveries *d, PgConn *conn, PgAnswer fn, void *owner);

/* Appends what note_types() has to know of a consumer, one JSON object, to those that are there. */
void deliveries_note(Buf *notes, const char *consumer, const Definition *def);
