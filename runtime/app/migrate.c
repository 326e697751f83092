#include "app/migrate.h"

#include "base/digest.h"

#include <stdio.h>
#include <stdlib.h>

/* What the database says about one migration of ours. */
typedef struct {
	const SqlMigration *migration;
	char checksum[65];
	bool applied;
} Known;

static bool run_plain(PgDb *db, SqlId id, int n, const char *const *params, Err *err)
{
	PgRows *rows = pg_db_run(db, id, n, params, err);

	pg_rows_free(rows);
	return rows != NULL;
}

static Known *known_new(void)
{
	size_t n = sql_migration_count();
	Known *known = mem_calloc(n, sizeof(*known));

	for (size_t i = 0; i < n; i++) {
		known[i].migration = sql_migration(i);
		digest_sha256_hex(str_from(known[i].migration->text), known[i].checksum);
	}
	return known;
}

static Known *known_by_number(Known *known, int64_t number)
{
	for (size_t i = 0; i < sql_migration_count(); i++)
		if (known[i].migration->number == number)
			return &known[i];
	return NULL;
}

/* Holds one recorded migration against ours. */
static bool compare(Known *known, const PgRows *rows, int row, Err *err)
{
	Known *ours = known_by_number(known, pg_rows_i64(rows, row, 0));
	const char *name = pg_rows_text(rows, row, 1);

	if (ours == NULL) {
		err_set(err, ERR_SQL,
			"schema: the database is newer than this program: it has migration %s",
			name);
		return err_hint(err, "upgrade moonwake");
	}
	if (strcmp(ours->checksum, pg_rows_text(rows, row, 2)) != 0) {
		err_set(err, ERR_SQL, "migration %s: its text has changed since it was applied",
			ours->migration->name);
		return err_hint(
			err, "restore the file; what is to change goes into a new migration");
	}
	ours->applied = true;
	return true;
}

/* An older migration that is missing below a newer one was added later: order would not be kept. */
static bool check_order(const Known *known, Err *err)
{
	const Known *gap = NULL;

	for (size_t i = 0; i < sql_migration_count(); i++) {
		if (!known[i].applied && gap == NULL)
			gap = &known[i];
		if (known[i].applied && gap != NULL) {
			err_set(err, ERR_SQL, "migration %s: was not applied, but the later %s was",
				gap->migration->name, known[i].migration->name);
			return err_hint(err, "give it a number above the newest");
		}
	}
	return true;
}

static bool read_known(PgDb *db, Known *known, Err *err)
{
	PgRows *rows = pg_db_run(db, SQL_MIGRATION_LIST, 0, NULL, err);
	bool ok = rows != NULL;

	for (int row = 0; ok && row < pg_rows_count(rows); row++)
		ok = compare(known, rows, row, err);
	pg_rows_free(rows);
	return ok && check_order(known, err);
}

static bool no_rights(const PgRows *state, Err *err)
{
	if (strcmp(err->sqlstate, "42501") != 0)
		return false;
	err_set(err, ERR_SQL, "migrate: role %s may not install the schema in database %s",
		pg_rows_text(state, 0, 3), pg_rows_text(state, 0, 4));
	return err_hint(err, "connect as a superuser, or as the database's owner with CREATEROLE: "
			     "--admin-db DSN");
}

/* The schema and the table of migrations, where they are missing. */
static bool prepare(PgDb *db, const PgRows *state, Err *err)
{
	bool ok = run_plain(db, SQL_BEGIN, 0, NULL, err);

	if (ok && !pg_rows_bool(state, 0, 0))
		ok = run_plain(db, SQL_MIGRATION_SCHEMA, 0, NULL, err);
	ok = ok && run_plain(db, SQL_MIGRATION_TABLE, 0, NULL, err) &&
	     run_plain(db, SQL_MIGRATION_GRANT, 0, NULL, err);
	if (!ok) {
		Err ignored;

		run_plain(db, SQL_ROLLBACK, 0, NULL, &ignored);
		return no_rights(state, err);
	}
	return run_plain(db, SQL_COMMIT, 0, NULL, err);
}

