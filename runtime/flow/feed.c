#include "flow/feed.h"

#include "flow/type_filter.h"

#include <inttypes.h>
#include <stdlib.h>

#define PAGES           3
#define PAGE_ROWS       10000 /* at most, in catch-up */
#define PAGE_ROWS_LEAST 16
#define PAGE_BYTES      (8u << 20) /* what a page should take, by the rows seen so far */
#define LARGE_ROWS      64         /* rows of a page of large documents … */
#define LARGE_BYTES     "16777216" /* … and its bytes, unless one event has more */
#define SCAN_IDS        50000      /* a filtered page looks at so many ids at a time */
#define SPARSE_RATIO    100 /* fewer matches than one in so many: jump by the index on types */

typedef enum { PLAN_ALL, PLAN_TYPES, PLAN_SPARSE } Plan;

struct Feed {
	PgConn *conn;
	FeedHandler fn;
	void *owner;
	TypeFilter types;
	Plan plan;
	bool large; /* the next page starts with a large document */

	bool busy, drop;
	int64_t after, upto; /* of the page under way */
	size_t rows;         /* its limit */
	size_t row_bytes;    /* average seen */
	int64_t reached;
	FeedPage pages[PAGES]; /* a ring: one that is handled, those that have come, one to come */
	size_t first, filled;
	bool held; /* the first is the one that is handled */
};

/* --- Asking -------------------------------------------------------------------------------------
 */

static size_t page_rows(const Feed *f)
{
	size_t rows = f->row_bytes ? PAGE_BYTES / f->row_bytes : PAGE_ROWS;

	if (rows > PAGE_ROWS)
		rows = PAGE_ROWS;
	return rows < PAGE_ROWS_LEAST ? PAGE_ROWS_LEAST : rows;
}

static void on_page(void *owner, PgRows *rows, const Err *err);

static void format_time(char *out, size_t size, int64_t us)
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;

	if (us == INT64_MIN) {
		snprintf(out, size, "-infinity");
		return;
	}
	gmtime_r(&seconds, &tm);
	strftime(out, size, "%Y-%m-%d %H:%M:%S+00", &tm);
}

void feed_ask(Feed *f, int64_t upto, int64_t oldest_us)
{
	char from[24], to[24], oldest[48], rows[24];
	const char *params[] = { from, to, oldest, rows, f->types.exact.s, f->types.like.s };
	SqlId id = SQL_EVENTS_PAGE;
	int64_t after = f->reached;
	int n = 4;

	if (f->busy || f->filled == PAGES || after >= upto)
		return;
	f->rows = page_rows(f);
	if (f->large) {
		id = SQL_EVENTS_LARGE;
		f->rows = f->rows < LARGE_ROWS ? f->rows : LARGE_ROWS;
		params[4] = LARGE_BYTES;
		n = 5;
	} else if (!f->types.all) {
		bool far = upto - after > SCAN_IDS;

		id = f->plan == PLAN_SPARSE && far ? SQL_EVENTS_PAGE_SPARSE : SQL_EVENTS_PAGE_TYPES;
		if (id == SQL_EVENTS_PAGE_TYPES && far)
			upto = after + SCAN_IDS;
		n = 6;
	}
	f->after = after;
	f->upto = upto;
	f->busy = true;
	snprintf(from, sizeof(from), "%" PRId64, after);
	snprintf(to, sizeof(to), "%" PRId64, upto);
	snprintf(rows, sizeof(rows), "%zu", f->rows);
	format_time(oldest, sizeof(oldest), oldest_us);
	pg_conn_run_binary(f->conn, id, n, params, on_page, f);
	pg_conn_sync(f->conn, NULL, NULL);
}

/* --- Receiving ----------------------------------------------------------------------------------
 */

/* How far the page that came has scanned: to its bound if the server ran out of rows, else to its
 * last row. */
static int64_t scanned_to(const Feed *f, const EventPage *page, int nrows)
{
	bool full = (size_t)nrows >= f->rows;

	if (page->count > 0 && (full || page->cut || f->large))
		return page->events[page->count - 1].id;
	return page->cut ? f->after : f->upto;
}

static void learn(Feed *f, const FeedPage *p)
{
	int64_t scanned = p->scanned_to - p->after;

	if (p->page.count > 0 && !f->large)
		f->row_bytes = p->page.bytes / p->page.count + 1;
	if (!f->types.all && scanned > 0)
		f->plan =
			(int64_t)p->page.count * SPARSE_RATIO < scanned ? PLAN_SPARSE : PLAN_TYPES;
}

static void fill(Feed *f, PgRows *rows, Err *err)
{
	FeedPage *p = &f->pages[(f->first + f->filled) % PAGES];
	int n = pg_rows_count(rows);

	if (!event_page_fill(&p->page, rows, err))
		return;
	p->after = f->after;
	p->scanned_to = scanned_to(f, &p->page, n);
	learn(f, p);
	f->large = p->page.cut;
	f->reached = p->scanned_to;
	f->filled++;
}

static void on_page(void *owner, PgRows *rows, const Err *err)
{
	Feed *f = owner;
	Err bad = { 0 };

	f->busy = false;
	if (f->drop || err != NULL)
		pg_rows_free(rows);
	else
		fill(f, rows, &bad);
	f->drop = false;
	f->fn(f->owner, bad.kind != ERR_NONE ? &bad : err);
}

static void give_back(Feed *f)
{
	event_page_clear(&f->pages[f->first].page);
	f->first = (f->first + 1) % PAGES;
	f->filled--;
}

FeedPage *feed_take(Feed *f)
{
	if (f->held)
		give_back(f);
	f->held = f->filled > 0;
	return f->held ? &f->pages[f->first] : NULL;
}

void feed_restart(Feed *f, int64_t position)
{
	while (f->filled > 0)
		give_back(f);
	f->held = false;
	f->drop = f->busy;
	f->large = false;
	f->reached = position;
}

int64_t feed_reached(const Feed *f)
{
	return f->reached;
}

bool feed_busy(const Feed *f)
{
	return f->busy;
}

Feed *feed_new(PgConn *conn, const Definition *const *defs, size_t n, FeedHandler fn, void *owner)
{
	Feed *f = mem_calloc(1, sizeof(*f));

	f->conn = conn;
	f->fn = fn;
	f->owner = owner;
	f->plan = PLAN_TYPES;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < defs[i]->ntypes; k++)
			type_filter_add(&f->types, defs[i]->types[k]);
	type_filter_close(&f->types);
	return f;
}

void feed_free(Feed *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < PAGES; i++)
		event_page_free(&f->pages[i].page);
	type_filter_free(&f->types);
	free(f);
}
