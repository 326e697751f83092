#include "app/trial.h"

#include "app/loader.h"
#include "flow/memory_table.h"
#include "flow/rule_store.h"
#include "lua/lua_handler.h"

#include <stdlib.h>

/* Shared by the trials of one history. */
typedef struct {
	Arena *arena; /* what the events point to */
	Event *events;
	size_t count, cap;
} Tale;

/* A timer of a rule that failed. */
typedef struct {
	Str key, error, trace;
} Letter;

/* Texts are in the tale's arena. */
typedef struct {
	LuaOptions lua;
	char *path; /* of the script */
	Handler *handler;
	MemoryTable *table; /* NULL: a rule's */
	RuleStore *store;   /* NULL: no rule's */
	MemoryRow *rows;    /* as memory_table_rows() gave them; NULL: to be asked for */
	size_t nrows;
	Tale *tale;
	bool owns_tale;
	Str *parked; /* keys */
	size_t nparked, parked_cap;
	Str *raised; /* of a rule, in order */
	size_t nraised, raised_cap;
	Letter *letters;
	size_t nletters;
} Trial;

static Trial *trial_of(SpecTrial *t)
{
	return (Trial *)t;
}

static const HandlerOps *ops_of(const Trial *t)
{
	return t->handler->ops;
}

static EventSlice all_events(const Trial *t)
{
	return (EventSlice){ t->tale->events, t->tale->count };
}

static void drop_rows(Trial *t)
{
	free(t->rows);
	t->rows = NULL;
}

/* ---- life ---- */

static void trial_close(SpecTrial *trial)
{
	Trial *t = trial_of(trial);

	if (t == NULL)
		return;
	drop_rows(t);
	memory_table_free(t->table);
	rule_store_free(t->store);
	ops_of(t)->close(t->handler);
	if (t->owns_tale) {
		arena_free(t->tale->arena);
		free(t->tale->events);
		free(t->tale);
	}
	free(t->parked);
	free(t->raised);
	free(t->letters);
	free(t->path);
	free(t);
}

/* `handler` may be NULL: then there is no trial. */
static SpecTrial *new_trial(const LuaOptions *lua, Handler *handler, Tale *tale)
{
	Trial *t;

	if (handler == NULL)
		return NULL;
	t = mem_calloc(1, sizeof(*t));
	t->lua = *lua;
	t->handler = handler;
	t->path = mem_strdup(ops_of(t)->definition(handler)->path);
	if (ops_of(t)->definition(handler)->kind == KIND_RULE)
		t->store = rule_store_new();
	else
		t->table = memory_table_new();
	t->owns_tale = tale == NULL;
	t->tale = tale != NULL ? tale : mem_calloc(1, sizeof(*tale));
	if (t->owns_tale)
		t->tale->arena = arena_new(4096);
	return (SpecTrial *)t;
}

static SpecTrial *trial_open(void *owner, const char *script, bool cover, Err *err)
{
	Handler *h = loader_open(owner, script, err);
	const Definition *def = h != NULL ? h->ops->definition(h) : NULL;

	if (def != NULL && def->sql) {
		err_set(err, ERR_USAGE,
			"%s: it has `sql = true`, and needs a database (only scripts without have "
			"specs)",
			def->path);
		h->ops->close(h);
		return NULL;
	}
	if (def != NULL && cover)
		h->ops->cover(h);
	if (def != NULL && def->kind == KIND_RULE && !h->ops->probe(h, (Str){ NULL, 0 }, err)) {
		h->ops->close(h);
		return NULL;
	}
	return new_trial(owner, h, NULL);
}

/* It says nothing: what a script logs was heard the first time. */
static SpecTrial *trial_again(SpecTrial *trial, Err *err)
{
	Trial *first = trial_of(trial);
	LuaOptions lua = first->lua;

	lua.log = NULL;
	return new_trial(&lua, lua_handler_open(&lua, first->path, err), first->tale);
}

static bool trial_restart(SpecTrial *trial, Err *err)
{
	Trial *t = trial_of(trial);
	Handler *fresh = lua_handler_open(&t->lua, t->path, err);

	if (fresh == NULL)
		return false;
	ops_of(t)->close(t->handler);
	t->handler = fresh;
	for (size_t i = 0; i < t->nparked; i++)
		ops_of(t)->set_parked(t->handler, t->parked[i], true);
	return true;
}

static const Definition *trial_definition(SpecTrial *trial)
{
	Trial *t = trial_of(trial);

	return ops_of(t)->definition(t->handler);
}

/* ---- events ---- */

static Str keep(Arena *arena, Str s)
{
	return s.s != NULL ? arena_str(arena, s) : s;
}

static void trial_add(SpecTrial *trial, const Event *event)
{
	Tale *tale = trial_of(trial)->tale;
	Event *e;

	if (tale->count == tale->cap) {
		tale->cap = tale->cap ? tale->cap * 2 : 16;
		tale->events = mem_realloc(tale->events, tale->cap * sizeof(*tale->events));
	}
	e = &tale->events[tale->count++];
	*e = *event;
	Str *const texts[] = { &e->type, &e->aggregate_type, &e->aggregate_id, &e->data,
		&e->metadata, &e->source, &e->correlation_id, &e->actor_type, &e->actor_id,
		&e->severity, &e->impact };
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		*texts[i] = keep(tale->arena, *texts[i]);
}

static int trial_taken_by(SpecTrial *trial, size_t number)
{
	const Trial *t = trial_of(trial);
	const Definition *def = ops_of(t)->definition(t->handler);

	return event_type_choose(def->types, def->ntypes, t->tale->events[number].type);
}

