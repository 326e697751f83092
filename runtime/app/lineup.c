#include "app/lineup.h"

#include "base/fault.h"
#include "base/log.h"
#include "lua/lua_handler.h"

#include <stdlib.h>

/* The columns of sql/queries/plan_projection.sql. */
enum { P_LIVE, P_LIVE_PATH, P_LIVE_FILES, P_NEXT, P_NEXT_PATH, P_NEXT_FILES, P_NOTE };

typedef struct {
	PgDb *db;
	const LuaOptions *lua;
	bool fresh;
	Lineup *out;
} Planner;

static Candidate *add(Lineup *l, const char *name, bool next, Handler *h)
{
	char consumer[sizeof(l->candidates->name)];
	Candidate *c;

	snprintf(consumer, sizeof(consumer), "%.63s%s", name, next ? ":next" : "");
	for (size_t i = 0; h == NULL && i < l->n;
		i++) /* of two files with one name the first counts */
		if (strcmp(l->candidates[i].name, consumer) == 0)
			return &l->candidates[i];
	l->candidates = mem_realloc(l->candidates, (l->n + 1) * sizeof(*l->candidates));
	c = &l->candidates[l->n++];
	*c = (Candidate){ .handler = h, .next = next };
	memcpy(c->name, consumer, sizeof(c->name));
	return c;
}

void lineup_name(const char *path, char out[64])
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t len = strcspn(base, ".");

	len = len < 63 ? len : 63;
	memcpy(out, base, len);
	out[len] = '\0';
}

static bool run_plain(PgDb *db, SqlId id, int n, const char *const *params, Err *err)
{
	PgRows *rows = pg_db_run(db, id, n, params, err);

	pg_rows_free(rows);
	return rows != NULL;
}

static bool keep_source(Planner *p, const Definition *def, Err *err)
{
	const char *params[] = { def->digest, def->path, def->files.s };

	return def->files.s == NULL || run_plain(p->db, SQL_KEEP_SOURCE, 3, params, err);
}

static Handler *open_stored(Planner *p, const char *name, const char *path, Str files)
{
	LuaOptions lua = *p->lua;
	Handler *h;
	Err err;

	lua.files = files;
	h = lua_handler_open(&lua, path, &err);
	if (h == NULL) {
		p->out->broken++;
		log_line(LOG_ERROR, name, "the text that was kept: %s", err.message);
	}
	return h;
}

/* One version of a plan: `file` is the handler of the file, if that is still to be had. */
static void line_up(Planner *p, const PgRows *plan, int column, const char *name, bool next,
	const Definition *def, Handler **file)
{
	const char *from = pg_rows_text(plan, 0, column);
	Handler *h = NULL;

	if (strcmp(from, "none") == 0)
		return;
	if (strcmp(from, "file") == 0 && *file != NULL) {
		h = *file;
		*file = NULL;
	} else if (strcmp(from, "file") == 0 && def != NULL) {
		h = open_stored(p, name, def->path, def->files);
	} else if (!pg_rows_null(plan, 0, column + 2)) {
		h = open_stored(p, name, pg_rows_text(plan, 0, column + 1),
			pg_rows_str(plan, 0, column + 2));
	}
	if (h != NULL)
		add(p->out, name, next, h);
}

/* `file` is taken; NULL: there is none, and what is kept goes on. */
static bool plan_projection(Planner *p, const char *name, Handler *file, Err *err)
{
	const Definition *def = file ? file->ops->definition(file) : NULL;
	const char *params[] = { name, def ? def->spec.s : NULL, def ? def->digest : NULL,
		p->fresh ? "t" : "f" };
	PgRows *plan = pg_db_run(p->db, SQL_PLAN_PROJECTION, 4, params, err);
	Handler *kept = file;

	if (plan == NULL) {
		if (file != NULL)
			file->ops->close(file);
		return false;
	}
	if (p->fresh && pg_rows_text(plan, 0, P_NOTE)[0] != '\0')
		log_line(LOG_INFO, name, "%s", pg_rows_text(plan, 0, P_NOTE));
	line_up(p, plan, P_LIVE, name, false, def, &kept);
	line_up(p, plan, P_NEXT, name, true, def, &kept);
	if (kept != NULL)
		kept->ops->close(kept);
	pg_rows_free(plan);
	return true;
}

static bool plan_script(Planner *p, LoadedScript *s, const char *name, Err *err)
{
	Handler *h = s->handler;
	const Definition *def;

	if (h == NULL) {
		p->out->broken++;
		add(p->out, name, false, NULL);
		add(p->out, name, true, NULL);
		return true;
	}
	def = h->ops->definition(h);
	if (!keep_source(p, def, err))
		return false;
	s->handler = NULL;
	if (def->kind == KIND_PROJECTION && !def->sql)
		return plan_projection(p, name, h, err);
	add(p->out, name, false, h);
	return true;
}

