#include "flow/http.h"

#include "flow/address.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <unistd.h>

#define BODY_KEPT  4096
#define BODY_READ  262144 /* who says more is not listened to */
#define CONNECT_MS 10000

struct Http {
	uv_loop_t *loop;
	uv_timer_t *timer;
	CURLM *multi;
	HttpCall *first;
};

struct HttpCall {
	HttpCall *next, **self;
	Http *http;
	CURL *easy;
	struct curl_slist *headers;
	bool allow_private;
	char denied[ADDRESS_SIZE]; /* the address that was refused */
	Buf body;
	size_t read;
	char problem[CURL_ERROR_SIZE];
	HttpDone fn;
	void *owner;
};

static void free_handle(uv_handle_t *h)
{
	free(h);
}

static void call_free(HttpCall *call)
{
	curl_multi_remove_handle(call->http->multi, call->easy);
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	*call->self = call->next;
	if (call->next != NULL)
		call->next->self = call->self;
	buf_free(&call->body);
	free(call);
}

/* --- The answer
 * ---------------------------------------------------------------------------------- */

static HttpAnswer answer_of(HttpCall *call, CURLcode result)
{
	HttpAnswer a = { .body = buf_str(&call->body) };
	long status = 0;
	curl_off_t after = 0, us = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &after);
	curl_easy_getinfo(call->easy, CURLINFO_TOTAL_TIME_T, &us);
	a.seconds = (double)us / 1e6;
	if (result == CURLE_OK || call->read > BODY_READ) {
		a.status = (int)status;
		a.retry_after = after;
	} else if (call->denied[0] != '\0') {
		err_set(&a.err, ERR_CONN, "%s is no public address", call->denied);
		err_hint(&a.err, "allow_private = true in the receiver permits it");
	} else {
		err_set(&a.err, ERR_CONN, "%s",
			call->problem[0] ? call->problem : curl_easy_strerror(result));
	}
	return a;
}

static void tell_finished(Http *h)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(h->multi, &left)) != NULL) {
		HttpCall *call = NULL;
		HttpAnswer answer;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		answer = answer_of(call, msg->data.result);
		call->fn(call->owner, &answer);
		call_free(call);
	}
}

static size_t on_body(char *bytes, size_t size, size_t n, void *owner)
{
	HttpCall *call = owner;
	size_t room = BODY_KEPT - call->body.len;

	n *= size;
	buf_add(&call->body, bytes, n < room ? n : room);
	call->read += n;
	return call->read > BODY_READ ? 0 : n;
}

/* --- Sockets and time
 * ---------------------------------------------------------------------------- */

static curl_socket_t on_open(void *owner, curlsocktype purpose, struct curl_sockaddr *a)
{
	HttpCall *call = owner;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		(!call->allow_private && !address_is_public(&a->addr))) {
		address_format(&a->addr, call->denied);
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static void act(Http *h, curl_socket_t fd, int events)
{
	int running;

	curl_multi_socket_action(h->multi, fd, events, &running);
	tell_finished(h);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	uv_os_fd_t fd = 0;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;

	flags |= (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
		 (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
	uv_fileno((uv_handle_t *)poll, &fd);
	act(poll->data, fd, flags);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *known)
{
	Http *h = owner;
	uv_poll_t *poll = known;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (poll != NULL) {
			uv_poll_stop(poll);
			uv_close((uv_handle_t *)poll, free_handle);
			curl_multi_assign(h->multi, fd, NULL);
		}
		return 0;
	}
	if (poll == NULL) {
		poll = mem_calloc(1, sizeof(*poll));
		uv_poll_init_socket(h->loop, poll, fd);
		poll->data = h;
		curl_multi_assign(h->multi, fd, poll);
	}
	uv_poll_start(poll,
		(what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
		on_poll);
	return 0;
}

static void on_timeout(uv_timer_t *t)
{
	act(t->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long ms, void *owner)
{
	Http *h = owner;

	(void)multi;
	if (ms < 0)
		uv_timer_stop(h->timer);
	else
		uv_timer_start(h->timer, on_timeout, (uint64_t)ms, 0);
	return 0;
}

/* --- Requests
 * ------------------------------------------------------------------------------------ */

static void set_options(CURL *easy, HttpCall *call, const HttpRequest *request)
{
	long ms = (long)(request->timeout * 1000);

	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->problem);
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, ms);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, ms < CONNECT_MS ? ms : CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
	curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body.s);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
}

HttpCall *http_post(Http *h, const HttpRequest *request, HttpDone fn, void *owner)
{
	HttpCall *call = mem_calloc(1, sizeof(*call));

	*call = (HttpCall){ .http = h,
		.next = h->first,
		.self = &h->first,
		.easy = curl_easy_init(),
		.allow_private = request->allow_private,
		.fn = fn,
		.owner = owner };
	if (h->first != NULL)
		h->first->self = &call->next;
	h->first = call;
	for (const char *const *line = request->headers; *line != NULL; line++)
		call->headers = curl_slist_append(call->headers, *line);
	/* Without asking: a receiver that does not know the word would cost a second. */
	call->headers = curl_slist_append(call->headers, "Expect:");
	set_options(call->easy, call, request);
	curl_multi_add_handle(h->multi, call->easy);
	return call;
}

void http_drop(HttpCall *call)
{
	call_free(call);
}

Http *http_open(uv_loop_t *loop)
{
	Http *h = mem_calloc(1, sizeof(*h));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	h->loop = loop;
	h->timer = mem_calloc(1, sizeof(*h->timer));
	uv_timer_init(loop, h->timer);
	h->timer->data = h;
	h->multi = curl_multi_init();
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	return h;
}

void http_close(Http *h)
{
	for (HttpCall *call = h->first, *next; call != NULL; call = next) {
		next = call->next;
		call_free(call);
	}
	curl_multi_cleanup(h->multi);
	uv_timer_stop(h->timer);
	uv_close((uv_handle_t *)h->timer, free_handle);
	free(h);
	curl_global_cleanup();
}
