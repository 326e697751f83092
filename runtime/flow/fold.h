#pragma once

#include "flow/memory_table.h"
#include "model/handler.h"
#include "pg/pg_db.h"

/* The state of one aggregate at some point, by its reducer: from the nearest snapshot before it,
 * and the events since. */
typedef enum {
	FOLD_NOW,
	FOLD_TIME, /* what the database knew: up to the last event with `timestamp` <= value, us */
	FOLD_OCCURRED, /* in version order, those that had happened: `occurred_at` <= value, us */
	FOLD_VERSION,
	FOLD_EVENT, /* up to and with the event of this id */
} FoldPoint;

typedef struct {
	Str state; /* JSON; s == NULL: none (deleted, or nothing made one). Lives until fold_free()
		    */
	bool any;  /* false: the aggregate had no event at that point */
	int64_t version;  /* of the last event folded in or passed over; 0: none */
	int64_t event_id; /* its id */
	int64_t timestamp_us;
	int64_t last_version;     /* of the aggregate, now */
	int64_t snapshot_version; /* where it began; 0: from the first event */
	int64_t events_read;      /* from the log */
	int64_t skipped;          /* events that failed, of a reducer with on_error = "skip" */
	int64_t failed_version;   /* where it ended with ERR_SCRIPT: of the event that failed */
	double seconds; /* reading and folding; not connecting, preparing, loading scripts */
	Buf text;
} Fold;

/* Plans in this session the statements that a fold to such a point runs, which takes longer than to
 * run them; later folds then cost only what they read. For sessions that fold. */
bool fold_prepare(PgDb *db, FoldPoint point, Err *err);

/* False: no such aggregate, version or event (ERR_DATA, with the nearest names), a reducer that
 * fails (ERR_SCRIPT, with the event), the database. `snapshots` false: from the first event, for
 * comparison. The handler is forgotten before and after. */
bool fold_aggregate(PgDb *db, Handler *reducer, const char *id, FoldPoint point, int64_t value,
	bool snapshots, Fold *out, Err *err);
void fold_free(Fold *f);

/* The version at a point, which may be 0; *last, if given, is the aggregate's. */
bool fold_version(PgDb *db, const char *type, const char *id, FoldPoint point, int64_t value,
	int64_t *version, int64_t *last, Err *err);

/* The event that made a version. */
bool fold_event(PgDb *db, const char *type, const char *id, int64_t version, int64_t *event_id,
	int64_t *timestamp_us, Err *err);

/* Puts a fold's state into a table from which its reducer can go on; memory_table_prepare() then
 * finds it under fold_key(). */
void fold_seed(MemoryTable *t, const char *id, const Fold *f);
void fold_key(const char *id, Buf *key); /* as in DeadLetter.key */

/* Handles one page (or a part of it) and commits to the table. Where the reducer fails, *at is the
 * event, and the table has the state before it. With on_error = "skip" such events are passed over
 * and counted; *err is then the last one's. */
bool fold_page(MemoryTable *t, Handler *reducer, EventSlice page, size_t *at, size_t to,
	int64_t *skipped, Err *err);
