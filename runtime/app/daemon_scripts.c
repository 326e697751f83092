#include "app/daemon_parts.h"

#include "app/receivers.h"
#include "base/log.h"

#include <stdlib.h>

static void close_entry(RosterEntry *e)
{
	Handler *h = e->consumer.handler;

	consumer_clear(&e->consumer);
	h->ops->close(h);
}

static bool keeps(const RosterEntry *entries, size_t n, const Handler *h)
{
	for (size_t i = 0; i < n; i++)
		if (entries[i].consumer.handler == h)
			return true;
	return false;
}

/* A rule whose file is gone has nobody who could resolve its alerts. */
static void retire(PgDb *db, const char *rule, Err *err)
{
	PgRows *rows = pg_db_run(db, SQL_RULE_RETIRE, 1, (const char *[]){ rule }, err);

	if (rows != NULL)
		log_line(LOG_INFO, rule, "its file is gone: its alerts are resolved");
	else
		log_line(LOG_ERROR, rule, "%s", err->message);
	pg_rows_free(rows);
}

/* … while we ran. */
static void retire_entry(Daemon *d, const RosterEntry *e)
{
	PgDb *db;
	Err err;

	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->entries[i].consumer.name, e->consumer.name) == 0)
			return;
	db = pg_db_open(&d->target, &err);
	if (db != NULL)
		retire(db, e->consumer.name, &err);
	pg_db_close(db);
}

/* … while nobody ran. A file that does not load is there. */
static void retire_missing(Daemon *d, const LoadedScripts *scripts)
{
	Buf names = { 0 };
	PgRows *rows = NULL;
	char name[64];
	PgDb *db;
	Err err;

	buf_addc(&names, '{');
	for (size_t i = 0; i < scripts->n; i++) {
		lineup_name(scripts->scripts[i].path, name);
		if (strpbrk(name, "\"\\") == NULL) /* no rule's name */
			buf_addf(&names, "%s\"%s\"", names.len > 1 ? "," : "", name);
	}
	buf_addc(&names, '}');
	db = pg_db_open(&d->target, &err);
	if (db != NULL)
		rows = pg_db_run(db, SQL_RULE_RETIRED, 1, (const char *[]){ names.s }, &err);
	for (int i = 0; rows != NULL && i < pg_rows_count(rows); i++)
		retire(db, pg_rows_text(rows, i, 0), &err);
	pg_rows_free(rows);
	pg_db_close(db);
	buf_free(&names);
}

void daemon_exchange(Daemon *d)
{
	RosterEntry *old = d->entries;
	size_t nold = d->n;

	d->entries = lineup_adopt(&d->planned, old, nold, d->replan, &d->n);
	for (size_t i = 0; i < nold; i++)
		if (old[i].owned && old[i].consumer.def->kind == KIND_RULE)
			retire_entry(d, &old[i]);
	d->broken = d->planned.broken;
	d->replan = false;
	memcpy(d->stamp, d->planned.stamp, sizeof(d->stamp));
	if (d->session != NULL)
		session_resume(d->session, d->entries, d->n, d->stamp);
	for (size_t i = 0; i < nold; i++)
		if (!keeps(d->entries, d->n, old[i].consumer.handler))
			close_entry(&old[i]);
	free(old);
	lineup_free(&d->planned);
}

/* A file that does not load is told about once, and leaves a note for `status`. */
static void tell_broken(Daemon *d, const LoadedScripts *scripts)
{
	Err err;
	PgDb *db = NULL;
	char name[64];

	for (size_t i = 0; i < scripts->n; i++) {
		const LoadedScript *s = &scripts->scripts[i];
		const char *params[] = { name, s->handler ? "" : s->err.message };

		lineup_name(s->path, name);

		if (s->handler == NULL)
			log_line(LOG_ERROR, NULL, "%s", s->err.message);
		if (db == NULL)
			db = pg_db_open(&d->target, &err);
		if (db != NULL)
			pg_rows_free(pg_db_run(db, SQL_CONSUMER_NOTE, 2, params, &err));
	}
	pg_db_close(db);
}

bool daemon_plan(Daemon *d, bool fresh, bool tell, Err *err)
{
	LoadedScripts scripts;
	bool ok = loader_load(&d->lua, &scripts, err) || d->options->only != NULL;

	if (ok && tell)
		tell_broken(d, &scripts);
	ok = ok &&
	     lineup_plan(&d->target, &d->lua, &scripts, fresh, d->options->only, &d->planned, err);
	if (ok && fresh && d->options->only == NULL && d->planned.stamp[0] != '\0')
		retire_missing(d, &scripts);
	loader_free(&scripts);
	return ok;
}

static void tell_receiver(void *owner, const Err *err)
{
	(void)owner;
	log_line(LOG_ERROR, NULL, "%s", err->message);
}

Receivers *daemon_receivers(Daemon *d)
{
	LoadedReceivers loaded;
	Receivers *list;
	Err err;

	if (!receivers_load(&d->lua, &loaded, &err))
		log_line(LOG_ERROR, NULL, "%s", err.message);
	receivers_check(&loaded, tell_receiver, d);
	list = receivers_hold(loaded.list);
	receivers_free(&loaded);
	return list;
}

void daemon_close_scripts(Daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		close_entry(&d->entries[i]);
	free(d->entries);
	lineup_free(&d->planned);
}
