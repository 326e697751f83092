#pragma once

#include "pg/pg_db.h"

#include <libpq-fe.h>

/* Starts to connect, in the one way that every session of ours is opened. Never NULL but for lack
 * of memory; a bad conninfo shows as CONNECTION_BAD. */
PGconn *pg_connect_start(const PgTarget *target);
