#include "lua/lua_script.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "lua/lua_json.h"

/* Lua expressions about an event and a state, for those who debug: they see copies. */

typedef enum { NAME_EVENT, NAME_STATE, NAME_ROW, NAME_BEFORE, NAME_KEY, NAME_COUNT } Name;

static const char *const names[NAME_COUNT] = { "event", "state", "row", "before", "key" };

/* Words that reach out of an expression, into the script's modules or its definition. */
static const char *const blocked[] = { "require", "projection", "reducer", "upcaster", "rule" };

typedef struct {
	char *subject, *text;
	int function; /* registry reference */
} Expression;

struct Expressions {
	Buf json;      /* of the last evaluate() */
	Upcast upcast; /* the event that it was about */
	Expression *list;
	size_t n, cap;
	int environment, values; /* registry: the globals, and what `names` were asked for */
	LuaJsonOwner *owners[NAME_COUNT]; /* of the copies of states */
	const struct Evaluating *now;     /* what is evaluated; NULL: nothing is */
};

typedef struct Evaluating {
	Script *s;
	const Expression *expression;
	const Event *event;
	Str key, before, state;
	bool truth, wants_json;
} Evaluating;

static struct Expressions *expressions_of(Script *s)
{
	if (s->expressions == NULL) {
		s->expressions = mem_calloc(1, sizeof(*s->expressions));
		for (int i = 0; i < NAME_COUNT; i++)
			s->expressions->owners[i] = mem_calloc(
				shape_owners(s->shape) + 1, sizeof(*s->expressions->owners[i]));
	}
	return s->expressions;
}

void script_expressions_close(struct Expressions *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->n; i++) {
		free(d->list[i].subject);
		free(d->list[i].text);
	}
	for (int i = 0; i < NAME_COUNT; i++)
		free(d->owners[i]);
	free(d->list);
	script_upcast_free(&d->upcast);
	buf_free(&d->json);
	free(d);
}

/* ---- the words of an expression ---- */

static int find_word(const char *name, const char *const *list, int n)
{
	int i = 0;

	while (i < n && strcmp(list[i], name) != 0)
		i++;
	return i;
}

static void disown(lua_State *L, Script *s, Name name)
{
	for (size_t i = 0; i < shape_owners(s->shape); i++)
		lua_json_disown(L, &s->expressions->owners[name][i]);
}

/* [] -> [value] */
static void push_copy(lua_State *L, Script *s, Name name, Str key, Str text)
{
	Err err = { 0 };
	bool ok;

	disown(L, s, name);
	if (text.s == NULL) {
		lua_pushnil(L);
		return;
	}
	if (key.s != NULL && shape_form(s->shape) == FORM_COLUMNS)
		ok = shape_push_loaded(L, s->shape, s->expressions->owners[name], key, text, &err);
	else
		ok = lua_json_decode(L, text, &err);
	if (!ok) {
		err_prefix(&err, "the state of key %.*s", (int)(key.len < 200 ? key.len : 200),
			key.s ? key.s : "");
		lua_host_raise(L, &err);
	}
}

/* Made when it is asked for: most expressions look at little. [] -> [value] */
static void push_value(lua_State *L, const Evaluating *a, Name name)
{
	Err err = { 0 };

	if (name == NAME_EVENT && a->event != NULL)
		lua_rawgeti(L, LUA_REGISTRYINDEX, a->s->event_ref);
	else if (name == NAME_STATE || name == NAME_BEFORE)
		push_copy(L, a->s, name, a->key, name == NAME_STATE ? a->state : a->before);
	else if (name != NAME_KEY || a->key.s == NULL)
		lua_pushnil(L);
	else if (!lua_json_decode(L, a->key, &err))
		lua_host_raise(L, &err);
}

/* [env name] -> [env name value] */
static void push_name(lua_State *L, struct Expressions *d, Name name)
{
	if (name == NAME_ROW)
		name = NAME_STATE;
	lua_rawgeti(L, lua_upvalueindex(1), name + 1);
	if (!lua_isnil(L, -1) || d->now == NULL)
		return;
	lua_pop(L, 1);
	push_value(L, d->now, name);
	lua_pushvalue(L, -1);
	lua_rawseti(L, lua_upvalueindex(1), name + 1);
}

/* True and pushed where the scripts' words have it. [env name] -> [env name
 * (value)] */
static bool push_word(lua_State *L)
{
	lua_getmetatable(L, lua_upvalueindex(2));
	lua_getfield(L, -1, "__index");
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	if (!lua_isnil(L, -1))
		return true;
	lua_settop(L, 2);
	return false;
}

/* One of `names` that is near, or what the scripts' own environment says of it.
 */
