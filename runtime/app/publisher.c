#include "app/publisher.h"

#include <stdlib.h>
#include <unistd.h>

enum { BATCH_ROWS = 500, BATCH_BYTES = 4 * 1024 * 1024, BUSY_TRIES = 10, AWAY_TRIES = 60 };

typedef struct {
	int64_t line;
	size_t event, event_len, raw, raw_len; /* in the publisher's text */
} Waiting;

struct Publisher {
	PgTarget target;
	PublisherOptions options;
	PgDb *db;
	Waiting waiting[BATCH_ROWS];
	size_t n;
	Buf text, json;
	bool any_refused, failed;
};

Publisher *publisher_open(const PgTarget *target, const PublisherOptions *options, Err *err)
{
	Publisher *p = mem_calloc(1, sizeof(*p));

	p->target = *target;
	p->options = *options;
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

void publisher_close(Publisher *p)
{
	if (p == NULL)
		return;
	pg_db_close(p->db);
	buf_free(&p->text);
	buf_free(&p->json);
	free(p);
}

PgDb *publisher_db(Publisher *p)
{
	return p->db;
}

size_t publisher_waiting(const Publisher *p)
{
	return p->n;
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

/* Sends until there is an answer that does not call for another try. */
static PgRows *send_json(Publisher *p, Err *err)
{
	bool atomic = p->options.atomic;
	PgRows *rows = attempt(p, err);

	for (int i = 0; rows == NULL && i < BUSY_TRIES && err_is_retryable(err) && !atomic; i++) {
		if (err->kind == ERR_CONN && !p->options.repeatable)
			return NULL;
		if (err->kind == ERR_CONN && !reconnect(p, err))
			return NULL;
		usleep(10000u << (i < 6 ? i : 6));
		rows = attempt(p, err);
	}
	return rows;
}

static void report(const Publisher *p, const PgRows *rows, size_t from)
{
	for (int row = 0; row < pg_rows_count(rows); row++) {
		const Waiting *w = &p->waiting[from + (size_t)row];
		Published event = { .line = w->line,
			.raw = { p->text.s + w->raw, w->raw_len },
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
	drop_ordinal(err);
	p->any_refused = true;
	p->options.refused(p->options.owner, w->line, (Str){ p->text.s + w->raw, w->raw_len }, err);
}

/* Sends [from, to) of what waits; on a refusal its halves, in order. */
static bool send_range(Publisher *p, size_t from, size_t to, Err *err)
{
	size_t middle = from + (to - from) / 2;
	PgRows *rows;

	buf_clear(&p->json);
	buf_addc(&p->json, '[');
	for (size_t i = from; i < to; i++) {
		if (i > from)
			buf_addc(&p->json, ',');
		buf_add(&p->json, p->text.s + p->waiting[i].event, p->waiting[i].event_len);
	}
	buf_addc(&p->json, ']');
	rows = send_json(p, err);
	if (rows != NULL) {
		report(p, rows, from);
		pg_rows_free(rows);
		return true;
	}
	if (!is_refusal(err))
		return false;
	if (to - from == 1) {
		refuse(p, &p->waiting[from], err);
		return true;
	}
	return send_range(p, from, middle, err) && send_range(p, middle, to, err);
}

bool publisher_flush(Publisher *p, Err *err)
{
	bool ok = p->n == 0 || send_range(p, 0, p->n, err);

	p->failed = p->failed || !ok;
	p->n = 0;
	buf_clear(&p->text);
	return ok;
}

bool publisher_add(Publisher *p, int64_t line, Str event, Str raw, Err *err)
{
	Waiting *w = &p->waiting[p->n++];

	*w = (Waiting){
		.line = line, .event = p->text.len, .event_len = event.len, .raw_len = raw.len
	};
	buf_add(&p->text, event.s, event.len);
	w->raw = p->text.len;
	buf_add(&p->text, raw.s, raw.len);
	return (p->n < BATCH_ROWS && p->text.len < BATCH_BYTES) || publisher_flush(p, err);
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
