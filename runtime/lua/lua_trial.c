#include "lua/lua_trial.h"

#include <lauxlib.h>
#include <stdio.h>

/* What the words of a spec do with trials is in runtime/spec/. */

static const char *const TRIAL = "moonwake.trial";

/* ---- events ---- */

static Str text_field(lua_State *L, const char *name) /* [event] -> [event]; the table keeps it */
{
	Str s = { NULL, 0 };

	lua_getfield(L, -1, name);
	if (!lua_isnil(L, -1))
		s.s = lua_tolstring(L, -1, &s.len);
	lua_pop(L, 1);
	return s;
}

static int64_t integer_field(lua_State *L, const char *name)
{
	int64_t v;

	lua_getfield(L, -1, name);
	v = (int64_t)lua_tonumber(L, -1);
	lua_pop(L, 1);
	return v;
}

/* The text is a uuid: the embedded Lua has looked. */
static bool uuid_field(lua_State *L, const char *name, unsigned char out[16])
{
	Str text = text_field(L, name);
	size_t n = 0;
	unsigned byte;

	for (const char *p = text.s; p != NULL && *p && n < 16; p += 2) {
		p += *p == '-';
		if (sscanf(p, "%2x", &byte) != 1)
			break;
		out[n++] = (unsigned char)byte;
	}
	return n == 16;
}

/* [event] -> [event] */
static Event read_event(lua_State *L)
{
	Event e = {
		.id = integer_field(L, "id"),
		.version = integer_field(L, "version"),
		.occurred_us = integer_field(L, "occurred_us"),
		.timestamp_us = integer_field(L, "timestamp_us"),
		.schema_version = (int32_t)integer_field(L, "schema_version"),
		.occurrences = (int32_t)integer_field(L, "occurrences"),
		.type = text_field(L, "type"),
		.aggregate_type = text_field(L, "aggregate_type"),
		.aggregate_id = text_field(L, "aggregate_id"),
		.data = text_field(L, "data"),
		.metadata = text_field(L, "metadata"),
		.source = text_field(L, "source"),
		.correlation_id = text_field(L, "correlation_id"),
		.actor_type = text_field(L, "actor_type"),
		.actor_id = text_field(L, "actor_id"),
		.severity = text_field(L, "severity"),
		.impact = text_field(L, "impact"),
	};

	uuid_field(L, "event_id", e.event_id);
	e.has_causation = uuid_field(L, "causation_id", e.causation_id);
	return e;
}

/* ---- trials ---- */

typedef struct {
	const SpecOps *ops;
	SpecTrial *trial; /* NULL: closed */
} Box;

static Box *box_at(lua_State *L)
{
	Box *box = luaL_checkudata(L, 1, TRIAL);

	if (box->trial == NULL)
		luaL_error(L, "the trial is closed");
	return box;
}

static void push_box(lua_State *L, const SpecOps *ops)
{
	*(Box *)lua_newuserdata(L, sizeof(Box)) = (Box){ ops, NULL };
	luaL_getmetatable(L, TRIAL);
	lua_setmetatable(L, -2);
}

static int close_box(lua_State *L)
{
	Box *box = luaL_checkudata(L, 1, TRIAL);

	if (box->trial != NULL)
		box->ops->close(box->trial);
	box->trial = NULL;
	return 0;
}

/* [] -> [nil message trace]; a failure for the embedded Lua, not an error of it */
static int fail(lua_State *L, const Err *err)
{
	lua_pushnil(L);
	lua_pushstring(L, err->message);
	lua_pushstring(L, err->trace);
	return 3;
}

static int answer(lua_State *L, bool ok, const Err *err)
{
	if (!ok)
		return fail(L, err);
	lua_pushboolean(L, true);
	return 1;
}

static size_t number_at(lua_State *L, int index)
{
	return (size_t)luaL_checknumber(L, index);
}

