#pragma once

#include "app/causes.h"
#include "pg/pg_db.h"

/* The versions of projections as commands show them: what is being built beside the live ones, how
 * far it is, and in what its rows differ. */

/* The columns of sql/queries/version_list.sql. */
enum {
	V_NAME,
	V_ROLE,
	V_BUILD,
	V_VERSION,
	V_STATE,
	V_NOTE,
	V_PROMOTE,
	V_POSITION,
	V_HEAD,
	V_RUNNING,
	V_ERROR,
	V_ERROR_EVENT,
	V_DIFFERENCE,
	V_WORKED,
	V_AGE,
	V_OWNED
};

/* Of one projection; of all where name is NULL. */
PgRows *versions_list(PgDb *db, const char *name, Err *err);
int versions_find(const PgRows *versions, const char *role); /* -1: none has this role */

/* What a version is at, in one word: its state, or "paused", "parked". */
const char *versions_state(const PgRows *versions, int row);

void versions_print(const PgRows *versions); /* nothing where only live ones are there */
void versions_json(const PgRows *versions, int row, Buf *out);

/* The rows in which a version differs from the one that was live: the JSON of
 * projection_versions.difference. `causes` may be NULL. */
void versions_print_difference(Str difference, Causes *causes);
