#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "model/handler.h"

/* One script's Lua: a state of its own with a memory limit, the words of the prelude and nothing
 * else, and an instruction budget for every call. What the script does cannot reach another
 * script, the process or the clock. One thread. */
typedef struct LuaHost LuaHost;

typedef struct {
	const char *workspace; /* the folder that paths are relative to; NULL: the current one */
	Str files;             /* JSON {path: text}: s != NULL: files are read from here instead */
	size_t memory;         /* bytes that a script may hold; 0: 64 MB */
	size_t states;         /* bytes of cached states beside that; 0: 32 MB */
	int64_t budget;        /* Lua instructions of one call; 0: 10,000,000 */
	void (*log)(
		void *owner, const char *script, const char *line); /* print and log; may be NULL */
	void *log_owner;
	HandlerProgress *progress; /* outlives every host; may be NULL */
} LuaOptions;

/* `script` is the path that errors name, relative to the workspace. */
LuaHost *lua_host_open(const LuaOptions *options, const char *script, Err *err);
void lua_host_close(LuaHost *h);

size_t lua_host_memory(const LuaHost *h);
