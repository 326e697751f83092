#pragma once

#include "app/cli.h"
#include "app/term.h"
#include "base/rolling.h"

/* What the log and what was recorded prove about consumers, and about the log itself. Both walk
 * page by page: no statement holds a snapshot for long. */

enum { AUDIT_RANGE_BITS = 16, AUDIT_SUSPECTS = 10 };

typedef struct {
	int64_t range;
	int64_t expected, events; /* by the log; given */
	int64_t first, last;      /* the ids that were given; 0: none */
	RollingFinding finding;
} AuditFault;

typedef struct {
	const char *name, *kind; /* in the cli's arena */
	int64_t position;
	int64_t recorded;   /* events up to here are not recorded; -1: none is */
	int64_t last_range; /* of what was recorded */
	int64_t expected, events;
	int64_t ranges, bad;
	AuditFault fault; /* the first, if bad > 0 */
	bool beyond;      /* it stands, or was given events, above the log's head */
	bool changed;     /* it was sent back, or removed, meanwhile */
	bool wanted;
} AuditConsumer;

typedef struct {
	int64_t id;
	char *problem;
} AuditSuspect;

typedef struct {
	int64_t head, sealed_to, seals;
	int64_t checked, bad, events; /* seals, and the events under them */
	int64_t bad_from, bad_to;     /* the first bad range … */
	const char *problem;          /* … and what is wrong with it; NULL: nothing */
	int64_t tail;                 /* ids behind the seals that were looked at */
	AuditSuspect suspects[AUDIT_SUSPECTS];
	int64_t nsuspects; /* may be more than fit */
} AuditLog;

typedef struct {
	Cli *cli;
	PgDb *db;
	int64_t from, to; /* ids; 0 and INT64_MAX: all */
	AuditConsumer *consumers;
	size_t n;
	AuditLog log;
} Audit;

/* The consumers and the log's head. */
bool audit_open(Audit *a, Err *err);
/* Compares what each wanted consumer was given with what the log says. False: err, or (ERR_NONE) it
 * was stopped. */
bool audit_consumers(Audit *a, Err *err);
/* Compares the log with its seals, and looks at what no seal covers yet. */
bool audit_log(Audit *a, Err *err);

bool audit_consumer_is_proved(const AuditConsumer *c); /* all that was recorded */
bool audit_log_is_proved(const AuditLog *log);

/* One sentence about a fault, appended. */
void audit_describe(const AuditFault *fault, Buf *out);
