#include "flow/dispatch.h"

#include "base/clock.h"
#include "flow/alertmanager.h"
#include "flow/program.h"
#include "flow/webhook.h"

#include <signal.h>
#include <stdlib.h>

struct Dispatch {
	uv_loop_t *loop;
	Http *http;
};

struct DispatchCall {
	ReceiverKind kind;
	union {
		WebhookCall *webhook;
		AlertmanagerCall *alertmanager;
		ProgramCall *program;
	};
	DeliveryDone fn;
	void *owner;
};

static void on_done(void *owner, const DeliveryOutcome *outcome)
{
	DispatchCall *call = owner;

	call->fn(call->owner, outcome);
	free(call);
}

/* The clock of the machine: what receivers compare a signature's time with. */
static int64_t now_s(void)
{
	return clock_wall_us() / 1000000;
}

DispatchCall *dispatch_send(Dispatch *d, const Receiver *r, const Delivery *delivery,
	DeliveryDone fn, void *owner, Err *err)
{
	DispatchCall *call = mem_calloc(1, sizeof(*call));
	bool sent = false;

	*call = (DispatchCall){ .kind = r->kind, .fn = fn, .owner = owner };
	switch (r->kind) {
	case RECEIVER_WEBHOOK:
		call->webhook = webhook_send(d->http, r, delivery, now_s(), on_done, call, err);
		sent = call->webhook != NULL;
		break;
	case RECEIVER_ALERTMANAGER:
		call->alertmanager = alertmanager_send(d->http, r, delivery, on_done, call, err);
		sent = call->alertmanager != NULL;
		break;
	case RECEIVER_PROGRAM:
		call->program = program_send(d->loop, r, delivery, on_done, call, err);
		sent = call->program != NULL;
		break;
	}
	if (sent)
		return call;
	free(call);
	return NULL;
}

void dispatch_drop(DispatchCall *call)
{
	switch (call->kind) {
	case RECEIVER_WEBHOOK:
		webhook_drop(call->webhook);
		break;
	case RECEIVER_ALERTMANAGER:
		alertmanager_drop(call->alertmanager);
		break;
	case RECEIVER_PROGRAM:
		program_drop(call->program);
		break;
	}
	free(call);
}

Dispatch *dispatch_open(uv_loop_t *loop)
{
	Dispatch *d = mem_calloc(1, sizeof(*d));

	signal(SIGPIPE, SIG_IGN); /* TLS writes to sockets that their peers have closed */
	d->loop = loop;
	d->http = http_open(loop);
	return d;
}

void dispatch_close(Dispatch *d)
{
	if (d == NULL)
		return;
	http_close(d->http);
	free(d);
}
