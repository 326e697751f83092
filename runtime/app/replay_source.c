#include "app/replay_source.h"

#include "app/migrate.h"
#include "app/replay_overlay.h"
#include "app/term.h"
#include "base/iso_time.h"

#include <errno.h>
#include <stdlib.h>

enum { SESSIONS = 2, SLICE = 1000 };

struct ReplaySource {
	Cli *cli;
	Handler *h;
	const Definition *def;
	HistoryFilter filter;
	char *aggregate; /* the words of --aggregate, cut in two */
	Str *types;
	int64_t from_id, from_us; /* one of them, or none */
	Condition where;
	Overlays overlays;
	PgDb *sessions[SESSIONS]; /* each history has one to itself */
	size_t nsessions;
	Event *kept; /* of the page, what --where takes */
	size_t cap;
};

bool replay_source_point(const char *subject, const char *text, int64_t *id, int64_t *us, Err *err)
{
	const char *digits = text + (text[0] == '#');
	char *end;

	*id = *us = 0;
	errno = 0;
	*id = strtoll(digits, &end, 10);
	if (end != digits && *end == '\0' && errno == 0 && *id > 0)
		return true;
	*id = 0;
	return iso_time_parse(str_from(text), us) ||
	       err_set(err, ERR_USAGE,
		       "%s: '%.60s' is neither an event's id nor a time (1042, 2026-01-02, "
		       "2026-01-02T03:04:05Z)",
		       subject, text);
}

/* The range: --from is passed unseen, unless --cold says that nothing was before it. */
static bool read_range(ReplaySource *s, Err *err)
{
	const char *from = cli_value(s->cli, "from"), *to = cli_value(s->cli, "to");
	int64_t id, us;

	if (to != NULL) {
		if (!replay_source_point("--to", to, &id, &us, err))
			return false;
		s->filter.upto = id;
		s->filter.until_us = id > 0 ? 0 : us + 1;
	}
	if (from == NULL && cli_flag(s->cli, "cold"))
		return err_set(err, ERR_USAGE, "--cold says how to begin --from somewhere");
	if (from == NULL)
		return true;
	if (!replay_source_point("--from", from, &s->from_id, &s->from_us, err))
		return false;
	if (cli_flag(s->cli, "cold")) {
		s->filter.after = s->from_id > 0 ? s->from_id - 1 : 0;
		s->filter.from_us = s->from_us;
	}
	return true;
}

static bool read_aggregate(ReplaySource *s, Err *err)
{
	const char *text = cli_value(s->cli, "aggregate");
	char *slash;

	s->filter.aggregate_type = s->def->aggregate;
	if (text == NULL)
		return true;
	s->aggregate = mem_strdup(text);
	slash = strchr(s->aggregate, '/');
	if (slash != NULL) {
		*slash = '\0';
		s->filter.aggregate_id = slash + 1;
	}
	if (s->aggregate[0] == '\0' || (slash != NULL && slash[1] == '\0'))
		return err_set(
			err, ERR_USAGE, "--aggregate takes TYPE or TYPE/ID, not '%.60s'", text);
	if (s->def->aggregate != NULL && strcmp(s->def->aggregate, s->aggregate) != 0)
		return err_set(err, ERR_USAGE,
			"--aggregate %.60s: the reducer %s folds aggregates of type %s", text,
			s->def->name, s->def->aggregate);
	s->filter.aggregate_type = s->aggregate;
	return true;
}

/* What the script does not take is not even fetched, unless it is asked for by name. */
static void read_types(ReplaySource *s)
{
	const Options *o = &s->cli->options;

	s->types = mem_calloc(OPTIONS_GIVEN_MAX, sizeof(*s->types));
	for (size_t i = 0; i < o->ngiven; i++)
		if (strcmp(o->given[i].option->name, "type") == 0)
			s->types[s->filter.ntypes++] = str_from(o->given[i].value);
	s->filter.types = s->types;
	if (s->filter.ntypes == 0) {
		s->filter.types = s->def->types;
		s->filter.ntypes = s->def->ntypes;
	}
	s->filter.correlation = cli_value(s->cli, "correlation");
}

static bool read_where(ReplaySource *s, Err *err)
{
	const char *where = cli_value(s->cli, "where");

	return where == NULL || condition_open(&s->where, s->h, "--where", where, err);
}

ReplaySource *replay_source_open(Cli *cli, Handler *h, Err *err)
{
	ReplaySource *s = mem_calloc(1, sizeof(*s));

	s->cli = cli;
	s->h = h;
	s->def = h->ops->definition(h);
	read_types(s);
	if (read_range(s, err) && read_aggregate(s, err) && read_where(s, err) &&
		overlays_read(&s->overlays, cli, err))
		return s;
	replay_source_close(s);
	return NULL;
}

void replay_source_close(ReplaySource *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->nsessions; i++)
		pg_db_close(s->sessions[i]);
	condition_close(&s->where);
	overlays_free(&s->overlays);
	free(s->aggregate);
	free(s->types);
	free(s->kept);
	free(s);
}

/* A session in which the server refuses every write, whatever this program would do. */
static PgDb *open_session(ReplaySource *s, Err *err)
{
	PgDb *db = pg_db_open(&s->cli->target, err);
	PgRows *rows;

	if (db == NULL)
		return NULL;
	rows = pg_db_run(db, SQL_SESSION_READ_ONLY, 0, NULL, err);
	if (rows == NULL || !migrate_check(db, err)) {
		pg_rows_free(rows);
		pg_db_close(db);
		return NULL;
	}
	pg_rows_free(rows);
	return s->sessions[s->nsessions++] = db;
}

