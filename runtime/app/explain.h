#pragma once

#include "app/cli.h"
#include "app/probes.h"

/* What `explain` tells: why an episode was as it was, or why there is none. */

enum { EXPLAIN_CONTRIBUTED = 20 /* events that are shown of those that led to it */ };

/* One episode, from the tables, the log and a replay of its key. */
typedef struct {
	Cli *cli;
	PgDb *db;
	PgRows *alert;       /* explain_alert.sql: one row */
	PgRows *events;      /* explain_events.sql */
	PgRows *outbox;      /* explain_outbox.sql */
	PgRows *contributed; /* explain_contributed.sql; NULL: not known */
	size_t ncontributed; /* with those that are not shown */
	Handler *handler;    /* as it ran; NULL: it is not to be had … */
	char *missing;       /* … and why */
	bool changed;        /* the workspace has another version by now */
	bool reproduced;     /* the replay raised it, too */
	Probes probes;
} Explained;

/* The columns of sql/queries/explain_alert.sql. */
enum {
	X_EPISODE,
	X_MACHINE,
	X_RULE,
	X_KEY_TEXT,
	X_KEY,
	X_STATE,
	X_SEVERITY,
	X_SUMMARY,
	X_SIGNAL,
	X_STARTED,
	X_FIRED,
	X_ENDED,
	X_REASON,
	X_MUTED,
	X_MUTED_AT,
	X_ACKED_BY,
	X_ACKED_AT,
	X_ACK_NOTE,
	X_LABELS,
	X_SUBJECT,
	X_DESCRIPTION,
	X_RUNBOOK,
	X_BODY,
	X_DIGEST,
	X_NOTIFY
};

/* explain_events.sql */
enum {
	E_ID,
	E_TYPE,
	E_AT,
	E_SEVERITY,
	E_ACTOR_TYPE,
	E_ACTOR,
	E_FROM,
	E_REASON,
	E_NOTE,
	E_SUMMARY,
	E_SUBJECT
};

/* explain_contributed.sql */
enum {
	C_ID,
	C_TYPE,
	C_AGGREGATE_TYPE,
	C_AGGREGATE,
	C_VERSION,
	C_AT,
	C_OCCURRED,
	C_ACTOR_TYPE,
	C_ACTOR,
	C_DATA
};

/* explain_outbox.sql */
enum {
	O_ID,
	O_KIND,
	O_RECEIVER,
	O_TRANSITION,
	O_STATE,
	O_TRIES,
	O_NOTE,
	O_GROUPED,
	O_AT,
	O_DUE,
	O_UPDATED,
	O_TRIED
};

bool explain_episode(Explained *x, const char *prefix, Err *err);
void explain_free(Explained *x);

/* The evaluation behind an event of the alert (a row of x->events); NULL: it is not known. */
const Probe *explain_probe(const Explained *x, int row);

void explain_show(const Explained *x);
void explain_show_json(const Explained *x);

/* Why a rule does not fire at a key. Returns the exit code. */
int explain_why_not(Cli *cli, int argc, char **argv);

/* {"at", "what", …}: an evaluation, for programs. */
void explain_probe_json(const Probe *p, Buf *out);
/* "#1042 container.crashed", "timer hold" */
void explain_cause(const Probe *p, Buf *out);
/* "count = 3, sum = 7.5"; nothing for nothing. */
void explain_values(Str object, Buf *out);
/* "when: warning true, critical false" */
void explain_levels(const char *name, Str object, Buf *out);
