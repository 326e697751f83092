#pragma once

#include "flow/sink.h"

/* The consumers of a workspace and which of them are this daemon's. Ownership is a session advisory
 * lock on the control connection, so a daemon that dies frees its consumers at once; a heartbeat in
 * the group's row tells about one that lives but does not move (a stopped process, a cut network),
 * and its sessions are ended. */

typedef struct {
	Consumer consumer;
	int64_t build; /* the version whose table it writes to, as its table's maker said; 0: none
			*/
	bool next;    /* a version that is built beside the live one: only where that is ours too */
	bool owned;   /* its lock is held */
	bool ensured; /* its table is there, its statements are known */
	bool failed;  /* its table cannot be made: not claimed until the file changes */
	bool try_again; /* at the next claim also if it was parked: its file is new to this session
			 */
	bool runs;      /* it is in a group; otherwise it is parked or quarantined */
	GroupClaim claim;
} RosterEntry;

typedef struct Roster Roster;

/* Something about one consumer that people should hear of. */
typedef void (*RosterReport)(void *owner, const char *consumer, bool problem, const char *text);
typedef void (*RosterDone)(void *owner, const Err *err);
typedef void (*RosterGained)(void *owner, bool any);
typedef void (*RosterBeat)(void *owner, bool stale, bool letters_due, bool replan);

/* `daemon` names this process in consumer_groups, `stamp` is that of the plan that the entries come
 * from. Entries and handlers stay the caller's. */
Roster *roster_new(PgConn *control, const char *daemon, RosterEntry *entries, size_t n,
	const char *stamp, RosterReport report, void *owner);
void roster_free(Roster *r);   /* with its connection closed */
void roster_retire(Roster *r); /* while it goes on: freed when what is under way was answered */

/* Locks what can be locked, makes the tables, and claims new groups for all that is owned. No group
 * of ours may be at work. ERR_STALE: the plan is no longer true, other versions are live or built.
 */
void roster_claim(Roster *r, RosterDone fn, void *owner);

/* Gives back the locks of entries that are not among `keep`. */
void roster_release(Roster *r, const RosterEntry *keep, size_t n);

/* Gives all groups up: the consumers keep their positions, and nobody owns them. */
void roster_dissolve(Roster *r, RosterDone fn, void *owner);

/* Tries to get what others own: free locks, and those of owners that were silent for `silence`
 * seconds. */
void roster_try(Roster *r, double silence, RosterGained fn, void *owner);
bool roster_wants(const Roster *r); /* some are not owned */

/* Shows life. `stale`: a group is no longer ours. `letters_due`: see roster_letters_due().
 * `replan`: versions were begun or exchanged. */
void roster_beat(Roster *r, RosterBeat fn, void *owner);
bool roster_letters_due(const Roster *r, size_t entry);
