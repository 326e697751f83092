#pragma once

#include "flow/delivery.h"

#include <uv.h>

/* The one way out: sends a delivery to a receiver of whatever kind. The daemon and `outbox test`
 * use it alike. */
typedef struct Dispatch Dispatch;
typedef struct DispatchCall DispatchCall;

Dispatch *dispatch_open(uv_loop_t *loop); /* SIGPIPE is ignored from then on */
void dispatch_close(Dispatch *d);         /* with no call under way */

/* NULL where nothing could be sent. Receiver and delivery must stay until the outcome. */
DispatchCall *dispatch_send(Dispatch *d, const Receiver *r, const Delivery *delivery,
	DeliveryDone fn, void *owner, Err *err);
void dispatch_drop(DispatchCall *call);