static int unknown_word(lua_State *L, const char *name)
{
	lua_createtable(L, NAME_COUNT, 0);
	for (int i = 0; i < NAME_COUNT; i++) {
		lua_pushstring(L, names[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_host_nearest(L, lua_host_of(L), name);
	if (lua_objlen(L, -1) > 0)
		return luaL_error(L, "unknown word '%s'%s", name, lua_tostring(L, -1));
	lua_pushvalue(L, 2);
	lua_gettable(L, lua_upvalueindex(2));
	return 1;
}

static int expression_index(lua_State *L) /* [env name] -> [value] */
{
	enum { BLOCKED = sizeof(blocked) / sizeof(blocked[0]) };
	const char *name = luaL_checkstring(L, 2);
	int nth = find_word(name, names, NAME_COUNT);

	if (nth < NAME_COUNT) {
		push_name(L, lua_touserdata(L, lua_upvalueindex(3)), (Name)nth);
		return 1;
	}
	if (find_word(name, blocked, BLOCKED) < BLOCKED)
		return luaL_error(L, "'%s' is not available in an expression", name);
	return push_word(L) ? 1 : unknown_word(L, name);
}

static int expression_newindex(lua_State *L)
{
	return luaL_error(L, "global '%s' cannot be set (an expression changes nothing)",
		luaL_checkstring(L, 2));
}

/* [] -> [] */
static void open_environment(lua_State *L, Script *s)
{
	struct Expressions *d = s->expressions;

	if (d->environment != 0)
		return;
	lua_newtable(L);
	lua_newtable(L); /* [environment meta] */
	lua_newtable(L);
	lua_pushvalue(L, -1);
	d->values = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_host_push_environment(L, s->host);
	lua_pushlightuserdata(L, d);
	lua_pushcclosure(L, expression_index, 3);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, expression_newindex);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	d->environment = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* ---- compiling ---- */

typedef struct {
	Script *s;
	const char *subject;
	Str text;
	int function;
} Compiling;

/* [] -> [function], or false and [] -> [message] */
static bool compile(lua_State *L, const char *before, Str text, const char *after)
{
	Buf chunk = { 0 };
	int rc;

	buf_addf(&chunk, "%s", before);
	buf_add(&chunk, text.s, text.len);
	buf_adds(&chunk, after);
	rc = luaL_loadbuffer(L, chunk.s, chunk.len, "=expression");
	buf_free(&chunk);
	return rc == 0;
}

static bool begins_with_return(Str text)
{
	size_t at = 0;

	while (at < text.len && strchr(" \t\r\n", text.s[at]) != NULL)
		at++;
	return text.len - at > 6 && memcmp(text.s + at, "return", 6) == 0 &&
	       strchr(" \t\r\n(\"'{", text.s[at + 6]) != NULL;
}

static const char *syntax_hint(const char *problem)
{
	static const struct {
		const char *near, *hint;
	} hints[] = {
		{ "near '='", "to compare write ==" },
		{ "near '!'", "write ~= for unequal, and `not` for !" },
		{ "near '&'", "write `and` for &&" },
		{ "near '|'", "write `or` for ||" },
	};

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (strstr(problem, hints[i].near) != NULL)
			return hints[i].hint;
	}
	return "write a Lua expression over event, state, before and key: "
	       "state.online == true";
}

/* [message] -> raises: "SUBJECT: unexpected symbol near '='" */
static void fail_compile(lua_State *L, const Compiling *c)
{
	const char *problem = lua_tostring(L, -1), *colon;
	Err err = { 0 };

	/* "expression:LINE: what" */
	colon = strncmp(problem, "expression:", 11) == 0 ? strstr(problem, ": ") : NULL;
	if (colon != NULL)
		problem = colon + 2;
	err_set(&err, ERR_USAGE, "%s: %s (%s)", c->subject, problem, syntax_hint(problem));
	lua_host_raise(L, &err);
}

static bool is_blank(Str text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (strchr(" \t\r\n", text.s[i]) == NULL)
			return false;
	}
	return true;
}

/* Brackets keep it to one value; without them the messages speak of what was
 * written. */
static void compile_expression(lua_State *L, void *arg)
{
	Compiling *c = arg;
	Err err = { 0 };

	open_environment(L, c->s);
	if (is_blank(c->text) || memchr(c->text.s, '\0', c->text.len) != NULL) {
		err_set(&err, ERR_USAGE, "%s: an expression is expected (such as %s)", c->subject,
			"state.online == true");
		lua_host_raise(L, &err);
	}
	if (begins_with_return(c->text)) {
		if (!compile(L, "", c->text, "\n"))
			fail_compile(L, c);
	} else if (!compile(L, "return (", c->text, "\n)")) {
		if (!compile(L, "return ", c->text, "\n"))
			fail_compile(L, c);
		lua_pop(L, 1);
		fail_compile(L, c);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->s->expressions->environment);
	lua_setfenv(L, -2);
	c->function = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int find_expression(const struct Expressions *d, const char *subject, Str text)
{
	for (size_t i = 0; i < d->n; i++) {
		if (strcmp(d->list[i].subject, subject) == 0 &&
			str_eq(str_from(d->list[i].text), text))
			return (int)i + 1;
	}
	return 0;
}

int script_expression(Handler *h, const char *subject, Str text, Err *err)
{
	Script *s = script_of(h);
	Compiling c = { .s = s, .subject = subject, .text = text };
	struct Expressions *d;
	int known;

	if (s->sql != NULL)
		return script_refuse_sql(s, err);
	d = expressions_of(s);
	known = find_expression(d, subject, text);
	if (known != 0)
		return known;
	if (!lua_gate(s->host, compile_expression, &c, err))
		return 0;
	if (d->n == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 8;
		d->list = mem_realloc(d->list, d->cap * sizeof(*d->list));
	}
	d->list[d->n++] =
		(Expression){ mem_strdup(subject), mem_strndup(text.s, text.len), c.function };
	return (int)d->n;
}

/* ---- evaluating ---- */

/* A text that is no UTF-8 is shown with a mark in place of what is wrong. */
static void add_text(Buf *out, Str text)
{
	Buf valid = { 0 };

	for (const char *p = text.s, *end = text.s + text.len; p < end;) {
		size_t n = json_utf8_sequence(p, end);

		if (n > 0)
			buf_add(&valid, p, n);
		else
			buf_adds(&valid, "\xef\xbf\xbd");
		p += n > 0 ? n : 1;
	}
	json_add_string(out, buf_str(&valid));
	buf_free(&valid);
}

/* The value at the top of the stack. [value] -> [value …] */
static void add_json(lua_State *L, Buf *out)
{
	Err err = { 0 };
	Str text;

	buf_clear(out);
	if (lua_isnil(L, -1)) {
		buf_adds(out, "null");
		return;
	}
	if (lua_json_encode(L, lua_gettop(L), out, NULL, &err))
		return;
	if (!luaL_callmeta(L, lua_gettop(L), "__tostring") && !lua_isstring(L, -1))
		lua_pushstring(L, luaL_typename(L, -1));
	text.s = lua_tolstring(L, -1, &text.len);
	if (text.s == NULL)
		text = STR("?");
	add_text(out, text);
}

/* Those of the last time. */
static void forget_values(lua_State *L, Script *s)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->expressions->values);
	for (int i = 0; i < NAME_COUNT; i++) {
		lua_pushnil(L);
		lua_rawseti(L, -2, i + 1);
		disown(L, s, (Name)i);
	}
	lua_pop(L, 1);
	lua_host_relax(L, s->host);
}

