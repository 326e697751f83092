#pragma once

#include <lua.h>

#include "lua/lua_event.h"
#include "lua/lua_row.h"

/* Which rows an event belongs to. */
typedef struct KeyRule KeyRule;

/* From the checked definition on top of the stack; `shape` must outlive it. [definition] ->
 * [definition] */
KeyRule *key_rule_open(lua_State *L, const Shape *shape);
void key_rule_close(KeyRule *k);

/* True where the keys come from a Lua function: key_rule_call() then, below a gate. */
bool key_rule_is_function(const KeyRule *k);

/* The nth path of the event; NULL behind the last one, and for a function. */
const char *key_rule_path(const KeyRule *k, size_t nth);

/* The keys of one event, as JSON texts without duplicates. */
typedef struct {
	Buf text;
	size_t *ends; /* where each key ends in `text` */
	uint64_t *hashes;
	size_t count, cap;
} KeyList;

Str key_list_at(const KeyList *list, size_t i);
void key_list_free(KeyList *list);

/* The key of an event by paths. */
bool key_rule_paths(const KeyRule *k, const Event *e, KeyList *out, Err *err);

/* Calls the key function with the event on top of the stack. Raises. [event] -> [event] */
void key_rule_call(lua_State *L, const KeyRule *k, KeyList *out);

/* Appends the JSON text of a key that is given as a Lua value: a scalar, or a list of them for a
 * key of several parts. [value] -> [value] */
bool key_of_value(lua_State *L, const Shape *shape, Buf *out, Err *err);

/* Brings a key's JSON text, as jsonb gives it back, into the form that it has in a list. */
void key_list_stored(Str text, Buf *out);
