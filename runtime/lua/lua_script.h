#pragma once

#include <lua.h>

#include "lua/lua_event.h"
#include "lua/lua_gate.h"
#include "lua/lua_keys.h"
#include "lua/lua_row.h"
#include "lua/lua_parked.h"
#include "lua/lua_states.h"
#include "model/handler.h"

/* A script as a handler: what lua_handler.c (life, keys), lua_definition.c, lua_run.c (events),
 * lua_effects.c (what changed), lua_reducer.c, lua_upcast.c and lua_sql.c (db:exec, db:query)
 * share. */

enum { NO_HANDLER = -1 };

/* Which of the definition's handlers takes a type: looked up once per type. */
typedef struct {
	Str type;
	int handler;
	bool own;    /* false: only what a rule reads beside its events takes it */
	bool upcast; /* an upcaster may take its events */
} TypeEntry;

/* What need() found about one event of the page. */
typedef struct {
	int handler;
	uint32_t first, count; /* of its keys in `slots` */
	uint32_t upcast; /* 1 + its place among the events that are not as the page has them */
	bool failed; /* its key function or an upcaster did; run() calls them again, and says so */
} EventKeys;

/* An event in a newer schema version than it was published in. */
typedef struct {
	Event event; /* its id is 0 where that is not so */
	Buf text, spare;
} Upcast;

typedef struct {
	EventKeys *events;
	uint32_t *slots;
	size_t from, count, nslots, cap, slots_cap;
} Page;

typedef struct Letters {
	DeadLetter *at;
	size_t count, cap;
	Arena *arena;
} Letters;

typedef struct {
	Handler base;
	LuaHost *host;
	Definition def;
	Arena *arena; /* the definition's texts */
	Shape *shape;
	KeyRule *keys;
	LuaEvent *event;
	int event_ref, rows_ref; /* registry: the event, and the states' tables by slot + 1 */
	int *handlers;           /* registry: the functions of `on` */
	size_t nown;             /* the types for which there are some; others are a rule's refs' */
	TypeEntry *types;
	size_t ntypes, types_mask;
	const TypeEntry *last_type; /* the one that was looked up last; NULL: none */
	States *states;
	LuaJsonOwner *owners; /* shape_owners() for each slot */
	size_t nowners;
	Parked *parked;
	Page page;
	KeyList key_list;
	Buf missing, upserts, deletes, key;
	Letters letters, handed; /* since the last collect(), and those that it gave away */
	Err broken;              /* a state could not be restored: nothing runs until forget() */
	char subject[80];        /* "projection 'x'" */
	Str aggregate;           /* of a reducer */
	struct Reducer *reducer; /* NULL: it is none */
	struct Rule *rule;       /* the same */
	struct Upcasts *upcasts; /* NULL: none concerns the script */
	Upcast upcast;           /* of one event, for a moment */
	Buf shown;               /* of script_state() */
	struct Expressions *expressions; /* NULL until somebody asks; so are the next three */
	struct Steps *steps;
	struct Cover *cover;
	struct Lines *lines;
	bool tracing;    /* the lines that run become steps */
	struct Sql *sql; /* NULL unless `sql = true` */
} Script;

static inline Script *script_of(Handler *h)
{
	return (Script *)h;
}

/* lua_handler.c */
const TypeEntry *script_takes(Script *s, const Event *e); /* NULL: the event is passed over */
LuaJsonOwner *script_owners(Script *s, uint32_t slot);
void script_disown(lua_State *L, Script *s, uint32_t slot);
/* Fills s->key_list with the event's keys. */
bool script_keys_of(Script *s, const Event *e, Err *err);
void script_purge(Script *s); /* slots without a state */
/* `"key column":part,…`: how the script's statements name a key. */
void script_add_key(const Script *s, Str key, Buf *out);
/* A list of states that have to be loaded. What is in it stays in the cache until the next one. */
void script_ask_begin(Script *s);
void script_ask(Script *s, Str key);
Str script_ask_end(Script *s);

/* lua_definition.c */
void script_read_definition(lua_State *L, Script *s); /* [definition] -> [definition]; raises */
/* A field of the table on top of the stack, which stays; what is not there is 0, or false. */
double script_field_number(lua_State *L, const char *name);
bool script_field_flag(lua_State *L, const char *name);
/* Its value, kept in the registry; LUA_NOREF: there is none. */
int script_field_keep(lua_State *L, const char *name);

/* lua_run.c */
RunResult script_run(Handler *h, EventSlice page, size_t *at, size_t to, bool careful, Err *err);
/* Adds to the error which event it was, and which key (s == NULL: none). */
void script_blame(const Event *e, Str key, Err *err);
/* The event waits for another of its keys: letters, and true. */
bool script_waits(Script *s, const EventKeys *k, int64_t event_id);
/* Raises what need() found wrong with the event's keys. */
void script_fail_keys(lua_State *L, Script *s, const Event *e);
bool script_prepared(Script *s, size_t at, size_t to, Err *err); /* has need() seen the events? */
/* Raises "file:line: projection 'x': …": the place is the handler, which has returned by now. */
void script_fail_after(lua_State *L, Script *s, int handler, Err *err);

/* lua_effects.c */
size_t script_state_bytes(size_t text); /* what a state takes in Lua, about, by its text's length */
bool script_collect(Handler *h, Effects *out, Err *err);
/* The event waits behind another: a letter, and the key is parked if it was not. */
void script_wait(Script *s, int64_t event_id, Str key);
void script_letter(Script *s, int64_t event_id, Str key, const Err *why); /* for the record only */
void script_drop_letters(Script *s);

