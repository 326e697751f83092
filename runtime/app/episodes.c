#include "app/episodes.h"

#include <stdlib.h>
#include <string.h>

#include "app/rule_key.h"
#include "base/json.h"

enum { FIRST_SLOTS = 256, FREE = -1 };

struct Episodes {
	Episode *at;
	size_t count, cap, pending;
	int32_t *slots; /* by id; open addressing */
	size_t mask;
	Arena *arena;
	Buf text;
};

static void make_slots(Episodes *e, size_t size)
{
	free(e->slots);
	e->slots = mem_alloc(size * sizeof(*e->slots));
	e->mask = size - 1;
	for (size_t i = 0; i < size; i++)
		e->slots[i] = FREE;
	for (size_t i = 0; i < e->count; i++) {
		size_t at = str_hash(e->at[i].id) & e->mask;

		while (e->slots[at] != FREE)
			at = (at + 1) & e->mask;
		e->slots[at] = (int32_t)i;
	}
}

Episodes *episodes_new(void)
{
	Episodes *e = mem_calloc(1, sizeof(*e));

	e->arena = arena_new(65536);
	make_slots(e, FIRST_SLOTS);
	return e;
}

void episodes_free(Episodes *e)
{
	if (e == NULL)
		return;
	arena_free(e->arena);
	buf_free(&e->text);
	free(e->slots);
	free(e->at);
	free(e);
}

/* The episode with this id, which there may not have been before. */
static Episode *find(Episodes *e, Str id)
{
	size_t at = str_hash(id) & e->mask;

	for (; e->slots[at] != FREE; at = (at + 1) & e->mask)
		if (str_eq(e->at[e->slots[at]].id, id))
			return &e->at[e->slots[at]];
	if (e->count == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 64;
		e->at = mem_realloc(e->at, e->cap * sizeof(*e->at));
	}
	e->slots[at] = (int32_t)e->count;
	e->at[e->count++] = (Episode){ .id = arena_str(e->arena, id),
		.since_us = EPISODE_NEVER,
		.fired_us = EPISODE_NEVER,
		.ended_us = EPISODE_NEVER };
	if (e->count * 2 > e->mask)
		make_slots(e, (e->mask + 1) * 2);
	return &e->at[e->count - 1];
}

/* ---- what a rule raises ---- */

/* A text member, copied; s == NULL where there is none. */
static Str text_of(Episodes *e, Str object, const char *name)
{
	Str literal;

	buf_clear(&e->text);
	if (!json_path(object, name, &literal) || !json_unescape(&e->text, literal))
		return (Str){ NULL, 0 };
	return arena_str(e->arena, buf_str(&e->text));
}

static int64_t time_of(Str object, const char *name, int64_t otherwise)
{
	Str digits;

	if (!json_path(object, name, &digits) || digits.len == 0 || digits.len > 20 ||
		strchr("-0123456789", digits.s[0]) == NULL)
		return otherwise;
	return strtoll(digits.s, NULL, 10); /* what follows in the object is no digit */
}

static bool is_true(Str object, const char *name)
{
	Str value;

	return json_path(object, name, &value) && str_eq(value, STR("true"));
}

static void fire(Episodes *e, Episode *x, Str effect, int64_t at)
{
	if (x->fired_us == EPISODE_NEVER)
		x->fired_us = at;
	x->severity = text_of(e, effect, "severity");
	x->summary = text_of(e, effect, "summary");
	x->muted = text_of(e, effect, "muted");
	x->signal = is_true(effect, "signal");
	if (x->signal)
		x->ended_us = at;
}

void episodes_take(Episodes *e, Str effect)
{
	Str kind, transition, id = text_of(e, effect, "episode");
	int64_t at = time_of(effect, "at", 0);
	Episode *x;

	if (!json_path(effect, "kind", &kind) || !str_eq(kind, STR("\"alert\"")) || id.s == NULL)
		return;
	x = find(e, id);
	if (x->key.s == NULL) {
		x->key = text_of(e, effect, "key_text");
		x->since_us = time_of(effect, "since", at);
		x->severity = text_of(e, effect, "severity");
	}
	transition = text_of(e, effect, "transition");
	if (str_eq(transition, STR("firing"))) {
		fire(e, x, effect, at);
	} else if (str_eq(transition, STR("resolved")) || str_eq(transition, STR("expired"))) {
		x->ended_us = at;
		x->reason = text_of(e, effect, "reason");
	}
}

