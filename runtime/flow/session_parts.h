#pragma once

#include "flow/bell.h"
#include "flow/promoter.h"
#include "flow/session.h"
#include "flow/upkeep.h"

/* What the files of a session share: session.c (its life and its connections), session_teams.c
 * (which groups are at work), session_sleep.c (when to look at the log), session_clocks.c (timers
 * of rules). */

typedef enum { OPENING, CHECKING, CLAIMING, RUNNING, PAUSING, QUIET, LOST } SessionState;
typedef enum { AWAKE, RELEASING, LISTENING, ASLEEP } SessionSleep;

typedef struct {
	Group *group;
	Consumer **members;
	size_t *entries; /* their indexes in the roster */
	size_t n;
	bool still;
	bool over; /* broken: nothing more will come from it */
} Team;

struct Session {
	uv_loop_t *loop;
	PgTarget target;
	SessionOptions options;
	RosterEntry *entries;
	size_t n;
	GroupProgress *progress;
	RosterReport report;
	SessionHandler fn;
	void *owner;

	SessionState state;
	SessionSleep sleep;
	PgConn *control, *bell_conn, *upkeep_conn;
	int connected;
	int checked_pid;
	Frontier *frontier;
	Bell *bell;
	Roster *roster;
	Upkeep *upkeep;
	Promoter *promoter;
	const char *stamp;
	Team *teams;
	size_t nteams;
	uv_timer_t *poll, *beat, *tries, *later, *clock; /* slow poll or linger; heartbeat; others;
							    deferred work; timers of rules */

	bool quiesce;  /* somebody waits for SESSION_QUIET … */
	bool for_good; /* … and will not go on */
	bool stale;    /* SESSION_STALE was told: what is at work is not what should be */
	bool observed; /* the frontier is known: as the last observation found it */
	bool at_rest;
	int64_t settled;
	int64_t start_head; /* what "caught up" means … */
	int64_t floor,
		start_floor; /* the frontier's; … and for clocks of rules: the first of them */
	bool told;
	uint64_t moved_ns, pruned_ns, raised_ns, gathered_ns, sleeps;
	Err lost;
};

void session_lose(Session *s, const Err *err); /* it is over; told on a turn of its own */

void session_close_teams(Session *s);
bool session_is_idle(const Session *s); /* every group has committed all that is settled */
void session_regroup(Session *s, unsigned delay_ms);
void session_on_claimed(void *owner, const Err *err);
void session_tell_caught_up(Session *s);
void session_on_promoter(void *owner, PromoterEvent ev);
void session_tell_stale(Session *s);

void session_mind_clocks(Session *s);
bool session_clocks_caught_up(const Session *s);

void session_wake(Session *s);
void session_consider_sleep(Session *s, bool at_rest);
void session_on_frontier(void *owner, bool at_rest);
void session_on_released(void *owner);
