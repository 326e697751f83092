#pragma once

#include "app/condition.h"
#include "app/replay_source.h"
#include "app/term.h"
#include "flow/walk.h"

/* A script stepped over a tape: where it stands, what stops it, and what it did at an event. Draws
 * nothing. */
typedef enum {
	STOP_STEP,
	STOP_HIT, /* a break or a watch */
	STOP_ERROR,
	STOP_END,
	STOP_START,
	STOP_INTERRUPT,
} DebugStop;

/* A break or a watch: numbered together, from 1 on. */
typedef struct {
	int number;
	char *text;     /* the expression, or the field's path */
	bool watch;     /* stops where the field differs from what it was */
	Condition when; /* of a break */
	bool seen;      /* some state had the field of a watch */
} DebugPoint;

/* Why a step stops a run: for one key. */
typedef struct {
	int number;
	bool watch;
	const char *text;
	Str key, before, after; /* of the field; s == NULL: not there */
} DebugHit;

typedef struct {
	Cli *cli;
	const char *script; /* as it was typed */
	Handler *h;
	const Definition *def;
	ReplaySource *source;
	Tape *tape;
	Walk *walk;
	size_t first;       /* what is before this number is replayed unseen */
	int64_t started_us; /* for a rate; 0: a person sets the pace */
	Buf *said;          /* lines that the script printed while it handled the event */
	Progress progress;  /* of a long way, on a terminal */
	const char *key;    /* only steps of this row; NULL: all */

	DebugPoint *points;
	size_t npoints;
	int last_number;
	bool pass_errors; /* a run goes on where the script fails */

	WalkStep step; /* the event that we stand at, if any: it is the last one behind us */
	bool standing;
	WalkChange *changes; /* of that step, those of --key */
	size_t nchanges;
	DebugHit *hits; /* of that step */
	size_t nhits;

	Handler *helper;             /* the script once more, to be tried out on */
	struct DebugOrigin *origins; /* where the handlers of types begin, as far as seen */
	size_t norigins;
	Tape *truth;              /* without overlays; opened when it is asked for */
	int64_t what_if_failures; /* of the last comparison */
} Debugger;

/* The script, the source and `said` stay the caller's. */
Debugger *debugger_open(
	Cli *cli, const char *script, Handler *h, ReplaySource *source, Buf *said, Err *err);
void debugger_close(Debugger *d);

/* Shows progress; false after Ctrl-C. */
bool debugger_go_on(void *debugger);

/* Numbers; 0: err says why not. */
int debugger_break(Debugger *d, const char *subject, const char *expression, Err *err);
int debugger_watch(Debugger *d, const char *field, Err *err);
bool debugger_delete(Debugger *d, int number);

/* One event on, or on to what stops a run. False: it cannot go on at all. */
bool debugger_step(Debugger *d, DebugStop *why, Err *err);
bool debugger_run(Debugger *d, DebugStop *why, Err *err);
/* The same the other way. */
bool debugger_back(Debugger *d, DebugStop *why, Err *err);
bool debugger_run_back(Debugger *d, DebugStop *why, Err *err);

/* To stand at the event with this number: it has just been handled. SIZE_MAX: at none, at the
 * start. Beyond the end: at the last one. */
bool debugger_goto(Debugger *d, size_t number, DebugStop *why, Err *err);

/* The change that the session looks at: of --key, or the step's nth. NULL: there is none. */
const WalkChange *debugger_change(const Debugger *d, size_t nth);

/* --- debugger_lines.c --- */

/* The lines that ran at the event where we stand, with what each changed; they live until the next
 * call. */
bool debugger_lines(Debugger *d, size_t most, const TraceStep **steps, size_t *n, Err *err);

/* The first line of the handler that takes this event ("projections/x.lua", 12). False: not known.
 */
bool debugger_origin(Debugger *d, const char **file, int *line);

/* A line of the script's files; s == NULL: there is none. Appends to `out`. */
bool debugger_source_line(const Debugger *d, const char *file, int line, Buf *out);

/* Finds "file.lua:12" in an error. */
bool debugger_error_place(const char *message, char file[256], int *line);

/* The script once more, forgotten first. */
Handler *debugger_helper(Debugger *d, Err *err);

void debugger_free_origins(Debugger *d);
