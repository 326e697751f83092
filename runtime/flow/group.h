#pragma once

#include "flow/frontier.h"
#include "flow/sink.h"

#include <stdatomic.h>

/* Consumers that stand at one position and move together: one page is read for all, each handles
 * it, one transaction commits what all of them did. While it is on its way the next page is handled
 * already; whenever a commit fails, everything after the committed position never happened. */
typedef struct Group Group;

typedef enum {
	GROUP_MOVED,  /* a commit went through */
	GROUP_IDLE,   /* everything up to the frontier is committed */
	GROUP_PAUSED, /* as group_pause() asked: nothing is under way, everything handled is
			 committed */
	GROUP_BROKEN, /* members have to be grouped anew: one left, one has to be alone, or we lost
			 it (err) */
	GROUP_LOST,   /* a connection is gone (err) */
} GroupEvent;

/* Everything but group_close() may be called from within it. */
typedef void (*GroupHandler)(Group *g, void *owner, GroupEvent ev, const Err *err);

/* Which script is at work, for a watchdog on another thread (see HandlerProgress for what it is
 * at). */
typedef struct {
	_Atomic(const char *) script; /* NULL: none */
} GroupProgress;

Group *group_open(uv_loop_t *loop, const PgTarget *target, Frontier *frontier, GroupClaim claim,
	Consumer *const *members, size_t n, GroupProgress *progress, GroupHandler fn, void *owner);
void group_close(Group *g);

void group_wake(Group *g); /* the frontier may have risen */
/* Stops at a batch boundary, at `at` exactly if it is ahead of the group; -1: at the next one. */
void group_pause(Group *g, int64_t at);
/* Handles the due dead letters of a member again, at the next boundary. */
void group_retry(Group *g, size_t member);

GroupClaim group_claim(const Group *g); /* position: committed */
bool group_is_idle(const Group *g);

/* --- The clocks of its rules; instants are microseconds of the log's clock. --- */

/* The earliest instant after `after` at which a timer is due; INT64_MAX: none. */
int64_t group_next_due(const Group *g, int64_t after);
/* How far the log's floor should be, above `floor`, for its clocks; INT64_MAX: it may stay. */
int64_t group_wants_floor(const Group *g, int64_t floor);
/* Its position is below what the frontier's floor is known of: its clocks stand still. */
bool group_is_behind(const Group *g);
/* All that its rules, but those over alerts, raise before this is in the log. INT64_MAX: it has no
 * such rules. */
int64_t group_clock(Group *g);
/* The next timer of its rules over alerts. They go no further than the ceiling, which stands for
 * the rules of the other groups. */
int64_t group_late_due(const Group *g);
bool group_has_late(const Group *g);
void group_set_ceiling(Group *g, int64_t us);
bool group_listens(const Group *g); /* it waits for an observation: wake it then */
/* What its rules raised has been read again, and what came of it is committed. */
bool group_has_heard(Group *g);

int group_backend(const Group *g); /* pid of the session that commits, 0 while there is none */
