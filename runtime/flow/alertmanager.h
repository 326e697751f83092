#pragma once

#include "flow/delivery.h"
#include "flow/http.h"

/* The Alertmanager's API, version 2: a body is a JSON array of alerts, and goes to every instance,
 * which tell each other nothing of it. */
typedef struct AlertmanagerCall AlertmanagerCall;

/* Done when one instance took all of it. Refused when one found some of it invalid: the rest is
 * stored there all the same. */
AlertmanagerCall *alertmanager_send(
	Http *http, const Receiver *r, const Delivery *d, DeliveryDone fn, void *owner, Err *err);
void alertmanager_drop(AlertmanagerCall *call);
