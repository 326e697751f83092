#include "flow/alertmanager.h"

#include "flow/webhook.h"

#include <stdlib.h>

typedef struct {
	AlertmanagerCall *call;
	HttpCall *http; /* NULL: it has answered */
	const char *url;
} Instance;

struct AlertmanagerCall {
	Instance *instances;
	size_t n, waiting;
	bool taken;
	DeliveryOutcome outcome; /* the worst that an instance said */
	DeliveryDone fn;
	void *owner;
};

static void call_free(AlertmanagerCall *call)
{
	free(call->instances);
	free(call);
}

/* One that is down makes up for it when it is back: all that fires is sent again and again. What is
 * invalid stays so. */
static void finish(AlertmanagerCall *call)
{
	if (call->taken && call->outcome.verdict == DELIVERY_RETRY)
		call->outcome.verdict = DELIVERY_DONE;
	call->fn(call->owner, &call->outcome);
	call_free(call);
}

static void on_answer(void *owner, const HttpAnswer *answer)
{
	Instance *instance = owner;
	AlertmanagerCall *call = instance->call;
	DeliveryOutcome one = webhook_outcome(answer), *all = &call->outcome;

	instance->http = NULL;
	one.gone = one.throttle = false; /* the others may do better */
	if (one.status == 400)
		one.verdict = DELIVERY_REFUSED;
	call->taken = call->taken || one.verdict == DELIVERY_DONE;
	if (one.seconds < all->seconds)
		one.seconds = all->seconds;
	if (one.verdict == DELIVERY_DONE && all->error[0] == '\0') {
		*all = one;
	} else if (one.verdict != DELIVERY_DONE && all->verdict != DELIVERY_REFUSED) {
		*all = one;
		snprintf(
			all->error, sizeof(all->error), "%.100s: %.400s", instance->url, one.error);
	}
	if (--call->waiting == 0)
		finish(call);
}

static bool add_headers(const Receiver *r, Buf *lines, const char **headers, Err *err)
{
	bool ok = true;

	headers[0] = "Content-Type: application/json";
	headers[1] = "User-Agent: moonwake/" MOONWAKE_VERSION;
	for (size_t i = 0; ok && i < r->nheaders; i++) {
		buf_addf(&lines[i], "%s: ", r->headers[i].name);
		ok = secret_read(&r->headers[i], &lines[i], err) ||
		     err_prefix(err, "headers: %s", r->headers[i].name);
		headers[i + 2] = lines[i].s;
	}
	return ok;
}

static AlertmanagerCall *post(Http *http, const Receiver *r, const Delivery *d,
	const char *const *headers, DeliveryDone fn, void *owner)
{
	AlertmanagerCall *call = mem_calloc(1, sizeof(*call));
	Buf url = { 0 };

	call->instances = mem_calloc(r->nwords, sizeof(*call->instances));
	call->n = call->waiting = r->nwords;
	call->fn = fn;
	call->owner = owner;
	for (size_t i = 0; i < r->nwords; i++) {
		Instance *to = &call->instances[i];
		size_t len = strlen(r->words[i]);

		buf_clear(&url);
		buf_addf(&url, "%s%sapi/v2/alerts", r->words[i],
			len > 0 && r->words[i][len - 1] == '/' ? "" : "/");
		*to = (Instance){ .call = call, .url = r->words[i] };
		to->http = http_post(http,
			&(HttpRequest){ url.s, headers, d->body, r->timeout, r->allow_private },
			on_answer, to);
	}
	buf_free(&url);
	return call;
}

AlertmanagerCall *alertmanager_send(
	Http *http, const Receiver *r, const Delivery *d, DeliveryDone fn, void *owner, Err *err)
{
	Buf *lines = mem_calloc(r->nheaders + 1, sizeof(*lines));
	const char **headers = mem_calloc(r->nheaders + 3, sizeof(*headers));
	AlertmanagerCall *call = NULL;

	if (add_headers(r, lines, headers, err))
		call = post(http, r, d, headers, fn, owner);
	for (size_t i = 0; i < r->nheaders; i++)
		buf_free(&lines[i]);
	free(lines);
	free(headers);
	return call;
}

void alertmanager_drop(AlertmanagerCall *call)
{
	for (size_t i = 0; i < call->n; i++)
		if (call->instances[i].http != NULL)
			http_drop(call->instances[i].http);
	call_free(call);
}
