#pragma once

#include "lua/lua_host.h"

/* A mapping script for imports: a file that returns function(record) -> event | nil, in the same
 * sandbox as a projection. */
typedef struct LuaMap LuaMap;

/* `path` is relative to the options' workspace. */
bool lua_map_open(const LuaOptions *options, const char *path, LuaMap **out, Err *err);
void lua_map_close(LuaMap *m);

/* Maps one record, given as JSON. *event_json is replaced by the table that the function returned,
 * as a JSON object; it is empty where the function returned nil (skip). */
bool lua_map_call(LuaMap *m, Str record_json, Buf *event_json, Err *err);
