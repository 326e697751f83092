#pragma once

#include "base/mem.h"

/* Memory for one lua_State. Lua says how large a block was when it gives it back, so that small
 * blocks need no header and no search: free lists by size, cut from large pieces. What was small
 * once stays with the pool until it is closed. */
typedef struct LuaPool LuaPool;

LuaPool *lua_pool_open(void);
void lua_pool_close(LuaPool *p); /* every block is gone */

void *lua_pool_resize(LuaPool *p, void *block, size_t old, size_t size); /* NULL: no memory */