/* Runs one migration and records it, both or neither. */
static bool apply(PgDb *db, const Known *k, Err *err)
{
	char number[16];
	const char *const params[] = { number, k->migration->name, k->checksum };
	Buf text = { 0 };
	bool ok;

	snprintf(number, sizeof(number), "%d", k->migration->number);
	sql_migration_text(k->migration, pg_db_schema(db), &text);
	ok = run_plain(db, SQL_BEGIN, 0, NULL, err) && pg_db_script(db, text.s, err) &&
	     run_plain(db, SQL_MIGRATION_ROLE, 0, NULL, err) &&
	     run_plain(db, SQL_MIGRATION_RECORD, 3, params, err) &&
	     run_plain(db, SQL_COMMIT, 0, NULL, err);
	buf_free(&text);
	if (!ok) {
		Err ignored;

		run_plain(db, SQL_ROLLBACK, 0, NULL, &ignored);
		err_prefix(err, "migration %s", k->migration->name);
	}
	return ok;
}

static bool apply_pending(
	PgDb *db, const MigrateOptions *o, const Known *known, size_t *applied, Err *err)
{
	for (size_t i = 0; i < sql_migration_count(); i++) {
		if (known[i].applied)
			continue;
		if (!o->dry_run && !apply(db, &known[i], err))
			return false;
		if (o->report != NULL)
			o->report(o->owner, o->dry_run ? MIGRATE_PENDING : MIGRATE_APPLIED,
				known[i].migration);
		(*applied)++;
	}
	return true;
}

static bool apply_locked(PgDb *db, const MigrateOptions *o, size_t *applied, Err *err)
{
	const char *schema = pg_db_schema(db);
	PgRows *state = pg_db_run(db, SQL_MIGRATION_INSTALLED, 1, &schema, err);
	Known *known = known_new();
	bool ok = state != NULL, installed = ok && pg_rows_bool(state, 0, 1);

	if (ok && !installed && !o->dry_run)
		ok = prepare(db, state, err);
	if (ok && installed)
		ok = read_known(db, known, err);
	ok = ok && apply_pending(db, o, known, applied, err);
	pg_rows_free(state);
	free(known);
	return ok;
}

bool migrate_apply(PgDb *db, const MigrateOptions *options, size_t *applied, Err *err)
{
	const char *schema = pg_db_schema(db);
	bool ok;
	Err ignored;

	*applied = 0;
	if (!run_plain(db, SQL_MIGRATION_LOCK, 1, &schema, err))
		return false;
	ok = apply_locked(db, options, applied, err);
	run_plain(db, SQL_MIGRATION_UNLOCK, 1, &schema, &ignored);
	return ok;
}

static bool check_current(PgDb *db, Err *err)
{
	size_t n = sql_migration_count(), missing = 0;
	Known *known = known_new();
	bool ok = read_known(db, known, err);

	for (size_t i = 0; ok && i < n; i++)
		missing += !known[i].applied;
	free(known);
	if (!ok || missing == 0)
		return ok;
	err_set(err, ERR_SQL, "schema: %s is %zu migration%s behind this program", pg_db_schema(db),
		missing, missing == 1 ? "" : "s");
	return err_hint(err, "run moonwake migrate");
}

bool migrate_check(PgDb *db, Err *err)
{
	const char *schema = pg_db_schema(db);
	PgRows *state = pg_db_run(db, SQL_MIGRATION_INSTALLED, 1, &schema, err);
	bool ok = state != NULL;

	if (ok && !pg_rows_bool(state, 0, 1)) {
		err_set(err, ERR_SQL, "schema: %s is not installed in database %s", schema,
			pg_rows_text(state, 0, 4));
		ok = err_hint(err, "run moonwake migrate");
	} else if (ok && !pg_rows_bool(state, 0, 2)) {
		err_set(err, ERR_SQL, "schema: role %s may not use %s", pg_rows_text(state, 0, 3),
			schema);
		ok = err_hint(err, "grant it one of moonwake_run, moonwake_publish, moonwake_read");
	}
	pg_rows_free(state);
	return ok && check_current(db, err);
}
