#pragma once

#include "flow/roster.h"

/* What the files of a roster share: roster.c (its life, taking over, heartbeats), roster_locks.c
 * (which consumers are ours), roster_claim.c (their tables, their groups). */

struct Roster {
	PgConn *conn;
	const char *daemon;
	RosterEntry *entries;
	size_t n;
	const char *stamp;
	bool *due;
	RosterReport report;
	void *owner;

	RosterDone done; /* of the claim under way */
	void *done_owner;
	size_t waiting; /* answers of projection_ensure() and its like … */
	Err refused;    /* … and the first of them that ends the claim */
	struct Ensure {
		Roster *roster;
		RosterEntry *entry;
	} * ensure;

	RosterGained gained; /* of the try under way */
	void *gained_owner;
	bool trying, any;
	RosterBeat beat;
	void *beat_owner;
	bool beating, stale, letters, replan;
	bool retired; /* nobody wants to hear of it any more: freed with the last answer */
};

RosterEntry *roster_find(Roster *r, const char *name);
void roster_finish(Roster *r, const Err *err); /* tells who claims or dissolves */

bool roster_is_owned(const RosterEntry *e);
bool roster_is_foreign(const RosterEntry *e);
bool roster_is_running(const RosterEntry *e);
/* "{a,b}" of the names that `pick` takes: names are plain words. */
void roster_names(const Roster *r, bool (*pick)(const RosterEntry *), Buf *out);

void roster_send_lock(Roster *r, PgAnswer fn); /* for all that others own */
/* Takes note of the locks that we got. A version that is being built moves with the live one, in
 * one transaction: it goes back where that is somebody else's. Returns how many were kept. */
size_t roster_take_locks(Roster *r, const PgRows *rows);
void roster_give_back(Roster *r, const PgRows *rows);
