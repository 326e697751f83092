#include "flow/upkeep.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>

#define PARTITIONS_NS UINT64_C(3600000000000) /* an hour */
#define SEAL_IDS      10000

struct Upkeep {
	PgConn *conn;
	UpkeepHandler fn;
	void *owner;
	bool busy;
	uint64_t partitions_ns; /* when they were looked at; 0: not yet */
	int64_t sealed;         /* the last id that has a seal */
};

static void on_warning(void *owner, PgRows *rows, const Err *err)
{
	Upkeep *u = owner;

	pg_rows_free(rows);
	if (err != NULL && err->kind != ERR_CONN)
		u->fn(u->owner, false, err);
}

static void on_sealed(void *owner, PgRows *rows, const Err *err)
{
	Upkeep *u = owner;

	if (err == NULL && pg_rows_count(rows) > 0)
		u->sealed = pg_rows_i64(rows, 0, 0);
	on_warning(owner, rows, err);
}

static void on_behind(void *owner, PgRows *rows, const Err *err)
{
	Upkeep *u = owner;
	Err bad;

	if (err == NULL && pg_rows_bool(rows, 0, 0)) {
		err_set(&bad, ERR_DATA, "events: rows lie above the last number of events_id_seq");
		err_hint(&bad, "the log was restored or replicated: SELECT setval(…) to max(id), "
			       "then start again");
		u->fn(u->owner, true, &bad);
	}
	pg_rows_free(rows);
}

static void on_done(void *owner, PgRows *rows, const Err *err)
{
	Upkeep *u = owner;

	(void)rows, (void)err;
	u->busy = false;
}

void upkeep_tick(Upkeep *u, int64_t settled, bool busy)
{
	uint64_t now = clock_monotonic_ns();
	char upto[24];
	const char *params[] = { upto };

	if (u->busy)
		return;
	u->busy = true;
	pg_conn_run(u->conn, SQL_LOG_BEHIND, 0, NULL, on_behind, u);
	pg_conn_sync(u->conn, NULL, NULL);
	if (u->partitions_ns == 0 || now - u->partitions_ns > PARTITIONS_NS) {
		u->partitions_ns = now;
		pg_conn_run(u->conn, SQL_PARTITIONS, 0, NULL, on_warning, u);
		pg_conn_sync(u->conn, NULL, NULL);
	}
	if (settled - u->sealed >= SEAL_IDS) {
		snprintf(upto, sizeof(upto), "%" PRId64, busy ? u->sealed + SEAL_IDS : settled);
		pg_conn_run(u->conn, SQL_SEAL, 1, params, on_sealed, u);
		pg_conn_sync(u->conn, NULL, NULL);
	}
	pg_conn_sync(u->conn, on_done, u);
}

Upkeep *upkeep_new(PgConn *conn, UpkeepHandler fn, void *owner)
{
	Upkeep *u = mem_calloc(1, sizeof(*u));

	u->conn = conn;
	u->fn = fn;
	u->owner = owner;
	return u;
}

void upkeep_free(Upkeep *u)
{
	free(u);
}
