#include "flow/courier_parts.h"

#include "base/clock.h"
#include "base/fault.h"

#include <inttypes.h>
#include <stdlib.h>

#define BEAT_MS   1000
#define POLL_MS   5000 /* at the latest; the database rings */
#define AT_ONCE   8    /* on their way to one receiver */
#define ACTS      4
#define BATCH     128 /* rows in one body for an Alertmanager */
#define TIDY_NS   UINT64_C(3600000000000)
#define BACKOFF   8 /* beats, at most, between two tries to connect */
#define SECOND_NS 1e9

static const char *subject(const Seat *seat)
{
	return seat->name[0] ? seat->name : "outbox";
}

static bool is_alertmanager(const Seat *seat)
{
	return seat->receiver != NULL && seat->receiver->kind == RECEIVER_ALERTMANAGER;
}

/* --- Receivers
 * ------------------------------------------------------------------------------ */

static Seat *find_seat(Courier *c, const char *name)
{
	for (Seat *seat = c->seats; seat != NULL; seat = seat->next)
		if (strcmp(seat->name, name) == 0)
			return seat;
	return NULL;
}

static void seat_receiver(Courier *c, const char *name, const Receiver *r)
{
	Seat *seat = find_seat(c, name);

	if (seat == NULL) {
		seat = mem_calloc(1, sizeof(*seat));
		snprintf(seat->name, sizeof(seat->name), "%s", name);
		seat->next = c->seats;
		c->seats = seat;
	}
	seat->receiver = r;
	seat->leaves = false;
}

static void seat_all(Courier *c)
{
	for (Seat *seat = c->seats; seat != NULL; seat = seat->next) {
		seat->receiver = NULL;
		seat->leaves = true;
	}
	seat_receiver(c, "", NULL);
	for (size_t i = 0; i < c->receivers->n; i++)
		seat_receiver(c, c->receivers->items[i].name, &c->receivers->items[i]);
}

static void add_name(Buf *list, const char *name)
{
	buf_addf(list, "%s\"%s\"", list->len > 1 ? "," : "", name);
}

/* As an array of PostgreSQL: those that are held, or not; names need no escape. */
static void names_of(const Courier *c, bool held, Buf *list)
{
	buf_addc(list, '{');
	for (const Seat *seat = c->seats; seat != NULL; seat = seat->next)
		if (seat->held == held)
			add_name(list, seat->name);
	buf_addc(list, '}');
}

/* Gives back those that are no longer defined, once nothing is on its way to them, or may be. */
static void release_leaving(Courier *c)
{
	Seat **at = &c->seats, *seat;

	if (c->claiming)
		return;
	while ((seat = *at) != NULL) {
		if (!seat->leaves || seat->on_way > 0 || seat->resends) {
			at = &seat->next;
			continue;
		}
		if (seat->held && c->up) {
			Buf list = { 0 };
			const char *params[1];

			buf_addf(&list, "{\"%s\"}", seat->name);
			params[0] = list.s;
			pg_conn_run(c->conn, SQL_OUTBOX_RELEASE, 1, params, NULL, NULL);
			pg_conn_sync(c->conn, NULL, NULL);
			buf_free(&list);
		}
		*at = seat->next;
		free(seat);
	}
}

static void add_seat(Buf *out, const Seat *seat, int room)
{
	const Receiver *r = seat->receiver;
	static const char *const kinds[] = { "webhook", "alertmanager", "program" };

	buf_addf(out,
		"%s{\"name\":\"%s\",\"digest\":\"%s\",\"receives\":\"%s\",\"format\":\"%s\","
		"\"room\":%d,\"stale_after\":%.3f,\"resend\":%.3f}",
		out->len > 1 ? "," : "", seat->name, r ? r->digest : "",
		r ? kinds[r->kind] : "database", r && r->format ? r->format : "standard", room,
		r ? r->stale_after : 0, r ? r->resend : 0);
}

/* --- Holding them
 * ----------------------------------------------------------------------------- */

static void on_held(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;

	for (int i = 0; err == NULL && i < pg_rows_count(rows); i++) {
		Seat *seat = find_seat(c, pg_rows_text(rows, i, 0));

		if (seat == NULL)
			continue;
		seat->held = true;
		if (!pg_rows_null(rows, i, 1))
			c->report(c->owner, subject(seat), true,
				"nothing is sent there (`moonwake outbox enable`)");
	}
	if (err == NULL && pg_rows_count(rows) > 0)
		courier_wake(c);
	pg_rows_free(rows);
}

