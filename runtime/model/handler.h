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
	const char *aggregate; /* of a reducer: the aggregate type that it folds; NULL otherwise */
	int snapshot_every;    /* of a reducer: versions between two snapshots; 0 otherwise */
	int version;
	OnError on_error;
	bool sql;         /* `sql = true`: runs one event at a time and may ask queries */
	const Str *types; /* the patterns of `on`, without duplicates; never empty */
	size_t ntypes;
	const Str *key_paths; /* of the event, one for each part of the key */
	size_t nkey_paths;    /* 0: a function makes the keys, as many as it likes */
	bool has_clock;       /* of a rule: the ops about its clock concern it */
	bool after_alerts; /* of a rule: it reads the events of alerts, so its clock waits for the
			      rules that make them */
	Str spec;        /* JSON: the definition as projection_ensure() or rule_ensure() takes it */
	char digest[65]; /* sha-256 (hex) of the file and of all that it is made of: modules,
			    upcasters */
	Str files;       /* JSON: {path: text} of those files, from which it can be opened again */
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
	Str snapshots; /* of a reducer: JSON array of {"aggregate_id", "version", "event_id",
			* "state"};
			* "" = none */
	Str timers;    /* of a rule: JSON array of {"key", "due", "name"}, one for each key whose
			* earliest timer changed; due: microseconds, null: it has none any more; "" =
			* none */
	Str raised; /* of a rule: JSON array of what it did, in order, as the SQL function raise()
		     * takes it; "" = none */
	size_t nraised;
} Effects;

/* One line that ran while an event was traced. Lives until the next trace(). A state that there was
 * not begins with a step from none to what it is before its first event: at the line of `initial`,
 * or at line 0 (columns and their defaults, an empty document). What a handler returns is the
 * doing of its last line. */
typedef struct {
	const char *file; /* "projections/x.lua" */
	int line;
	Str key;    /* whose state the handler had, as in DeadLetter.key */
	Str before; /* the state before and after the line, where it changed it; both s == NULL */
	Str after;  /* where it did not. One of them is s == NULL where there is no state. */
} TraceStep;

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

	/* --- What a debugger asks. A script with sql = true answers none of it (ERR_USAGE). --- */

	/* The state of a key (as in DeadLetter.key) in the cache, as JSON: a projection's row as
	 * one object, or the document. s == NULL: there is none, or it is not in the cache. Lives
	 * until the next call. */
	bool (*state)(Handler *h, Str key, Str *json, Err *err);

	/* Compiles a Lua expression over the names `event`, `state` (`row` is the same), `before`
	 * (the state before the event) and `key`, beside the words that scripts have. `subject`
	 * begins its errors ("--break"). A number from 1 on for evaluate(); 0: err says why not. */
	int (*expression)(Handler *h, const char *subject, Str text, Err *err);

	/* The value of an expression: whether Lua takes it for true, and its JSON text (a value
	 * that is none in JSON: the text of tostring, as a string; nil: "null"). It sees copies: it
	 * can change nothing. `event` may be NULL, `key` and the states s == NULL: they are nil
	 * then. *json lives until the next call; it may be NULL. */
	bool (*evaluate)(Handler *h, int expression, const Event *event, Str key, Str before,
		Str state, bool *truth, Str *json, Err *err);

	/* As run(), careful, for the one event at *at (need() and load() as ever), and tells every
	 * line that ran, in order; a line that goes on after a call is told again only where it
	 * changed the state then. At most `most` of each key: where more ran, the last one told is
	 * the line that changed the state last, and its `before` what the steps before it left. An
	 * event that fails: the lines until then, with what they changed. */
	RunResult (*trace)(Handler *h, EventSlice page, size_t *at, size_t most,
		const TraceStep **steps, size_t *n, Err *err);

	/* Counts from now on how often each line of the script's files runs. */
	void (*cover)(Handler *h);
	/* JSON: {file: {"functions": [{"line", "last"}], "lines": {"12": times, …}}}, every line of
	 * a function that can run; 0 for one that never did. s == NULL before cover(). Lives until
	 * the next call. */
	Str (*coverage)(Handler *h);

	/* --- A rule's clock (definition()->has_clock). Times are microseconds of the log's clock:
	 * the events' `timestamp`, or what the rule's own clock makes of it. Before an event is
	 * handled, run() fires the timers that were due before it. --- */

	/* What the database keeps of it beside the states has to be given to restore() before the
	 * next need(): after open and after forget(). Always false for what has no clock. */
	bool (*wants)(Handler *h);
	/* {"timers": [{"key", "due", "name"}], "memory": {…} or null, "refs": {name: [{"key",
	 * "state"}]}}; s == NULL: nothing is kept, it begins. */
	bool (*restore)(Handler *h, Str json, Err *err);

	/* The earliest horizon at which advance() would have something to do, INT64_MAX: none. */
	int64_t (*next_due)(Handler *h);
	/* The states that firing the timers up to a horizon needs, as need() tells them; at most
	 * about `most`. Load them, then advance(). */
	void (*due)(Handler *h, int64_t horizon_us, size_t most, Str *missing);
	/* No event can come any more that is older than the horizon: fires the timers due before
	 * it, in order, as far as their states are known (due() again, while next_due() is below).
	 * `once`: stops behind the first instant at which something was raised. A timer that fails
	 * leaves its state as it was, and a letter; false only where nothing can go on. */
	bool (*advance)(Handler *h, int64_t horizon_us, bool once, Err *err);

	/* From now on every evaluation of a key (as in DeadLetter.key; s == NULL: of all) is told
	 * in Effects.raised as {"kind": "probe", …}. */
	bool (*probe)(Handler *h, Str key, Err *err);

	size_t (*memory)(Handler *h); /* bytes held by the script and its states */
	void (*close)(Handler *h);
} HandlerOps;

struct Handler {
	const HandlerOps *ops;
};
