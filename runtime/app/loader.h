#pragma once

#include "flow/roster.h"
#include "lua/lua_host.h"

/* The scripts of a workspace, and what became of them since they were loaded. */
typedef struct {
	char *path;       /* as errors name it: "projections/x.lua" */
	Handler *handler; /* NULL: it does not load … */
	Err err;          /* … and why */
} LoadedScript;

typedef struct {
	LoadedScript *scripts; /* in the order of their paths */
	size_t n;
} LoadedScripts;

/* Loads every definition in the folder. False only where there is no workspace; scripts that do not
 * load are in the list with their reason. Two files cannot define one name: names are file names.
 */
bool loader_load(const LuaOptions *options, LoadedScripts *out, Err *err);
void loader_free(LoadedScripts *l); /* closes the handlers that are still in it */

/* A number that changes whenever a file that scripts are made of was saved, added or removed. */
uint64_t loader_signature(const char *workspace);
