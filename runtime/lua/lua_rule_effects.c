#include "lua/lua_rule.h"

#include <lauxlib.h>

#include "base/json.h"
#include "lua/lua_json.h"

/* What a rule did, and what it keeps beside its keys. */

/* ---- memory ---- */

static void encode_memory(lua_State *L, Script *s, Buf *out)
{
	Err err = { 0 };

	buf_clear(out);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->memory);
	if (!lua_json_encode(L, lua_gettop(L), out, "memory", &err))
		lua_host_raise(L, &err);
	lua_pop(L, 1);
}

/* [table] -> [table] */
static void clear_table(lua_State *L)
{
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushnil(L);
		lua_rawset(L, -4);
	}
}

/* The engine holds the table: it is filled anew. */
static void fill_memory(lua_State *L, Script *s, Str json)
{
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->memory);
	clear_table(L);
	if (!lua_json_decode(L, json, &err)) {
		err_prefix(&err, "%s: %s: the memory", s->def.path, s->subject);
		lua_host_raise(L, &err);
	}
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) { /* [memory decoded key value] */
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, -5);
	}
	lua_pop(L, 2);
}

static int64_t note_field(lua_State *L, const char *name, int64_t otherwise)
{
	int64_t v = otherwise;

	lua_getfield(L, -1, name);
	if (lua_isnumber(L, -1))
		v = (int64_t)lua_tonumber(L, -1);
	lua_pop(L, 1);
	return v;
}

/* [memory] -> [memory], without the host's own part */
static void take_notes(lua_State *L, RuleNotes *notes)
{
	*notes = (RuleNotes){ .watermark = INT64_MIN };
	lua_getfield(L, -1, "host");
	if (lua_istable(L, -1)) {
		notes->keys = note_field(L, "keys", 0);
		notes->watermark = note_field(L, "watermark", INT64_MIN);
		notes->fed = note_field(L, "fed", 0);
		lua_getfield(L, -1, "live");
		notes->live = lua_toboolean(L, -1);
		lua_getfield(L, -2, "begun");
		notes->begun = lua_toboolean(L, -1);
		lua_pop(L, 2);
	}
	lua_pop(L, 1);
	lua_pushnil(L);
	lua_setfield(L, -2, "host");
}

void lua_rule_take_memory(lua_State *L, Script *s, Str json)
{
	Rule *r = s->rule;

	fill_memory(L, s, json.s != NULL ? json : r->fresh);
	lua_rawgeti(L, LUA_REGISTRYINDEX, r->memory);
	take_notes(L, &r->notes);
	lua_pop(L, 1);
	buf_clear(&r->told);
}

/* The memory document: the engine's members, and the host's own. */
static void add_notes(const Rule *r, Buf *out)
{
	out->len--; /* the closing bracket */
	buf_addf(out, "%s\"host\":{\"keys\":%lld", out->s[out->len - 1] == '{' ? "" : ",",
		(long long)r->notes.keys);
	if (r->notes.watermark != INT64_MIN)
		buf_addf(out, ",\"watermark\":%lld,\"live\":%s", (long long)r->notes.watermark,
			r->notes.live ? "true" : "false");
	if (r->notes.fed != 0)
		buf_addf(out, ",\"fed\":%lld", (long long)r->notes.fed);
	if (r->notes.begun)
		buf_adds(out, ",\"begun\":true");
	buf_adds(out, "}}");
}

double lua_rule_count(lua_State *L, Script *s, const char *what)
{
	double count;

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rule->memory);
	lua_getfield(L, -1, "counts");
	lua_getfield(L, -1, what);
	count = lua_tonumber(L, -1) + 1;
	lua_pushnumber(L, count);
	lua_setfield(L, -3, what);
	lua_pop(L, 3);
	return count;
}

/* ---- undoing ---- */

void lua_rule_mark(lua_State *L, Script *s)
{
	Rule *r = s->rule;

	r->mark.raised = r->raised.len;
	r->mark.nraised = r->nraised;
	r->mark.notes = r->notes;
	encode_memory(L, s, &r->mark.memory);
}

