#pragma once

#include "flow/receiver.h"
#include "lua/lua_host.h"

/* A file in rules/receivers, and what is wrong with it. */
typedef struct {
	char *path;
	Err err; /* ERR_NONE: it loads */
} ReceiverFile;

typedef struct {
	Receivers *list; /* those that load; held once */
	ReceiverFile *files;
	size_t n;
} LoadedReceivers;

/* Loads them all. False only where the folder cannot be read; without one there are none. `out` is
 * to be freed in any case. */
bool receivers_load(const LuaOptions *options, LoadedReceivers *out, Err *err);
void receivers_free(LoadedReceivers *l); /* the list is released */

/* Tells what is wrong: files that do not load, and secrets and programs that are not there now. */
bool receivers_check(
	const LoadedReceivers *l, void (*fn)(void *owner, const Err *err), void *owner);
