#include "app/publisher.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH_ROWS = 500, BATCH_BYTES = 4 * 1024 * 1024, BUSY_TRIES = 10, AWAY_TRIES = 60 };

typedef struct {
	int64_t line;
	size_t event, event_len, raw, raw_len; /* in the batch's text */
} Waiting;

typedef struct {
	Waiting waiting[BATCH_ROWS];
	size_t n;
	Buf text;
} Batch;

/* While the server works at one batch, the caller fills the other: a thread waits for the answer,
 * and nothing else. What the answer means is decided by the caller's thread, which joins it first.
 */
struct Publisher {
	PgTarget target;
	PublisherOptions options;
	PgDb *db;
	Batch batches[2];
	Batch *filling, *sent;
	Buf json;
	bool under_way; /* `sent` is with the thread; db, json, answer and problem are the thread's
			 */
	pthread_t thread;
	PgRows *answer;
	Err problem;
	bool any_refused, failed;
};

Publisher *publisher_open(const PgTarget *target, const PublisherOptions *options, Err *err)
{
	Publisher *p = mem_calloc(1, sizeof(*p));

	p->target = *target;
	p->options = *options;
	p->filling = &p->batches[0];
	p->sent = &p->batches[1];
	p->db = pg_db_open(target, err);
	if (p->db != NULL && options->atomic) {
		PgRows *rows = pg_db_run(p->db, SQL_BEGIN, 0, NULL, err);

		p->failed = rows == NULL;
		pg_rows_free(rows);
	}
	if (p->db != NULL && !p->failed)
		return p;
	publisher_close(p);
	return NULL;
}

static void join(Publisher *p)
{
	if (p->under_way)
		pthread_join(p->thread, NULL);
	p->under_way = false;
}

void publisher_close(Publisher *p)
{
	if (p == NULL)
		return;
	join(p);
	pg_rows_free(p->answer);
	pg_db_close(p->db);
	buf_free(&p->batches[0].text);
	buf_free(&p->batches[1].text);
	buf_free(&p->json);
	free(p);
}

PgDb *publisher_db(Publisher *p)
{
	return p->db;
}

size_t publisher_waiting(const Publisher *p)
{
	return p->filling->n + (p->under_way ? p->sent->n : 0);
}

