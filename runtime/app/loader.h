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
	LoadedScript *scripts; /* projections, reducers, rules: each in the order of their paths */
	size_t n;
} LoadedScripts;

/* Loads every projection, reducer and rule. False only where there is no workspace; scripts that do
 * not load are in the list with their reason. No two have one name: the second does not load. */
bool loader_load(const LuaOptions *options, LoadedScripts *out, Err *err);
void loader_free(LoadedScripts *l); /* closes the handlers that are still in it */

/* Every upcaster by itself: no handlers; err.kind is ERR_NONE where one loads. */
bool loader_upcasters(const LuaOptions *options, LoadedScripts *out, Err *err);

/* What rules name: every file of a folder ("rules/receivers", "rules/calendars") by itself, as
 * above. */
bool loader_data(const LuaOptions *options, const char *folder, LoadedScripts *out, Err *err);

/* One script, by its name ("device_summary") or its file ("projections/device_summary.lua"). NULL,
 * with the nearest name, where there is none. */
Handler *loader_open(const LuaOptions *options, const char *script, Err *err);

/* The reducer of an aggregate type: `name` where it is given, otherwise the only one, or of several
 * the one that is named like the type. */
Handler *loader_reducer(
	const LuaOptions *options, const char *aggregate_type, const char *name, Err *err);

/* A number that changes whenever a file that scripts are made of was saved, added or removed. */
uint64_t loader_signature(const char *workspace);
