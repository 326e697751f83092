#include "lua/lua_script.h"

#include <lauxlib.h>
#include <stdlib.h>

/* The lines that handle one event, and what each changed: the state is looked at before every line
 * and at the end, and what differs is the doing of the line that ran last. */

#define TEXTS_MAX ((size_t)64 * 1024 * 1024)  /* bytes of states that are kept */
#define LOOKS_MAX ((size_t)256 * 1024 * 1024) /* bytes of states that are looked at */

struct Steps {
	Arena *arena; /* the texts of the steps */
	TraceStep *at;
	size_t n, cap;
	size_t most, first;  /* of one key; where its steps begin */
	size_t kept, looked; /* bytes, of TEXTS_MAX and LOOKS_MAX */
	int state;           /* registry: the state that the handler has; LUA_NOREF: none yet */
	uint32_t slot;
	Str key;          /* "" between keys */
	Buf last, now;    /* the state as it was seen last, and as it is */
	bool exists;      /* is there a `last`? */
	Str last_kept;    /* the same in the arena; s == NULL: not there yet */
	const char *file; /* of the line that ran last; NULL: none did */
	int line;
	bool open;     /* it is the last step */
	bool overflow; /* the last step stands for all that came after it */
};

static struct Steps *steps_of(Script *s)
{
	if (s->steps == NULL) {
		s->steps = mem_calloc(1, sizeof(*s->steps));
		s->steps->arena = arena_new(64 * 1024);
		s->steps->state = LUA_NOREF;
	}
	return s->steps;
}

void script_steps_close(struct Steps *t)
{
	if (t == NULL)
		return;
	arena_free(t->arena);
	free(t->at);
	buf_free(&t->last);
	buf_free(&t->now);
	free(t);
}

/* ---- steps ---- */

static bool is_full(const struct Steps *t)
{
	return t->n - t->first >= t->most || t->kept > TEXTS_MAX;
}

static void add_step(struct Steps *t)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->at = mem_realloc(t->at, t->cap * sizeof(*t->at));
	}
	t->at[t->n++] = (TraceStep){ .file = t->file, .line = t->line, .key = t->key };
	t->open = true;
}

static Str keep(struct Steps *t, Str text)
{
	t->kept += text.len;
	return arena_str(t->arena, text);
}

static Str keep_last(struct Steps *t)
{
	if (!t->exists)
		return (Str){ NULL, 0 };
	if (t->last_kept.s == NULL)
		t->last_kept = keep(t, buf_str(&t->last));
	return t->last_kept;
}

/* Beyond `most` the last step becomes the line that changed the state last: its `before` is what
 * the steps before it left, its `after` is filled in at the end of the key. */
static void overflow(struct Steps *t)
{
	if (t->n == t->first)
		return;
	if (!t->overflow && t->at[t->n - 1].before.s == NULL && t->at[t->n - 1].after.s == NULL)
		t->at[t->n - 1].before = keep_last(t);
	t->overflow = true;
	t->at[t->n - 1].file = t->file;
	t->at[t->n - 1].line = t->line;
}

/* The state is another one: t->now, or none. */
static void note_change(struct Steps *t, bool exists)
{
	Buf before = t->last;

	if (!t->open && (!is_full(t) || (t->n == t->first && t->most > 0)))
		add_step(t);
	if (t->open) {
		TraceStep *step = &t->at[t->n - 1];

		step->before = keep_last(t);
		step->after = exists ? keep(t, buf_str(&t->now)) : (Str){ NULL, 0 };
		t->last_kept = step->after;
		t->open = false;
	} else {
		overflow(t);
		t->last_kept = (Str){ NULL, 0 };
	}
	t->last = t->now;
	t->now = before;
	t->exists = exists;
}

/* Looks at the state on top of the stack. [state] -> [] */
static void look(lua_State *L, Script *s)
{
	struct Steps *t = s->steps;

	buf_clear(&t->now);
	if (shape_show(L, s->shape, lua_gettop(L), t->key, &t->now) &&
		!(t->exists && str_eq(buf_str(&t->now), buf_str(&t->last))))
		note_change(t, true);
	t->looked += t->now.len;
	lua_pop(L, 1);
}