int lua_trial_open(lua_State *L) /* [script cover] -> [trial], or [nil message trace] */
{
	const TrialMaker *maker = lua_touserdata(L, lua_upvalueindex(1));
	const char *script = luaL_checkstring(L, 1);
	Box *box;
	Err err = { 0 };

	push_box(L, maker->ops);
	box = lua_touserdata(L, -1);
	box->trial = maker->ops->open(maker->owner, script, lua_toboolean(L, 2), &err);
	return box->trial != NULL ? 1 : fail(L, &err);
}

static int trial_again(lua_State *L) /* [trial] -> [trial], or [nil message trace] */
{
	Box *box = box_at(L), *fresh;
	Err err = { 0 };

	push_box(L, box->ops);
	fresh = lua_touserdata(L, -1);
	fresh->trial = box->ops->again(box->trial, &err);
	return fresh->trial != NULL ? 1 : fail(L, &err);
}

static void set_text(lua_State *L, const char *name, const char *text)
{
	lua_pushstring(L, text);
	lua_setfield(L, -2, name);
}

static int trial_definition(lua_State *L) /* [trial] -> [definition] */
{
	static const char *const kinds[] = {
		[KIND_PROJECTION] = "projection", [KIND_RULE] = "rule", [KIND_REDUCER] = "reducer"
	};
	static const char *const on_error[] = {
		[ON_ERROR_STOP] = "stop", [ON_ERROR_SKIP] = "skip", [ON_ERROR_PARK_KEY] = "park_key"
	};
	Box *box = box_at(L);
	const Definition *def = box->ops->definition(box->trial);

	lua_createtable(L, 0, 8);
	set_text(L, "name", def->name);
	set_text(L, "path", def->path);
	set_text(L, "kind", kinds[def->kind]);
	set_text(L, "on_error", on_error[def->on_error]);
	set_text(L, "aggregate", def->aggregate);
	lua_pushinteger(L, def->version);
	lua_setfield(L, -2, "version");
	lua_pushlstring(L, def->spec.s, def->spec.len);
	lua_setfield(L, -2, "spec");
	lua_createtable(L, (int)def->ntypes, 0);
	for (size_t i = 0; i < def->ntypes; i++) {
		lua_pushlstring(L, def->types[i].s, def->types[i].len);
		lua_rawseti(L, -2, (int)i + 1);
	}
	lua_setfield(L, -2, "types");
	return 1;
}

static int trial_add(lua_State *L) /* [trial event] -> [] */
{
	Box *box = box_at(L);
	Event e;

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	e = read_event(L);
	box->ops->add(box->trial, &e);
	return 0;
}

static int trial_taken_by(lua_State *L) /* [trial number] -> [index of the type], or [nil] */
{
	Box *box = box_at(L);
	int index = box->ops->taken_by(box->trial, number_at(L, 2));

	if (index < 0)
		return 0;
	lua_pushinteger(L, index + 1);
	return 1;
}

static int trial_key_of(lua_State *L) /* [trial number nth] -> [key], or [nil] */
{
	Box *box = box_at(L);
	Str key = box->ops->key_of(box->trial, number_at(L, 2), number_at(L, 3));

	if (key.s == NULL)
		return 0;
	lua_pushlstring(L, key.s, key.len);
	return 1;
}

static int trial_prepare(lua_State *L) /* [trial from to] -> [true], or a failure */
{
	Box *box = box_at(L);
	Err err = { 0 };

	return answer(
		L, box->ops->prepare(box->trial, number_at(L, 2), number_at(L, 3), &err), &err);
}

/* [trial at to] -> [at], and where it failed [at message trace] */
static int trial_run(lua_State *L)
{
	Box *box = box_at(L);
	size_t at = number_at(L, 2);
	Err err = { 0 };
	bool ok = box->ops->run(box->trial, &at, number_at(L, 3), &err);

	lua_pushnumber(L, (lua_Number)at);
	if (ok)
		return 1;
	lua_pushstring(L, err.message);
	lua_pushstring(L, err.trace);
	return 3;
}

