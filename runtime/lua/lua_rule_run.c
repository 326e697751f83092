#include "lua/lua_rule.h"

#include <lauxlib.h>

#include "base/iso_time.h"
#include "lua/lua_json.h"

/* Events and timers, in the order of the rule's clock. One protected call goes on until something
 * fails: an event ends the run, a timer only itself. */

typedef enum { DOING_NOTHING, DOING_TIMER, DOING_EVENT } Doing;

typedef struct {
	Script *s;
	EventSlice page;
	size_t at, to;
	bool careful;
	int64_t before; /* of lua_rule_fire(); events apart from it */
	bool once;
	Doing doing;
	int64_t slot;   /* at work; -1: none */
	int64_t due;    /* of the timer that fired last */
	size_t nraised; /* before that instant */
	Buf name;       /* of the timer */
} Work;

/* ---- one key ---- */

/* [] -> [state] */
static void push_state(lua_State *L, Work *w, uint32_t slot)
{
	w->slot = slot;
	lua_rule_push(L, w->s, slot);
}

static void push_key(lua_State *L, Script *s, uint32_t slot)
{
	Str key = states_at(s->states, slot)->key;

	lua_pushlstring(L, key.s, key.len);
}

static void handle_key(lua_State *L, Work *w, uint32_t slot, const Event *e, bool late)
{
	Script *s = w->s;

	if (lua_rule_full(L, s, slot))
		return;
	push_state(L, w, slot);
	lua_host_refill(s->host, e->id);
	lua_event_point(s->event, e);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->handle);
	lua_pushvalue(L, -2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->event_ref);
	lua_pushnumber(L, (double)lua_rule_time(s->rule, e));
	push_key(L, s, slot);
	lua_pushboolean(L, late);
	lua_call(L, 5, 1);
	lua_event_point(s->event, NULL);
	lua_rule_take(L, s, slot, e->id, e->timestamp_us);
}

/* ---- timers ---- */

/* What undo() puts back. */
static void save(lua_State *L, Work *w, const uint32_t *slots, size_t n)
{
	Script *s = w->s;

	saved_drop(&s->rule->saved);
	lua_rule_mark(L, s);
	for (size_t i = 0; i < n; i++)
		saved_add(L, s, &s->rule->saved, slots[i]);
}

static void fire(lua_State *L, Work *w, const Timer *timer, uint32_t slot)
{
	Script *s = w->s;
	State *st = states_at(s->states, slot);
	int64_t due = timer->due;
	Timer next;

	w->doing = DOING_TIMER;
	if (w->due != due)
		w->nraised = s->rule->nraised;
	w->due = due;
	buf_clear(&w->name);
	buf_add(&w->name, timer->name.s, timer->name.len);
	if (w->careful)
		save(L, w, &slot, 1);
	push_state(L, w, slot);
	lua_rule_note_position(L, st, 0);
	lua_host_refill(s->host, st->position);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->fire);
	lua_pushvalue(L, -2);
	lua_pushnumber(L, (double)due);
	push_key(L, s, slot);
	lua_call(L, 3, 1);
	lua_rule_take(L, s, slot, 0, due);
	if (timers_get(s->rule->timers, st->key, &next) && next.due == due &&
		str_eq(next.name, buf_str(&w->name)))
		luaL_error(L, "the timer is due again at the instant at which it fired");
	w->doing = DOING_NOTHING;
	lua_host_relax(L, s->host);
}

/* The key's timer, as far as its state is known: false where it has to be loaded first. */
static bool fire_timer(lua_State *L, Work *w, const Timer *timer)
{
	Script *s = w->s;
	uint32_t slot;

	if (!states_find(s->states, timer->key, &slot))
		return false;
	if (states_at(s->states, slot)->exists) {
		fire(L, w, timer, slot);
		return true;
	}
	if (!states_at(s->states, slot)->known && !states_in_page(s->states, slot))
		return false;
	timers_set(s->rule->timers, timer->key, INT64_MAX, STR("")); /* there is no such key */
	return true;
}

