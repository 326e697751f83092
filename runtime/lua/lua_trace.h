#pragma once

#include <lua.h>

#include "base/err.h"

/* Describes the error value on top of L's stack while its frames are still there: the message as
 * "file:line: subject: what", the traceback without the prelude's frames and C's. Runs no code of
 * a script's, not even a __tostring. [error] -> [error] */
void lua_trace_describe(lua_State *L, const char *subject, Err *err);
