#pragma once

#include "lua/lua_host.h"
#include "model/handler.h"

/* Opens the script at `path` ("projections/x.lua", relative to the workspace) as a handler. NULL
 * and the reason, with file and line, where it cannot be read, parsed or understood. */
Handler *lua_handler_open(const LuaOptions *options, const char *path, Err *err);
