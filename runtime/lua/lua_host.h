#pragma once

#include "base/err.h"
#include "base/mem.h"

/* One script's Lua: a state of its own with a memory limit, the words of the prelude and nothing
 * else, and an instruction budget for every call. What the script does cannot reach another
 * script, the process or the clock. One thread. */
typedef struct LuaHost LuaHost;

typedef struct {
	const char *workspace; /* the folder that paths are relative to; NULL: the current one */
	size_t memory;         /* bytes that a script may hold; 0: 64 MB */
	size_t states;         /* bytes of cached states beside that; 0: 32 MB */
	int64_t budget;        /* Lua instructions of one call; 0: 10,000,000 */
	void (*log)(
		void *owner, const char *script, const char *line); /* print and log; may be NULL */
	void *log_owner;
} LuaOptions;

/* What runs, for a watchdog in another thread: where `running` is set and neither `calls` nor
 * `started_ns` changed for longer than a handler may take, `event_id` hangs. Written with relaxed
 * atomic stores; to be read with __atomic_load_n. */
typedef struct {
	const char *script; /* "projections/x.lua"; constant */
	volatile int64_t event_id;
	volatile int64_t started_ns; /* CLOCK_MONOTONIC, when the program last entered the script */
	volatile uint64_t calls;     /* handler calls until now */
	volatile bool running;
} LuaProgress;

/* `script` is the path that errors name, relative to the workspace. */
LuaHost *lua_host_open(const LuaOptions *options, const char *script, Err *err);
void lua_host_close(LuaHost *h);

const LuaProgress *lua_host_progress(const LuaHost *h);
size_t lua_host_memory(const LuaHost *h);

/* SHA-256 (hex) of the file that was loaded, and of every module that it required. */
void lua_host_digest(const LuaHost *h, char out[65]);
