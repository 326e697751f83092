#include "app/daemon_parts.h"

#include "app/migrate.h"
#include "app/watchdog.h"
#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define RELOAD_MS     300
#define PLAN_TRIES    60 /* of a second each */
#define BACKOFF_FIRST 100
#define BACKOFF_LAST  5000

DaemonOptions daemon_defaults(void)
{
	return (DaemonOptions){ .supervise = true,
		.takeover_after = 10,
		.hang_after = 10,
		.slow_poll_ms = 1000,
		.linger_ms = 30 };
}

static void open_session(Daemon *d);

static void stop(Daemon *d, int code)
{
	d->code = code;
	d->stopped = true;
	uv_stop(&d->loop);
}

/* --- Scripts
 * ---------------------------------------------------------------------------------------- */

static void exchange_receivers(Daemon *d)
{
	Receivers *list = daemon_receivers(d);

	courier_exchange(d->courier, list);
	receivers_release(list);
}

static void on_reload(uv_timer_t *t)
{
	Daemon *d = t->data;
	uint64_t signature = loader_signature(d->cli->workspace);
	bool saved = signature != d->signature;
	Err err;

	if ((!saved && !d->replan) || d->exchange || d->session == NULL || d->stopping)
		return;
	if (!daemon_plan(d, saved || d->stamp[0] == '\0', saved, &err)) {
		log_line(LOG_ERROR, NULL, "%s", err.message);
		d->signature = err_is_retryable(&err) ? d->signature : signature;
		return;
	}
	d->signature = signature;
	if (saved)
		exchange_receivers(d);
	if (!d->replan && !lineup_differs(&d->planned, d->entries, d->n)) {
		memcpy(d->stamp, d->planned.stamp, sizeof(d->stamp));
		lineup_free(&d->planned);
		return;
	}
	d->exchange = true;
	session_quiesce(d->session, false);
}

/* --- The session
 * ------------------------------------------------------------------------------------ */

static void on_report(void *owner, const char *consumer, bool problem, const char *text)
{
	(void)owner;
	log_line(problem ? LOG_WARN : LOG_INFO, consumer, "%s", text);
}

static void on_retry(uv_timer_t *t)
{
	open_session(t->data);
}

static int outcome(const Daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!d->entries[i].runs || d->entries[i].failed)
			return EXIT_FAILED;
	return d->broken > 0 ? EXIT_FAILED : EXIT_OK;
}

static void lost(Daemon *d, const Err *err)
{
	bool again = err_is_retryable(err) || err->kind == ERR_STALE;

	log_line(again ? LOG_WARN : LOG_ERROR, NULL, "%s", err->message);
	if (!again || d->stopping) {
		stop(d, d->stopping ? EXIT_OK : EXIT_FAILED);
		return;
	}
	session_close(d->session);
	d->session = NULL;
	for (size_t i = 0; i < d->n; i++) {
		d->entries[i].owned = d->entries[i].ensured = d->entries[i].failed = false;
		consumer_forget(&d->entries[i].consumer);
	}
	if (d->exchange) {
		daemon_exchange(d);
		d->exchange = false;
	}
	/* Jitter: many daemons lose one server at one moment. */
	uv_timer_start(&d->retry, on_retry,
		d->backoff_ms / 2 + clock_monotonic_ns() / 1000 % d->backoff_ms, 0);
	d->backoff_ms = d->backoff_ms * 2 < BACKOFF_LAST ? d->backoff_ms * 2 : BACKOFF_LAST;
}

static void on_delivered(void *owner)
{
	Daemon *d = owner;

	stop(d, d->code);
}

static void on_session(void *owner, SessionEvent ev, const Err *err)
{
	Daemon *d = owner;

	switch (ev) {
	case SESSION_RUNNING:
		d->backoff_ms = BACKOFF_FIRST;
		break;
	case SESSION_CAUGHT_UP:
		log_line(LOG_INFO, NULL, "caught up");
		if (d->options->until_caught_up && !d->stopping) {
			d->stopping = true;
			d->code = outcome(d);
			session_quiesce(d->session, true);
		}
		break;
	case SESSION_STALE:
		d->replan = true;
		uv_timer_start(&d->reload, on_reload, 20, RELOAD_MS);
		break;
	case SESSION_QUIET:
		if (d->stopping) {
			courier_quiesce(d->courier, on_delivered);
		} else if (d->exchange) {
			d->exchange = false;
			daemon_exchange(d);
		}
		break;
	case SESSION_LOST:
		lost(d, err);
		break;
	}
}

static void open_courier(Daemon *d)
{
	CourierOptions options = { .daemon = d->name,
		.takeover_after = d->options->takeover_after };
	Receivers *list = daemon_receivers(d);

	d->courier = courier_open(&d->loop, &d->target, &options, list, on_report, d);
	receivers_release(list);
}

static void open_session(Daemon *d)
{
	SessionOptions options = { .daemon = d->name,
		.takeover_after = d->options->takeover_after,
		.slow_poll_ms = d->options->slow_poll_ms,
		.fast_poll_ms = d->options->fast_poll_ms,
		.linger_ms = d->options->linger_ms };

	d->session = session_open(&d->loop, &d->target, &options, d->entries, d->n, d->stamp,
		&d->progress, on_report, on_session, d);
}

/* --- Signals
 * ---------------------------------------------------------------------------------------- */

