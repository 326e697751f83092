#include "flow/courier_parts.h"

#include "base/clock.h"
#include "base/fault.h"

#include <inttypes.h>
#include <stdlib.h>

#define RETRY_AFTER_MAX 86400.0
#define PAUSE_MAX       60.0

/* --- A body on its way
 * -------------------------------------------------------------------------- */

Send *courier_send_new(Courier *c, Seat *seat, const char *ids, Str body)
{
	Send *s = mem_calloc(1, sizeof(*s));

	*s = (Send){ .next = c->sends,
		.self = &c->sends,
		.courier = c,
		.seat = seat,
		.receivers = receivers_hold(c->receivers),
		.receiver = seat->receiver,
		.ids = ids ? mem_strdup(ids) : NULL,
		.body = mem_strndup(body.s, body.len),
		.body_len = body.len };
	if (s->next != NULL)
		s->next->self = &s->next;
	c->sends = s;
	seat->on_way++;
	if (ids != NULL)
		snprintf(s->id, sizeof(s->id), "%.36s", ids + 1);
	return s;
}

void courier_send_free(Send *s)
{
	*s->self = s->next;
	if (s->next != NULL)
		s->next->self = s->self;
	s->seat->on_way--;
	receivers_release(s->receivers);
	free(s->ids);
	free(s->kind);
	free(s->body);
	free(s);
}

void courier_drop_sends(Courier *c)
{
	for (Send *s = c->sends, *next; s != NULL; s = next) {
		next = s->next;
		if (s->call != NULL)
			dispatch_drop(s->call);
		courier_send_free(s);
	}
}

/* --- What came of it
 * ---------------------------------------------------------------------------- */

static void on_recorded(void *owner, PgRows *rows, const Err *err)
{
	Send *s = owner;
	Courier *c = s->courier;

	pg_rows_free(rows);
	if (err != NULL) {
		if (err->kind != ERR_CONN) /* that one is told by the connection itself */
			courier_lose(c, err);
		return;
	}
	courier_send_free(s);
	courier_settled(c);
}

static void record(Send *s, const char *word, const DeliveryOutcome *o, double delay, double pause)
{
	char status[16], took[32], after[32], wait[32];
	const char *params[] = { s->ids, word, o->status ? status : NULL, o->error, took, after,
		wait, o->gone ? "true" : "false" };

	snprintf(status, sizeof(status), "%d", o->status);
	snprintf(took, sizeof(took), "%.6f", o->seconds);
	snprintf(after, sizeof(after), "%.3f", delay);
	snprintf(wait, sizeof(wait), "%.3f", pause);
	pg_conn_run(s->courier->conn, SQL_OUTBOX_RECORD, 8, params, NULL, NULL);
	pg_conn_sync(s->courier->conn, on_recorded, s);
}

static void say(Send *s, bool problem, const char *fmt, const char *text)
{
	char said[sizeof(s->seat->said)];

	snprintf(said, sizeof(said), fmt, s->id, text);
	if (strcmp(said, s->seat->said) == 0)
		return;
	memcpy(s->seat->said, said, sizeof(said));
	s->courier->report(
		s->courier->owner, s->seat->name[0] ? s->seat->name : "outbox", problem, said);
}

static double longer(double a, double b)
{
	return a > b ? a : b;
}

/* Many that failed together do not come again together. */
static double jittered(double seconds)
{
	return seconds * (0.9 + (double)(clock_monotonic_ns() / 1000 % 1000) / 5000);
}

void courier_outcome(Send *s, const DeliveryOutcome *o, const double *retry, size_t nretry)
{
	double after = o->retry_after < RETRY_AFTER_MAX ? o->retry_after : RETRY_AFTER_MAX, delay,
	       pause;

	if (o->verdict == DELIVERY_DONE) {
		s->seat->said[0] = '\0';
		record(s, "done", o, 0, 0);
	} else if (o->verdict == DELIVERY_REFUSED && strchr(s->ids, ',') != NULL) {
		record(s, "alone", o, 0, 0);
	} else if (o->gone || o->verdict == DELIVERY_REFUSED || (size_t)s->attempt >= nretry) {
		say(s, true,
			o->gone ? "delivery %s: %s; nothing is sent there any more (`moonwake "
				  "outbox enable`)"
				: "delivery %s is given up: %s (`moonwake outbox`)",
			o->error);
		record(s, "failed", o, 0, 0);
	} else {
		delay = longer(jittered(retry[s->attempt]), after);
		pause = delay < PAUSE_MAX ? delay : PAUSE_MAX;
		say(s, true, "delivery %s: %s", o->error);
		record(s, "retry", o, delay, o->throttle ? longer(pause, after) : 0);
	}
}