static bool fire_all(lua_State *L, Work *w, int64_t before)
{
	Rule *r = w->s->rule;
	Timer timer;

	while (lua_rule_first_timer(w->s, &timer) && timer.due < before) {
		if (w->once && r->nraised > w->nraised && timer.due > w->due)
			return false;
		if (!fire_timer(L, w, &timer))
			return false;
	}
	return true;
}

/* need() asked for all of their states. */
static void fire_loaded(lua_State *L, Work *w, int64_t before)
{
	Timer timer;

	if (!fire_all(L, w, before) && lua_rule_first_timer(w->s, &timer))
		luaL_error(L, "the state of key %s was not loaded", timer.key.s);
}

static void fire_key(lua_State *L, Work *w, Str key, int64_t before)
{
	Script *s = w->s;
	Timer timer;

	if (parked_has(s->parked, key))
		return;
	while (timers_get(s->rule->timers, key, &timer) && timer.due < before)
		fire_timer(L, w, &timer);
}

/* After alerts other keys' timers wait for the rules that make them: not those of keys that may be
 * expected from now on, or no longer. */
static void fire_own(lua_State *L, Work *w, const EventKeys *k, int64_t before)
{
	Script *s = w->s;
	Refs *refs = s->rule->refs;
	Str key;

	for (uint32_t i = 0; i < k->count; i++)
		fire_key(L, w, states_at(s->states, s->page.slots[k->first + i])->key, before);
	if (refs == NULL || w->page.events[w->at].id <= s->rule->notes.fed)
		return;
	for (size_t n = 0; (key = refs_touched(refs, w->at, n)).s != NULL; n++)
		fire_key(L, w, key, before);
}

/* ---- events ---- */

static int64_t event_horizon(const Rule *r, const Event *e)
{
	return r->occurred ? lua_rule_horizon(r, e->timestamp_us) : lua_rule_time(r, e);
}

static bool is_own(const Script *s, const EventKeys *k)
{
	return (size_t)k->handler < s->nown;
}

static void begin_event(lua_State *L, Work *w, const EventKeys *k, bool own)
{
	w->slot = -1;
	w->doing = DOING_EVENT;
	if (w->careful)
		save(L, w, w->s->page.slots + k->first, own ? k->count : 0);
}

/* What the event says of the time: only now, since its own lateness is by what was before. */
static void note_time(Rule *r, const Event *e)
{
	int64_t oldest = e->occurred_us - r->lateness;

	if (!r->occurred)
		return;
	if (oldest > r->notes.watermark)
		r->notes.watermark = oldest;
	r->notes.live = e->timestamp_us - e->occurred_us <= r->lateness;
}

/* A key of the rule comes into the set of those that are expected, or leaves it. */
static void expect_key(lua_State *L, Work *w, Str key, bool present, const Event *e)
{
	Script *s = w->s;
	uint32_t slot;

	if (!states_find(s->states, key, &slot))
		luaL_error(L, "the state of key %s was not loaded", key.s);
	if (w->careful)
		saved_add(L, s, &s->rule->saved, slot);
	if (present && lua_rule_full(L, s, slot))
		return;
	push_state(L, w, slot);
	lua_host_refill(s->host, e->id);
	lua_event_point(s->event, e);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->expect);
	lua_pushvalue(L, -2);
	lua_pushboolean(L, present);
	lua_pushnumber(L, (double)lua_rule_time(s->rule, e));
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->event_ref);
	push_key(L, s, slot);
	lua_call(L, 5, 1);
	lua_event_point(s->event, NULL);
	lua_rule_take(L, s, slot, e->id, e->timestamp_us);
}

/* A list of keys is expected from the rule's first event on. */
static void expect_list(lua_State *L, Work *w, const Event *e)
{
	Rule *r = w->s->rule;

	for (size_t i = 0; i < r->nexpected; i++)
		expect_key(L, w, r->expected[i], true, e);
	r->notes.begun = true;
}