static void evaluate(lua_State *L, void *arg)
{
	Evaluating *a = arg;
	Script *s = a->s;

	lua_host_refill(s->host, a->event ? a->event->id : 0);
	lua_event_point(s->event, a->event);
	forget_values(L, s);
	s->expressions->now = a;
	lua_rawgeti(L, LUA_REGISTRYINDEX, a->expression->function);
	lua_call(L, 0, 1);
	a->truth = lua_toboolean(L, -1);
	if (a->wants_json)
		add_json(L, &s->expressions->json);
}

bool script_evaluate(Handler *h, int expression, const Event *event, Str key, Str before, Str state,
	bool *truth, Str *json, Err *err)
{
	Script *s = script_of(h);
	Evaluating a = { .s = s, .event = event, .key = key, .before = before, .state = state };
	char subject[128];
	bool ok;

	if (s->sql != NULL)
		return script_refuse_sql(s, err);
	if (expression < 1 || s->expressions == NULL || (size_t)expression > s->expressions->n)
		return err_set(
			err, ERR_USAGE, "%s: there is no expression %d", s->def.path, expression);
	if (event != NULL && s->upcasts != NULL) {
		a.event = script_upcast(s, event, &s->expressions->upcast, err);
		if (a.event == NULL) {
			*truth = false;
			return false;
		}
	}
	a.expression = &s->expressions->list[expression - 1];
	a.wants_json = json != NULL;
	snprintf(subject, sizeof(subject), "%s", lua_host_label(s->host));
	lua_host_subject(s->host, a.expression->subject);
	lua_host_guard(s->host, true);
	ok = lua_gate(s->host, evaluate, &a, err);
	s->expressions->now = NULL;
	lua_event_point(s->event, NULL);
	lua_host_guard(s->host, false);
	lua_host_subject(s->host, subject);
	if (!ok && event != NULL)
		script_blame(event, key, err);
	*truth = ok && a.truth;
	if (json != NULL)
		*json = ok ? buf_str(&s->expressions->json) : (Str){ NULL, 0 };
	return ok;
}
