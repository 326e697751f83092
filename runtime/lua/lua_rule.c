#include "lua/lua_rule.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_each.h"
#include "lua/lua_json.h"

/* The life of a rule, and its clock. */

/* ---- opening ---- */

/* [engine] -> [engine] */
static void read_clock(lua_State *L, Rule *r)
{
	lua_getfield(L, -1, "clock");
	r->occurred = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "occurred") == 0;
	lua_pop(L, 1);
	r->lateness = r->occurred ? (int64_t)script_field_number(L, "lateness") : 0;
}

/* [engine] -> [engine] */
static void read_memory(lua_State *L, Script *s)
{
	Buf text = { 0 };
	Err err = { 0 };

	lua_getfield(L, -1, "memory");
	if (lua_json_encode(L, lua_gettop(L), &text, "memory", &err))
		s->rule->fresh = arena_str(s->arena, buf_str(&text));
	buf_free(&text);
	if (err.kind != ERR_NONE)
		lua_host_raise(L, &err);
	s->rule->memory = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* [engine] -> [engine] */
static void read_expected(lua_State *L, Script *s)
{
	Rule *r = s->rule;

	lua_getfield(L, -1, "expect_keys");
	r->nexpected = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
	r->expected = arena_alloc(s->arena, (r->nexpected + 1) * sizeof(*r->expected));
	for (size_t i = 0; i < r->nexpected; i++) {
		Str key;

		lua_rawgeti(L, -1, (int)i + 1);
		key.s = lua_tolstring(L, -1, &key.len);
		r->expected[i] = arena_str(s->arena, key);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

void script_rule_open(lua_State *L, Script *s)
{
	Rule *r = s->rule = mem_calloc(1, sizeof(*r));

	r->timers = timers_open();
	r->wants = true;
	r->notes.watermark = INT64_MIN;
	s->def.has_clock = true;
	lua_getfield(L, -1, "engine");
	s->def.after_alerts = r->alerts = script_field_flag(L, "after_alerts");
	r->max_keys = (int64_t)script_field_number(L, "max_keys");
	r->trusted = script_field_flag(L, "trusted");
	r->max_state = (size_t)script_field_number(L, "max_state");
	r->handle = script_field_keep(L, "handle");
	r->counts = script_field_keep(L, "counts");
	r->fire = script_field_keep(L, "fire");
	r->drop = script_field_keep(L, "drop");
	r->expect = script_field_keep(L, "expect");
	r->probe = script_field_keep(L, "probe");
	read_clock(L, r);
	read_expected(L, s);
	read_memory(L, s);
	refs_open(L, s, &r->refs);
	lua_pop(L, 1);
}

void script_rule_close(Rule *r)
{
	if (r == NULL)
		return;
	refs_close(r->refs);
	timers_close(r->timers);
	saved_free(&r->saved);
	buf_free(&r->mark.memory);
	buf_free(&r->told);
	buf_free(&r->raised);
	buf_free(&r->due);
	buf_free(&r->handed);
	buf_free(&r->parts);
	free(r);
}

void script_rule_forget(Script *s)
{
	Rule *r = s->rule;

	timers_clear(r->timers);
	saved_drop(&r->saved);
	buf_clear(&r->raised);
	r->nraised = 0;
	r->wants = true;
	if (r->refs != NULL)
		refs_forget(r->refs);
}

void script_rule_settled(Script *s)
{
	if (s->rule->refs != NULL)
		refs_settled(s->rule->refs);
}

size_t script_rule_memory(const Script *s)
{
	return refs_memory(s->rule->refs);
}

/* ---- the clock ---- */

static bool is_of_alert(const Event *e)
{
	return str_eq(e->aggregate_type, STR("alert")) && e->type.len > 6 &&
	       memcmp(e->type.s, "alert.", 6) == 0;
}

/* An alert that only a projection reads is news when it is appended: the rule's clock, which waits
 * for no other rule, may have gone beyond its own instant. */
int64_t lua_rule_time(const Rule *r, const Event *e)
{
	return r->occurred || (r->alerts && is_of_alert(e)) ? e->occurred_us : e->timestamp_us;
}

int64_t lua_rule_horizon(const Rule *r, int64_t timestamp_us)
{
	int64_t horizon;

	if (!r->occurred)
		return timestamp_us;
	horizon = r->notes.live ? timestamp_us - r->lateness : INT64_MIN;
	return horizon > r->notes.watermark ? horizon : r->notes.watermark;
}

/* Parked keys stand still: their timers wait, as their events do. */
bool lua_rule_first_timer(Script *s, Timer *out)
{
	while (timers_first(s->rule->timers, out)) {
		if (!parked_has(s->parked, out->key))
			return true;
		timers_hold(s->rule->timers, out->key);
	}
	return false;
}

int64_t script_next_due(Handler *h)
{
	Script *s = script_of(h);
	Timer first;

	if (s->rule == NULL || !lua_rule_first_timer(s, &first))
		return INT64_MAX;
	if (!s->rule->occurred || first.due < s->rule->notes.watermark)
		return first.due + 1;
	return s->rule->notes.live ? first.due + 1 + s->rule->lateness : INT64_MAX;
}

static void ask_for_timers(Script *s, int64_t before, size_t most)
{
	const Timer *timers;
	size_t n = timers_before(s->rule->timers, before, most, &timers);

	for (size_t i = 0; i < n; i++)
		script_ask(s, timers[i].key);
}

/* As far as the rule's clock can come by these events. */
static int64_t page_horizon(const Script *s, EventSlice page, size_t from, size_t to)
{
	const Rule *r = s->rule;
	int64_t horizon = r->occurred ? r->notes.watermark : INT64_MIN;

	for (size_t i = from; i < to; i++) {
		const Event *e = &page.events[i];
		int64_t t = lua_rule_time(r, e);

		if (s->page.events[i - from].handler == NO_HANDLER)
			continue;
		if (r->occurred && e->timestamp_us > t)
			t = e->timestamp_us;
		if (t - r->lateness > horizon)
			horizon = t - r->lateness;
	}
	return horizon;
}

void script_rule_need(Script *s, EventSlice page, size_t from, size_t to)
{
	const Rule *r = s->rule;

	if (!s->def.after_alerts)
		ask_for_timers(s, page_horizon(s, page, from, to), SIZE_MAX);
	for (size_t i = 0; !r->notes.begun && i < r->nexpected; i++)
		script_ask(s, r->expected[i]);
	if (r->refs != NULL)
		refs_need(r->refs, s, page, from, to);
}

bool script_wants(Handler *h)
{
	Script *s = script_of(h);

	return s->rule != NULL && s->rule->wants;
}

/* ---- what the database keeps ---- */

/* The bytes that a JSON string stands for; a key is a JSON text in a JSON string. */
static bool unescape(Str object, const char *name, Buf *out)
{
	Str literal;

	buf_clear(out);
	buf_reserve(out, 1);
	return json_path(object, name, &literal) && json_unescape(out, literal);
}

static bool restore_timer(Rule *r, Str timer)
{
	Buf key = { 0 }, name = { 0 };
	Str due;
	bool ok = unescape(timer, "key", &key) && unescape(timer, "name", &name) &&
		  json_path(timer, "due", &due);

	if (ok)
		timers_set(r->timers, buf_str(&key), strtoll(due.s, NULL, 10), buf_str(&name));
	buf_free(&key);
	buf_free(&name);
	return ok;
}

static bool restore_timers(Script *s, Str list, Err *err)
{
	JsonEach each = json_each(list);
	Str name, timer;

	while (json_each_next(&each, &name, &timer)) {
		if (!restore_timer(s->rule, timer))
			return err_set(err, ERR_DATA,
				"%s: %s: a stored timer is no {\"key\", \"due\", \"name\"}: %.*s",
				s->def.path, s->subject, (int)(timer.len < 200 ? timer.len : 200),
				timer.s);
	}
	timers_told(s->rule->timers);
	return true;
}

typedef struct {
	Script *s;
	Str memory;
} Restoring;

static void restore_memory(lua_State *L, void *arg)
{
	Restoring *a = arg;

	lua_rule_take_memory(L, a->s, a->memory);
}

bool script_restore(Handler *h, Str json, Err *err)
{
	Script *s = script_of(h);
	Restoring a = { s, { NULL, 0 } };
	Str timers, refs = { NULL, 0 };

	if (s->rule == NULL)
		return true;
	if (json.s != NULL && !json_check(json, 0, err))
		return err_prefix(err, "%s: %s: what is stored of it", s->def.path, s->subject);
	timers_clear(s->rule->timers);
	if (json.s != NULL && json_path(json, "timers", &timers) && !restore_timers(s, timers, err))
		return false;
	if (json.s != NULL && json_path(json, "memory", &a.memory) && a.memory.s[0] != '{')
		a.memory.s = NULL;
	if (json.s != NULL)
		json_path(json, "refs", &refs);
	if (s->rule->refs != NULL && !refs_restore(s->rule->refs, refs, err))
		return false;
	if (!lua_gate(s->host, restore_memory, &a, err))
		return false;
	s->rule->wants = false;
	return true;
}

/* ---- between events ---- */

void script_due(Handler *h, int64_t horizon_us, size_t most, Str *missing)
{
	Script *s = script_of(h);

	*missing = STR("");
	if (s->rule == NULL || s->rule->wants)
		return;
	script_ask_begin(s);
	ask_for_timers(s, lua_rule_horizon(s->rule, horizon_us), most);
	*missing = script_ask_end(s);
}

bool script_advance(Handler *h, int64_t horizon_us, bool once, Err *err)
{
	Script *s = script_of(h);

	if (s->rule == NULL || s->rule->wants)
		return true;
	if (s->broken.kind != ERR_NONE) {
		*err = s->broken;
		return false;
	}
	return lua_rule_fire(s, lua_rule_horizon(s->rule, horizon_us), once, err);
}

typedef struct {
	Script *s;
	Str key;
} Probing;

static void probe(lua_State *L, void *arg)
{
	Probing *p = arg;

	lua_rawgeti(L, LUA_REGISTRYINDEX, p->s->rule->probe);
	lua_pushboolean(L, 1);
	if (p->key.s != NULL)
		lua_pushlstring(L, p->key.s, p->key.len);
	else
		lua_pushnil(L);
	lua_call(L, 2, 0);
}

bool script_probe(Handler *h, Str key, Err *err)
{
	Script *s = script_of(h);
	Probing p = { s, key };

	if (s->rule == NULL || s->rule->probe == LUA_NOREF)
		return err_set(err, ERR_USAGE, "%s: %s is no rule: it evaluates nothing",
			s->def.path, s->subject);
	return lua_gate(s->host, probe, &p, err);
}

void script_rule_release(Script *s, Str key)
{
	timers_release(s->rule->timers, key);
}
