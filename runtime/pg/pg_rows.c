#include "pg/pg_rows.h"

#include <libpq-fe.h>
#include <stdlib.h>

int pg_rows_count(const PgRows *rows)
{
	return PQntuples(rows);
}

int pg_rows_columns(const PgRows *rows)
{
	return PQnfields(rows);
}

const char *pg_rows_name(const PgRows *rows, int column)
{
	return PQfname(rows, column);
}

bool pg_rows_null(const PgRows *rows, int row, int column)
{
	return PQgetisnull(rows, row, column);
}

const char *pg_rows_text(const PgRows *rows, int row, int column)
{
	return PQgetvalue(rows, row, column);
}

Str pg_rows_str(const PgRows *rows, int row, int column)
{
	if (PQgetisnull(rows, row, column))
		return (Str){ NULL, 0 };
	return (Str){ PQgetvalue(rows, row, column), (size_t)PQgetlength(rows, row, column) };
}

int64_t pg_rows_i64(const PgRows *rows, int row, int column)
{
	return strtoll(PQgetvalue(rows, row, column), NULL, 10);
}

double pg_rows_double(const PgRows *rows, int row, int column)
{
	return strtod(PQgetvalue(rows, row, column), NULL);
}

bool pg_rows_bool(const PgRows *rows, int row, int column)
{
	return PQgetvalue(rows, row, column)[0] == 't';
}

int pg_rows_affected(const PgRows *rows)
{
	return (int)strtol(PQcmdTuples((PGresult *)rows), NULL, 10);
}

void pg_rows_free(PgRows *rows)
{
	PQclear(rows);
}

/* What can be done about an SQLSTATE: see ErrKind. A full disk or too many connections pass; so
 * does a server that shuts down or became a standby, once there is a new connection. */
static ErrKind kind_of(const char *state)
{
	static const struct {
		const char *prefix;
		ErrKind kind;
	} kinds[] = {
		{ "MW001", ERR_STALE },
		{ "08", ERR_CONN },
		{ "57P", ERR_CONN },
		{ "25006", ERR_CONN },
		{ "40", ERR_BUSY },
		{ "53", ERR_BUSY },
		{ "55P03", ERR_BUSY },
		{ "57014", ERR_BUSY },
		{ "58", ERR_BUSY },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(state, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return kinds[i].kind;
	return ERR_SQL;
}

bool pg_rows_error(const PgRows *rows, Err *err)
{
	const char *state = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(rows, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(rows, PG_DIAG_MESSAGE_HINT);

	if (state == NULL || text == NULL) { /* libpq's own words: the connection is gone */
		const char *own = PQresultErrorMessage(rows);

		return err_set(
			err, ERR_CONN, "connection lost: %.*s", (int)strcspn(own, "\n"), own);
	}
	err_set(err, kind_of(state), "%s%s%s", text, detail ? ": " : "", detail ? detail : "");
	if (err != NULL)
		memcpy(err->sqlstate, state, 6);
	if (hint != NULL)
		err_hint(err, "%s", hint);
	else if (strcmp(state, "42501") == 0)
		err_hint(err, "log in as a member of moonwake_run, moonwake_publish or "
			      "moonwake_read, whichever the command needs");
	return false;
}
