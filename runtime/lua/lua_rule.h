#pragma once

#include "lua/lua_refs.h"
#include "lua/lua_saved.h"
#include "lua/lua_script.h"
#include "lua/lua_timers.h"

/* What a rule has beside the states of its keys. Shared by lua_rule.c (life, clock), lua_rule_run.c
 * (events and timers), lua_rule_state.c (the states that they leave), lua_rule_effects.c (what it
 * raised, what it keeps) and lua_rule_words.c (what the engine calls). */

/* What the rule keeps of its own between two commits, as a member of the memory document. */
typedef struct {
	int64_t keys;      /* rows that there are */
	int64_t watermark; /* clock "occurred": no event is waited for that is older */
	int64_t fed;       /* the last event that the refs were given */
	bool live;         /* clock "occurred": events come soon after they occurred */
	bool begun;        /* it has handled an event */
} RuleNotes;

/* Where the buffers were before an event. */
typedef struct {
	size_t raised, nraised;
	RuleNotes notes;
	Buf memory;
} RuleMark;

typedef struct Rule {
	int handle, counts, fire, drop, expect, probe,
		memory; /* registry: of the engine; LUA_NOREF: none */
	bool occurred;  /* its clock is the events' occurred_at */
	bool alerts;    /* alerts are among its own events */
	int64_t lateness, max_keys;
	size_t max_state;
	bool trusted; /* no function of a user's writes to its states */
	bool wants;   /* restore() comes first */
	bool said_full;
	Timers *timers;
	RuleNotes notes;
	Str fresh;       /* JSON: the engine's memory before its first event */
	Buf told;        /* JSON: the memory document as it was told last */
	Buf raised, due; /* since the last collect() */
	size_t nraised;
	Buf handed, parts; /* what collect() gave away */
	Saved saved;       /* of the event or timer at work */
	RuleMark mark;
	Refs *refs;    /* NULL: it reads no projection */
	Str *expected; /* a list of keys that are expected, JSON texts */
	size_t nexpected;
} Rule;

/* lua_rule.c */
/* The instant of an event by the rule's clock. */
int64_t lua_rule_time(const Rule *r, const Event *e);
/* Timers that are due before this may fire: an event of this timestamp is next. */
int64_t lua_rule_horizon(const Rule *r, int64_t timestamp_us);

bool lua_rule_first_timer(Script *s, Timer *out); /* of a key that is not parked */

/* lua_rule_state.c: all may raise */
/* [] -> [state]: the key's, or that of a new one */
void lua_rule_push(lua_State *L, Script *s, uint32_t slot);
/* The engine changed the state, or returns `delete`, or false where it did nothing.
 * [state result] -> [] */
void lua_rule_take(lua_State *L, Script *s, uint32_t slot, int64_t position, int64_t at_us);
void lua_rule_keep(lua_State *L, Script *s, uint32_t slot);   /* [state] -> [] */
void lua_rule_remove(lua_State *L, Script *s, uint32_t slot); /* [state] -> [] */
/* The key's last event and its earliest timer are in its state. [state] -> [state] */
void lua_rule_note_position(lua_State *L, State *st, int64_t otherwise);
void lua_rule_note_timer(lua_State *L, Script *s, Str key);
/* A key beyond max_keys is passed over, and counted. */
bool lua_rule_full(lua_State *L, Script *s, uint32_t slot);

/* lua_rule_run.c */
/* Fires the timers due before an instant, as far as their states are known. `once`: not beyond the
 * first instant at which something is raised. */
bool lua_rule_fire(Script *s, int64_t before, bool once, Err *err);

/* lua_rule_effects.c: all that takes a lua_State may raise */
void lua_rule_mark(lua_State *L, Script *s);
void lua_rule_back(
	lua_State *L, Script *s); /* what was raised and noted since the mark never was */
double lua_rule_count(lua_State *L, Script *s, const char *what); /* memory.counts[what] + 1 */
void lua_rule_take_memory(lua_State *L, Script *s, Str json);     /* s == NULL: it begins */
/* The JSON object on top of the stack is raised. [table] -> [table] */
void lua_rule_raise(lua_State *L, Script *s);