static void on_stop(uv_signal_t *s, int signum)
{
	Daemon *d = s->data;

	(void)signum;
	if (d->stopping || d->session == NULL) {
		stop(d, d->code);
		return;
	}
	log_line(LOG_INFO, NULL, "stopping at the next batch boundary (once more to stop at once)");
	d->stopping = true;
	session_quiesce(d->session, true);
}

static void on_status(uv_signal_t *s, int signum)
{
	Daemon *d = s->data;

	(void)signum;
	if (d->session != NULL)
		log_line(LOG_INFO, NULL, "fell asleep %" PRIu64 " times",
			session_sleeps(d->session));
	for (size_t i = 0; d->session != NULL && i < d->n; i++) {
		const RosterEntry *e = &d->entries[i];

		log_line(LOG_INFO, e->consumer.name,
			"%s, position %" PRId64 ", %" PRIu64 " events handled, %" PRIu64 " refused",
			e->runs    ? "running"
			: e->owned ? "parked"
				   : "owned by another daemon",
			session_position(d->session, i), e->consumer.events, e->consumer.refused);
	}
}

static void watch_signal(Daemon *d, uv_signal_t *s, uv_signal_cb fn, int signum)
{
	uv_signal_init(&d->loop, s);
	s->data = d;
	uv_signal_start(s, fn, signum);
}

/* --- Life
 * ------------------------------------------------------------------------------------------- */

static void on_script_log(void *owner, const char *script, const char *line)
{
	(void)owner;
	log_line(LOG_INFO, script, "%s", line);
}

/* Says at once what cannot get better by waiting: a wrong DSN, a missing or foreign schema. */
static bool look_first(Daemon *d, const Quarantine *q, Err *err)
{
	PgDb *db = pg_db_open(&d->target, err);
	bool ok = db != NULL && migrate_check(db, err);

	if (ok && q->script[0] != '\0') {
		char event[24], text[160];
		const char *params[] = { q->script, event, text };

		snprintf(event, sizeof(event), "%" PRId64, q->event_id);
		snprintf(text, sizeof(text), "%s: hung for %.0f s at event %" PRId64, q->script,
			q->seconds, q->event_id);
		pg_rows_free(pg_db_run(db, SQL_QUARANTINE, 3, params, err));
	}
	pg_db_close(db);
	return ok;
}

static void close_handle(uv_handle_t *h, void *arg)
{
	(void)arg;
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void tear_down(Daemon *d)
{
	session_close(d->session);
	courier_close(d->courier);
	uv_run(&d->loop, UV_RUN_NOWAIT);
	uv_walk(&d->loop, close_handle, NULL);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	uv_loop_close(&d->loop);
	daemon_close_scripts(d);
}

/* Somebody may be making a table or an index meanwhile. */
static bool plan_at_last(Daemon *d, Err *err)
{
	for (int tries = 1; !daemon_plan(d, true, tries == 1, err); tries++) {
		if (err->kind != ERR_BUSY || tries == PLAN_TRIES)
			return false;
		log_line(LOG_WARN, NULL, "%s", err->message);
	}
	return true;
}

static int work(void *owner, const Quarantine *q, int fd)
{
	Daemon *d = owner;
	char host[256] = "";
	Err err;

	gethostname(host, sizeof(host) - 1);
	snprintf(d->name, sizeof(d->name), "%s:%d", host, (int)getpid());
	if (!look_first(d, q, &err))
		return cli_fail(&err);
	uv_loop_init(&d->loop);
	uv_timer_init(&d->loop, &d->retry);
	uv_timer_init(&d->loop, &d->reload);
	d->retry.data = d->reload.data = d;
	watch_signal(d, &d->sigint, on_stop, SIGINT);
	watch_signal(d, &d->sigterm, on_stop, SIGTERM);
	watch_signal(d, &d->sigusr1, on_status, SIGUSR1);
	d->signature = loader_signature(d->cli->workspace);
	if (!plan_at_last(d, &err)) {
		tear_down(d);
		return cli_fail(&err);
	}
	daemon_exchange(d);
	if (d->n == 0)
		log_line(LOG_WARN, NULL, "no script to run in %s (it is watched)",
			d->cli->workspace);
	watchdog_start(&d->progress, &d->calls, d->options->hang_after, fd);
	uv_timer_start(&d->reload, on_reload, RELOAD_MS, RELOAD_MS);
	open_session(d);
	open_courier(d);
	while (!d->stopped)
		uv_run(&d->loop, UV_RUN_DEFAULT);
	tear_down(d);
	return d->code;
}

int daemon_main(Cli *cli, const PgTarget *target, const DaemonOptions *options)
{
	Daemon *d = mem_calloc(1, sizeof(*d));
	int code;

	d->cli = cli;
	d->options = options;
	d->target = *target;
	d->backoff_ms = BACKOFF_FIRST;
	d->lua = (LuaOptions){ .workspace = cli->workspace,
		.memory = options->script_memory,
		.states = options->state_memory,
		.budget = options->budget,
		.log = on_script_log,
		.progress = &d->calls };
	if (options->quiet)
		log_threshold(LOG_WARN);
	if (options->supervise)
		code = watchdog_supervise(work, d);
	else
		code = work(d, &(Quarantine){ 0 }, -1);
	free(d);
	return code;
}
