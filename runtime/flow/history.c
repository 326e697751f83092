#include "flow/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/iso_time.h"
#include "flow/type_filter.h"
#include "pg/pg_page.h"

enum {
	ROWS_FIRST = 500, /* soon there, for whoever waits at a terminal */
	ROWS_LEAST = 16,
	ROWS_MOST = 10000,
	PAGE_BYTES = 8 << 20, /* what a page should take, by the rows seen so far */
	LARGE_ROWS = 64,
	SCAN_IDS = 50000,  /* a page by id that leaves events out looks at so many ids at a time */
	SPARSE_RATIO = 100 /* fewer matches than one in so many: by the index on types */
};

#define LARGE_BYTES "16777216"

/* The parameters of sql/queries/history_page.sql and its kin; events_page takes the first four. */
enum {
	AFTER,
	UPTO,
	FROM,
	ROWS,
	UNTIL,
	OCCURRED,
	EXACT,
	LIKE,
	AGG_TYPE,
	AGG_ID,
	CORRELATION,
	AFTER_VERSION,
	UPTO_VERSION,
	NPARAMS,
	NPLAIN = ROWS + 1,
	NLARGE = 4
};

typedef enum { BY_ID, BY_TYPES, BY_AGGREGATE, BY_CORRELATION } Way;

struct History {
	PgDb *db;
	Arena *arena; /* of the filter's texts */
	HistoryFilter filter;
	TypeFilter types;
	bool leaves_out; /* events of the span that is read, and no index knows which */
	bool every;      /* nothing is left out but by id and its first time */

	Way way;
	int64_t after, version; /* how far the pages go that have come */
	int64_t upto;
	int64_t asked_upto; /* of the page under way */
	size_t rows, asked_rows, row_bytes;
	int64_t large[LARGE_ROWS]; /* left out by the last page */
	size_t nlarge;
	bool asked, asked_large;

	const char *params[NPARAMS];
	char texts[NPARAMS][ISO_TIME_SIZE];
	const char *large_params[NLARGE]; /* ids, the span of their `timestamp`, bytes */
	char span[2][ISO_TIME_SIZE];
	Buf ids;
	EventPage pages[2]; /* what the caller has, and what comes */
	size_t held;
	int64_t read, expected; /* -1: not known */
	Err failure;
};

/* ---- the filter ---- */

static bool take_types(History *h, Err *err)
{
	for (size_t i = 0; i < h->filter.ntypes; i++) {
		if (h->filter.types[i].len == 0)
			return err_set(err, ERR_USAGE,
				"event types: one of them is empty (leave it out for all types)");
		type_filter_add(&h->types, h->filter.types[i]);
	}
	type_filter_close(&h->types);
	h->types.all = h->types.all || h->filter.ntypes == 0;
	return true;
}

static const char *copy(History *h, const char *text)
{
	return text != NULL ? arena_str(h->arena, str_from(text)).s : NULL;
}

static void set_integer(History *h, int param, int64_t value)
{
	snprintf(h->texts[param], sizeof(h->texts[param]), "%" PRId64, value);
	h->params[param] = h->texts[param];
}

static void set_time(History *h, int param, int64_t us, const char *unbound)
{
	h->params[param] = unbound;
	if (us == 0 || !iso_time_in_range(us))
		return;
	iso_time_format(us, h->texts[param]);
	h->params[param] = h->texts[param];
}

static void set_params(History *h)
{
	const HistoryFilter *f = &h->filter;

	set_time(h, FROM, f->from_us, "-infinity");
	set_time(h, UNTIL, f->until_us, "infinity");
	set_time(h, OCCURRED, f->until_occurred_us, "infinity");
	h->params[EXACT] = h->types.all ? NULL : h->types.exact.s;
	h->params[LIKE] = h->types.all ? NULL : h->types.like.s;
	h->params[AGG_TYPE] = f->aggregate_type;
	h->params[AGG_ID] = f->aggregate_id;
	h->params[CORRELATION] = f->correlation;
	set_integer(h, UPTO_VERSION, f->upto_version > 0 ? f->upto_version : INT64_MAX);
}

static bool take_filter(History *h, const HistoryFilter *filter, Err *err)
{
	HistoryFilter *f = &h->filter;

	*f = *filter;
	f->aggregate_type = copy(h, filter->aggregate_type);
	f->aggregate_id = copy(h, filter->aggregate_id);
	f->correlation = copy(h, filter->correlation);
	if (!take_types(h, err))
		return false;
	f->types = NULL;
	h->after = f->after;
	h->version = f->after_version;
	if (f->correlation != NULL)
		h->way = BY_CORRELATION;
	else if (f->aggregate_type != NULL && f->aggregate_id != NULL)
		h->way = BY_AGGREGATE;
	h->leaves_out = !h->types.all || f->aggregate_type != NULL || f->aggregate_id != NULL ||
			f->until_occurred_us != 0 || f->after_version > 0 || f->upto_version > 0;
	h->every = h->way == BY_ID && !h->leaves_out && f->until_us == 0;
	set_params(h);
	return true;
}