/* True where the server refused what an event says; other errors would befall every event. */
static bool is_refusal(const Err *err)
{
	static const char *const classes[] = { "22", "23", "54", "MW" };

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(err->sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

static bool plain(Publisher *p, SqlId id, Err *err)
{
	PgRows *rows = pg_db_run(p->db, id, 0, NULL, err);

	pg_rows_free(rows);
	return rows != NULL;
}

/* One attempt. In an atomic publisher a savepoint keeps the transaction alive behind a refusal. */
static PgRows *attempt(Publisher *p, Err *err)
{
	const char *params[] = { p->json.s };
	Err ignored;
	PgRows *rows;

	if (!p->options.atomic)
		return pg_db_run(p->db, SQL_PUBLISH_BATCH, 1, params, err);
	if (!plain(p, SQL_PUBLISH_SAVEPOINT, err))
		return NULL;
	rows = pg_db_run(p->db, SQL_PUBLISH_BATCH, 1, params, err);
	if (rows == NULL)
		plain(p, SQL_PUBLISH_UNDO, &ignored);
	plain(p, SQL_PUBLISH_RELEASE, &ignored);
	return rows;
}

static bool reconnect(Publisher *p, Err *err)
{
	for (int i = 0; i < AWAY_TRIES && !p->options.stopped(p->options.owner); i++) {
		PgDb *db;

		usleep(i < 5 ? 100000u << i : 3000000u);
		db = pg_db_open(&p->target, err);
		if (db != NULL) {
			pg_db_close(p->db);
			p->db = db;
			return true;
		}
	}
	return false;
}

/* Tries again as long as that may help: the answer to the last attempt. */
static PgRows *insist(Publisher *p, PgRows *rows, Err *err)
{
	for (int i = 0; rows == NULL && i < BUSY_TRIES; i++) {
		if (!err_is_retryable(err) || p->options.atomic)
			return NULL;
		if (err->kind == ERR_CONN && (!p->options.repeatable || !reconnect(p, err)))
			return NULL;
		usleep(10000u << (i < 6 ? i : 6));
		rows = attempt(p, err);
	}
	return rows;
}

static void report(const Publisher *p, const PgRows *rows, size_t from)
{
	const Batch *b = p->sent;

	for (int row = 0; row < pg_rows_count(rows); row++) {
		const Waiting *w = &b->waiting[from + (size_t)row];
		Published event = { .line = w->line,
			.raw = { b->text.s + w->raw, w->raw_len },
			.id = pg_rows_i64(rows, row, 1),
			.event_id = pg_rows_text(rows, row, 2),
			.version = pg_rows_i64(rows, row, 3),
			.appended = pg_rows_bool(rows, row, 4) };

		p->options.published(p->options.owner, &event);
	}
}

/* "publish_events: event 1: event_type: is missing": the caller knows better which event it was. */
static void drop_ordinal(Err *err)
{
	static const char head[] = "publish_events: event ";
	const char *rest;

	if (strncmp(err->message, head, sizeof(head) - 1) != 0)
		return;
	rest = strstr(err->message + sizeof(head) - 1, ": ");
	if (rest != NULL)
		memmove(err->message, rest + 2, strlen(rest + 2) + 1);
}

static void refuse(Publisher *p, const Waiting *w, Err *err)
{
	Str raw = { p->sent->text.s + w->raw, w->raw_len };

	drop_ordinal(err);
	p->any_refused = true;
	p->options.refused(p->options.owner, w->line, raw, err);
}

static void make_json(Publisher *p, size_t from, size_t to)
{
	const Batch *b = p->sent;

	buf_clear(&p->json);
	buf_addc(&p->json, '[');
	for (size_t i = from; i < to; i++) {
		if (i > from)
			buf_addc(&p->json, ',');
		buf_add(&p->json, b->text.s + b->waiting[i].event, b->waiting[i].event_len);
	}
	buf_addc(&p->json, ']');
}

/* What the answer to events [from, to) means; on a refusal their halves are sent, in order. */
static bool settle(Publisher *p, size_t from, size_t to, PgRows *rows, Err *err)
{
	size_t middle = from + (to - from) / 2;
	size_t halves[2][2] = { { from, middle }, { middle, to } };

	rows = insist(p, rows, err);
	if (rows != NULL) {
		report(p, rows, from);
		pg_rows_free(rows);
		return true;
	}
	if (!is_refusal(err))
		return false;
	if (to - from == 1) {
		refuse(p, &p->sent->waiting[from], err);
		return true;
	}
	for (size_t i = 0; i < 2; i++) {
		make_json(p, halves[i][0], halves[i][1]);
		if (!settle(p, halves[i][0], halves[i][1], attempt(p, err), err))
			return false;
	}
	return true;
}

/* Takes the answer to the batch that is under way. */
static bool collect(Publisher *p, Err *err)
{
	PgRows *rows;
	bool ok;

	if (!p->under_way)
		return true;
	join(p);
	rows = p->answer;
	p->answer = NULL;
	*err = p->problem;
	ok = settle(p, 0, p->sent->n, rows, err);
	p->failed = p->failed || !ok;
	p->sent->n = 0;
	buf_clear(&p->sent->text);
	return ok;
}

static void *in_thread(void *arg)
{
	Publisher *p = arg;

	p->answer = attempt(p, &p->problem);
	return NULL;
}

/* Signals are for the caller's thread, which may wait for a slow file. */
static bool start_thread(Publisher *p)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	p->under_way = pthread_create(&p->thread, NULL, in_thread, p) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return p->under_way;
}

/* Sends what waits; the answer comes with collect(). */
static bool start(Publisher *p, Err *err)
{
	Batch *full = p->filling;

	if (!collect(p, err))
		return false;
	p->filling = p->sent;
	p->sent = full;
	err_clear(&p->problem);
	make_json(p, 0, full->n);
	return start_thread(p) || err_set(err, ERR_NOMEM, "publish: no thread can be started");
}

bool publisher_flush(Publisher *p, Err *err)
{
	return (p->filling->n == 0 || start(p, err)) && collect(p, err);
}

bool publisher_add(Publisher *p, int64_t line, Str event, Str raw, Err *err)
{
	Batch *b = p->filling;
	Waiting *w = &b->waiting[b->n++];

	*w = (Waiting){
		.line = line, .event = b->text.len, .event_len = event.len, .raw_len = raw.len
	};
	buf_add(&b->text, event.s, event.len);
	w->raw = b->text.len;
	buf_add(&b->text, raw.s, raw.len);
	return (b->n < BATCH_ROWS && b->text.len < BATCH_BYTES) || start(p, err);
}

void publisher_spoil(Publisher *p)
{
	p->any_refused = true;
}

bool publisher_finish(Publisher *p, Err *err)
{
	if (!publisher_flush(p, err))
		return false;
	if (!p->options.atomic)
		return true;
	return plain(p, p->any_refused ? SQL_ROLLBACK : SQL_COMMIT, err);
}
