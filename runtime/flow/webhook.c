#include "flow/webhook.h"

#include "base/json.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

enum { KEY_MIN = 24, KEY_MAX = 64, SAID = 300 };

struct WebhookCall {
	HttpCall *http;
	DeliveryDone fn;
	void *owner;
};

/* --- Signing
 * ------------------------------------------------------------------------------------- */

/* The bytes that base64 stands for; -1 where it is none. */
static int decode(Str text, unsigned char key[KEY_MAX + 3])
{
	int n, padding = 0;

	if (text.len % 4 != 0 || text.len > (KEY_MAX + 2) / 3 * 4)
		return -1;
	n = EVP_DecodeBlock(key, (const unsigned char *)text.s, (int)text.len);
	while (padding < 2 && (size_t)padding < text.len &&
		text.s[text.len - 1 - (size_t)padding] == '=')
		padding++;
	return n < 0 ? -1 : n - padding;
}

bool webhook_sign(Str secret, const char *id, int64_t seconds, Str body, Buf *signature, Err *err)
{
	static const Str prefix = { "whsec_", 6 };
	unsigned char key[KEY_MAX + 3], mac[EVP_MAX_MD_SIZE], base64[2 * EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;
	Buf text = { 0 };
	int n;

	if (secret.len > prefix.len && memcmp(secret.s, prefix.s, prefix.len) == 0)
		secret = (Str){ secret.s + prefix.len, secret.len - prefix.len };
	n = decode(secret, key);
	if (n < KEY_MIN || n > KEY_MAX) {
		err_set(err, ERR_DATA, "is not whsec_ and the base64 of 24 to 64 bytes");
		return err_hint(err, "make one: echo whsec_$(openssl rand -base64 32)");
	}
	buf_addf(&text, "%s.%" PRId64 ".", id, seconds);
	buf_add(&text, body.s, body.len);
	HMAC(EVP_sha256(), key, n, (const unsigned char *)text.s, text.len, mac, &mac_len);
	EVP_EncodeBlock(base64, mac, (int)mac_len);
	buf_addf(signature, "%sv1,%s", signature->len > 0 ? " " : "", (const char *)base64);
	explicit_bzero(key, sizeof(key));
	buf_free(&text);
	return true;
}

static bool sign_all(const Receiver *r, const Delivery *d, int64_t now_s, Buf *out, Err *err)
{
	bool ok = true;

	for (size_t i = 0; ok && i < r->nsecrets; i++) {
		const Secret *s = &r->secrets[i];
		Buf secret = { 0 };

		ok = secret_read(s, &secret, err) &&
		     (webhook_sign(buf_str(&secret), d->id, now_s, d->body, out, err) ||
			     err_prefix(err, "%s", s->file ? s->file : s->env));
		if (secret.s != NULL)
			explicit_bzero(secret.s, secret.len);
		buf_free(&secret);
	}
	return ok || err_prefix(err, "secret");
}

/* --- The request
 * --------------------------------------------------------------------------------- */

typedef struct {
	Buf url;
	Buf *lines;
	const char **headers;
	size_t n;
} Parts;

static Buf *add_line(Parts *p)
{
	return &p->lines[p->n++];
}

static bool prepare(const Receiver *r, const Delivery *d, int64_t now_s, Parts *p, Err *err)
{
	Buf signatures = { 0 };
	bool ok = (secret_read(&r->url, &p->url, err) || err_prefix(err, "webhook")) &&
		  sign_all(r, d, now_s, &signatures, err);

	p->lines = mem_calloc(r->nheaders + 5, sizeof(*p->lines));
	p->headers = mem_calloc(r->nheaders + 6, sizeof(*p->headers));
	buf_adds(add_line(p), "Content-Type: application/json");
	buf_adds(add_line(p), "User-Agent: moonwake/" MOONWAKE_VERSION);
	buf_addf(add_line(p), "webhook-id: %s", d->id);
	buf_addf(add_line(p), "webhook-timestamp: %" PRId64, now_s);
	if (ok && signatures.len > 0)
		buf_addf(add_line(p), "webhook-signature: %s", signatures.s);
	for (size_t i = 0; ok && i < r->nheaders; i++) {
		Buf *line = add_line(p);

		buf_addf(line, "%s: ", r->headers[i].name);
		ok = secret_read(&r->headers[i], line, err) ||
		     err_prefix(err, "headers: %s", r->headers[i].name);
	}
	for (size_t i = 0; i < p->n; i++)
		p->headers[i] = p->lines[i].s;
	buf_free(&signatures);
	return ok;
}

static void parts_free(Parts *p)
{
	for (size_t i = 0; i < p->n; i++) {
		explicit_bzero(p->lines[i].s, p->lines[i].len);
		buf_free(&p->lines[i]);
	}
	free(p->lines);
	free(p->headers);
	buf_free(&p->url);
}

bool webhook_check(const Receiver *r, Err *err)
{
	Delivery nothing = { "0", STR("") };
	Parts p = { 0 };
	bool ok = prepare(r, &nothing, 0, &p, err);

	parts_free(&p);
	return ok || err_prefix(err, "receiver '%s'", r->name);
}

/* --- The answer
 * ---------------------------------------------------------------------------------- */

/* What the receiver said, on one line and in printable characters. */
static void add_words(DeliveryOutcome *o, Str body)
{
	size_t at = strlen(o->error), most = at + SAID, valid = body.len;

	json_utf8(body, &valid); /* it may be cut in the middle of a character */
	if (valid == 0)
		return;
	at += (size_t)snprintf(o->error + at, sizeof(o->error) - at, ": ");
	for (size_t i = 0; i < valid && at < most; i++)
		o->error[at++] = (unsigned char)body.s[i] < ' ' ? ' ' : body.s[i];
	while (!json_utf8((Str){ o->error, at }, NULL) || o->error[at - 1] == ' ')
		at--;
	o->error[at] = '\0';
}

DeliveryOutcome webhook_outcome(const HttpAnswer *a)
{
	DeliveryOutcome o = { .verdict = DELIVERY_RETRY,
		.status = a->status,
		.retry_after = (double)a->retry_after,
		.seconds = a->seconds };

	if (a->status >= 200 && a->status < 300) {
		o.verdict = DELIVERY_DONE;
		return o;
	}
	o.throttle = a->status == 429 || a->status == 502 || a->status == 504;
	o.gone = a->status == 410;
	if (a->status == 0)
		snprintf(o.error, sizeof(o.error), "%.500s", a->err.message);
	else if (a->status >= 300 && a->status < 400)
		snprintf(o.error, sizeof(o.error),
			"answered %d (redirects are not followed: write the address that is meant)",
			a->status);
	else {
		snprintf(o.error, sizeof(o.error), "answered %d", a->status);
		add_words(&o, a->body);
	}
	return o;
}

static void on_answer(void *owner, const HttpAnswer *answer)
{
	WebhookCall *call = owner;
	DeliveryOutcome outcome = webhook_outcome(answer);

	call->fn(call->owner, &outcome);
	free(call);
}

WebhookCall *webhook_send(Http *http, const Receiver *r, const Delivery *d, int64_t now_s,
	DeliveryDone fn, void *owner, Err *err)
{
	WebhookCall *call = NULL;
	Parts p = { 0 };

	if (prepare(r, d, now_s, &p, err)) {
		HttpRequest request = { .url = p.url.s,
			.headers = p.headers,
			.body = d->body,
			.timeout = r->timeout,
			.allow_private = r->allow_private };

		call = mem_calloc(1, sizeof(*call));
		call->fn = fn;
		call->owner = owner;
		call->http = http_post(http, &request, on_answer, call);
	}
	parts_free(&p);
	return call;
}

void webhook_drop(WebhookCall *call)
{
	http_drop(call->http);
	free(call);
}
