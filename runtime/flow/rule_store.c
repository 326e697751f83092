#include "flow/rule_store.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/json_each.h"

enum { TIMER_KEYS = 1000 }; /* states that are loaded at once for timers */

struct RuleStore {
	MemoryTable *states;
	MemoryTable *timers, *parts; /* each row's state is the object that restore() takes */
	Buf text, key;
};

RuleStore *rule_store_new(void)
{
	RuleStore *s = mem_calloc(1, sizeof(*s));

	s->states = memory_table_new();
	s->timers = memory_table_new();
	s->parts = memory_table_new();
	return s;
}

void rule_store_free(RuleStore *s)
{
	if (s == NULL)
		return;
	memory_table_free(s->states);
	memory_table_free(s->timers);
	memory_table_free(s->parts);
	buf_free(&s->text);
	buf_free(&s->key);
	free(s);
}

const MemoryTable *rule_store_states(const RuleStore *s)
{
	return s->states;
}

static Str member(Str object, const char *name)
{
	Str value;

	return json_path(object, name, &value) ? value : (Str){ NULL, 0 };
}

static bool is_null(Str value)
{
	return value.s == NULL || str_eq(value, STR("null"));
}

/* ---- what was collected ---- */

static void keep_timers(RuleStore *s, Str timers)
{
	JsonEach each = json_each(timers);
	Str name, timer;

	while (json_each_next(&each, &name, &timer)) {
		MemoryRow row = { .key = member(timer, "key"), .state = timer };

		if (is_null(member(timer, "due")))
			row.state = (Str){ NULL, 0 };
		memory_table_put(s->timers, &row);
	}
}

/* The part and its key, as JSON texts one behind the other: parts stay together in their order. */
static void keep_part(RuleStore *s, Str part)
{
	Str name = member(part, "part"), key = member(part, "key");
	MemoryRow row = { .state = part };

	buf_clear(&s->key);
	buf_add(&s->key, name.s, name.len);
	buf_add(&s->key, key.s, key.len);
	row.key = buf_str(&s->key);
	if (is_null(member(part, "state")))
		row.state = (Str){ NULL, 0 };
	memory_table_put(s->parts, &row);
}

void rule_store_take(RuleStore *s, Handler *h, const Effects *fx,
	void (*raised)(void *owner, Str effect), void *owner)
{
	JsonEach each = json_each(fx->raised);
	Str name, effect;

	memory_table_take(s->states, h, fx);
	keep_timers(s, fx->timers);
	while (json_each_next(&each, &name, &effect)) {
		if (str_eq(member(effect, "kind"), STR("\"part\"")))
			keep_part(s, effect);
		else
			raised(owner, effect);
	}
}

/* ---- what a handler wants ---- */

Str rule_store_memory(const RuleStore *s)
{
	const MemoryRow *row = memory_table_get(s->parts, STR("\"memory\"\"\""));

	return row != NULL ? member(row->state, "state") : (Str){ NULL, 0 };
}

static void add_timers(const RuleStore *s, Buf *out)
{
	size_t n;
	MemoryRow *rows = memory_table_rows(s->timers, &n);

	buf_adds(out, "{\"timers\":[");
	for (size_t i = 0; i < n; i++) {
		buf_adds(out, i > 0 ? "," : "");
		buf_add(out, rows[i].state.s, rows[i].state.len);
	}
	buf_addc(out, ']');
	free(rows);
}

/* {"ref sites": rows} as "sites": [{"key", "state"}, …] */
static void add_refs(const RuleStore *s, Buf *out)
{
	static const char prefix[] = "\"ref ";
	size_t n, skip = sizeof(prefix) - 1;
	MemoryRow *rows = memory_table_rows(s->parts, &n);
	Str last = { NULL, 0 };

	buf_adds(out, ",\"refs\":{");
	for (size_t i = 0; i < n; i++) {
		Str name = member(rows[i].state, "part");

		if (name.len < skip || memcmp(name.s, prefix, skip) != 0)
			continue;
		if (!str_eq(name, last)) {
			buf_addf(out, "%s\"%.*s:[", last.s != NULL ? "]," : "",
				(int)(name.len - skip), name.s + skip);
			last = name;
		} else {
			buf_addc(out, ',');
		}
		buf_add(out, rows[i].state.s, rows[i].state.len);
	}
	buf_adds(out, last.s != NULL ? "]}" : "}");
	free(rows);
}

bool rule_store_restore(RuleStore *s, Handler *h, Err *err)
{
	Str memory = rule_store_memory(s);

	if (!h->ops->wants(h))
		return true;
	if (memory_table_count(s->timers) + memory_table_count(s->parts) == 0)
		return h->ops->restore(h, (Str){ NULL, 0 }, err);
	buf_clear(&s->text);
	add_timers(s, &s->text);
	buf_addf(&s->text, ",\"memory\":%.*s", memory.s != NULL ? (int)memory.len : 4,
		memory.s != NULL ? memory.s : "null");
	add_refs(s, &s->text);
	buf_addc(&s->text, '}');
	return h->ops->restore(h, buf_str(&s->text), err);
}

/* ---- the clock ---- */

bool rule_store_prepare(RuleStore *s, Handler *h, EventSlice page, size_t from, size_t to, Err *err)
{
	return rule_store_restore(s, h, err) &&
	       memory_table_prepare(s->states, h, page, from, to, err);
}

bool rule_store_advance(RuleStore *s, Handler *h, int64_t horizon_us, bool once, Err *err)
{
	Str missing = STR("");

	if (!rule_store_restore(s, h, err))
		return false;
	h->ops->due(h, horizon_us, TIMER_KEYS, &missing);
	return (missing.len == 0 || memory_table_load(s->states, h, missing, err)) &&
	       h->ops->advance(h, horizon_us, once, err);
}