static bool plan_all(Planner *p, LoadedScripts *scripts, const char *only, Err *err)
{
	bool ok = run_plain(p->db, SQL_BEGIN, 0, NULL, err), found = false;
	PgRows *stamp;
	char name[64];

	for (size_t i = 0; ok && i < scripts->n; i++) {
		lineup_name(scripts->scripts[i].path, name);
		if (only != NULL && strcmp(only, name) != 0)
			continue;
		found = true;
		ok = plan_script(p, &scripts->scripts[i], name, err);
	}
	if (ok && only != NULL && !found)
		ok = plan_projection(p, only, NULL, err);
	stamp = ok ? pg_db_run(p->db, SQL_PLAN_STAMP, 0, NULL, err) : NULL;
	if (stamp == NULL)
		return false;
	snprintf(p->out->stamp, sizeof(p->out->stamp), "%s", pg_rows_text(stamp, 0, 0));
	pg_rows_free(stamp);
	return run_plain(p->db, SQL_COMMIT, 0, NULL, err);
}

/* A standby, which may become a primary: the session tells, and asks for a plan then. */
static void plan_nothing(LoadedScripts *scripts, Lineup *out)
{
	char name[64];

	for (size_t i = 0; i < scripts->n; i++) {
		LoadedScript *s = &scripts->scripts[i];

		lineup_name(s->path, name);
		add(out, name, false, s->handler);
		out->broken += s->handler == NULL;
		s->handler = NULL;
	}
}

bool lineup_plan(const PgTarget *target, const LuaOptions *lua, LoadedScripts *scripts, bool fresh,
	const char *only, Lineup *out, Err *err)
{
	Planner p = { .lua = lua, .fresh = fresh, .out = out };
	bool ok;

	*out = (Lineup){ 0 };
	p.db = pg_db_open(target, err);
	ok = p.db != NULL && plan_all(&p, scripts, only, err);
	pg_db_close(p.db);
	if (!ok && strcmp(err->sqlstate, "25006") == 0) {
		lineup_free(out);
		plan_nothing(scripts, out);
		return true;
	}
	if (!ok) {
		lineup_free(out);
		return false;
	}
	for (size_t i = 0; i < out->n; i++)
		if (out->candidates[i].next && out->candidates[i].handler != NULL)
			FAULT("build.created");
	return true;
}

void lineup_free(Lineup *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->candidates[i].handler != NULL)
			l->candidates[i].handler->ops->close(l->candidates[i].handler);
	free(l->candidates);
	*l = (Lineup){ 0 };
}

static const RosterEntry *entry_of(const RosterEntry *entries, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(entries[i].consumer.name, name) == 0)
			return &entries[i];
	return NULL;
}

static bool is_same(const Candidate *c, const RosterEntry *e)
{
	return c->handler == NULL || strcmp(c->handler->ops->definition(c->handler)->digest,
					     e->consumer.def->digest) == 0;
}

bool lineup_differs(const Lineup *l, const RosterEntry *entries, size_t n)
{
	size_t same = 0;

	for (size_t i = 0; i < l->n; i++) {
		const RosterEntry *e = entry_of(entries, n, l->candidates[i].name);

		if (e == NULL && l->candidates[i].handler == NULL)
			continue;
		if (e == NULL || !is_same(&l->candidates[i], e))
			return true;
		same++;
	}
	return same != n;
}

RosterEntry *lineup_adopt(Lineup *l, const RosterEntry *old, size_t nold, bool replan, size_t *n)
{
	RosterEntry *entries = mem_calloc(l->n + 1, sizeof(*entries));

	*n = 0;
	for (size_t i = 0; i < l->n; i++) {
		Candidate *c = &l->candidates[i];
		const RosterEntry *was = entry_of(old, nold, c->name);
		RosterEntry *e = &entries[*n];

		if (was == NULL && c->handler == NULL)
			continue;
		++*n;
		if (was != NULL && is_same(c, was)) {
			*e = *was;
			e->ensured = e->ensured && !replan; /* its table may be another one */
			continue;
		}
		*e = (RosterEntry){
			.owned = was && was->owned, .try_again = true, .next = c->next
		};
		consumer_init(&e->consumer, c->handler, c->name);
		c->handler = NULL;
		if (was != NULL)
			log_line(LOG_INFO, c->name, "reloaded");
	}
	return entries;
}