static void hold(Courier *c)
{
	char silence[32];
	const char *params[] = { NULL, c->daemon }, *evict[] = { NULL, silence };
	Buf list = { 0 }, names = { 0 };

	snprintf(silence, sizeof(silence), "%.3f", c->takeover_after);
	buf_addc(&list, '[');
	for (const Seat *seat = c->seats; seat != NULL; seat = seat->next)
		if (!seat->held && !seat->leaves)
			add_seat(&list, seat, 0);
	buf_addc(&list, ']');
	names_of(c, false, &names);
	params[0] = list.s;
	evict[0] = names.s;
	if (list.len > 2) {
		pg_conn_run(c->conn, SQL_OUTBOX_HOLD, 2, params, on_held, c);
		pg_conn_sync(c->conn, NULL, NULL);
		pg_conn_run(c->conn, SQL_OUTBOX_EVICT, 2, evict, NULL, NULL);
		pg_conn_sync(c->conn, NULL, NULL);
	}
	buf_free(&list);
	buf_free(&names);
}

static void show_life(Courier *c)
{
	Buf list = { 0 };
	const char *params[1];

	buf_addc(&list, '[');
	for (const Seat *seat = c->seats; seat != NULL; seat = seat->next)
		if (seat->held && !seat->leaves)
			add_seat(&list, seat, 0);
	buf_addc(&list, ']');
	params[0] = list.s;
	pg_conn_run(c->conn, SQL_OUTBOX_BEAT, 1, params, NULL, NULL);
	pg_conn_sync(c->conn, NULL, NULL);
	buf_free(&list);
}

/* --- Claims
 * ----------------------------------------------------------------------------------- */

static void wake_in(Courier *c, uint64_t ms);
static void quiet_if_done(Courier *c);

static void on_claim(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;

	if (err != NULL) {
		if (err->kind != ERR_CONN)
			c->report(c->owner, "outbox", true, err->message);
		return;
	}
	if (pg_rows_count(rows) > 0)
		FAULT("outbox.claimed");
	for (int i = 0; i < pg_rows_count(rows); i++) {
		Seat *seat = find_seat(c, pg_rows_text(rows, i, 1));
		Send *s = courier_send_new(
			c, seat, pg_rows_text(rows, i, 0), pg_rows_str(rows, i, 4));

		s->kind = mem_strdup(pg_rows_text(rows, i, 2));
		s->attempt = (int)pg_rows_i64(rows, i, 3);
		c->again = true;
		if (seat->receiver != NULL)
			courier_send(s);
		else if (!seat->leaves)
			courier_act(s);
		else
			courier_give_back(s);
	}
	pg_rows_free(rows);
}

static void on_due(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;
	const char *missing;

	c->claiming = false;
	if (err != NULL) {
		if (err->kind != ERR_CONN) {
			wake_in(c, POLL_MS);
			release_leaving(c);
			quiet_if_done(c);
		}
		return;
	}
	missing = pg_rows_text(rows, 0, 1);
	if (missing[0] != '\0' && strcmp(missing, c->missing) != 0) {
		Err said;

		err_set(&said, ERR_DATA, "deliveries wait for receivers that are not defined: %s",
			missing);
		err_hint(&said, "rules/receivers/NAME.lua defines one");
		c->report(c->owner, "outbox", true, said.message);
	}
	snprintf(c->missing, sizeof(c->missing), "%s", missing);
	if (c->again)
		wake_in(c, 0);
	else if (!pg_rows_null(rows, 0, 0) && pg_rows_i64(rows, 0, 0) < POLL_MS)
		wake_in(c, (uint64_t)pg_rows_i64(rows, 0, 0) + 1);
	else
		wake_in(c, POLL_MS);
	pg_rows_free(rows);
	release_leaving(c);
	quiet_if_done(c);
}

/* Of an Alertmanager one body at a time, or what was asked first might arrive last; and none before
 * it is told of all again, when that is due. */
static int room(const Seat *seat)
{
	if (!seat->held || seat->leaves)
		return 0;
	if (is_alertmanager(seat))
		return seat->on_way == 0 && !seat->resends && seat->resend_ns != 0 ? BATCH : 0;
	if (seat->receiver == NULL)
		return ACTS - (int)seat->on_way;
	return AT_ONCE - (int)seat->on_way;
}

