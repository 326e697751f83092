#pragma once

#include <lua.h>

#include "base/err.h"

/* True for a line of the workspace's files, and not of the prelude; `ar` must have its source. */
bool lua_trace_is_script(const lua_Debug *ar);

/* Describes the error value on top of L's stack while its frames are still there: the message as
 * "file:line: subject: what", or with the script where a tail call left no line; the traceback
 * without the prelude's frames and C's. Runs no code of a script's, not even a __tostring. [error]
 * -> [error] */
void lua_trace_describe(lua_State *L, const char *script, const char *subject, Err *err);
