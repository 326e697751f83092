#pragma once

#include "lua/lua_host.h"
#include "lua/lua_spec.h"

/* The trials of `moonwake test`: a handler as the daemon has it, over a table in memory. The owner
 * that its open() takes is a `const LuaOptions *`. */
extern const SpecOps trial_ops;
