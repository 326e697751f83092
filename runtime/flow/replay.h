#pragma once

#include "flow/memory_table.h"

/* A script over a history, in memory and at full speed: nothing is written anywhere, nothing leaves
 * the process. Events that fail are passed over with their states as they were, and counted. */
typedef struct Replay Replay;

typedef void (*ReplayFailure)(void *owner, const Event *event, const Err *err);

Replay *replay_open(Handler *h); /* the handler stays the caller's; it is forgotten first */
void replay_close(Replay *r);

/* Told of every event that fails; NULL: they are only counted. */
void replay_on_failure(Replay *r, ReplayFailure fn, void *owner);

/* Asked about ten times a second while a page is handled; false ends it with ERR_STOPPED, and
 * replay_events() says how far it came. */
typedef bool (*ReplayPause)(void *owner);
void replay_on_pause(Replay *r, ReplayPause fn, void *owner);

/* Handles a page, or the next one. False only where it cannot go on at all, or is stopped. */
bool replay_page(Replay *r, EventSlice page, Err *err);

MemoryTable *replay_table(Replay *r);     /* as it stands after the last page; also to begin with */
int64_t replay_events(const Replay *r);   /* that the script took or passed over */
int64_t replay_failures(const Replay *r); /* of those */
