#include "flow/fold.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/iso_time.h"
#include "base/json.h"
#include "base/json_diff.h"
#include "flow/history.h"
#include "model/options.h"

enum { DIGITS = 24 };

typedef struct {
	PgDb *db;
	Handler *h;
	const Definition *def;
	const char *id;
	FoldPoint point;
	int64_t value;
	int64_t usable; /* the last version that a snapshot may have */
	MemoryTable *table;
	Fold *out;
} Folding;

/* ---- preparing ---- */

static bool plan(PgDb *db, SqlId id, int n, const char *const *params, Err *err)
{
	PgRows *rows = pg_db_run(db, id, n, params, err);

	pg_rows_free(rows);
	return rows != NULL;
}

/* Each is run once for an aggregate that cannot exist. */
bool fold_prepare(PgDb *db, FoldPoint point, Err *err)
{
	static const char *const names[] = { "", "", "0", "0", "0" };
	static const char *const instant[] = { "", "", "1970-01-01T00:00:00Z" };
	HistoryFilter filter = {
		.aggregate_type = "", .aggregate_id = "", .upto = 1, .upto_version = 1
	};
	bool ok = plan(db, SQL_FOLD_SESSION, 0, NULL, err) &&
		  plan(db, SQL_FOLD_LAST, 2, names, err) &&
		  plan(db, SQL_FOLD_VERSION, 3, names, err) &&
		  plan(db, SQL_FOLD_SNAPSHOT, 5, names, err);
	EventSlice page;
	History *history;

	if (ok && point == FOLD_TIME)
		ok = plan(db, SQL_FOLD_TIME, 3, instant, err);
	if (ok && point == FOLD_OCCURRED)
		ok = plan(db, SQL_FOLD_OCCURRED, 3, instant, err);
	if (ok && point == FOLD_EVENT)
		ok = plan(db, SQL_FOLD_EVENT, 1, names + 2, err);
	history = ok ? history_open(db, &filter, err) : NULL;
	ok = history != NULL && history_next(history, &page, err);
	history_close(history);
	return ok;
}

/* ---- the point ---- */

static bool unknown_type(PgDb *db, const char *type, Err *err)
{
	PgRows *rows = pg_db_run(db, SQL_FOLD_TYPES, 0, NULL, err);
	const char *nearest = NULL;
	size_t best = SIZE_MAX;

	if (rows == NULL)
		return false;
	for (int i = 0; i < pg_rows_count(rows); i++)
		if (options_closer(type, pg_rows_text(rows, i, 0), &best))
			nearest = pg_rows_text(rows, i, 0);
	err_set(err, ERR_DATA, "no aggregate of type '%s' has an event", type);
	if (nearest != NULL)
		err_hint(err, "did you mean '%s'?", nearest);
	pg_rows_free(rows);
	return false;
}

/* Up to three of the ids that stand next to it, those that begin most like it. */
static bool unknown_id(const PgRows *rows, const char *type, const char *id, Err *err)
{
	int shown = 0, n = pg_rows_count(rows);
	Buf names = { 0 };

	for (size_t common = strlen(id); common > 0 && shown == 0; common--)
		for (int i = 0; i < n && shown < 3; i++)
			if (strncmp(pg_rows_text(rows, i, 0), id, common) == 0)
				buf_addf(&names, "%s%s", shown++ > 0 ? ", " : "",
					pg_rows_text(rows, i, 0));
	err_set(err, ERR_DATA, "%s '%s': there is no such aggregate", type, id);
	if (shown > 0)
		err_hint(err, "did you mean %s?", names.s);
	else
		err_hint(err, "there is %s, for one", pg_rows_text(rows, 0, 0));
	buf_free(&names);
	return false;
}

static bool unknown_aggregate(PgDb *db, const char *type, const char *id, Err *err)
{
	const char *params[] = { type, id };
	PgRows *rows = pg_db_run(db, SQL_FOLD_NEAREST, 2, params, err);

	if (rows == NULL)
		return false;
	if (pg_rows_count(rows) > 0)
		unknown_id(rows, type, id, err);
	else
		unknown_type(db, type, err);
	pg_rows_free(rows);
	return false;
}

static bool last_version(PgDb *db, const char *type, const char *id, int64_t *last, Err *err)
{
	const char *params[] = { type, id };
	PgRows *rows = pg_db_run(db, SQL_FOLD_LAST, 2, params, err);
	bool known = rows != NULL && pg_rows_count(rows) > 0;

	if (rows == NULL)
		return false;
	*last = known ? pg_rows_i64(rows, 0, 0) : 0;
	pg_rows_free(rows);
	return (known && *last > 0) || unknown_aggregate(db, type, id, err);
}

