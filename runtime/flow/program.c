#include "flow/program.h"

#include "base/clock.h"
#include "base/json.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

enum { SAID_MAX = 400 };

struct ProgramCall {
	uv_process_t process;
	uv_pipe_t in, err;
	uv_timer_t timer;
	uv_write_t write;
	char *body;
	char said[SAID_MAX + 1]; /* the end of its standard error */
	size_t nsaid;
	char chunk[4096];
	int open; /* handles; freed with the last one */
	bool exited, silent, timed_out, dropped;
	uint64_t began;
	DeliveryOutcome outcome;
	DeliveryDone fn;
	void *owner;
};

static void on_closed(uv_handle_t *handle)
{
	ProgramCall *call = handle->data;

	if (--call->open > 0)
		return;
	free(call->body);
	free(call);
}

static void close_handle(void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

static void close_all(ProgramCall *call)
{
	close_handle(&call->process);
	close_handle(&call->in);
	close_handle(&call->err);
	close_handle(&call->timer);
}

/* It leads a group of its own: what it started ends with it. */
static void kill_group(const ProgramCall *call)
{
	if (call->process.pid > 0)
		kill(-call->process.pid, SIGKILL);
}

/* --- What became of it
 * ------------------------------------------------------------------------ */

static void add_said(ProgramCall *call)
{
	DeliveryOutcome *o = &call->outcome;
	size_t len = strlen(o->error), from = 0, n = call->nsaid;
	const char *s = call->said;

	while (from < n && ((unsigned char)s[from] & 0xc0) == 0x80) /* cut in two */
		from++;
	while (n > from && (s[n - 1] == '\n' || s[n - 1] == ' '))
		n--;
	if (from < n && json_utf8((Str){ s + from, n - from }, NULL))
		snprintf(o->error + len, sizeof(o->error) - len, ": %.*s", (int)(n - from),
			s + from);
	for (char *p = o->error + len; *p != '\0'; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
}

/* Told when it has ended and said its last word; whoever inherited its standard error may keep it
 * open for ever, and is not waited for. */
static void finish(ProgramCall *call)
{
	call->outcome.seconds = (double)(clock_monotonic_ns() - call->began) / 1e9;
	if (call->outcome.verdict != DELIVERY_DONE)
		add_said(call);
	call->fn(call->owner, &call->outcome);
	close_all(call);
}

static void on_last_word(uv_timer_t *t)
{
	finish(t->data);
}

static void on_ended(uv_process_t *process, int64_t code, int signum)
{
	ProgramCall *call = process->data;
	DeliveryOutcome *o = &call->outcome;

	if (call->dropped) {
		close_all(call);
		return;
	}
	call->exited = true;
	o->status = signum ? 128 + signum : (int)code;
	o->verdict = code == 0 && signum == 0 ? DELIVERY_DONE : DELIVERY_RETRY;
	if (call->timed_out)
		snprintf(o->error, sizeof(o->error), "was killed after its timeout");
	else if (signum)
		snprintf(o->error, sizeof(o->error), "was ended by signal %d", signum);
	else if (code != 0)
		snprintf(o->error, sizeof(o->error), "exit code %" PRId64, code);
	uv_timer_start(&call->timer, on_last_word, call->silent ? 0 : 200, 0);
}

static void on_timeout(uv_timer_t *t)
{
	ProgramCall *call = t->data;

	call->timed_out = true;
	kill_group(call);
}

/* --- Its standard streams
 * --------------------------------------------------------------------- */

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
	ProgramCall *call = handle->data;

	(void)wanted;
	*buf = uv_buf_init(call->chunk, sizeof(call->chunk));
}

static void on_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	ProgramCall *call = stream->data;

	if (n < 0) {
		uv_read_stop(stream);
		call->silent = true;
		if (call->exited && !uv_is_closing((uv_handle_t *)&call->timer))
			uv_timer_start(&call->timer, on_last_word, 0, 0);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (call->nsaid == SAID_MAX)
			memmove(call->said, call->said + 1, --call->nsaid);
		call->said[call->nsaid++] = buf->base[i];
	}
}

static void on_written(uv_write_t *write, int status)
{
	ProgramCall *call = write->data;

	(void)status; /* who does not read it to the end may be done all the same */
	close_handle(&call->in);
}

/* --- Starting it
 * ------------------------------------------------------------------------------ */

static void add_env(char **env, size_t *n, const char *name, const char *value)
{
	Buf line = { 0 };

	if (value == NULL)
		return;
	buf_addf(&line, "%s=%s", name, value);
	env[(*n)++] = line.s;
}

static int start(ProgramCall *call, uv_loop_t *loop, const Receiver *r, const Delivery *d)
{
	uv_stdio_container_t io[3] = {
		{ .flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
			.data.stream = (uv_stream_t *)&call->in },
		{ .flags = UV_IGNORE },
		{ .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
			.data.stream = (uv_stream_t *)&call->err },
	};
	char *env[6] = { NULL };
	uv_process_options_t options = { .exit_cb = on_ended,
		.file = r->words[0],
		.args = (char **)r->words,
		.env = env,
		.flags = UV_PROCESS_DETACHED,
		.stdio_count = 3,
		.stdio = io };
	size_t n = 0;
	int code;

	add_env(env, &n, "PATH", getenv("PATH"));
	add_env(env, &n, "HOME", getenv("HOME"));
	add_env(env, &n, "LANG", "C.UTF-8");
	add_env(env, &n, "MOONWAKE_ID", d->id);
	add_env(env, &n, "MOONWAKE_RECEIVER", r->name);
	code = uv_spawn(loop, &call->process, &options);
	for (size_t i = 0; i < n; i++)
		free(env[i]);
	return code;
}

ProgramCall *program_send(uv_loop_t *loop, const Receiver *r, const Delivery *d, DeliveryDone fn,
	void *owner, Err *err)
{
	ProgramCall *call = mem_calloc(1, sizeof(*call));
	int code;

	*call = (ProgramCall){ .open = 4, .fn = fn, .owner = owner };
	call->began = clock_monotonic_ns();
	call->process.data = call->in.data = call->err.data = call->timer.data = call->write.data =
		call;
	uv_pipe_init(loop, &call->in, 0);
	uv_pipe_init(loop, &call->err, 0);
	uv_timer_init(loop, &call->timer);
	code = start(call, loop, r, d);
	if (code != 0) {
		err_set(err, ERR_IO, "%s: %s", r->words[0], uv_strerror(code));
		close_all(call);
		return NULL;
	}
	call->body = mem_strndup(d->body.s, d->body.len);
	uv_write(&call->write, (uv_stream_t *)&call->in,
		&(uv_buf_t){ .base = call->body, .len = d->body.len }, 1, on_written);
	uv_read_start((uv_stream_t *)&call->err, on_room, on_said);
	uv_timer_start(&call->timer, on_timeout, (uint64_t)(r->timeout * 1000), 0);
	return call;
}

void program_drop(ProgramCall *call)
{
	call->dropped = true;
	kill_group(call);
	close_handle(&call->in);
	close_handle(&call->err);
	close_handle(&call->timer);
	if (call->exited) /* otherwise its end is awaited, or it would stay a zombie */
		close_handle(&call->process);
}
