#pragma once

#include "model/handler.h"
#include "pg/pg_conn.h"
#include "pg/pg_page.h"

/* Reads the log page by page in id order, one page ahead of whoever handles them. Knows nothing of
 * the frontier: it reads as far as it is told, never further. */
typedef struct Feed Feed;

/* A page that was asked for: everything in (after, scanned_to] that the filter takes is in it. */
typedef struct {
	EventPage page;
	int64_t after;
	int64_t scanned_to; /* also when nothing matched; never beyond what was asked */
} FeedPage;

typedef void (*FeedHandler)(void *owner, const Err *err); /* a page has come, or why not */

/* The types are those of all definitions of a group; one that takes "*" makes the feed unfiltered. */
Feed *feed_new(PgConn *conn, const Definition *const *defs, size_t n, FeedHandler fn, void *owner);
void feed_free(Feed *f);

/* Asks for the rows in (after, upto]; none of them is older than `oldest_us` (INT64_MIN: unknown). Only
 * when no page is under way. `most` bounds the rows, 0 for the feed's own measure. */
void feed_ask(Feed *f, int64_t after, int64_t upto, int64_t oldest_us, size_t most);
bool feed_busy(const Feed *f);

/* The page that came; owned by the feed and valid until the next feed_take() or feed_release(). NULL if none.
 * After it the next page may be asked for. */
FeedPage *feed_take(Feed *f);
void feed_release(Feed *f);

void feed_discard(
	Feed *f); /* forgets the pages that came; one under way is dropped when it arrives */