static void claim(Courier *c)
{
	Buf list = { 0 }, held = { 0 }, all = { 0 };
	const char *params[1], *names[2];

	c->claiming = true;
	c->again = false;
	buf_addc(&list, '[');
	buf_addc(&all, '{');
	for (const Seat *seat = c->seats; seat != NULL; seat = seat->next) {
		add_name(&all, seat->name);
		if (room(seat) > 0)
			add_seat(&list, seat, room(seat));
	}
	buf_addc(&list, ']');
	buf_addc(&all, '}');
	names_of(c, true, &held);
	params[0] = list.s;
	names[0] = held.s;
	names[1] = all.s;
	courier_drop_cancelled(c);
	if (list.len > 2) {
		pg_conn_run(c->conn, SQL_OUTBOX_CLAIM, 1, params, on_claim, c);
		pg_conn_sync(c->conn, NULL, NULL);
	}
	pg_conn_run(c->conn, SQL_OUTBOX_DUE, 2, names, on_due, c);
	pg_conn_sync(c->conn, NULL, NULL);
	buf_free(&list);
	buf_free(&held);
	buf_free(&all);
}

static bool resend_is_due(const Seat *seat, uint64_t now)
{
	return is_alertmanager(seat) && seat->held && !seat->resends && seat->on_way == 0 &&
	       (seat->resend_ns == 0 ||
		       (double)(now - seat->resend_ns) >= seat->receiver->resend * SECOND_NS);
}

static void on_work(uv_timer_t *t)
{
	Courier *c = t->data;
	uint64_t now = clock_monotonic_ns();

	if (!c->up || c->quiet)
		return;
	for (Seat *seat = c->seats; seat != NULL; seat = seat->next)
		if (resend_is_due(seat, now))
			courier_resend(seat, c);
	if (c->claiming)
		c->again = true;
	else
		claim(c);
}

static void wake_in(Courier *c, uint64_t ms)
{
	if (!c->quiet)
		uv_timer_start(c->work, on_work, ms, 0);
}

void courier_wake(Courier *c)
{
	if (c->claiming)
		c->again = true;
	else
		wake_in(c, 0);
}

/* --- The end
 * ------------------------------------------------------------------------------------- */

static void tell_quiet(uv_timer_t *t)
{
	Courier *c = t->data;

	c->on_quiet(c->owner);
}

static void on_released(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;

	(void)rows, (void)err;
	uv_timer_start(c->work, tell_quiet, 0, 0);
}

static void quiet_if_done(Courier *c)
{
	Buf held = { 0 };
	const char *params[1];

	if (!c->quiet || c->released || c->claiming || c->sends != NULL)
		return;
	c->released = true;
	if (!c->up) {
		on_released(c, NULL, NULL);
		return;
	}
	names_of(c, true, &held);
	params[0] = held.s;
	pg_conn_run(c->conn, SQL_OUTBOX_RELEASE, 1, params, NULL, NULL);
	pg_conn_sync(c->conn, on_released, c);
	buf_free(&held);
}

void courier_settled(Courier *c)
{
	release_leaving(c);
	if (c->quiet)
		quiet_if_done(c);
	else
		courier_wake(c);
}

void courier_quiesce(Courier *c, CourierQuiet fn)
{
	c->quiet = true;
	c->on_quiet = fn;
	uv_timer_stop(c->work);
	quiet_if_done(c);
}

/* --- Connections
 * --------------------------------------------------------------------------------- */

static void close_connections(Courier *c)
{
	courier_drop_sends(c);
	if (c->conn != NULL)
		pg_conn_close(c->conn);
	if (c->acts != NULL)
		pg_conn_close(c->acts);
	c->conn = c->acts = NULL;
	c->connected = 0;
	c->up = c->claiming = c->unmuting = false;
	for (Seat *seat = c->seats; seat != NULL; seat = seat->next) {
		seat->held = seat->resends = false;
		seat->resend_ns = 0;
	}
}

void courier_lose(Courier *c, const Err *err)
{
	if (!c->quiet)
		c->report(c->owner, "outbox", true, err->message);
	close_connections(c);
	c->backoff = c->backoff == 0 ? 1 : c->backoff * 2 < BACKOFF ? c->backoff * 2 : BACKOFF;
	c->wait = c->backoff;
	if (c->quiet && !c->released)
		quiet_if_done(c);
	else if (c->released)
		on_released(c, NULL, NULL);
}

