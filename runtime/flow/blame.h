#pragma once

#include "base/json_diff.h"
#include "flow/history.h"
#include "model/handler.h"

/* Blame: the event, and the line of the script, that gave each field of a state the value that it
 * has. The events of the key are folded from the first on; those that turn out to have made the
 * last change of a field are then traced. Nothing is written. */

typedef struct {
	Str path, value;    /* of a leaf, as in base/json_diff.h */
	const Event *event; /* that made its last change */
	bool initial; /* no line set it: the state began so (`initial`, or a column's default) */
	const char *file; /* of the line; NULL: no line (a default), or it is not known */
	int line;
} BlameField;

typedef struct {
	Str state;          /* as HandlerOps.state gives it; s == NULL: there is none */
	BlameField *fields; /* in the order of their paths, without the key's columns */
	size_t nfields;
	int64_t events;      /* of the key, that the script took */
	int64_t first, last; /* ids; 0: none */
	int64_t skipped;     /* that failed, of a script with on_error = "skip" */
	int64_t deleted_by;  /* the event that removed the state, where there is none */
	Err failure;         /* where it ends before its time: what the script said, and event_id */
	int64_t read;        /* events that came from the log */
	char *nearest; /* another key that was probably meant, where no event had this one; or NULL
			*/
	void *memory;
} Blame;

/* `filter`: which events; its types should be the definition's. `key` as in DeadLetter.key. False:
 * the database, a script with sql = true; a script that fails is no failure here. The handler is
 * forgotten before and after. */
bool blame_key(PgDb *db, Handler *h, const HistoryFilter *filter, Str key, Blame *out, Err *err);
void blame_free(Blame *b);

/* The event that removed a field which is not there any more; 0: it never was. */
int64_t blame_removed_by(const Blame *b, Str path);
