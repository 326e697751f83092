#pragma once

#include "model/event.h"
#include "pg/pg_db.h"

/* Reads a part of the log for commands: page by page in id order, over a blocking connection, with
 * the next page under way while the caller is at work with one. Never beyond what was settled when
 * it was opened, but for one aggregate up to a version and its id, which the caller has seen.
 * Nothing is locked, no transaction is left open. */
typedef struct History History;

typedef struct {
	const char *aggregate_type; /* NULL: any */
	const char *aggregate_id;   /* NULL: any */
	const char *correlation;    /* NULL: any */
	const Str *types;           /* exact types or globs; ntypes == 0: all */
	size_t ntypes;
	int64_t after, upto;       /* ids: (after, upto]; upto == 0: to the settled end */
	int64_t from_us, until_us; /* `timestamp` in [from, until); 0: no bound */
	int64_t until_occurred_us; /* `occurred_at` up to this, itself included; 0: no bound */
	int64_t after_version, upto_version; /* (after, upto] of one aggregate; 0: no bound */
} HistoryFilter;

/* The filter is copied. NULL and why: no connection, a standby, rights. */
History *history_open(PgDb *db, const HistoryFilter *filter, Err *err);
void history_close(History *h);

/* The next events; an empty page at the end. It lives until the next call. */
bool history_next(History *h, EventSlice *page, Err *err);

int64_t history_upto(const History *h); /* the last id that it will read */
int64_t history_read(const History *h); /* events that came from the server so far */

/* About how many events are to come, for progress; -1 where that is not known cheaply. */
int64_t history_expected(History *h);