/* ---- what is in the table ---- */

/* The columns of sql/queries/backtest_alerts.sql. */
enum { A_ID, A_KEY, A_SEVERITY, A_SUMMARY, A_REASON, A_MUTED, A_SINCE, A_FIRED, A_ENDED, A_SIGNAL };

static Str copied(Episodes *e, const PgRows *rows, int row, int column)
{
	Str text = pg_rows_str(rows, row, column);

	return text.s != NULL ? arena_str(e->arena, text) : text;
}

static int64_t time_at(const PgRows *rows, int row, int column)
{
	return pg_rows_null(rows, row, column) ? EPISODE_NEVER : pg_rows_i64(rows, row, column);
}

static void read_row(Episodes *e, const PgRows *rows, int i)
{
	Episode *x = find(e, pg_rows_str(rows, i, A_ID));

	x->key = copied(e, rows, i, A_KEY);
	x->severity = copied(e, rows, i, A_SEVERITY);
	x->summary = copied(e, rows, i, A_SUMMARY);
	x->reason = copied(e, rows, i, A_REASON);
	x->muted = copied(e, rows, i, A_MUTED);
	x->since_us = time_at(rows, i, A_SINCE);
	x->fired_us = time_at(rows, i, A_FIRED);
	x->ended_us = time_at(rows, i, A_ENDED);
	x->signal = pg_rows_bool(rows, i, A_SIGNAL);
	if (x->signal)
		x->ended_us = x->fired_us;
}

void episodes_read(Episodes *e, const PgRows *rows, const char *key)
{
	for (int i = 0; i < pg_rows_count(rows); i++)
		if (key == NULL || rule_key_is(key, pg_rows_str(rows, i, A_KEY)))
			read_row(e, rows, i);
}

/* ---- which ---- */

static int compare_texts(Str a, Str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n > 0 ? memcmp(a.s, b.s, n) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *a, const void *b)
{
	const Episode *x = a, *y = b;
	int order = compare_texts(x->key, y->key);

	if (order != 0)
		return order;
	if (x->fired_us != y->fired_us)
		return x->fired_us < y->fired_us ? -1 : 1;
	return compare_texts(x->id, y->id);
}

void episodes_clip(Episodes *e, int64_t from_us, int64_t until_us)
{
	size_t kept = 0;

	e->pending = 0;
	for (size_t i = 0; i < e->count; i++) {
		Episode x = e->at[i];

		if (x.fired_us == EPISODE_NEVER) {
			e->pending += x.since_us >= from_us && x.since_us < until_us;
			continue;
		}
		if (x.ended_us != EPISODE_NEVER && x.ended_us >= until_us) {
			x.ended_us = EPISODE_NEVER;
			x.reason = (Str){ NULL, 0 };
		}
		if (x.fired_us < until_us && (x.ended_us == EPISODE_NEVER || x.ended_us >= from_us))
			e->at[kept++] = x;
	}
	e->count = kept;
	qsort(e->at, e->count, sizeof(*e->at), by_key);
	make_slots(e, e->mask + 1);
}

size_t episodes_count(const Episodes *e)
{
	return e->count;
}

const Episode *episodes_at(const Episodes *e, size_t i)
{
	return &e->at[i];
}

size_t episodes_pending(const Episodes *e)
{
	return e->pending;
}

int64_t episode_start(const Episode *e, int64_t from_us)
{
	return e->fired_us > from_us ? e->fired_us : from_us;
}

int64_t episode_end(const Episode *e, int64_t until_us)
{
	return e->ended_us == EPISODE_NEVER || e->ended_us > until_us ? until_us : e->ended_us;
}
