#pragma once

#include "model/handler.h"
#include "pg/pg_conn.h"

/* A script at work: its handler, its statements, and what is remembered of its failures from one
 * group to the next. Plain data of the session; a group borrows it. */
typedef struct {
	const char
		*name; /* owned: the script's, or "device_summary:next" for a version being built */
	Handler *handler;
	const Definition *def;
	PgStmt load, upsert, remove; /* names and texts are owned; NULL for sql = true */

	bool solo; /* stays in a group of its own: `sql`, or a commit of its own was refused */
	size_t commit_most; /* events in one transaction while a culprit is looked for; 0 = no bound
			     */
	int64_t careful_upto; /* events up to this id are handled with a copy of the state at hand
			       */
	int64_t poison;       /* the event whose effects the server refused; 0 = none */
	Err poison_err;

	bool must_stop; /* it cannot go on: it stops at the committed position */
	bool stopping;  /* on_error = "stop" has struck: it leaves with the next commit */
	int64_t stop_position;
	Err stop_err;

	bool touched;      /* its handler was at work since its effects were collected last … */
	bool sent;         /* … and what was collected is not committed yet */
	int64_t due;       /* of a rule: as its handler's next_due() said; INT64_MAX: nothing is */
	int64_t live_from; /* of a rule that is rebuilt: where it stood; 0: it is not */
	bool rebuilt;      /* the next commit ends that */

	Buf letters;      /* dead letters since the last commit: JSON objects, comma separated */
	uint64_t events;  /* handled since the session began */
	uint64_t refused; /* dead letters since then */
	int64_t told;     /* the refused event that the log told of last: batches are repeated */
} Consumer;

void consumer_init(Consumer *c, Handler *handler, const char *name); /* NULL: the script's name */
void consumer_clear(Consumer *c); /* frees what it owns, not the handler */

/* Takes over the texts of a projection's statements. */
void consumer_set_statements(Consumer *c, const char *load, const char *upsert, const char *remove);

/* An event was refused, or waits behind one of its key: adds a dead letter. */
void consumer_add_letter(Consumer *c, int64_t event_id, Str key, Str error, Str trace, bool parked);

/* It is a rule that is rebuilt, and where it stood is not behind `position`. */
bool consumer_ends_rebuild(const Consumer *c, int64_t position);

/* Other timers may be due. */
void consumer_mind(Consumer *c);
/* Its handler was at work: it has effects, and other timers perhaps. */
void consumer_touch(Consumer *c);
/* What was not committed never happened: letters, stop, states. Failures are remembered. */
void consumer_forget(Consumer *c);
