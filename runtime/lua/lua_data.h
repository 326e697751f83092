#pragma once

#include "lua/lua_host.h"

/* The definition in a file that is no handler ("rules/receivers/x.lua", "rules/calendars/x.lua"),
 * checked, as a JSON object; *json is replaced. `path` is relative to the options' workspace. */
bool lua_data_definition(const LuaOptions *options, const char *path, Buf *json, Err *err);
