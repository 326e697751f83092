#include "lua/lua_script.h"

/* Looking at states. Beside this: expressions (lua_expression.c), the lines that run (lua_lines.c),
 * what they changed (lua_steps.c), and how often they ran (lua_cover.c). */

bool script_refuse_sql(const Script *s, Err *err)
{
	return err_set(err, ERR_USAGE,
		"%s: %s: a script with sql = true cannot be looked into (its states are in the "
		"database: ask there)",
		s->def.path, lua_host_label(s->host));
}

typedef struct {
	Script *s;
	uint32_t slot;
	bool shown;
} Showing;

static void show_state(lua_State *L, void *arg)
{
	Showing *a = arg;
	Script *s = a->s;

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	lua_rawgeti(L, -1, (int)a->slot + 1);
	a->shown = shape_show(
		L, s->shape, lua_gettop(L), states_at(s->states, a->slot)->key, &s->shown);
}

bool script_state(Handler *h, Str key, Str *json, Err *err)
{
	Script *s = script_of(h);
	Showing a = { .s = s };

	*json = (Str){ NULL, 0 };
	if (s->sql != NULL)
		return script_refuse_sql(s, err);
	if (!states_find(s->states, key, &a.slot) || !states_at(s->states, a.slot)->exists)
		return true;
	buf_clear(&s->shown);
	if (!lua_gate(s->host, show_state, &a, err))
		return false;
	if (!a.shown)
		return err_set(err, ERR_DATA, "%s: %s: the state of key %.*s is no JSON value",
			s->def.path, lua_host_label(s->host), (int)(key.len < 200 ? key.len : 200),
			key.s);
	*json = buf_str(&s->shown);
	return true;
}
