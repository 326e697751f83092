#include "app/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/loader.h"
#include "app/rule_version.h"
#include "base/iso_time.h"
#include "base/json.h"

enum { PREFIX_LEAST = 4, UUID = 36 };

/* ---- which one ---- */

static bool is_dash(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

/* The first and the last uuid that begin so; dashes may be left out. */
static bool bounds(const char *prefix, char low[UUID + 1], char high[UUID + 1])
{
	size_t n = 0;

	for (const char *p = prefix; *p != '\0'; p++) {
		if (is_dash(n) && n < UUID)
			low[n++] = '-';
		if (*p == '-' && n > 0 && is_dash(n - 1))
			continue;
		if (n == UUID || strchr("0123456789abcdefABCDEF", *p) == NULL)
			return false;
		low[n++] = *p;
	}
	if (strlen(prefix) < PREFIX_LEAST)
		return false;
	memcpy(high, low, n);
	for (; n < UUID; n++) {
		low[n] = is_dash(n) ? '-' : '0';
		high[n] = is_dash(n) ? '-' : 'f';
	}
	low[UUID] = high[UUID] = '\0';
	return true;
}

static bool find(Explained *x, const char *prefix, Err *err)
{
	char low[UUID + 1], high[UUID + 1];
	const char *params[] = { low, high };

	if (!bounds(prefix, low, high))
		return err_set(err, ERR_USAGE,
			"'%.60s' is no id of an episode, nor the beginning of one (four digits and "
			"more; `moonwake alerts` lists them)",
			prefix);
	x->alert = pg_db_run(x->db, SQL_EXPLAIN_ALERT, 2, params, err);
	if (x->alert == NULL)
		return false;
	if (pg_rows_count(x->alert) == 1)
		return true;
	if (pg_rows_count(x->alert) == 0)
		return err_set(err, ERR_USAGE,
			"no episode begins with %.60s (`moonwake alerts --all` lists them)",
			prefix);
	return err_set(err, ERR_USAGE, "%.60s is the beginning of several episodes: %s, %s, …",
		prefix, pg_rows_text(x->alert, 0, X_EPISODE), pg_rows_text(x->alert, 1, X_EPISODE));
}

/* ---- what is known of it ---- */

static bool read_tables(Explained *x, Err *err)
{
	const char *episode = pg_rows_text(x->alert, 0, X_EPISODE);

	x->events = pg_db_run(x->db, SQL_EXPLAIN_EVENTS, 1, &episode, err);
	x->outbox =
		x->events != NULL ? pg_db_run(x->db, SQL_EXPLAIN_OUTBOX, 1, &episode, err) : NULL;
	return x->outbox != NULL;
}

/* The rule as it ran last, from what was kept, or from the workspace. */
static bool open_rule(Explained *x, Err *err)
{
	LuaOptions lua = { .workspace = x->cli->workspace };
	Handler *file, *kept;
	Err why;

	file = loader_open(&lua, pg_rows_text(x->alert, 0, X_RULE), &why);
	if (file != NULL && file->ops->definition(file)->kind != KIND_RULE) {
		file->ops->close(file);
		file = NULL;
		err_set(&why, ERR_USAGE, "the workspace has no such rule");
	}
	kept = rule_version_live(&lua, x->db,
		file != NULL ? file->ops->definition(file)
			     : &(Definition){ .name = pg_rows_text(x->alert, 0, X_RULE) },
		err);
	if (kept == NULL && err->kind == ERR_CONN)
		return false;
	x->changed = file != NULL && strcmp(file->ops->definition(file)->digest,
					     pg_rows_text(x->alert, 0, X_DIGEST)) != 0;
	x->handler = kept != NULL ? kept : file;
	if (kept != NULL && file != NULL)
		file->ops->close(file);
	if (x->handler == NULL)
		x->missing = mem_strdup(why.message);
	return true;
}

/* ---- what led to it ---- */

static bool replay(Explained *x, Err *err)
{
	ProbeAsk ask = { .cli = x->cli,
		.db = x->db,
		.handler = x->handler,
		.key = pg_rows_str(x->alert, 0, X_KEY_TEXT),
		.since_us = pg_rows_i64(x->alert, 0, X_STARTED),
		.until_us = pg_rows_null(x->alert, 0, X_ENDED)
				    ? 0
				    : pg_rows_i64(x->alert, 0, X_ENDED) + 1 };
	Str machine = pg_rows_str(x->alert, 0, X_MACHINE);

	if (ask.until_us == 0)
		ask.until_us = pg_rows_i64(x->events, pg_rows_count(x->events) - 1, E_AT) + 1;
	if (!probes_run(&ask, &x->probes, err))
		return false;
	for (size_t i = 0; i < episodes_count(x->probes.episodes); i++)
		x->reproduced =
			x->reproduced || str_eq(episodes_at(x->probes.episodes, i)->id, machine);
	return true;
}

/* Whether an evaluation is what made an event of the alert. */
static bool made(const Probe *p, const char *type)
{
	bool left = !str_eq(p->before, p->after);

	if (strcmp(type, "alert.firing") == 0)
		return p->why.len >= 8 && memcmp(p->why.s, "it fires", 8) == 0;
	if (strcmp(type, "alert.pending") == 0)
		return left && str_eq(p->after, STR("pending"));
	return left && !str_eq(p->after, STR("firing"));
}

const Probe *explain_probe(const Explained *x, int row)
{
	int64_t at = pg_rows_i64(x->events, row, E_AT);
	const char *type = pg_rows_text(x->events, row, E_TYPE);

	if (strcmp(pg_rows_text(x->events, row, E_ACTOR_TYPE), "rule") != 0)
		return NULL;
	for (size_t i = 0; i < x->probes.count; i++)
		if (x->probes.at[i].at == at && made(&x->probes.at[i], type))
			return &x->probes.at[i];
	return NULL;
}

static int64_t integer_of(Str object, const char *name)
{
	Str digits;

	return object.s != NULL && json_path(object, name, &digits) ? strtoll(digits.s, NULL, 10)
								    : 0;
}

static int64_t time_of(Str object, const char *name)
{
	Str literal;
	int64_t us;

	if (object.s == NULL || !json_path(object, name, &literal) || literal.len < 2 ||
		!iso_time_parse((Str){ literal.s + 1, literal.len - 2 }, &us))
		return INT64_MIN;
	return us;
}

/* How many of the own events up to a probe it was about: those in the window, those since the first
 * step; otherwise the last one. */
static size_t count_contributed(const Probes *p, size_t upto)
{
	const Probe *at = &p->at[upto];
	int64_t count = integer_of(at->subject, "count"), started = time_of(at->subject, "started");
	size_t n = 0;

	if (count > 0 || started == INT64_MIN)
		return count > 0 ? (size_t)count : 1;
	for (size_t i = 0; i <= upto; i++)
		n += p->at[i].passed && p->at[i].at >= started;
	return n > 0 ? n : 1;
}

static bool read_contributed(Explained *x, const Probe *turned_on, Err *err)
{
	size_t upto = (size_t)(turned_on - x->probes.at), wanted, shown = 0;
	Buf ids = { 0 };
	const char *param;

	wanted = count_contributed(&x->probes, upto);
	buf_addc(&ids, '{');
	for (size_t i = upto + 1; i-- > 0 && x->ncontributed < wanted;) {
		if (!x->probes.at[i].passed)
			continue;
		if (shown < EXPLAIN_CONTRIBUTED)
			buf_addf(&ids, "%s%" PRId64, shown++ > 0 ? "," : "",
				x->probes.at[i].position);
		x->ncontributed++;
	}
	buf_addc(&ids, '}');
	param = ids.s;
	x->contributed = pg_db_run(x->db, SQL_EXPLAIN_CONTRIBUTED, 1, &param, err);
	buf_free(&ids);
	return x->contributed != NULL;
}

/* Of the first step of it that a replay knows: there it went on. */
static bool find_contributed(Explained *x, Err *err)
{
	for (int i = 0; i < pg_rows_count(x->events); i++) {
		const Probe *p = explain_probe(x, i);

		if (p != NULL)
			return read_contributed(x, p, err);
	}
	return true;
}

bool explain_episode(Explained *x, const char *prefix, Err *err)
{
	if (!find(x, prefix, err) || !read_tables(x, err) || !open_rule(x, err))
		return false;
	if (x->handler == NULL || pg_rows_count(x->events) == 0)
		return true;
	return replay(x, err) && find_contributed(x, err);
}

void explain_free(Explained *x)
{
	pg_rows_free(x->alert);
	pg_rows_free(x->events);
	pg_rows_free(x->outbox);
	pg_rows_free(x->contributed);
	probes_free(&x->probes);
	free(x->missing);
	if (x->handler != NULL)
		x->handler->ops->close(x->handler);
}
