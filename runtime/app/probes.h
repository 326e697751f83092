#pragma once

#include "app/cli.h"
#include "app/episodes.h"
#include "flow/rule_run.h"

/* A rule at one key, looked at while it works: what it saw, asked and decided, over that part of
 * the log that decides about it. */

/* One evaluation. Texts of the engine; s == NULL: it said nothing of that. */
typedef struct {
	int64_t at, position; /* of the event handled, the key's last one for a timer */
	Str what;             /* "event", "timer NAME", "expect" */
	Str type;             /* of the event */
	Str before, after;    /* phases: inactive, pending, firing, lingering */
	Str why;              /* the first thing that keeps it from firing */
	Str value, subject, when, clear, timers; /* JSON */
	bool is_event;                           /* an own event was handled */
	bool waits;  /* an own event that earlier ones may yet come before */
	bool passed; /* … which `where` and `value` took */
} Probe;

typedef struct {
	Arena *arena;
	Probe *at; /* in order; of a long history the last ones */
	size_t count, cap;
	int64_t events; /* own events of the key */
	int64_t refused_by_where, without_value;
	Probe last_refused; /* by where; is_event: there was one */
	Episodes *episodes; /* that it raised */
	struct {
		int64_t event_id; /* 0: none; otherwise the first that failed at this key … */
		char *message;
	} failure;
	int64_t keyless;   /* events that failed before they had a key … */
	char *keyless_why; /* … and what the first one said; NULL: none */
	Str memory;        /* the rule's, with its counts */
	int64_t upto;      /* the last id that was read */
	int64_t from_us;   /* where the replay began, as far back as it must; 0: at the start */
	char *nearest;     /* another key that was probably meant, where this one has no events */
} Probes;

/* What is asked about: `key` as in DeadLetter.key; [since, until) by the rule's clock, since 0:
 * all.
 */
typedef struct {
	Cli *cli;
	PgDb *db;
	Handler *handler;
	Str key;
	int64_t since_us, until_us;
} ProbeAsk;

bool probes_run(const ProbeAsk *ask, Probes *out, Err *err);
void probes_free(Probes *p);
