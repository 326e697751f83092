#pragma once

#include "pg/pg_conn.h"

/* What has to be done now and then and must not delay anybody: partitions ahead, seals over settled
 * ranges, and a look whether the log was exchanged under us. On a connection of its own. */
typedef struct Upkeep Upkeep;

/* `err`: the log cannot be read safely any more, or (warning) something could not be done. */
typedef void (*UpkeepHandler)(void *owner, bool fatal, const Err *err);

Upkeep *upkeep_new(PgConn *conn, UpkeepHandler fn, void *owner);
void upkeep_free(Upkeep *u); /* with its connection closed */

/* To be called every few seconds; does what is due. Sealing costs as much as reading: while the
 * consumers are busy it takes small steps. */
void upkeep_tick(Upkeep *u, int64_t settled, bool busy);
