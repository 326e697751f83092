#include "lua/lua_script.h"

/* What a rule has beyond a projection: a clock with timers, and what it raises. */

bool script_wants(Handler *h)
{
	(void)h;
	return false;
}

bool script_restore(Handler *h, Str json, Err *err)
{
	(void)h, (void)json, (void)err;
	return true;
}

int64_t script_next_due(Handler *h)
{
	(void)h;
	return INT64_MAX;
}

void script_due(Handler *h, int64_t horizon_us, size_t most, Str *missing)
{
	(void)h, (void)horizon_us, (void)most;
	*missing = STR("");
}

bool script_advance(Handler *h, int64_t horizon_us, bool once, Err *err)
{
	(void)h, (void)horizon_us, (void)once, (void)err;
	return true;
}

bool script_probe(Handler *h, Str key, Err *err)
{
	(void)h, (void)key, (void)err;
	return true;
}
