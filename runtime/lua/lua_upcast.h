#pragma once

#include "lua/lua_host.h"
#include "model/event.h"

#define LUA_UPCASTERS "scripts/upcasters" /* the workspace's folder */

/* Loads one upcaster by itself, for whoever checks a workspace. */
typedef struct {
	char type[256]; /* the event type or glob that it takes … */
	int from;       /* … and their schema_version */
} UpcasterInfo;

bool lua_upcaster_check(const LuaOptions *options, const char *path, UpcasterInfo *out, Err *err);
