#pragma once

#include <lua.h>

#include "lua/lua_event.h"
#include "lua/lua_gate.h"
#include "lua/lua_keys.h"
#include "lua/lua_row.h"
#include "lua/lua_parked.h"
#include "lua/lua_states.h"
#include "model/handler.h"

/* A script as a handler: what lua_handler.c (life, keys), lua_run.c (events), lua_effects.c (what
 * changed) and lua_sql.c (db:exec, db:query) share. */

enum { NO_HANDLER = -1 };

/* Which of the definition's handlers takes a type: looked up once per type. */
typedef struct {
	Str type;
	int handler;
} TypeEntry;

/* What need() found about one event of the page. */
typedef struct {
	int handler;
	uint32_t first, count; /* of its keys in `slots` */
	bool failed;           /* its key function failed; run() calls it again, and says so */
} EventKeys;

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
	struct Sql *sql;         /* NULL unless `sql = true` */
} Script;

static inline Script *script_of(Handler *h)
{
	return (Script *)h;
}

/* lua_handler.c */
int script_handler_for(Script *s, Str type);
LuaJsonOwner *script_owners(Script *s, uint32_t slot);
void script_disown(lua_State *L, Script *s, uint32_t slot);
/* Fills s->key_list with the event's keys. */
bool script_keys_of(Script *s, const Event *e, Err *err);

/* lua_run.c */
RunResult script_run(Handler *h, EventSlice page, size_t *at, size_t to, bool careful, Err *err);
/* Adds to the error which event it was, and which key (s == NULL: none). */
void script_blame(const Event *e, Str key, Err *err);

/* lua_effects.c */
size_t script_state_bytes(size_t text); /* what a state takes in Lua, about, by its text's length */
bool script_collect(Handler *h, Effects *out, Err *err);
/* The event waits behind another: a letter, and the key is parked if it was not. */
void script_wait(Script *s, int64_t event_id, Str key);
void script_drop_letters(Script *s);

/* lua_sql.c */
struct Sql *script_sql_open(lua_State *L); /* below a gate */
void script_sql_close(struct Sql *q);
RunResult script_sql_run(Script *s, EventSlice page, size_t *at, size_t to, Err *err);
void script_sql_collect(struct Sql *q, Effects *out);
void script_sql_forget(Script *s);
void script_query(Handler *h, ScriptSql *query, Effects *before);
void script_resume(Handler *h, Str rows, const Err *error);
