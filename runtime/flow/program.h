#pragma once

#include "flow/delivery.h"

#include <uv.h>

/* A program that gets a delivery on its standard input. Its environment is PATH, HOME, LANG and
 * what names the delivery (MOONWAKE_ID, MOONWAKE_RECEIVER). Exit code 0: done. */
typedef struct ProgramCall ProgramCall;

/* NULL where it cannot be started. */
ProgramCall *program_send(uv_loop_t *loop, const Receiver *r, const Delivery *d, DeliveryDone fn,
	void *owner, Err *err);
void program_drop(ProgramCall *call); /* it and what it started is killed */
