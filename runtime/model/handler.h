#pragma once

#include "base/err.h"
#include "model/event.h"

/* Where flow/ and lua/ meet: flow/ decides which events a script sees and when its effects are
 * committed; a handler turns events into changed states. A handler does no I/O, and knows nothing
 * of cursors, transactions or other handlers. One thread; no function may be called from within
 * another. */

typedef enum { KIND_PROJECTION, KIND_RULE, KIND_REDUCER } ScriptKind;
typedef enum { ON_ERROR_STOP, ON_ERROR_SKIP, ON_ERROR_PARK_KEY } OnError;

/* What a script declared, checked. Owned by the handler, constant for its life. */
typedef struct {
	const char *name;
	const char *path; /* of the file, as the workspace names it: "projections/x.lua" */
	ScriptKind kind;
	int version;
	OnError on_error;
	bool sql;         /* `sql = true`: runs one event at a time and may ask queries */
	const Str *types; /* the patterns of `on`, without duplicates; never empty */
	size_t ntypes;
	Str spec;        /* JSON: the definition as the SQL function projection_ensure() takes it */
	char digest[65]; /* sha-256 (hex) of the file and of every module that it required */
} Definition;

/* One dead letter: an event that a handler refused, or that waits behind one. */
typedef struct {
	int64_t event_id; /* events.id */
	Str key;          /* JSON text of the key; "" where the key itself failed */
	Str error;        /* "" for an event that only waits behind another of its key */
	Str trace;
	bool parked; /* false: skipped, kept for the record only */
} DeadLetter;

/* A statement queued by `db:exec`: parameters are texts, s == NULL is SQL NULL. */
typedef struct {
	Str sql;
	const Str *params;
	size_t nparams;
} ScriptSql;

/* What a handler changed since the last collect(). The memory belongs to the handler and lives
 * until the next collect() or forget(). Counts are rows. */
typedef struct {
	Str upserts; /* JSON array of rows for the projection's upsert statement; "" = none */
	Str deletes; /* JSON array of {"n", key columns…}; "" = none */
	size_t nupserts, ndeletes;
	const ScriptSql *sql; /* in order */
	size_t nsql;
	const DeadLetter *dead; /* events that came for a parked key, in order */
	size_t ndead;
} Effects;

/* What scripts are at, for a watchdog in another thread: one for the whole process, written by
 * every handler with relaxed atomic stores, to be read with __atomic_load_n. While `calls` does not
 * move, `event_id` hangs. */
typedef struct {
	volatile int64_t event_id;
	volatile uint64_t calls;
} HandlerProgress;

typedef enum { RUN_DONE, RUN_QUERY, RUN_FAILED } RunResult;

typedef struct Handler Handler;

typedef struct {
	const Definition *(*definition)(Handler *h);

	/* Finds the keys of events [from, to) and remembers them for run(). *missing becomes the
	 * JSON array of those whose state is not in the cache, [{"n":0, key columns…}, …], as the
	 * load statement takes it ("" = none), in memory that lives until the next need(). A key
	 * function that fails is remembered and fails in run(), at its event. */
	void (*need)(Handler *h, EventSlice page, size_t from, size_t to, Str *missing);

	/* Puts one state into the cache: `n` as need() gave it, `state` the JSON that the load
	 * statement returned. States that were asked for and never come do not exist yet. */
	bool (*load)(Handler *h, size_t n, Str state, Err *err);

	/* Handles events [*at, to) of the page that need() saw. Events that the definition does not
	 * take are passed over. RUN_DONE: *at == to. RUN_FAILED: *at is the event that failed, and
	 * err->event_id its id; if `careful`, every state is as it was before that event, otherwise
	 * states are undefined until forget(). RUN_QUERY (sql = true only): the script waits for
	 * the result of query(); call resume(), then run() again with the same *at. */
	RunResult (*run)(
		Handler *h, EventSlice page, size_t *at, size_t to, bool careful, Err *err);

	/* The query that the script waits for, and its answer: a JSON array of row objects, or an
	 * error. Statements that were queued before it are in `before`, to be executed first. */
	void (*query)(Handler *h, ScriptSql *query, Effects *before);
	void (*resume)(Handler *h, Str rows, const Err *error);

	/* The changed states. They count as clean from then on, but stay in the cache until
	 * settled(). */
	bool (*collect)(Handler *h, Effects *out, Err *err);

	/* Every collect() until now is committed: the cache may drop clean states again. */
	void (*settled)(Handler *h);

	/* Drops every state and everything queued: what was not committed never happened. */
	void (*forget)(Handler *h);

	/* Parks the keys of the event at `index` of the page: their later events become dead
	 * letters. Undone by forget() unless it was settled. */
	void (*park)(Handler *h, EventSlice page, size_t index);
	/* The same by key (JSON text as in DeadLetter.key), at start and when letters were retried.
	 */
	void (*set_parked)(Handler *h, Str key, bool parked);
	/* The JSON text of the event's nth key, for a dead letter; s == NULL behind the last one.
	 * Lives until the next call. */
	Str (*key_of)(Handler *h, EventSlice page, size_t index, size_t nth);

	size_t (*memory)(Handler *h); /* bytes held by the script and its states */
	void (*close)(Handler *h);
} HandlerOps;

struct Handler {
	const HandlerOps *ops;
};