History *replay_source_history(ReplaySource *s, Err *err)
{
	History *history;
	PgDb *db = NULL;

	if (s->nsessions == SESSIONS)
		err_set(err, ERR_DATA,
			"replay: the true history could not be read before (begin again)");
	else
		db = open_session(s, err);
	history = db != NULL ? history_open(db, &s->filter, err) : NULL;
	if (history != NULL)
		s->filter.upto = history_upto(history);
	return history;
}

EventSlice replay_source_where(ReplaySource *s, EventSlice page)
{
	const Str none = { NULL, 0 };
	size_t n = 0;

	if (s->where.number == 0)
		return page;
	if (page.count > s->cap) {
		s->cap = page.count;
		s->kept = mem_realloc(s->kept, s->cap * sizeof(*s->kept));
	}
	for (size_t i = 0; i < page.count; i++)
		if (condition_holds(&s->where, s->h, &page.events[i], none, none, none))
			s->kept[n++] = page.events[i];
	return (EventSlice){ s->kept, n };
}

/* A tape of those events of another that --where takes. */
static Tape *choose(ReplaySource *s, Tape *all, Err *err)
{
	Tape *chosen = tape_open(NULL, err);
	Progress progress;
	size_t number = 0;
	EventSlice page;
	bool ok = chosen != NULL;

	progress_start(&progress, "events", -1);
	while (ok && (ok = tape_slice(all, number, SLICE, &page, err)) && page.count > 0) {
		EventSlice some = replay_source_where(s, page);

		for (size_t i = 0; i < some.count; i++)
			tape_add(chosen, &some.events[i]);
		number += page.count;
		if (progress.bar)
			progress_show(&progress, 0, (int64_t)number);
		if (cli_stopped(s->cli))
			ok = err_set(err, ERR_STOPPED, "replay: stopped");
	}
	progress_end(&progress);
	tape_close(all);
	if (ok)
		return chosen;
	tape_close(chosen);
	return NULL;
}

Tape *replay_source_tape(ReplaySource *s, bool changed, Err *err)
{
	History *history = replay_source_history(s, err);
	Tape *tape;

	if (history == NULL)
		return NULL;
	tape = tape_open(history, err);
	if (tape == NULL)
		return NULL;
	if (changed && !overlays_apply(&s->overlays, tape, err)) {
		tape_close(tape);
		return NULL;
	}
	return s->where.number != 0 ? choose(s, tape, err) : tape;
}

bool replay_source_is_changed(const ReplaySource *s)
{
	return s->overlays.count > 0;
}

void replay_source_describe(const ReplaySource *s, Buf *out)
{
	overlays_describe(&s->overlays, out);
}

const Condition *replay_source_condition(const ReplaySource *s)
{
	return s->where.number != 0 ? &s->where : NULL;
}

bool replay_source_start(ReplaySource *s, Tape *tape, size_t *number, Err *err)
{
	*number = 0;
	if (s->from_id > 0)
		return tape_find(tape, s->from_id, number, err);
	return s->from_us == 0 || tape_find_time(tape, s->from_us, number, err);
}

bool replay_source_is_before(const ReplaySource *s, const Event *e)
{
	return e->id < s->from_id || (s->from_us != 0 && e->timestamp_us < s->from_us);
}

int64_t replay_source_place(const ReplaySource *s, int64_t id)
{
	return overlays_place(&s->overlays, id);
}

bool replay_source_all_taken(const ReplaySource *s)
{
	return s->filter.types == s->def->types;
}

const char *replay_source_aggregate(const ReplaySource *s)
{
	return s->filter.aggregate_id;
}

bool replay_source_takes(const ReplaySource *s, const Event *e)
{
	if (s->def->aggregate != NULL && !str_eq(str_from(s->def->aggregate), e->aggregate_type))
		return false;
	for (size_t i = 0; i < s->def->ntypes; i++)
		if (event_type_matches(s->def->types[i], e->type))
			return true;
	return false;
}

/* The choices that were made, as they were typed: " --type x --from y". */
static void add_choices(const ReplaySource *s, Buf *out)
{
	static const char *const names[] = { "from", "to", "aggregate", "type", "correlation",
		"where" };
	const Options *o = &s->cli->options;

	for (size_t i = 0; i < o->ngiven; i++)
		for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
			if (strcmp(o->given[i].option->name, names[n]) == 0)
				buf_addf(out, " --%s %.60s", names[n], o->given[i].value);
}

bool replay_source_nothing(const ReplaySource *s, Err *err)
{
	Buf text = { 0 };

	add_choices(s, &text);
	err_set(err, ERR_DATA, "no event matches%.400s",
		text.len > 0 ? text.s : ": the log has none of a type that the script takes");
	buf_clear(&text);
	for (size_t i = 0; i < s->def->ntypes; i++)
		buf_addf(&text, "%s%.*s", i > 0 ? ", " : "", (int)s->def->types[i].len,
			s->def->types[i].s);
	if (s->where.failures > 0)
		err_hint(err, "it failed at %lld events: %.300s", (long long)s->where.failures,
			s->where.first.message);
	else
		err_hint(err, "%s takes %.300s", s->def->name, buf_str(&text).s);
	buf_free(&text);
	return false;
}
