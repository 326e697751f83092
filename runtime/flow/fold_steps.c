#include "flow/fold_steps.h"

#include <stdlib.h>

#include "base/json.h"
#include "flow/history.h"

struct FoldSteps {
	Handler *reducer; /* NULL: none, or it has stopped */
	History *history;
	MemoryTable *table;
	EventSlice page;
	size_t at;
	Fold start;
	Buf key, before;
	int64_t skipped;
};

static bool open_history(FoldSteps *s, PgDb *db, const char *type, const char *id, int64_t after,
	int64_t upto, Err *err)
{
	HistoryFilter filter = { .aggregate_type = type,
		.aggregate_id = id,
		.after_version = after,
		.upto_version = upto };
	int64_t timestamp_us;

	if (upto <= after)
		return true;
	if (!fold_event(db, type, id, upto, &filter.upto, &timestamp_us, err))
		return false;
	s->history = history_open(db, &filter, err);
	return s->history != NULL;
}

static bool open_state(
	FoldSteps *s, PgDb *db, const char *id, int64_t after, bool snapshots, Err *err)
{
	if (s->reducer == NULL)
		return true;
	if (!fold_aggregate(db, s->reducer, id, FOLD_VERSION, after, snapshots, &s->start, err))
		return false;
	fold_seed(s->table, id, &s->start);
	return true;
}

FoldSteps *fold_steps_open(PgDb *db, Handler *reducer, const char *type, const char *id,
	int64_t after, int64_t upto, bool snapshots, Err *err)
{
	FoldSteps *s = mem_calloc(1, sizeof(*s));

	s->reducer = reducer;
	s->table = memory_table_new();
	fold_key(id, &s->key);
	if (open_state(s, db, id, after, snapshots, err) &&
		open_history(s, db, type, id, after, upto, err))
		return s;
	fold_steps_close(s);
	return NULL;
}

void fold_steps_close(FoldSteps *s)
{
	if (s == NULL)
		return;
	history_close(s->history);
	memory_table_free(s->table);
	fold_free(&s->start);
	buf_free(&s->key);
	buf_free(&s->before);
	free(s);
}

static Str state_now(const FoldSteps *s)
{
	const MemoryRow *row = memory_table_get(s->table, buf_str(&s->key));
	Str state = { NULL, 0 };

	if (row != NULL)
		json_path(row->state, "state", &state);
	return state;
}

/* Handles the event at s->at, and tells what it did. False: the database or the like. */
static bool handle(FoldSteps *s, FoldStep *out, Err *err)
{
	int64_t skipped = s->skipped;
	size_t at = s->at;
	Str before = state_now(s);

	buf_clear(&s->before);
	if (before.s != NULL)
		buf_add(&s->before, before.s, before.len);
	out->known = true;
	out->failed =
		!fold_page(s->table, s->reducer, s->page, &at, s->at + 1, &s->skipped, &out->err);
	if (out->failed) {
		if (out->err.event_id != out->event->id) {
			*err = out->err;
			return false;
		}
		s->reducer->ops->forget(s->reducer);
		s->reducer = NULL;
	}
	out->failed = out->failed || s->skipped > skipped;
	out->before = before.s != NULL ? buf_str(&s->before) : (Str){ NULL, 0 };
	out->after = state_now(s);
	return true;
}

bool fold_steps_next(FoldSteps *s, FoldStep *out, Err *err)
{
	err_clear(err);
	if (s->at == s->page.count) {
		s->at = 0;
		s->page = (EventSlice){ 0 };
		if (s->history != NULL && !history_next(s->history, &s->page, err))
			return false;
		if (s->page.count == 0)
			return false;
	}
	*out = (FoldStep){ .event = &s->page.events[s->at] };
	if (s->reducer != NULL && !handle(s, out, err))
		return false;
	s->at++;
	return true;
}

const Fold *fold_steps_start(const FoldSteps *s)
{
	return &s->start;
}

int64_t fold_steps_read(const FoldSteps *s)
{
	return s->start.events_read + (s->history != NULL ? history_read(s->history) : 0);
}
