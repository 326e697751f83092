#pragma once

#include "lua/lua_script.h"

/* The projections that a rule reads: private copies of them, which are given the same events as the
 * rule, each before the rule handles it, so that a live rule and a replay read the same rows. Their
 * rows are all in memory, and stored with the rule's. */
typedef struct Refs Refs;

/* Opens what the engine names, and adds their types and files to the rule's. Raises; *out is to be
 * closed all the same. It stays NULL where nothing is read. [engine] -> [engine] */
void refs_open(lua_State *L, Script *s, Refs **out);
void refs_close(Refs *refs);
size_t refs_memory(const Refs *refs);

/* {name: [{"key", "state"}]}; s == NULL: no rows yet. */
bool refs_restore(Refs *refs, Str json, Err *err);
void refs_forget(Refs *refs);
void refs_settled(Refs *refs);

/* As the ops of the same names. The keys of the rule that an event may bring into the expected set,
 * or take out of it, are asked for. */
void refs_need(Refs *refs, Script *s, EventSlice page, size_t from, size_t to);

/* A key that comes into the expected set with an event, or goes. */
typedef struct {
	Str key; /* as the projection has it */
	bool present;
} RefChange;

Str refs_key(Refs *refs, Str key); /* as the rule has it; lives until the next call */
/* The rule's keys that the event may bring into the set of those that are expected, or take out of
 * it; s == NULL behind the last one. Lives until the next call of either. */
Str refs_touched(Refs *refs, size_t index, size_t nth);

/* Gives the event at `index` of the page to those that take it. *changes live until the next call.
 * Where one of them fails it has its rows as before. */
bool refs_feed(
	Refs *refs, EventSlice page, size_t index, const RefChange **changes, size_t *n, Err *err);

/* The row of the nth place that the engine named. Raises. [key] -> [a copy of the row, or nil] */
void refs_push_row(lua_State *L, Refs *refs, size_t place);

/* Appends {"kind": "part", "part": "ref NAME", "key", "state"}, … for the rows that changed. */
bool refs_collect(Refs *refs, Buf *out, size_t *n, Err *err);