/* ---- opening ---- */

/* "read_events: this server is a standby": the function that said so is not what was asked for. */
static bool cannot_read(Err *err)
{
	static const char head[] = "read_events: ";

	if (strncmp(err->message, head, sizeof(head) - 1) != 0)
		return false;
	memmove(err->message, err->message + sizeof(head) - 1,
		strlen(err->message) - sizeof(head) + 2);
	return err_prefix(err, "log");
}

static bool find_end(History *h, Err *err)
{
	const char *params[] = { h->texts[AFTER] };
	PgRows *rows;

	/* Whoever saw a version of an aggregate may read all before it: they were committed first.
	 */
	if (h->way == BY_AGGREGATE && h->filter.upto > 0 && h->filter.upto_version > 0) {
		h->upto = h->filter.upto;
		return true;
	}
	set_integer(h, AFTER, h->after);
	rows = pg_db_run(h->db, SQL_HISTORY_END, 1, params, err);
	if (rows == NULL)
		return cannot_read(err);
	h->upto = pg_rows_i64(rows, 0, 0);
	if (h->filter.upto > 0 && h->filter.upto < h->upto)
		h->upto = h->filter.upto;
	pg_rows_free(rows);
	return true;
}

/* Where the events of a time lie: pages by id need not look for them. */
static bool find_span(History *h, Err *err)
{
	PgRows *rows;

	if (h->filter.from_us == 0 && h->filter.until_us == 0)
		return true;
	set_integer(h, AFTER, h->after);
	set_integer(h, UPTO, h->upto);
	rows = pg_db_run(h->db, SQL_HISTORY_SPAN, 4,
		(const char *[]){
			h->params[AFTER], h->params[UPTO], h->params[FROM], h->params[UNTIL] },
		err);
	if (rows == NULL)
		return false;
	h->after = pg_rows_null(rows, 0, 0) ? h->upto : pg_rows_i64(rows, 0, 0);
	if (!pg_rows_null(rows, 0, 1))
		h->upto = pg_rows_i64(rows, 0, 1);
	pg_rows_free(rows);
	return true;
}

History *history_open(PgDb *db, const HistoryFilter *filter, Err *err)
{
	History *h = mem_calloc(1, sizeof(*h));

	h->db = db;
	h->arena = arena_new(1024);
	h->rows = ROWS_FIRST;
	if (take_filter(h, filter, err) && find_end(h, err) && find_span(h, err)) {
		bool known = h->way == BY_ID && !h->leaves_out;

		h->expected = !known ? -1 : h->upto > h->after ? h->upto - h->after : 0;
		return h;
	}
	history_close(h);
	return NULL;
}

void history_close(History *h)
{
	if (h == NULL)
		return;
	if (h->asked)
		pg_rows_free(pg_db_take(h->db, NULL));
	event_page_free(&h->pages[0]);
	event_page_free(&h->pages[1]);
	type_filter_free(&h->types);
	buf_free(&h->ids);
	arena_free(h->arena);
	free(h);
}

/* ---- asking ---- */

static bool ask_large(History *h, Err *err)
{
	buf_clear(&h->ids);
	for (size_t i = 0; i < h->nlarge; i++)
		buf_addf(&h->ids, "%c%" PRId64, i == 0 ? '{' : ',', h->large[i]);
	buf_addc(&h->ids, '}');
	h->large_params[0] = h->ids.s;
	h->asked_large = true;
	h->asked = pg_db_send(h->db, SQL_HISTORY_LARGE, NLARGE, h->large_params, err);
	return h->asked;
}

static SqlId statement(const History *h)
{
	static const SqlId ids[] = {
		[BY_ID] = SQL_HISTORY_PAGE,
		[BY_TYPES] = SQL_HISTORY_TYPES,
		[BY_AGGREGATE] = SQL_HISTORY_AGGREGATE,
		[BY_CORRELATION] = SQL_HISTORY_CORRELATION,
	};

	return ids[h->way];
}

static bool ask_page(History *h, Err *err)
{
	bool bounded = h->way == BY_ID && h->leaves_out && h->upto - h->after > SCAN_IDS;

	h->asked_upto = bounded ? h->after + SCAN_IDS : h->upto;
	h->asked_rows = h->rows;
	h->asked_large = false;
	set_integer(h, AFTER, h->after);
	set_integer(h, UPTO, h->asked_upto);
	set_integer(h, ROWS, (int64_t)h->rows);
	set_integer(h, AFTER_VERSION, h->version);
	h->asked = h->every ? pg_db_send(h->db, SQL_EVENTS_PAGE, NPLAIN, h->params, err)
			    : pg_db_send(h->db, statement(h), NPARAMS, h->params, err);
	return h->asked;
}

