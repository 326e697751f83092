#pragma once

#include "model/handler.h"
#include "pg/pg_conn.h"
#include "pg/pg_page.h"

/* Reads the log page by page in id order, ahead of whoever handles them. Knows nothing of
 * the frontier: it reads as far as it is told, never further. */
typedef struct Feed Feed;

/* A page that was asked for: everything in (after, scanned_to] that the filter takes is in it. */
typedef struct {
	EventPage page;
	int64_t after;
	int64_t scanned_to; /* also when nothing matched; never beyond what was asked */
} FeedPage;

typedef void (*FeedHandler)(void *owner, const Err *err); /* a page has come, or why not */

/* The types are those of all definitions of a group; one that takes "*" makes the feed unfiltered.
 */
Feed *feed_new(PgConn *conn, const Definition *const *defs, size_t n, FeedHandler fn, void *owner);
void feed_free(Feed *f);

/* Where to read on from: everything that was asked for or has come is forgotten. */
void feed_restart(Feed *f, int64_t position);
int64_t feed_reached(const Feed *f); /* how far the pages that have come go */

/* Asks for the rows in (feed_reached(), upto], if there is room for them and no page is under way;
 * none of them is older than `oldest_us` (INT64_MIN: unknown). As soon as a page has come the next
 * may be asked for: the server then works while the pages before are handled. */
void feed_ask(Feed *f, int64_t upto, int64_t oldest_us);
bool feed_busy(const Feed *f);

/* The next page that has come; the one before is given back. It lives until the next call, or until
 * feed_restart(). NULL if there is none. */
FeedPage *feed_take(Feed *f);
