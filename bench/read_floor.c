/* The floor of a replay: a libpq client that reads the log's rows in single-row binary mode, in
 * order, and throws them away. Usage: read_floor DSN. Prints rows, bytes and seconds. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char query[] = "SELECT id, event_id, event_type, aggregate_type, aggregate_id, "
			    "version, schema_version, data, metadata, "
			    "source, correlation_id, causation_id, actor_type, actor_id, severity, "
			    "impact, occurred_at, "
			    "\"timestamp\", occurrences FROM moonwake.events ORDER BY id";

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	PGconn *pg = PQconnectdb(argc > 1 ? argv[1] : "");
	long rows = 0, bytes = 0;
	PGresult *res;
	double start;

	if (PQstatus(pg) != CONNECTION_OK) {
		fputs(PQerrorMessage(pg), stderr);
		return 1;
	}
	start = now();
	if (!PQsendQueryParams(pg, query, 0, NULL, NULL, NULL, NULL, 1) || !PQsetSingleRowMode(pg))
		return 1;
	while ((res = PQgetResult(pg)) != NULL) {
		if (PQresultStatus(res) == PGRES_SINGLE_TUPLE) {
			rows++;
			for (int i = 0; i < PQnfields(res); i++)
				bytes += PQgetlength(res, 0, i);
		} else if (PQresultStatus(res) != PGRES_TUPLES_OK) {
			fputs(PQresultErrorMessage(res), stderr);
			return 1;
		}
		PQclear(res);
	}
	printf("%ld %ld %.6f\n", rows, bytes, now() - start);
	PQfinish(pg);
	return 0;
}