/* What the rule reads is given the event once, whatever becomes of the event here. */
static void feed_refs(lua_State *L, Work *w, const Event *e)
{
	Rule *r = w->s->rule;
	const RefChange *changes;
	size_t n;
	Err err = { 0 };
	bool ok;

	if (e->id <= r->notes.fed)
		return;
	r->notes.fed = e->id;
	ok = refs_feed(r->refs, w->page, w->at, &changes, &n, &err);
	for (size_t i = 0; i < n; i++)
		expect_key(L, w, refs_key(r->refs, changes[i].key), changes[i].present, e);
	if (ok)
		return;
	err_prefix(&err, "%s: %s", w->s->def.path, w->s->subject);
	lua_host_raise(L, &err);
}

/* What other scripts and other keys make of the event, before its own keys do. */
static void run_before(lua_State *L, Work *w, const EventKeys *k)
{
	const Event *e = &w->page.events[w->at];
	Rule *r = w->s->rule;
	bool begins = !r->notes.begun && r->nexpected > 0 && is_own(w->s, k);

	if (r->refs == NULL && !begins)
		return;
	begin_event(L, w, k, false);
	if (r->refs != NULL)
		feed_refs(L, w, e);
	if (begins)
		expect_list(L, w, e);
	w->doing = DOING_NOTHING;
}

/* Would the event pass `where`? */
static bool counts(lua_State *L, Work *w)
{
	Script *s = w->s;
	const Event *e = script_event(s, w->page, w->at);
	bool passes;

	lua_host_refill(s->host, e->id);
	lua_event_point(s->event, e);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->counts);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->event_ref);
	lua_pushnumber(L, (double)lua_rule_time(s->rule, e));
	lua_call(L, 2, 1);
	passes = lua_toboolean(L, -1);
	lua_pop(L, 1);
	lua_event_point(s->event, NULL);
	return passes;
}

static void run_event(lua_State *L, Work *w, const EventKeys *k)
{
	Script *s = w->s;
	Rule *r = s->rule;
	const Event *e = &w->page.events[w->at];
	bool late = e->occurred_us < event_horizon(r, e) && r->occurred;

	run_before(L, w, k);
	if (!is_own(s, k) || script_waits(s, k, e->id))
		return;
	begin_event(L, w, k, true);
	if (k->failed && counts(L, w))
		script_fail_keys(L, s, e);
	e = script_event(s, w->page, w->at);
	for (uint32_t i = 0; i < k->count; i++)
		handle_key(L, w, s->page.slots[k->first + i], e, late);
	if (k->count > 0)
		note_time(r, e);
	w->doing = DOING_NOTHING;
	lua_host_relax(L, s->host);
}

static void run_slice(lua_State *L, void *arg)
{
	Work *w = arg;
	Script *s = w->s;

	for (; w->at < w->to; w->at++) {
		const Event *e = &w->page.events[w->at];
		const EventKeys *k = &s->page.events[w->at - s->page.from];

		if (k->handler == NO_HANDLER)
			continue;
		if (s->def.after_alerts)
			fire_own(L, w, k, event_horizon(s->rule, e));
		else
			fire_loaded(L, w, event_horizon(s->rule, e));
		run_event(L, w, k);
	}
	if (s->rule->occurred && !s->def.after_alerts)
		fire_loaded(L, w, s->rule->notes.watermark);
}

static void run_timers(lua_State *L, void *arg)
{
	Work *w = arg;

	fire_all(L, w, w->before);
}

/* ---- failures ---- */

/* The state is as it was, but for the timer that it had next: [state] -> [] */
static void drop_timer(lua_State *L, Script *s, uint32_t slot)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->drop);
	lua_pushvalue(L, -2);
	lua_call(L, 1, 1);
	if (lua_host_is_delete(s->host, L, -1)) {
		lua_pop(L, 1);
		lua_rule_remove(L, s, slot);
	} else {
		lua_pop(L, 1);
		lua_rule_keep(L, s, slot);
	}
}

