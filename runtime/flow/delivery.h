#pragma once

#include "flow/receiver.h"

/* One thing to be delivered, made from one row of the outbox or several. The strings must live
 * until the outcome is told. */
typedef struct {
	const char *id; /* the same in every try: what a receiver tells repetitions by */
	Str body;
} Delivery;

typedef enum {
	DELIVERY_DONE,
	DELIVERY_RETRY,  /* another try may succeed */
	DELIVERY_REFUSED /* none will */
} DeliveryVerdict;

typedef struct {
	DeliveryVerdict verdict;
	int status;         /* of HTTP, or a program's exit code */
	double retry_after; /* seconds that the receiver asked for; 0: it did not */
	double seconds;     /* how long it took */
	bool throttle;      /* the receiver has too much to do */
	bool gone;          /* the receiver wants nothing any more */
	char error[600];    /* what went wrong; "" where nothing did */
} DeliveryOutcome;

/* Told once, and never from within the function that sends. */
typedef void (*DeliveryDone)(void *owner, const DeliveryOutcome *outcome);
