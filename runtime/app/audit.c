#include "app/audit.h"

#include <inttypes.h>
#include <stdlib.h>

#define SEALS_PAGE 4
#define TAIL_PAGE  10000

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t greater(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static PgRows *ask(
	const Audit *a, SqlId id, int64_t first, int64_t second, const char *third, Err *err)
{
	char text[2][24];
	const char *params[] = { text[0], text[1], third };

	snprintf(text[0], sizeof(text[0]), "%" PRId64, first);
	snprintf(text[1], sizeof(text[1]), "%" PRId64, second);
	return pg_db_run(a->db, id, third ? 3 : 2, params, err);
}

/* --- Consumers
 * -------------------------------------------------------------------------------------- */

bool audit_open(Audit *a, Err *err)
{
	/* The head is read last: what a position is compared with must not be older. */
	PgRows *rows = pg_db_run(a->db, SQL_AUDIT_CONSUMERS, 0, NULL, err);
	PgRows *log = rows ? pg_db_run(a->db, SQL_AUDIT_LOG, 0, NULL, err) : NULL;
	bool ok = log != NULL;

	if (ok) {
		a->log = (AuditLog){ .head = pg_rows_i64(log, 0, 0),
			.sealed_to = pg_rows_i64(log, 0, 1),
			.seals = pg_rows_i64(log, 0, 2) };
		a->n = (size_t)pg_rows_count(rows);
		a->consumers = arena_alloc(a->cli->arena, (a->n + 1) * sizeof(*a->consumers));
	}
	for (size_t i = 0; ok && i < a->n; i++)
		a->consumers[i] = (AuditConsumer){
			.name = arena_str(a->cli->arena, pg_rows_str(rows, (int)i, 0)).s,
			.kind = arena_str(a->cli->arena, pg_rows_str(rows, (int)i, 1)).s,
			.position = pg_rows_i64(rows, (int)i, 2),
			.recorded = pg_rows_i64(rows, (int)i, 3),
			.last_range = pg_rows_i64(rows, (int)i, 4)
		};
	pg_rows_free(rows);
	pg_rows_free(log);
	return ok;
}

/* The ids that it should have been given, to compute back what is wrong. */
static bool find_fault(Audit *a, const AuditConsumer *c, AuditFault *f, Rolling recorded, Err *err)
{
	char range[24];
	const char *params[] = { c->name, range };
	int64_t lowest = f->range << AUDIT_RANGE_BITS, *ids;
	PgRows *rows;
	size_t n = 0;

	snprintf(range, sizeof(range), "%" PRId64, f->range);
	rows = pg_db_run(a->db, SQL_AUDIT_IDS, 2, params, err);
	if (rows == NULL)
		return false;
	ids = mem_calloc((size_t)pg_rows_count(rows) + 1, sizeof(*ids));
	/* It may have moved on since its position was read. */
	for (int i = 0; i < pg_rows_count(rows) && pg_rows_i64(rows, i, 0) <= c->position; i++)
		ids[n++] = pg_rows_i64(rows, i, 0);
	f->finding = rolling_find(
		ids, n, recorded, lowest, lowest + (INT64_C(1) << AUDIT_RANGE_BITS) - 1);
	free(ids);
	pg_rows_free(rows);
	return true;
}

/* The columns of sql/queries/audit_range.sql. */
enum { R_CONSUMER, R_POSITION, R_EXPECTED, R_EXPECTED_HASH, R_EVENTS, R_HASH, R_FIRST, R_LAST };

static bool take_row(Audit *a, AuditConsumer *c, int64_t range, PgRows *rows, int row, Err *err)
{
	int64_t expected = pg_rows_i64(rows, row, R_EXPECTED);
	Rolling given = { pg_rows_i64(rows, row, R_EVENTS), pg_rows_i64(rows, row, R_HASH) };

	if (pg_rows_i64(rows, row, R_POSITION) < c->position)
		c->changed = true;
	c->position = pg_rows_i64(rows, row, R_POSITION);
	c->expected += expected;
	c->events += given.count;
	c->ranges++;
	if (given.count == expected && given.hash == pg_rows_i64(rows, row, R_EXPECTED_HASH))
		return true;
	if (c->bad++ > 0)
		return true;
	c->fault = (AuditFault){ .range = range,
		.expected = expected,
		.events = given.count,
		.first = pg_rows_i64(rows, row, R_FIRST),
		.last = pg_rows_i64(rows, row, R_LAST) };
	return find_fault(a, c, &c->fault, given, err);
}

static bool concerns(const AuditConsumer *c, int64_t range)
{
	return c->wanted && c->recorded >= 0 && !c->changed &&
	       range >= c->recorded >> AUDIT_RANGE_BITS &&
	       (range <= c->position >> AUDIT_RANGE_BITS || range <= c->last_range);
}

static bool check_range(Audit *a, int64_t range, Err *err)
{
	char number[24];
	Buf names = { 0 };
	const char *params[] = { NULL, number };
	PgRows *rows;
	bool ok = true;
	int row = 0;

	for (size_t i = 0; i < a->n; i++)
		if (concerns(&a->consumers[i], range))
			buf_addf(&names, "%c\"%s\"", names.len ? ',' : '{', a->consumers[i].name);
	if (names.len == 0)
		return true;
	buf_addc(&names, '}');
	snprintf(number, sizeof(number), "%" PRId64, range);
	params[0] = names.s;
	rows = pg_db_run(a->db, SQL_AUDIT_RANGE, 2, params, err);
	buf_free(&names);
	/* Both are in the order of names. */
	for (size_t i = 0; rows != NULL && ok && i < a->n; i++) {
		AuditConsumer *c = &a->consumers[i];

		if (!concerns(c, range))
			continue;
		if (row < pg_rows_count(rows) &&
			strcmp(pg_rows_text(rows, row, R_CONSUMER), c->name) == 0)
			ok = take_row(a, c, range, rows, row++, err);
		else
			c->changed = true;
	}
	pg_rows_free(rows);
	return rows != NULL && ok;
}

/* The ranges that there is something to compare in: [*first, *end). */
static void bounds(const Audit *a, int64_t *first, int64_t *end)
{
	int64_t most = lesser(a->log.head, a->to) >> AUDIT_RANGE_BITS;

	*first = most + 1;
	*end = 0;
	for (size_t i = 0; i < a->n; i++) {
		const AuditConsumer *c = &a->consumers[i];
		int64_t last = greater(c->position >> AUDIT_RANGE_BITS, c->last_range);

		if (!c->wanted || c->recorded < 0)
			continue;
		*first = lesser(*first, c->recorded >> AUDIT_RANGE_BITS);
		*end = greater(*end, lesser(last, most) + 1);
	}
	*first = lesser(greater(*first, a->from >> AUDIT_RANGE_BITS), *end);
}

bool audit_consumers(Audit *a, Err *err)
{
	int64_t first, end, size = INT64_C(1) << AUDIT_RANGE_BITS;
	Progress progress;
	bool ok = true;

	err_clear(err);
	for (size_t i = 0; i < a->n; i++) {
		AuditConsumer *c = &a->consumers[i];

		c->beyond = c->position > a->log.head ||
			    c->last_range > a->log.head >> AUDIT_RANGE_BITS;
	}
	bounds(a, &first, &end);
	progress_start(&progress, "ids", (end - first) * size);
	for (int64_t range = first; ok && range < end && !cli_stopped(a->cli); range++) {
		ok = check_range(a, range, err);
		progress_show(&progress, (range - first + 1) * size, (range - first + 1) * size);
	}
	progress_end(&progress);
	return ok && !cli_stopped(a->cli);
}

bool audit_consumer_is_proved(const AuditConsumer *c)
{
	return c->bad == 0 && !c->beyond && !c->changed;
}

static void add_run(Buf *out, const RollingFinding *f)
{
	char n[32];

	if (f->count == 1)
		buf_addf(out, "event %" PRId64 " was", f->first);
	else
		buf_addf(out, "%s events from %" PRId64 " to %" PRId64 " were",
			term_count(f->count, n), f->first, f->last);
}

void audit_describe(const AuditFault *fault, Buf *out)
{
	const RollingFinding *f = &fault->finding;
	char n[2][32];

	switch (f->fault) {
	case ROLLING_MISSED:
		add_run(out, f);
		buf_adds(out, " not given to it");
		break;
	case ROLLING_DOUBLED:
		add_run(out, f);
		buf_adds(out, " given to it twice");
		break;
	case ROLLING_GONE:
		buf_addf(out, "event %" PRId64 ", which it was given, is not in the log any more",
			f->first);
		break;
	case ROLLING_OTHER:
		buf_addf(out, "it was given event %" PRId64 " where the log has event %" PRId64,
			f->first, f->last);
		break;
	case ROLLING_SAME: /* until the ids were read: somebody repaired it */
	case ROLLING_UNKNOWN:
		buf_addf(out,
			"it was given %s events, the log has %s for it, and more than one is "
			"wrong",
			term_count(fault->events, n[0]), term_count(fault->expected, n[1]));
		if (fault->events > 0)
			buf_addf(out, " (given: %" PRId64 " to %" PRId64 ")", fault->first,
				fault->last);
	}
}

/* --- The log
 * ---------------------------------------------------------------------------------------- */

static bool add_suspects(Audit *a, int64_t from, int64_t to, bool gone, Err *err)
{
	PgRows *rows = ask(a, SQL_AUDIT_SUSPECTS, from, to, gone ? "t" : "f", err);
	AuditLog *log = &a->log;

	for (int i = 0; rows != NULL && i < pg_rows_count(rows); i++, log->nsuspects++)
		if (log->nsuspects < AUDIT_SUSPECTS)
			log->suspects[log->nsuspects] = (AuditSuspect){ pg_rows_i64(rows, i, 0),
				arena_printf(a->cli->arena, "%s", pg_rows_text(rows, i, 1)) };
	pg_rows_free(rows);
	return rows != NULL;
}

static void take_seal(Audit *a, const PgRows *rows, int row)
{
	AuditLog *log = &a->log;

	log->checked++;
	log->events += pg_rows_i64(rows, row, 2);
	if (pg_rows_null(rows, row, 3) || log->bad++ > 0)
		return;
	log->bad_from = pg_rows_i64(rows, row, 0);
	log->bad_to = pg_rows_i64(rows, row, 1);
	log->problem = arena_printf(a->cli->arena, "%s", pg_rows_text(rows, row, 3));
}

static bool check_seals(Audit *a, Progress *progress, Err *err)
{
	int64_t at = greater(a->from, 1) - 1, last = lesser(a->log.sealed_to, a->to);
	bool ok = true;

	while (ok && at < last && !cli_stopped(a->cli)) {
		PgRows *rows = ask(a, SQL_AUDIT_SEALS, at, SEALS_PAGE, NULL, err);
		int n = rows ? pg_rows_count(rows) : 0;

		for (int i = 0; i < n && at < last; i++) {
			take_seal(a, rows, i);
			at = pg_rows_i64(rows, i, 1);
		}
		ok = rows != NULL;
		pg_rows_free(rows);
		if (n == 0)
			break;
		progress_show(progress, at, at);
	}
	return ok && !cli_stopped(a->cli);
}

/* What no seal covers yet: whether each event follows the one before it of its aggregate. */
static bool check_tail(Audit *a, Progress *progress, Err *err)
{
	int64_t at = greater(a->log.sealed_to + 1, a->from), last = lesser(a->log.head, a->to);
	bool ok = true;

	for (; ok && at <= last && !cli_stopped(a->cli); at += TAIL_PAGE) {
		int64_t to = lesser(at + TAIL_PAGE - 1, last);

		ok = add_suspects(a, at, to, false, err);
		a->log.tail += to - at + 1;
		progress_show(progress, to, to);
	}
	return ok && !cli_stopped(a->cli);
}

bool audit_log(Audit *a, Err *err)
{
	Progress progress;
	bool ok;

	err_clear(err);
	progress_start(&progress, "ids", lesser(a->log.head, a->to));
	ok = check_seals(a, &progress, err) &&
	     (a->log.bad == 0 || add_suspects(a, a->log.bad_from, a->log.bad_to, true, err)) &&
	     check_tail(a, &progress, err);
	progress_end(&progress);
	return ok;
}

bool audit_log_is_proved(const AuditLog *log)
{
	return log->bad == 0 && log->nsuspects == 0;
}