/* The key's state and timer are as they were. [rows] -> [rows] */
static void undo_key(lua_State *L, Work *w, uint32_t slot)
{
	Script *s = w->s;
	const State *st = states_at(s->states, slot);

	if (!st->exists) {
		timers_set(s->rule->timers, st->key, INT64_MAX, STR(""));
		return;
	}
	lua_rawgeti(L, -1, (int)slot + 1);
	if (w->doing == DOING_TIMER) {
		drop_timer(L, s, slot);
	} else {
		lua_rule_note_timer(L, s, st->key);
		lua_pop(L, 1);
	}
}

/* Everything is as it was before the timer or the event. */
static void undo(lua_State *L, void *arg)
{
	Work *w = arg;
	Script *s = w->s;
	Saved *saved = &s->rule->saved;

	saved_put_back(L, s, saved);
	lua_rule_back(L, s);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	for (size_t i = 0; i < saved_count(saved); i++)
		undo_key(L, w, saved_slot(saved, i));
}

static void blame_timer(const Work *w, Err *err)
{
	const State *st = states_at(w->s->states, (uint32_t)w->slot);
	char due[ISO_TIME_SIZE];

	iso_time_format(w->due, due);
	err->event_id = st->position;
	err_hint(err, "timer '%.*s' at %s, key %.*s", (int)w->name.len, w->name.s, due,
		(int)(st->key.len < 200 ? st->key.len : 200), st->key.s);
}

/* The timer is gone, and there is a letter about it. */
static bool give_up_timer(Work *w, Err *err)
{
	Script *s = w->s;
	const State *st = states_at(s->states, (uint32_t)w->slot);
	bool ok;

	blame_timer(w, err);
	script_letter(s, st->position, st->key, err);
	ok = lua_gate(s->host, undo, w, &s->broken);
	w->doing = DOING_NOTHING;
	if (!ok)
		*err = s->broken;
	return ok;
}

/* True where a failure is done with, and the step can go on. */
static bool go_on(Work *w, Err *err)
{
	lua_event_point(w->s->event, NULL);
	if (w->s->tracing)
		script_steps_failed(w->s);
	return w->doing == DOING_TIMER && w->careful && give_up_timer(w, err);
}

static bool work(Work *w, LuaStep step, Err *err)
{
	bool ok;

	do {
		ok = lua_gate(w->s->host, step, w, err);
	} while (!ok && go_on(w, err));
	return ok;
}

bool lua_rule_fire(Script *s, int64_t before, bool once, Err *err)
{
	Work w = { .s = s, .before = before, .once = once, .slot = -1, .due = INT64_MAX };

	bool ok;

	w.careful = true;
	ok = work(&w, run_timers, err);
	buf_free(&w.name);
	return ok;
}

static bool check_restored(const Script *s, Err *err)
{
	return !s->rule->wants ||
	       err_set(err, ERR_DATA, "%s: %s: its timers have not been restored", s->def.path,
		       s->subject);
}

/* Where the run has come to, and what it failed at: an event, or timers before it. */
static void fail_run(Work *w, size_t *at, Err *err)
{
	Script *s = w->s;
	Str key = { NULL, 0 };

	*at = w->at < w->to ? w->at : w->to - 1; /* behind the last event timers fire, too */
	if (w->slot >= 0)
		key = states_at(s->states, (uint32_t)w->slot)->key;
	if (w->doing == DOING_TIMER)
		blame_timer(w, err);
	else
		script_blame(&w->page.events[*at], key, err);
	if (w->careful && w->doing == DOING_EVENT)
		lua_gate(s->host, undo, w, &s->broken);
	lua_host_subject(s->host, s->subject); /* an upcaster may have failed */
}

RunResult script_rule_run(Script *s, EventSlice page, size_t *at, size_t to, bool careful, Err *err)
{
	Work w = { .s = s, .page = page, .at = *at, .to = to, .careful = careful, .slot = -1 };
	bool ok;

	if (!script_prepared(s, *at, to, err) || !check_restored(s, err))
		return RUN_FAILED;
	if (*at >= to)
		return RUN_DONE;
	ok = work(&w, run_slice, err);
	if (ok)
		*at = w.at;
	else
		fail_run(&w, at, err);
	buf_free(&w.name);
	return ok ? RUN_DONE : RUN_FAILED;
}
