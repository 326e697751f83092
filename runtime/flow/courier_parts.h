#pragma once

#include "flow/courier.h"
#include "flow/dispatch.h"
#include "pg/pg_conn.h"

/* What courier.c (life, receivers, claims), courier_sends.c (what is on its way) and courier_acts.c
 * (what the database does) share. */

enum { DATABASE_TRIES = 10 };
extern const double courier_database_retry[DATABASE_TRIES];

/* A receiver, or the database (its name is empty). */
typedef struct Seat Seat;
struct Seat {
	Seat *next;
	const Receiver *receiver; /* NULL: the database, or it is no longer defined */
	char name[64];
	bool held;          /* its deliveries are ours */
	bool leaves;        /* it is no longer defined; freed when nothing is on its way */
	size_t on_way;      /* Sends */
	uint64_t resend_ns; /* of an Alertmanager: when it was last told of all; 0: not yet */
	bool resends, resend_failed; /* … and is at this moment; … and was not reached */
	char said[256];              /* what was reported last */
};

/* A body on its way. */
typedef struct Send Send;
struct Send {
	Send *next, **self;
	Courier *courier;
	Seat *seat;
	Receivers *receivers; /* held: the receiver is in it */
	const Receiver *receiver;
	DispatchCall *call; /* NULL: it was answered, or is the database's */
	char *ids;          /* of the rows, as PostgreSQL writes an array; NULL: of none, it is sent
			       again and again */
	char id[40];        /* of the first one */
	char *kind, *body;
	size_t body_len;
	int attempt; /* 1 for the first try */
};

struct Courier {
	uv_loop_t *loop;
	PgTarget target;
	char *daemon;
	double takeover_after;
	RosterReport report;
	void *owner;
	Receivers *receivers;
	Seat *seats;
	Send *sends;
	Dispatch *dispatch;
	uv_timer_t *work, *beat;
	PgConn *conn, *acts; /* who asks, and who acts: a slow statement must not stop the others */
	int connected;
	bool up;
	bool claiming, again; /* a claim is under way; another is wanted */
	bool unmuting;
	unsigned backoff; /* beats between two tries to connect */
	unsigned wait;    /* … that are left */
	uint64_t tidied_ns;
	char missing[256]; /* receivers that rules name and nobody defines, as reported */
	CourierQuiet on_quiet;
	bool quiet, released;
};

/* courier.c */
void courier_lose(Courier *c, const Err *err);
void courier_settled(Courier *c); /* something is no longer on its way */

/* courier_sends.c */
Send *courier_send_new(Courier *c, Seat *seat, const char *ids, Str body);
void courier_send_free(Send *s);
void courier_send(Send *s);              /* to its receiver */
void courier_give_back(Send *s);         /* nothing was sent, and somebody else may */
void courier_drop_sends(Courier *c);     /* without a word to the database */
void courier_drop_cancelled(Courier *c); /* asks which programs are to be stopped */
void courier_outcome(Send *s, const DeliveryOutcome *outcome, const double *retry, size_t nretry);
void courier_resend(Seat *seat, Courier *c);

/* courier_acts.c */
void courier_act(Send *s);
