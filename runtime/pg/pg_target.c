#include "pg/pg_target.h"

/* Both sides notice a dead peer: the client by keepalives, the server by its own and by looking at
 * the socket while it executes. Plans are made once; JIT never pays for statements of our size. */
#define SERVER_SIDE                                                                                \
	"-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "         \
	"-c tcp_user_timeout=10000 -c client_connection_check_interval=2000 "                      \
	"-c idle_in_transaction_session_timeout=0 -c statement_timeout=0 -c lock_timeout=0 "       \
	"-c timezone=UTC -c intervalstyle=postgres -c datestyle=ISO -c bytea_output=hex "          \
	"-c extra_float_digits=1 -c standard_conforming_strings=on -c jit=off"

PGconn *pg_connect_start(const PgTarget *target)
{
	/* The conninfo comes last, so that what it says wins. */
	const char *const keys[] = { "fallback_application_name", "connect_timeout",
		"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
		"client_encoding", "options", "dbname", NULL };
	const char *const values[] = { target->role, "10", "5", "2", "3", "10000", "UTF8",
		SERVER_SIDE, target->dsn ? target->dsn : "", NULL };

	return PQconnectStartParams(keys, values, 1);
}