static void on_conn(PgConn *conn, void *owner, PgEvent ev, int pid, const Err *err)
{
	Courier *c = owner;

	(void)conn, (void)pid;
	if (ev == PG_LOST) {
		courier_lose(c, err);
	} else if (ev == PG_NOTIFY) {
		courier_wake(c);
	} else if (++c->connected == 2) {
		c->up = true;
		c->backoff = 0;
		pg_conn_run(c->conn, SQL_OUTBOX_LISTEN, 0, NULL, NULL, NULL);
		pg_conn_sync(c->conn, NULL, NULL);
		hold(c);
	}
}

static void on_unmuted(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;

	pg_rows_free(rows);
	c->unmuting = false;
	if (err != NULL && err->kind != ERR_CONN && !err_is_retryable(err))
		c->report(c->owner, "outbox", true, err->message);
}

/* Silences begin and mutes end by themselves. */
static void unmute(Courier *c)
{
	if (c->unmuting || !find_seat(c, "")->held)
		return;
	c->unmuting = true;
	pg_conn_run(c->conn, SQL_ALERTS_UNMUTE, 0, NULL, on_unmuted, c);
	pg_conn_sync(c->conn, NULL, NULL);
}

static void tidy(Courier *c)
{
	uint64_t now = clock_monotonic_ns();

	if (c->tidied_ns != 0 && now - c->tidied_ns < TIDY_NS)
		return;
	c->tidied_ns = now;
	pg_conn_run(c->conn, SQL_OUTBOX_TIDY, 0, NULL, NULL, NULL);
	pg_conn_sync(c->conn, NULL, NULL);
}

static void on_beat(uv_timer_t *t)
{
	Courier *c = t->data;
	uint64_t now = clock_monotonic_ns();

	if (c->quiet)
		return;
	if (c->conn == NULL && (c->wait == 0 || --c->wait == 0)) {
		c->conn = pg_conn_open(c->loop, &c->target, on_conn, c);
		c->acts = pg_conn_open(c->loop, &c->target, on_conn, c);
	}
	if (!c->up)
		return;
	show_life(c);
	hold(c);
	unmute(c);
	tidy(c);
	for (Seat *seat = c->seats; seat != NULL; seat = seat->next)
		if (resend_is_due(seat, now))
			courier_wake(c);
}

/* --- Life
 * ---------------------------------------------------------------------------------------- */

static uv_timer_t *timer_new(Courier *c)
{
	uv_timer_t *t = mem_calloc(1, sizeof(*t));

	uv_timer_init(c->loop, t);
	t->data = c;
	return t;
}

Courier *courier_open(uv_loop_t *loop, const PgTarget *target, const CourierOptions *options,
	Receivers *receivers, RosterReport report, void *owner)
{
	Courier *c = mem_calloc(1, sizeof(*c));

	*c = (Courier){ .loop = loop,
		.target = *target,
		.daemon = mem_strdup(options->daemon),
		.takeover_after = options->takeover_after,
		.report = report,
		.owner = owner,
		.receivers = receivers_hold(receivers),
		.dispatch = dispatch_open(loop) };
	c->work = timer_new(c);
	c->beat = timer_new(c);
	seat_all(c);
	uv_timer_start(c->beat, on_beat, 0, BEAT_MS);
	return c;
}

void courier_exchange(Courier *c, Receivers *receivers)
{
	Receivers *old = c->receivers;

	c->receivers = receivers_hold(receivers);
	seat_all(c);
	receivers_release(old);
	release_leaving(c);
	c->missing[0] = '\0';
	if (c->up) {
		show_life(c); /* a changed one is enabled by that */
		hold(c);
	}
	courier_wake(c);
}

static void free_handle(uv_handle_t *h)
{
	free(h);
}

static void timer_close(uv_timer_t *t)
{
	uv_timer_stop(t);
	uv_close((uv_handle_t *)t, free_handle);
}

void courier_close(Courier *c)
{
	Seat *seat;

	if (c == NULL)
		return;
	close_connections(c);
	dispatch_close(c->dispatch);
	timer_close(c->work);
	timer_close(c->beat);
	while ((seat = c->seats) != NULL) {
		c->seats = seat->next;
		free(seat);
	}
	receivers_release(c->receivers);
	free(c->daemon);
	free(c);
}
