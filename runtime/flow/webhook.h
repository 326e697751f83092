#pragma once

#include "flow/delivery.h"
#include "flow/http.h"

/* Webhooks as Standard Webhooks 1.0 wants them: a stable id, the time of the try, and a signature
 * for each secret. Other formats of the body travel with the same headers. */
typedef struct WebhookCall WebhookCall;

/* NULL where it cannot even be asked: a secret cannot be read. */
WebhookCall *webhook_send(Http *http, const Receiver *r, const Delivery *d, int64_t now_s,
	DeliveryDone fn, void *owner, Err *err);
void webhook_drop(WebhookCall *call);

/* Appends "v1,<base64>" over id, time and body with a secret as it is written ("whsec_" and
 * base64). */
bool webhook_sign(Str secret, const char *id, int64_t seconds, Str body, Buf *signature, Err *err);

/* What an answer means, for everything that speaks HTTP. */
DeliveryOutcome webhook_outcome(const HttpAnswer *answer);

bool webhook_check(const Receiver *r, Err *err);
