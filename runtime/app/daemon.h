#pragma once

#include "app/cli.h"

/* `run`: the consumers of a workspace at work, until a signal, or until they have caught up. */
typedef struct {
	bool until_caught_up; /* ends when everything that was in the log at the start is committed
			       */
	const char *
		only; /* nothing but this projection, also where it has no file; NULL: everything */
	bool supervise; /* work in a child process that is restarted when it crashes or hangs */
	bool quiet;     /* only warnings and errors */
	double takeover_after; /* seconds */
	double hang_after; /* seconds of processor time at one event before the watchdog strikes */
	unsigned slow_poll_ms; /* 0: none */
	unsigned fast_poll_ms; /* 0: the bell */
	unsigned linger_ms;    /* awake so long after the last commit */
	size_t script_memory;  /* bytes; 0: the host's default */
	size_t state_memory;   /* bytes of cached states per script; 0: the host's default */
	int64_t budget;        /* instructions of one handler call; 0: the host's default */
} DaemonOptions;

DaemonOptions daemon_defaults(void);

/* Returns the exit code: 1 where it ended for an error, or caught up with consumers parked or
 * missing. */
int daemon_main(Cli *cli, const PgTarget *target, const DaemonOptions *options);