static bool version_of_event(
	PgDb *db, const char *type, const char *id, int64_t event, int64_t *version, Err *err)
{
	char digits[DIGITS];
	const char *params[] = { digits };
	bool ok = false;
	PgRows *rows;

	snprintf(digits, sizeof(digits), "%" PRId64, event);
	rows = pg_db_run(db, SQL_FOLD_EVENT, 1, params, err);
	if (rows == NULL)
		return false;
	if (pg_rows_count(rows) == 0) {
		err_set(err, ERR_DATA, "event %" PRId64 ": there is no such event", event);
	} else if (strcmp(pg_rows_text(rows, 0, 0), type) != 0 ||
		   strcmp(pg_rows_text(rows, 0, 1), id) != 0) {
		err_set(err, ERR_DATA, "event %" PRId64 " belongs to %s '%s', not to %s '%s'",
			event, pg_rows_text(rows, 0, 0), pg_rows_text(rows, 0, 1), type, id);
	} else {
		*version = pg_rows_i64(rows, 0, 2);
		ok = true;
	}
	pg_rows_free(rows);
	return ok;
}

/* *usable: the versions up to there had all happened by then. */
static bool version_at_time(PgDb *db, SqlId sql, const char *type, const char *id, int64_t us,
	int64_t *version, int64_t *usable, Err *err)
{
	char time[ISO_TIME_SIZE];
	const char *params[] = { type, id, time };
	PgRows *rows;

	if (!iso_time_in_range(us))
		return err_set(err, ERR_USAGE, "a time must lie in the years 1 to 9999");
	iso_time_format(us, time);
	rows = pg_db_run(db, sql, 3, params, err);
	if (rows == NULL)
		return false;
	*version = *usable = pg_rows_i64(rows, 0, 0);
	if (sql == SQL_FOLD_OCCURRED && pg_rows_i64(rows, 0, 1) > 0)
		*usable = pg_rows_i64(rows, 0, 1) - 1;
	pg_rows_free(rows);
	return true;
}

static bool place(PgDb *db, const char *type, const char *id, FoldPoint point, int64_t value,
	int64_t *version, int64_t *usable, int64_t *last, Err *err)
{
	bool ok;

	*last = 0;
	ok = last_version(db, type, id, last, err);
	*version = *last;
	if (!ok || point == FOLD_NOW) {
		;
	} else if (point == FOLD_VERSION && (value < 0 || value > *last)) {
		ok = err_set(err, ERR_DATA,
			"%s '%s': has no version %" PRId64 " (the last is %" PRId64 ")", type, id,
			value, *last);
	} else if (point == FOLD_VERSION) {
		*version = value;
	} else if (point == FOLD_EVENT) {
		ok = version_of_event(db, type, id, value, version, err);
	} else {
		return version_at_time(db, point == FOLD_TIME ? SQL_FOLD_TIME : SQL_FOLD_OCCURRED,
			type, id, value, version, usable, err);
	}
	*usable = *version;
	return ok;
}

bool fold_version(PgDb *db, const char *type, const char *id, FoldPoint point, int64_t value,
	int64_t *version, int64_t *last, Err *err)
{
	int64_t usable, end;

	return place(db, type, id, point, value, version, &usable, last ? last : &end, err);
}

bool fold_event(PgDb *db, const char *type, const char *id, int64_t version, int64_t *event_id,
	int64_t *timestamp_us, Err *err)
{
	char digits[DIGITS];
	const char *params[] = { type, id, digits };
	bool found;
	PgRows *rows;

	snprintf(digits, sizeof(digits), "%" PRId64, version);
	rows = pg_db_run(db, SQL_FOLD_VERSION, 3, params, err);
	if (rows == NULL)
		return false;
	found = pg_rows_count(rows) > 0;
	if (found) {
		*event_id = pg_rows_i64(rows, 0, 0);
		*timestamp_us = pg_rows_i64(rows, 0, 1);
	}
	pg_rows_free(rows);
	return found ||
	       err_set(err, ERR_DATA, "%s '%s': version %" PRId64 " is no longer in the log", type,
		       id, version);
}

/* ---- the state to begin with ---- */

void fold_key(const char *id, Buf *key)
{
	buf_clear(key);
	json_add_string(key, str_from(id));
}

static void seed(MemoryTable *t, const char *id, int64_t version, Str state)
{
	Buf key = { 0 }, row = { 0 };

	fold_key(id, &key);
	buf_addf(&row, "{\"version\":%" PRId64 ",\"state\":", version);
	buf_add(&row, state.s, state.len);
	buf_addc(&row, '}');
	memory_table_put(t, &(MemoryRow){ .key = buf_str(&key), .state = buf_str(&row) });
	buf_free(&key);
	buf_free(&row);
}

void fold_seed(MemoryTable *t, const char *id, const Fold *f)
{
	if (f->state.s != NULL)
		seed(t, id, f->version, f->state);
}

