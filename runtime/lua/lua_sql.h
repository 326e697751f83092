#pragma once

#include "base/err.h"
#include "base/mem.h"

/* Whether a script may send this text as one statement: it reads or changes rows, and touches
 * neither the transaction nor the session. A guard against mistakes, not against malice: `sql =
 * true` scripts are trusted. */
bool lua_sql_allowed(Str sql, Err *err);
