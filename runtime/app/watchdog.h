#pragma once

#include "flow/group.h"

#include <stdbool.h>

/* What hangs in spite of every budget costs the process: the work runs in a child of a small
 * supervisor, and a thread in it watches how much processor time a script has used at one event.
 * When that is too much it tells the supervisor which, and ends the process; the next child leaves
 * that script parked. */
typedef struct {
	char script[80]; /* "": none */
	int64_t event_id;
	double seconds;
} Quarantine;

enum { WATCHDOG_EXIT = 86 };

/* To be called by the thread that scripts run on; starts another. Ends the process with
 * WATCHDOG_EXIT, after writing a Quarantine to `fd` (-1: nowhere). Both must outlive the process.
 */
bool watchdog_start(const GroupProgress *who, const HandlerProgress *what, double limit_s, int fd);

/* Runs `child` in a process of its own and waits. Signals that ask to stop are passed on. Where the
 * child crashed or was ended by its watchdog, another one is started, with what it left in *q;
 * otherwise returns its exit code. */
int watchdog_supervise(int (*child)(void *owner, const Quarantine *q, int fd), void *owner);