static bool begin_at_snapshot(Folding *f, Err *err)
{
	char version[DIGITS], usable[DIGITS];
	const char *params[] = { f->def->name, f->id, f->def->digest, version, usable };
	PgRows *rows;

	snprintf(version, sizeof(version), "%d", f->def->version);
	snprintf(usable, sizeof(usable), "%" PRId64, f->usable);
	rows = pg_db_run(f->db, SQL_FOLD_SNAPSHOT, 5, params, err);
	if (rows == NULL)
		return false;
	if (pg_rows_count(rows) > 0) {
		f->out->snapshot_version = pg_rows_i64(rows, 0, 0);
		seed(f->table, f->id, f->out->snapshot_version, pg_rows_str(rows, 0, 1));
	}
	pg_rows_free(rows);
	return true;
}

/* ---- the events since ---- */

bool fold_page(MemoryTable *t, Handler *h, EventSlice page, size_t *at, size_t to, int64_t *skipped,
	Err *err)
{
	bool skip = h->ops->definition(h)->on_error == ON_ERROR_SKIP;
	size_t from = *at;

	if (!memory_table_prepare(t, h, page, from, to, err))
		return false;
	if (h->ops->run(h, page, at, to, false, err) == RUN_DONE)
		return memory_table_commit(t, h, err);
	h->ops->forget(h);
	*at = from;
	if (!memory_table_prepare(t, h, page, from, to, err))
		return false;
	while (h->ops->run(h, page, at, to, true, err) != RUN_DONE) {
		if (!skip) {
			memory_table_commit(t, h, NULL);
			return false;
		}
		++*at;
		++*skipped;
	}
	return memory_table_commit(t, h, err);
}

static bool failed(Folding *f, const Event *e, Err *err)
{
	if (err->kind != ERR_SCRIPT && err->kind != ERR_LIMIT && err->kind != ERR_NOMEM)
		return false;
	f->out->failed_version = e->version;
	return err_hint(
		err, "version %" PRId64 " of %s '%s'", e->version, f->def->aggregate, f->id);
}

static bool fold_events(Folding *f, Err *err)
{
	HistoryFilter filter = {
		.aggregate_type = f->def->aggregate,
		.aggregate_id = f->id,
		.types = f->def->types,
		.ntypes = f->def->ntypes,
		.upto = f->out->event_id,
		/* 0 would be no bound: of 1970-01-01T00:00:00Z a microsecond is taken off */
		.until_occurred_us = f->point != FOLD_OCCURRED ? 0
				     : f->value != 0           ? f->value
							       : -1,
		.after_version = f->out->snapshot_version,
		.upto_version = f->out->version,
	};
	History *history = history_open(f->db, &filter, err);
	bool ok = history != NULL;
	EventSlice page = { 0 };

	while (ok && (ok = history_next(history, &page, err)) && page.count > 0) {
		size_t at = 0;

		ok = fold_page(f->table, f->h, page, &at, page.count, &f->out->skipped, err) ||
		     failed(f, &page.events[at], err);
	}
	if (history != NULL)
		f->out->events_read = history_read(history);
	history_close(history);
	return ok;
}

static void take_state(Folding *f)
{
	Buf key = { 0 };
	const MemoryRow *row;
	Str state;

	fold_key(f->id, &key);
	row = memory_table_get(f->table, buf_str(&key));
	if (row != NULL && json_path(row->state, "state", &state)) {
		buf_clear(&f->out->text);
		json_add_sorted(&f->out->text, state);
		f->out->state = buf_str(&f->out->text);
	}
	buf_free(&key);
}

static bool fold(Folding *f, bool snapshots, Err *err)
{
	Fold *out = f->out;

	if (!place(f->db, f->def->aggregate, f->id, f->point, f->value, &out->version, &f->usable,
		    &out->last_version, err))
		return false;
	out->any = out->version > 0;
	if (!out->any)
		return true;
	if (!fold_event(f->db, f->def->aggregate, f->id, out->version, &out->event_id,
		    &out->timestamp_us, err) ||
		(snapshots && !begin_at_snapshot(f, err)))
		return false;
	if (out->snapshot_version < out->version && !fold_events(f, err))
		return false;
	take_state(f);
	return true;
}

bool fold_aggregate(PgDb *db, Handler *reducer, const char *id, FoldPoint point, int64_t value,
	bool snapshots, Fold *out, Err *err)
{
	uint64_t start = clock_monotonic_ns();
	Folding f = { db, reducer, reducer->ops->definition(reducer), id, point, value, 0, NULL,
		out };
	bool ok;

	*out = (Fold){ .text = out->text };
	if (f.def->kind != KIND_REDUCER)
		return err_set(err, ERR_USAGE, "%s: it is no reducer", f.def->path);
	reducer->ops->forget(reducer);
	f.table = memory_table_new();
	ok = fold(&f, snapshots, err);
	memory_table_free(f.table);
	reducer->ops->forget(reducer);
	out->seconds = (double)(clock_monotonic_ns() - start) / 1e9;
	return ok;
}

void fold_free(Fold *f)
{
	buf_free(&f->text);
	*f = (Fold){ 0 };
}
