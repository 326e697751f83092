#pragma once

#include "pg/pg_db.h"

/* The schema's migrations: each is applied once, in order, in a transaction of its own, under an
 * advisory lock, and recorded with the checksum of its text. */
typedef enum { MIGRATE_PENDING, MIGRATE_APPLIED } MigrateStep;
typedef void (*MigrateReport)(void *owner, MigrateStep step, const SqlMigration *m);

typedef struct {
	bool dry_run;         /* reports what is pending and changes nothing */
	MigrateReport report; /* called for each pending or applied migration; may be NULL */
	void *owner;
} MigrateOptions;

/* Brings the database up to this program. *applied: how many migrations were (or would be) applied.
 * Refused: a recorded migration whose text has changed since, and a database that is newer. */
bool migrate_apply(PgDb *db, const MigrateOptions *options, size_t *applied, Err *err);

/* True where the database has exactly this program's migrations; otherwise says what to do. */
bool migrate_check(PgDb *db, Err *err);