static void on_done(void *owner, const DeliveryOutcome *outcome)
{
	Send *s = owner;

	s->call = NULL;
	FAULT("outbox.sent");
	courier_outcome(s, outcome, s->receiver->retry, s->receiver->nretry);
}

/* Nothing could be sent: a secret or a program is missing, maybe only for now. */
static DeliveryOutcome unsent(const Err *err)
{
	DeliveryOutcome o = { .verdict = DELIVERY_RETRY };

	snprintf(o.error, sizeof(o.error), "%.500s", err->message);
	return o;
}

void courier_send(Send *s)
{
	Delivery d = { s->id, { s->body, s->body_len } };
	DeliveryOutcome o;
	Err err;

	s->call = dispatch_send(s->courier->dispatch, s->receiver, &d, on_done, s, &err);
	if (s->call != NULL)
		return;
	o = unsent(&err);
	courier_outcome(s, &o, s->receiver->retry, s->receiver->nretry);
}

void courier_give_back(Send *s)
{
	record(s, "retry", &(DeliveryOutcome){ .error = "its receiver is no longer defined" }, 0,
		0);
}

/* --- Stopping programs
 * --------------------------------------------------------------------------- */

static void on_cancelled(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;

	for (int i = 0; err == NULL && i < pg_rows_count(rows); i++)
		for (Send *s = c->sends; s != NULL; s = s->next) {
			if (s->call == NULL || strcmp(s->id, pg_rows_text(rows, i, 0)) != 0)
				continue;
			dispatch_drop(s->call);
			s->call = NULL;
			record(s, "cancelled",
				&(DeliveryOutcome){ .error = "it was stopped: cancelled" }, 0, 0);
		}
	pg_rows_free(rows);
}

/* Others are over soon by themselves. */
void courier_drop_cancelled(Courier *c)
{
	Buf ids = { 0 };
	const char *params[1];

	buf_addc(&ids, '{');
	for (const Send *s = c->sends; s != NULL; s = s->next)
		if (s->call != NULL && s->ids != NULL && s->receiver->kind == RECEIVER_PROGRAM)
			buf_addf(&ids, "%s%s", ids.len > 1 ? "," : "", s->id);
	buf_addc(&ids, '}');
	params[0] = ids.s;
	if (ids.len > 2) {
		pg_conn_run(c->conn, SQL_OUTBOX_CANCELLED, 1, params, on_cancelled, c);
		pg_conn_sync(c->conn, NULL, NULL);
	}
	buf_free(&ids);
}

/* --- Telling an Alertmanager again
 * -------------------------------------------------------------- */

static void on_resent(void *owner, const DeliveryOutcome *o)
{
	Send *s = owner;
	Courier *c = s->courier;

	s->call = NULL;
	if (o->error[0] != '\0')
		say(s, true, "what fires is sent again%s: %s", o->error);
	else
		s->seat->said[0] = '\0';
	courier_send_free(s);
	courier_settled(c);
}

static void on_alerts(void *owner, PgRows *rows, const Err *err)
{
	Courier *c = owner;
	Err bad;

	if (err != NULL) {
		if (err->kind != ERR_CONN)
			c->report(c->owner, "outbox", true, err->message);
		return;
	}
	for (int i = 0; i < pg_rows_count(rows); i++) {
		Seat *seat = c->seats;
		DeliveryOutcome o;
		Delivery d;
		Send *s;

		while (seat != NULL && strcmp(seat->name, pg_rows_text(rows, i, 0)) != 0)
			seat = seat->next;
		if (seat == NULL || seat->receiver == NULL || c->quiet)
			continue;
		s = courier_send_new(c, seat, NULL, pg_rows_str(rows, i, 1));
		d = (Delivery){ s->id, { s->body, s->body_len } };
		s->call = dispatch_send(c->dispatch, s->receiver, &d, on_resent, s, &bad);
		if (s->call == NULL) {
			o = unsent(&bad);
			on_resent(s, &o);
		}
	}
	pg_rows_free(rows);
}

static void on_asked(void *owner, PgRows *rows, const Err *err)
{
	Seat *seat = owner;

	(void)rows, (void)err;
	seat->resends = false;
}

void courier_resend(Seat *seat, Courier *c)
{
	char resend[32];
	const char *params[] = { seat->name, resend };

	snprintf(resend, sizeof(resend), "%.3f", seat->receiver->resend);
	seat->resend_ns = clock_monotonic_ns();
	seat->resends = true;
	pg_conn_run(c->conn, SQL_OUTBOX_ALERTMANAGER, 2, params, on_alerts, c);
	pg_conn_sync(c->conn, on_asked, seat);
}
