#pragma once

#include "lua/lua_host.h"
#include "pg/pg_db.h"

/* A rule as it was or could be: with what it requires from the same place. NULL and why, where it
 * is not to be had or does not load. `path` is the rule's in the workspace ("rules/x.lua"). */

/* Its text from a file anywhere, the rest from the workspace as it stands. */
Handler *rule_version_file(const LuaOptions *lua, const char *path, const char *file, Err *err);

/* All as in a revision of the git repository that the workspace lies in. */
Handler *rule_version_revision(
	const LuaOptions *lua, const char *path, const char *revision, Err *err);

/* What a daemon ran last, if its text was kept and is another than `def` has; NULL and ERR_NONE
 * where it was not. */
Handler *rule_version_live(const LuaOptions *lua, PgDb *db, const Definition *def, Err *err);