static Str trial_key_of(SpecTrial *trial, size_t number, size_t nth)
{
	Trial *t = trial_of(trial);

	return ops_of(t)->key_of(t->handler, all_events(t), number, nth);
}

static bool trial_prepare(SpecTrial *trial, size_t from, size_t to, Err *err)
{
	Trial *t = trial_of(trial);

	if (t->store != NULL)
		return rule_store_prepare(t->store, t->handler, all_events(t), from, to, err);
	return memory_table_prepare(t->table, t->handler, all_events(t), from, to, err);
}

static bool trial_run(SpecTrial *trial, size_t *at, size_t to, Err *err)
{
	Trial *t = trial_of(trial);

	return ops_of(t)->run(t->handler, all_events(t), at, to, true, err) == RUN_DONE;
}

static void add_raised(void *owner, Str effect)
{
	Trial *t = owner;

	if (t->nraised == t->raised_cap) {
		t->raised_cap = t->raised_cap ? t->raised_cap * 2 : 8;
		t->raised = mem_realloc(t->raised, t->raised_cap * sizeof(*t->raised));
	}
	t->raised[t->nraised++] = arena_str(t->tale->arena, effect);
}

/* Events that wait behind one of their key have no error; one that failed stopped run(). */
static void add_letter(Trial *t, const DeadLetter *letter)
{
	if (letter->error.len == 0 || letter->parked)
		return;
	t->letters = mem_realloc(t->letters, (t->nletters + 1) * sizeof(*t->letters));
	t->letters[t->nletters++] = (Letter){ arena_str(t->tale->arena, letter->key),
		arena_str(t->tale->arena, letter->error),
		arena_str(t->tale->arena, letter->trace) };
}

static bool commit_rule(Trial *t, Err *err)
{
	Effects fx;

	if (!ops_of(t)->collect(t->handler, &fx, err))
		return false;
	rule_store_take(t->store, t->handler, &fx, add_raised, t);
	for (size_t i = 0; i < fx.ndead; i++)
		add_letter(t, &fx.dead[i]);
	ops_of(t)->settled(t->handler);
	return true;
}

static bool trial_commit(SpecTrial *trial, Err *err)
{
	Trial *t = trial_of(trial);

	drop_rows(t);
	return t->store != NULL ? commit_rule(t, err)
				: memory_table_commit(t->table, t->handler, err);
}

static bool trial_advance(SpecTrial *trial, int64_t horizon_us, Err *err)
{
	Trial *t = trial_of(trial);

	drop_rows(t);
	do {
		if (!rule_store_advance(t->store, t->handler, horizon_us, false, err) ||
			!commit_rule(t, err))
			return false;
	} while (ops_of(t)->next_due(t->handler) < horizon_us);
	return true;
}

static void trial_forget(SpecTrial *trial)
{
	Trial *t = trial_of(trial);

	ops_of(t)->forget(t->handler);
}

static void trial_park(SpecTrial *trial, size_t number)
{
	Trial *t = trial_of(trial);
	Str key;

	ops_of(t)->park(t->handler, all_events(t), number);
	for (size_t n = 0; (key = trial_key_of(trial, number, n)).s != NULL; n++) {
		if (t->nparked == t->parked_cap) {
			t->parked_cap = t->parked_cap ? t->parked_cap * 2 : 8;
			t->parked = mem_realloc(t->parked, t->parked_cap * sizeof(*t->parked));
		}
		t->parked[t->nparked++] = arena_str(t->tale->arena, key);
	}
}

/* ---- what came of it ---- */

static void trial_row(
	SpecTrial *trial, size_t nth, Str *key, Str *state, int64_t *position, int64_t *updated_us)
{
	Trial *t = trial_of(trial);

	if (t->rows == NULL)
		t->rows = memory_table_rows(
			t->store != NULL ? rule_store_states(t->store) : t->table, &t->nrows);
	if (nth >= t->nrows) {
		*key = (Str){ NULL, 0 };
		return;
	}
	*key = t->rows[nth].key;
	*state = t->rows[nth].state;
	*position = t->rows[nth].position;
	*updated_us = t->rows[nth].updated_us;
}

static Str trial_raised(SpecTrial *trial, size_t nth)
{
	const Trial *t = trial_of(trial);

	return nth < t->nraised ? t->raised[nth] : (Str){ NULL, 0 };
}

static Str trial_letter(SpecTrial *trial, size_t nth, Str *key, Str *trace)
{
	const Trial *t = trial_of(trial);

	if (nth >= t->nletters)
		return (Str){ NULL, 0 };
	*key = t->letters[nth].key;
	*trace = t->letters[nth].trace;
	return t->letters[nth].error;
}

static Str trial_coverage(SpecTrial *trial)
{
	Trial *t = trial_of(trial);

	return ops_of(t)->coverage(t->handler);
}

const SpecOps trial_ops = {
	.open = trial_open,
	.again = trial_again,
	.close = trial_close,
	.definition = trial_definition,
	.add = trial_add,
	.taken_by = trial_taken_by,
	.key_of = trial_key_of,
	.prepare = trial_prepare,
	.run = trial_run,
	.commit = trial_commit,
	.forget = trial_forget,
	.park = trial_park,
	.restart = trial_restart,
	.row = trial_row,
	.coverage = trial_coverage,
	.advance = trial_advance,
	.raised = trial_raised,
	.letter = trial_letter,
};
