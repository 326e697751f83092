#pragma once

#include "app/daemon.h"
#include "app/lineup.h"
#include "flow/courier.h"
#include "flow/session.h"

#include <signal.h>

/* What the files of the daemon share: daemon.c (its life, the session, signals) and
 * daemon_scripts.c (what is to run, and who is told). */

typedef struct Daemon Daemon;

struct Daemon {
	Cli *cli;
	const DaemonOptions *options;
	PgTarget target;
	LuaOptions lua;
	uv_loop_t loop;
	uv_timer_t retry, reload;
	uv_signal_t sigint, sigterm, sigusr1;
	char name[300];
	GroupProgress progress;
	HandlerProgress calls;

	RosterEntry *entries;
	size_t n;
	char stamp[40]; /* of the plan that the entries come from */
	Lineup planned; /* to be exchanged when the groups are quiet */
	bool exchange;  /* … is what the quiet is for */
	bool replan;    /* other versions of projections are live or built by now */
	uint64_t signature;
	size_t broken; /* scripts that do not load */

	Session *session;
	Courier *courier;
	unsigned backoff_ms;
	bool stopping, stopped;
	int code;
};

/* Loads the files and plans what is to run: `fresh` where the files have changed; `tell` of those
 * that do not load. */
bool daemon_plan(Daemon *d, bool fresh, bool tell, Err *err);
/* Exchanges the entries for what was planned; the session, if there is one, is quiet. */
void daemon_exchange(Daemon *d);
void daemon_close_scripts(Daemon *d);

/* Those that load, held; what is wrong with the others is told. */
Receivers *daemon_receivers(Daemon *d);