/* lua_reducer.c: all that takes a lua_State may raise, and is called below a gate */
void script_reducer_open(lua_State *L, Script *s); /* [definition] -> [definition] */
/* [] -> [state]: of a new aggregate */
void script_reducer_fresh(lua_State *L, Script *s, uint32_t slot, int64_t event_id);
/* Before the handler. [state] -> [state machine] */
void script_reducer_before(lua_State *L, Script *s, uint32_t slot);
/* After a handler that left a state: checks the transition, and takes a snapshot where one is due.
 * [machine] -> [machine] */
void script_reducer_handled(lua_State *L, Script *s, uint32_t slot, int handler, const Event *e);
/* The load statement's text becomes the state's. */
bool script_reducer_stored(const Script *s, Str *text, int64_t *version, Err *err);
size_t script_snapshots_mark(const Script *s);
void script_snapshots_back(Script *s, size_t mark); /* later ones never were */
Str script_snapshots_collect(Script *s);
void script_reducer_close(struct Reducer *r);

/* lua_rule.c */
void script_rule_open(lua_State *L, Script *s); /* [definition] -> [definition] */
void script_rule_close(struct Rule *r);
void script_rule_forget(Script *s);
void script_rule_settled(Script *s);
size_t script_rule_memory(const Script *s); /* beside that of its own Lua */
/* What a page needs beside the states of its events: script_ask() for each of it. */
void script_rule_need(Script *s, EventSlice page, size_t from, size_t to);
bool script_wants(Handler *h);
bool script_restore(Handler *h, Str json, Err *err);
int64_t script_next_due(Handler *h);
void script_due(Handler *h, int64_t horizon_us, size_t most, Str *missing);
bool script_advance(Handler *h, int64_t horizon_us, bool once, Err *err);
bool script_probe(Handler *h, Str key, Err *err);
void script_rule_release(Script *s, Str key); /* it is not parked any more; s == NULL: none is */

/* lua_rule_run.c */
RunResult script_rule_run(
	Script *s, EventSlice page, size_t *at, size_t to, bool careful, Err *err);

/* lua_rule_effects.c */
bool script_rule_collect(Script *s, Effects *out, Err *err);

/* lua_upcast.c */
void script_upcasts_open(lua_State *L, Script *s); /* [definition] -> [definition]; raises */
void script_upcasts_close(struct Upcasts *u);
bool script_upcasts_take(const Script *s, Str type); /* is there one for events of the type? */
/* The event as handlers see it: `e` itself, or into->event, which lives until `into` is used again.
 * NULL: an upcaster failed. */
const Event *script_upcast(Script *s, const Event *e, Upcast *into, Err *err);
const Event *script_upcast_again(Upcast *known, const Event *e); /* without calling anything */
void script_upcast_raise(lua_State *L, Script *s, const Event *e, Upcast *into); /* or raises */
void script_upcast_free(Upcast *u);
/* Those of the page that need() goes over. *place is for EventKeys. */
void script_upcasts_page(Script *s);
bool script_upcast_page(Script *s, const Event *e, uint32_t *place);
const Event *script_upcast_event(Script *s, const Event *e, uint32_t place);

/* The event at `index` of the page that need() saw, as handlers see it. */
static inline const Event *script_event(Script *s, EventSlice page, size_t index)
{
	uint32_t place = s->page.events[index - s->page.from].upcast;

	return place ? script_upcast_event(s, &page.events[index], place) : &page.events[index];
}

/* lua_sql.c */
struct Sql *script_sql_open(lua_State *L); /* below a gate */
void script_sql_close(struct Sql *q);
RunResult script_sql_run(Script *s, EventSlice page, size_t *at, size_t to, Err *err);
void script_sql_collect(struct Sql *q, Effects *out);
void script_sql_forget(Script *s);
void script_query(Handler *h, ScriptSql *query, Effects *before);
void script_resume(Handler *h, Str rows, const Err *error);

/* lua_debug.c */
bool script_state(Handler *h, Str key, Str *json, Err *err);
bool script_refuse_sql(const Script *s, Err *err); /* what a debugger is told; false */

/* lua_expression.c */
int script_expression(Handler *h, const char *subject, Str text, Err *err);
bool script_evaluate(Handler *h, int expression, const Event *event, Str key, Str before, Str state,
	bool *truth, Str *json, Err *err);
void script_expressions_close(struct Expressions *d);

/* lua_lines.c: watches the lines that run as long as somebody wants to know */
void script_watch_lines(Script *s);
void script_lines_close(struct Lines *l);

/* lua_steps.c. While s->tracing: before a key's state is made, when it is on top of the stack, when
 * the handler's result was taken; or when the event failed, outside of a gate. */
void script_steps_key(Script *s, uint32_t slot);
void script_steps_state(lua_State *L, Script *s); /* [state] -> [state] */
void script_steps_done(lua_State *L, Script *s);
void script_steps_failed(Script *s);
/* `again`: the line goes on after a call. */
void script_steps_line(lua_State *L, Script *s, const char *file, int line, bool again);
RunResult script_trace(Handler *h, EventSlice page, size_t *at, size_t most,
	const TraceStep **steps, size_t *n, Err *err);
void script_steps_close(struct Steps *t);

/* lua_cover.c */
void script_cover(Handler *h);
Str script_coverage(Handler *h);
void script_cover_line(struct Cover *c, const char *path, int line);
void script_cover_close(struct Cover *c);