/* The next page, unless the last one has come. */
static bool ask(History *h, Err *err)
{
	if (h->nlarge > 0)
		return ask_large(h, err);
	return h->after >= h->upto || ask_page(h, err);
}

/* ---- receiving ---- */

static void note_cut(History *h, const EventPage *page)
{
	int64_t from, to;

	h->nlarge = event_page_rest(page, h->large, LARGE_ROWS, &from, &to);
	iso_time_format(from, h->span[0]);
	iso_time_format(to, h->span[1]);
	memcpy(h->large_params, (const char *[]){ NULL, h->span[0], h->span[1], LARGE_BYTES },
		sizeof(h->large_params));
	h->rows = LARGE_ROWS; /* few of its neighbours, until pages come whole again */
}

/* Large documents of which there may be more: those that came are through. */
static void passed_large(History *h, const Event *last)
{
	size_t kept = 0;

	for (size_t i = 0; last != NULL && i < h->nlarge; i++)
		if (h->large[i] > last->id)
			h->large[kept++] = h->large[i];
	h->nlarge = kept;
}

/* Types that few of the events have are better found by their index. */
static void learn(History *h, const EventPage *page, int64_t scanned)
{
	size_t most;

	if (page->count > 0)
		h->row_bytes = page->bytes / page->count + 1;
	most = h->row_bytes ? PAGE_BYTES / h->row_bytes : ROWS_MOST;
	most = most > ROWS_MOST ? ROWS_MOST : most < ROWS_LEAST ? ROWS_LEAST : most;
	h->rows = h->rows * 2 < most ? h->rows * 2 : most;
	if (!h->types.all && h->way <= BY_TYPES)
		h->way = (int64_t)page->count * SPARSE_RATIO < scanned ? BY_TYPES : BY_ID;
}

static void passed_page(History *h, const EventPage *page, int nrows)
{
	int64_t before = h->after;
	const Event *last = page->count > 0 ? &page->events[page->count - 1] : NULL;

	if (last != NULL)
		h->after = last->id;
	if (last != NULL && h->way == BY_AGGREGATE)
		h->version = last->version;
	h->read += (int64_t)page->count;
	if (h->asked_large) {
		passed_large(h, last);
	} else if (page->cut) {
		note_cut(h, page);
	} else {
		if ((size_t)nrows < h->asked_rows)
			h->after = h->asked_upto;
		learn(h, page, h->after - before);
	}
}

/* The answer to what was asked becomes the page that the caller gets; the next is asked for. */
static bool receive(History *h, Err *err)
{
	PgRows *rows = pg_db_take(h->db, err);
	EventPage *page = &h->pages[!h->held];
	int n = rows != NULL ? pg_rows_count(rows) : 0;

	h->asked = false;
	if (rows == NULL || !event_page_fill(page, rows, err))
		return false;
	passed_page(h, page, n);
	h->held = !h->held;
	return ask(h, err);
}

bool history_next(History *h, EventSlice *page, Err *err)
{
	EventPage *held;

	*page = (EventSlice){ 0 };
	if (h->failure.kind == ERR_NONE && !h->asked)
		ask(h, &h->failure);
	do {
		event_page_clear(&h->pages[h->held]);
		if (h->failure.kind == ERR_NONE && h->asked)
			receive(h, &h->failure);
		held = &h->pages[h->held];
	} while (h->failure.kind == ERR_NONE && h->asked && held->count == 0);
	*page = (EventSlice){ held->events, held->count };
	if (held->count > 0 || h->failure.kind == ERR_NONE)
		return true;
	*err = h->failure;
	return false;
}

/* ---- how far ---- */

int64_t history_upto(const History *h)
{
	return h->upto;
}

int64_t history_read(const History *h)
{
	return h->read;
}

static bool is_whole_aggregate(const HistoryFilter *f)
{
	return f->aggregate_type != NULL && f->aggregate_id != NULL && f->ntypes == 0 &&
	       f->after == 0 && f->upto == 0 && f->from_us == 0 && f->until_us == 0 &&
	       f->correlation == NULL && f->until_occurred_us == 0;
}

int64_t history_expected(History *h)
{
	const HistoryFilter *f = &h->filter;
	const char *params[] = { f->aggregate_type, f->aggregate_id };
	int64_t version = 0;
	PgRows *rows;

	if (h->expected >= 0)
		return h->expected;
	if (!is_whole_aggregate(f))
		return -1;
	rows = pg_db_run(h->db, SQL_HISTORY_VERSION, 2, params, NULL);
	if (rows != NULL && pg_rows_count(rows) > 0)
		version = pg_rows_i64(rows, 0, 0);
	pg_rows_free(rows);
	if (f->upto_version > 0 && f->upto_version < version)
		version = f->upto_version;
	h->expected = version > f->after_version ? version - f->after_version : 0;
	return h->expected;
}