void lua_rule_back(lua_State *L, Script *s)
{
	Rule *r = s->rule;

	r->raised.len = r->mark.raised;
	r->nraised = r->mark.nraised;
	r->mark.notes.fed = r->notes.fed; /* what the refs were given they keep */
	r->notes = r->mark.notes;
	fill_memory(L, s, buf_str(&r->mark.memory));
}

/* ---- raising ---- */

/* The part of the rule that said it, for messages. [effect] -> [effect] */
static const char *said_by(lua_State *L)
{
	const char *kind;

	lua_getfield(L, -1, "kind");
	kind = lua_tostring(L, -1); /* the effect holds it */
	lua_pop(L, 1);
	return kind != NULL && strcmp(kind, "event") == 0 ? "emit" : kind;
}

void lua_rule_raise(lua_State *L, Script *s)
{
	Rule *r = s->rule;
	size_t before = r->raised.len;
	Err err = { 0 };

	if (before > 0)
		buf_addc(&r->raised, ',');
	if (!lua_json_encode(L, lua_gettop(L), &r->raised, said_by(L), &err)) {
		r->raised.len = before;
		err_prefix(&err, "%s: %s", s->def.path, s->subject);
		lua_host_raise(L, &err);
	}
	r->nraised++;
}

/* ---- collecting ---- */

static void add_memory(lua_State *L, void *arg)
{
	Script *s = arg;
	Rule *r = s->rule;

	encode_memory(L, s, &r->mark.memory);
	add_notes(r, &r->mark.memory);
}

static bool collect_memory(Script *s, size_t *n, Err *err)
{
	Rule *r = s->rule;
	Buf text;

	if (!lua_gate(s->host, add_memory, s, err))
		return false;
	if (str_eq(buf_str(&r->mark.memory), buf_str(&r->told)))
		return true;
	text = r->told;
	r->told = r->mark.memory;
	r->mark.memory = text;
	buf_addf(&r->parts,
		"%s{\"kind\":\"part\",\"rule\":\"%s\",\"part\":\"memory\",\"key\":\"\",\"state\":",
		r->parts.len > 0 ? "," : "", s->def.name);
	buf_add(&r->parts, r->told.s, r->told.len);
	buf_addc(&r->parts, '}');
	(*n)++;
	return true;
}

static Str collect_timers(Rule *r)
{
	const Timer *timers;
	size_t n = timers_changed(r->timers, &timers);

	buf_clear(&r->due);
	for (size_t i = 0; i < n; i++) {
		const Timer *t = &timers[i];

		buf_adds(&r->due, i > 0 ? ",{\"key\":" : "[{\"key\":");
		json_add_string(&r->due, t->key);
		if (t->due == INT64_MAX) {
			buf_adds(&r->due, ",\"due\":null,\"name\":null}");
			continue;
		}
		buf_adds(&r->due, ",\"due\":");
		json_add_int(&r->due, t->due);
		buf_adds(&r->due, ",\"name\":");
		json_add_string(&r->due, t->name);
		buf_addc(&r->due, '}');
	}
	if (n == 0)
		return STR("");
	buf_addc(&r->due, ']');
	return buf_str(&r->due);
}

/* Parts first: what the rule keeps of itself is written with what it raised. */
bool script_rule_collect(Script *s, Effects *out, Err *err)
{
	Rule *r = s->rule;

	if (r->wants)
		return true; /* forgotten: there is nothing */
	buf_clear(&r->parts);
	if (r->refs != NULL && !refs_collect(r->refs, &r->parts, &out->nraised, err))
		return false;
	if (!collect_memory(s, &out->nraised, err))
		return false;
	out->timers = collect_timers(r);
	out->nraised += r->nraised;
	if (out->nraised == 0)
		return true;
	buf_clear(&r->handed);
	buf_addc(&r->handed, '[');
	buf_add(&r->handed, buf_str(&r->parts).s, r->parts.len);
	if (r->parts.len > 0 && r->raised.len > 0)
		buf_addc(&r->handed, ',');
	buf_add(&r->handed, buf_str(&r->raised).s, r->raised.len);
	buf_addc(&r->handed, ']');
	out->raised = buf_str(&r->handed);
	buf_clear(&r->raised);
	r->nraised = 0;
	return true;
}
