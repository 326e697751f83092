#pragma once

#include "flow/fold.h"

/* The events of one aggregate between two versions, one by one, and what each made of the state. */
typedef struct FoldSteps FoldSteps;

typedef struct {
	const Event *event;
	bool known;        /* there is a reducer, and it has not stopped */
	bool failed;       /* at this event; err says why, and the state is as it was */
	Str before, after; /* s == NULL: there is no state */
	Err err;
} FoldStep;

/* Events (after, upto]; `reducer` NULL: the events alone. The state before them is folded first,
 * which may fail as fold_aggregate() does. `upto` must be a version that the aggregate has. */
FoldSteps *fold_steps_open(PgDb *db, Handler *reducer, const char *type, const char *id,
	int64_t after, int64_t upto, bool snapshots, Err *err);
void fold_steps_close(FoldSteps *s);

/* *out lives until the next call. False and ERR_NONE: that was the last one. A reducer that fails
 * stops there, and the events behind it come alone, unless its on_error is "skip". */
bool fold_steps_next(FoldSteps *s, FoldStep *out, Err *err);

const Fold *fold_steps_start(const FoldSteps *s); /* the state before the first event */
int64_t fold_steps_read(const FoldSteps *s);      /* events from the log, those before included */
