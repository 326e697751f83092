#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <uv.h>

/* HTTP requests on the loop, many at a time, by libcurl. A redirect is an answer like any other and
 * never followed; no proxy of the environment is used: an address that is refused must not be
 * reached by a detour. Every request has a connection of its own. */
typedef struct Http Http;
typedef struct HttpCall HttpCall;

typedef struct {
	const char *url;
	const char *const *headers; /* "Name: value"; ends with NULL */
	Str body;
	double timeout;     /* seconds, from the name's resolution to the answer's last byte */
	bool allow_private; /* also to addresses that are not public (address.h) */
} HttpRequest;

/* Lives until the callback returns. */
typedef struct {
	int status;          /* 0: there is no answer, and `err` says why */
	int64_t retry_after; /* seconds; 0: the answer does not say */
	Str body;            /* its beginning */
	double seconds;
	Err err;
} HttpAnswer;

/* Never called from within http_post(). It may post and drop, but not close. */
typedef void (*HttpDone)(void *owner, const HttpAnswer *answer);

Http *http_open(uv_loop_t *loop);
void http_close(Http *h); /* what is under way is dropped */

/* Everything is copied. */
HttpCall *http_post(Http *h, const HttpRequest *request, HttpDone fn, void *owner);
void http_drop(HttpCall *call); /* without calling back */