static int trial_commit(lua_State *L) /* [trial] -> [true], or a failure */
{
	Box *box = box_at(L);
	Err err = { 0 };

	return answer(L, box->ops->commit(box->trial, &err), &err);
}

static int trial_restart(lua_State *L) /* [trial] -> [true], or a failure */
{
	Box *box = box_at(L);
	Err err = { 0 };

	return answer(L, box->ops->restart(box->trial, &err), &err);
}

static int trial_forget(lua_State *L) /* [trial] -> [] */
{
	Box *box = box_at(L);

	box->ops->forget(box->trial);
	return 0;
}

static int trial_park(lua_State *L) /* [trial number] -> [] */
{
	Box *box = box_at(L);

	box->ops->park(box->trial, number_at(L, 2));
	return 0;
}

static void push_row(lua_State *L, Str key, Str state, int64_t position, int64_t updated_us)
{
	lua_createtable(L, 0, 4);
	lua_pushlstring(L, key.s, key.len);
	lua_setfield(L, -2, "key");
	lua_pushlstring(L, state.s, state.len);
	lua_setfield(L, -2, "state");
	lua_pushnumber(L, (lua_Number)position);
	lua_setfield(L, -2, "position");
	lua_pushnumber(L, (lua_Number)updated_us);
	lua_setfield(L, -2, "updated_us");
}

static int trial_rows(lua_State *L) /* [trial] -> [list of { key, state, position, updated_us }] */
{
	Box *box = box_at(L);
	int64_t position = 0, updated_us = 0;
	Str key, state = { NULL, 0 };

	lua_newtable(L);
	for (int n = 0;; n++) {
		box->ops->row(box->trial, (size_t)n, &key, &state, &position, &updated_us);
		if (key.s == NULL)
			return 1;
		push_row(L, key, state, position, updated_us);
		lua_rawseti(L, -2, n + 1);
	}
}

static int trial_advance(lua_State *L) /* [trial microseconds] -> [true], or a failure */
{
	Box *box = box_at(L);
	Err err = { 0 };

	return answer(
		L, box->ops->advance(box->trial, (int64_t)luaL_checknumber(L, 2), &err), &err);
}

static int trial_raised(lua_State *L) /* [trial nth] -> [text], or [nil] behind the last one */
{
	Box *box = box_at(L);
	Str text = box->ops->raised(box->trial, number_at(L, 2));

	if (text.s == NULL)
		return 0;
	lua_pushlstring(L, text.s, text.len);
	return 1;
}

static int trial_letter(lua_State *L) /* [trial nth] -> [error key trace], or [nil] */
{
	Box *box = box_at(L);
	Str key = { NULL, 0 }, trace = { NULL, 0 };
	Str error = box->ops->letter(box->trial, number_at(L, 2), &key, &trace);

	if (error.s == NULL)
		return 0;
	lua_pushlstring(L, error.s, error.len);
	lua_pushlstring(L, key.s, key.len);
	lua_pushlstring(L, trace.s, trace.len);
	return 3;
}

static int trial_coverage(lua_State *L) /* [trial] -> [text], or [nil] */
{
	Box *box = box_at(L);
	Str text = box->ops->coverage(box->trial);

	if (text.s == NULL)
		return 0;
	lua_pushlstring(L, text.s, text.len);
	return 1;
}

void lua_trial_setup(lua_State *L)
{
	static const luaL_Reg methods[] = { { "again", trial_again },
		{ "definition", trial_definition }, { "add", trial_add },
		{ "taken_by", trial_taken_by }, { "key_of", trial_key_of },
		{ "prepare", trial_prepare }, { "run", trial_run }, { "commit", trial_commit },
		{ "restart", trial_restart }, { "forget", trial_forget }, { "park", trial_park },
		{ "rows", trial_rows }, { "coverage", trial_coverage },
		{ "advance", trial_advance }, { "raised", trial_raised },
		{ "letter", trial_letter }, { "close", close_box }, { "__gc", close_box },
		{ NULL, NULL } };

	luaL_newmetatable(L, TRIAL);
	luaL_register(L, NULL, methods);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}
