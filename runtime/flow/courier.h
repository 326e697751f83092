#pragma once

#include "flow/receiver.h"
#include "flow/roster.h"

#include <uv.h>

/* Delivers what waits in the outbox: webhooks, Alertmanagers and programs, and what the database
 * itself does (sql, notify, publish). Of several daemons one delivers to a receiver: it holds an
 * advisory lock on a connection of its own. Loses its connection and finds it again by itself. */
typedef struct Courier Courier;

typedef struct {
	const char *daemon;    /* name of this process */
	double takeover_after; /* seconds of silence after which who delivers is replaced */
} CourierOptions;

typedef void (*CourierQuiet)(void *owner);

/* `receivers` is held. `report` hears of receivers that are disabled, do not exist, or fail. */
Courier *courier_open(uv_loop_t *loop, const PgTarget *target, const CourierOptions *options,
	Receivers *receivers, RosterReport report, void *owner);

/* From now on these. */
void courier_exchange(Courier *c, Receivers *receivers);

/* Something may have come into the outbox. It finds out by itself too, only later. */
void courier_wake(Courier *c);

/* Takes nothing new; `fn` is called when nothing is on its way any more, and the receivers are free
 * for other daemons. */
void courier_quiesce(Courier *c, CourierQuiet fn);

/* What is on its way is dropped, and will be tried again. Not from within a callback of it. */
void courier_close(Courier *c);
