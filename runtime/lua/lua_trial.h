#pragma once

#include <lua.h>

#include "lua/lua_spec.h"

/* Trials as userdata for the embedded Lua of specs. Methods that can fail return nil, the message
 * and the script's traceback. */

typedef struct {
	const SpecOps *ops;
	void *owner; /* what ops->open() takes */
} TrialMaker;

void lua_trial_setup(lua_State *L); /* once per state. [] -> [] */

/* A C function; its upvalue is a TrialMaker. [script cover] -> [trial], or a failure */
int lua_trial_open(lua_State *L);