/* ---- what happens ---- */

void script_steps_line(lua_State *L, Script *s, const char *file, int line, bool again)
{
	struct Steps *t = s->steps;

	if (t->state != LUA_NOREF && t->looked <= LOOKS_MAX && lua_checkstack(L, 16)) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, t->state);
		look(L, s);
	}
	if (t->file == NULL || strcmp(t->file, file) != 0)
		t->file = arena_str(t->arena, str_from(file)).s;
	t->line = line;
	t->open = false;
	if (!again && !is_full(t))
		add_step(t);
}

/* A key begins; its state is not made yet: `initial` runs lines of its own. */
void script_steps_key(Script *s, uint32_t slot)
{
	struct Steps *t = s->steps;

	t->key = arena_str(t->arena, states_at(s->states, slot)->key);
	t->slot = slot;
	t->first = t->n;
	t->exists = t->open = t->overflow = false;
	t->last_kept = (Str){ NULL, 0 };
	t->file = s->def.path;
	t->line = 0;
}

/* [state] -> [state] */
void script_steps_state(lua_State *L, Script *s)
{
	struct Steps *t = s->steps;

	lua_pushvalue(L, -1);
	t->state = luaL_ref(L, LUA_REGISTRYINDEX);
	if (states_at(s->states, t->slot)->exists) {
		buf_clear(&t->last);
		t->exists = shape_show(L, s->shape, lua_gettop(L), t->key, &t->last);
	} else {
		lua_pushvalue(L, -1);
		look(L, s);
	}
	t->file = s->def.path;
	t->line = 0;
	t->open = false;
}

static void close_overflow(struct Steps *t)
{
	TraceStep *step = &t->at[t->n - 1];

	step->after = keep_last(t);
	if (step->before.s != NULL && step->after.s != NULL && str_eq(step->before, step->after))
		step->before = step->after = (Str){ NULL, 0 }; /* there and back */
}

/* [state, or nil] -> [] */
static void end_key(lua_State *L, Script *s)
{
	struct Steps *t = s->steps;

	if (!lua_isnil(L, -1)) {
		look(L, s);
	} else {
		lua_pop(L, 1);
		buf_clear(&t->now);
		if (t->exists)
			note_change(t, false);
	}
	if (t->overflow)
		close_overflow(t);
	luaL_unref(L, LUA_REGISTRYINDEX, t->state);
	t->state = LUA_NOREF;
	t->key = STR("");
	t->first = t->n;
	t->overflow = t->open = false;
}

void script_steps_done(lua_State *L, Script *s)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_rawgeti(L, -1, (int)s->steps->slot + 1);
	lua_remove(L, -2);
	end_key(L, s);
}

static void end_failed(lua_State *L, void *arg)
{
	Script *s = arg;

	if (s->steps->state == LUA_NOREF)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->steps->state);
	end_key(L, s);
}

void script_steps_failed(Script *s)
{
	lua_gate(s->host, end_failed, s, NULL); /* what cannot be looked at is not told */
}

/* ---- the op ---- */

static void begin(struct Steps *t, size_t most)
{
	arena_reset(t->arena);
	t->n = t->first = t->kept = t->looked = 0;
	t->most = most;
	t->key = STR("");
	t->file = NULL;
	t->exists = t->open = t->overflow = false;
	t->last_kept = (Str){ NULL, 0 };
}

RunResult script_trace(Handler *h, EventSlice page, size_t *at, size_t most,
	const TraceStep **steps, size_t *n, Err *err)
{
	Script *s = script_of(h);
	RunResult result;

	*steps = NULL;
	*n = 0;
	if (s->sql != NULL) {
		script_refuse_sql(s, err);
		err->event_id = page.events[*at].id;
		return RUN_FAILED;
	}
	begin(steps_of(s), most);
	s->tracing = true;
	script_watch_lines(s);
	result = script_run(h, page, at, *at + 1, true, err);
	s->tracing = false;
	script_watch_lines(s);
	*steps = s->steps->at;
	*n = s->steps->n;
	return result;
}
