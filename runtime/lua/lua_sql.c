#include "lua/lua_sql.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "lua/lua_decimal.h"
#include "lua/lua_json.h"
#include "lua/lua_script.h"

/* `sql = true`: the handler is a coroutine. db:exec queues a statement; db:query yields, the daemon
 * asks the server, and the rows are what the yield returns. */

typedef enum { SQL_READY, SQL_WAITING, SQL_ANSWERED, SQL_REFUSED } SqlState;

typedef struct Sql {
	lua_State *co;      /* the event at work; NULL: none */
	int co_ref, db_ref; /* registry */
	SqlState state;
	int64_t left;     /* of the event's budget, while it waits */
	ScriptSql *queue; /* since the last collect() */
	size_t count, cap;
	size_t taken;  /* of them, given away by query() */
	size_t before; /* of them, queued before the event at work */
	ScriptSql query;
	Arena *arena, *handed; /* of the queue, and of what the last collect() gave away */
	Buf rows;              /* the answer */
	Err error;
	Upcast upcast; /* of the event at work */
} Sql;

static const char SQL_KEY = 0; /* its address is the registry key */

static Sql *sql_of(lua_State *L)
{
	Sql *q;

	lua_pushlightuserdata(L, (void *)&SQL_KEY);
	lua_rawget(L, LUA_REGISTRYINDEX);
	q = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return q;
}

/* ---- parameters ---- */

static Str keep_text(lua_State *L, Sql *q, int index)
{
	Str text;

	text.s = lua_tolstring(L, index, &text.len);
	if (!json_storable(text))
		luaL_error(L,
			"parameter %d: a text that is not UTF-8, or holds a NUL, cannot be sent",
			index - 2);
	return arena_str(q->arena, text);
}

static Str keep_number(lua_State *L, Sql *q, int index)
{
	double v = lua_tonumber(L, index);
	char text[NUMBER_PRINT_MAX];

	if (v != v)
		return STR("NaN");
	if (v - v != 0)
		return v > 0 ? STR("Infinity") : STR("-Infinity");
	return arena_str(q->arena, (Str){ text, number_print(v, text) });
}

static Str keep_json(lua_State *L, Sql *q, int index)
{
	Buf text = { 0 };
	Err err = { 0 };
	Str kept = { 0 };

	if (lua_json_encode(L, index, &text, "parameter", &err))
		kept = arena_str(q->arena, buf_str(&text));
	buf_free(&text);
	if (kept.s == NULL)
		luaL_error(L, "%s", err.message);
	return kept;
}

static Str parameter(lua_State *L, Sql *q, int index)
{
	switch (lua_type(L, index)) {
	case LUA_TNIL:
		return (Str){ NULL, 0 };
	case LUA_TBOOLEAN:
		return lua_toboolean(L, index) ? STR("true") : STR("false");
	case LUA_TNUMBER:
		return keep_number(L, q, index);
	case LUA_TSTRING:
		return keep_text(L, q, index);
	case LUA_TTABLE:
		return keep_json(L, q, index);
	default:
		if (lua_json_is_null(L, index))
			return (Str){ NULL, 0 };
		if (lua_decimal_text(L, index).s != NULL)
			return arena_str(q->arena, lua_decimal_text(L, index));
		luaL_error(
			L, "parameter %d: a %s cannot be sent", index - 2, luaL_typename(L, index));
		return (Str){ NULL, 0 };
	}
}

/* [db sql parameters…] -> the same */
static ScriptSql read_statement(lua_State *L, Sql *q, const char *word)
{
	ScriptSql st = { 0 };
	Err err = { 0 };
	Str *params;

	if (lua_type(L, 2) != LUA_TSTRING)
		luaL_error(L, "db:%s: an SQL text is expected (write db:%s(\"…\", parameters…))",
			word, word);
	if (q->co != L)
		luaL_error(L,
			"db:%s belongs into the handler itself, not into a coroutine of its own",
			word);
	st.sql.s = lua_tolstring(L, 2, &st.sql.len);
	if (!lua_sql_allowed(st.sql, &err))
		luaL_error(L, "db:%s: %s", word, err.message);
	st.sql = keep_text(L, q, 2);
	st.nparams = (size_t)lua_gettop(L) - 2;
	st.params = params = arena_alloc(q->arena, st.nparams * sizeof(*params));
	for (size_t i = 0; i < st.nparams; i++)
		params[i] = parameter(L, q, (int)i + 3);
	return st;
}

static int exec_word(lua_State *L)
{
	Sql *q = sql_of(L);
	ScriptSql st = read_statement(L, q, "exec");

	if (q->count == q->cap) {
		q->cap = q->cap ? q->cap * 2 : 64;
		q->queue = mem_realloc(q->queue, q->cap * sizeof(*q->queue));
	}
	q->queue[q->count++] = st;
	return 0;
}

static int query_word(lua_State *L)
{
	Sql *q = sql_of(L);

	q->query = read_statement(L, q, "query");
	q->state = SQL_WAITING;
	return lua_yield(L, 0); /* what resumes it are the rows */
}

static int db_newindex(lua_State *L)
{
	return luaL_error(L, "db cannot be changed (it has exec and query)");
}

static int db_tostring(lua_State *L)
{
	lua_pushliteral(L, "db");
	return 1;
}

/* [] -> [db] */
static void push_db(lua_State *L)
{
	lua_newuserdata(L, 1);
	lua_createtable(L, 0, 4);
	lua_pushcfunction(L, db_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, exec_word);
	lua_setfield(L, -2, "exec");
	lua_pushcfunction(L, query_word);
	lua_setfield(L, -2, "query");
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, db_newindex);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

struct Sql *script_sql_open(lua_State *L)
{
	Sql *q = mem_calloc(1, sizeof(*q));

	q->arena = arena_new(16384);
	q->handed = arena_new(16384);
	q->co_ref = LUA_NOREF;
	lua_pushlightuserdata(L, (void *)&SQL_KEY);
	lua_pushlightuserdata(L, q);
	lua_rawset(L, LUA_REGISTRYINDEX);
	push_db(L);
	q->db_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	return q;
}

void script_sql_close(struct Sql *q)
{
	if (q == NULL)
		return;
	free(q->queue);
	arena_free(q->arena);
	arena_free(q->handed);
	buf_free(&q->rows);
	script_upcast_free(&q->upcast);
	free(q);
}

/* ---- running ---- */

typedef struct {
	Script *s;
	const Event *event;
	int handler;
	int rc;
} Turn;

static void drop_coroutine(lua_State *L, Sql *q)
{
	luaL_unref(L, LUA_REGISTRYINDEX, q->co_ref);
	q->co_ref = LUA_NOREF;
	q->co = NULL;
	q->state = SQL_READY;
}

/* [] -> []; what it is called with is on the coroutine's stack then */
static void begin(lua_State *L, Turn *t)
{
	Script *s = t->s;
	Sql *q = s->sql;

	q->co = lua_newthread(L);
	q->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	q->before = q->count;
	lua_host_refill(s->host, t->event->id);
	lua_rawgeti(q->co, LUA_REGISTRYINDEX, s->handlers[t->handler]);
	lua_rawgeti(q->co, LUA_REGISTRYINDEX, q->db_ref);
	lua_rawgeti(q->co, LUA_REGISTRYINDEX, s->event_ref);
}

static void push_answer(lua_State *L, LuaHost *h, Sql *q)
{
	Err err = { 0 };

	if (!lua_json_decode(L, buf_str(&q->rows), &err))
		lua_host_raise(L, &err);
	lua_xmove(L, q->co, 1);
	q->state = SQL_READY;
	lua_host_go_on(h, q->left);
}

static void check_result(lua_State *L, Turn *t)
{
	Sql *q = t->s->sql;
	char where[256];
	Err err = { 0 };

	if (lua_gettop(q->co) == 0 || lua_isnil(q->co, 1))
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, t->s->handlers[t->handler]);
	lua_host_where(L, -1, where, sizeof(where));
	err_set(&err, ERR_SCRIPT,
		"%s: %s: the handler returned a %s (with sql = true it returns nothing)", where,
		lua_host_label(t->s->host), luaL_typename(q->co, 1));
	lua_host_raise(L, &err);
}

/* One stretch of the coroutine: until its end, its error or its next query. */
static void take_turn(lua_State *L, void *arg)
{
	Turn *t = arg;
	Script *s = t->s;
	Sql *q = s->sql;
	Err err = { 0 };

	if (q->co == NULL) {
		begin(L, t);
		lua_event_point(s->event, t->event);
	} else {
		push_answer(L, s->host, q);
		lua_event_resume(s->event, t->event);
	}
	t->rc = lua_resume(q->co, lua_status(q->co) == 0 ? 2 : 1); /* (db, event), or the rows */
	q->left = lua_host_left(s->host);
	if (t->rc == LUA_YIELD && q->state == SQL_WAITING) {
		lua_event_pause(s->event);
		return;
	}
	lua_event_point(s->event, NULL);
	if (t->rc == LUA_YIELD) {
		err_set(&err, ERR_SCRIPT, "%s: %s: the handler yielded (only db:query may)",
			s->def.path, lua_host_label(s->host));
		lua_host_raise(L, &err);
	}
	if (t->rc != 0) {
		lua_host_describe(s->host, q->co, t->rc, &err);
		lua_host_raise(L, &err);
	}
	check_result(L, t);
	drop_coroutine(L, q);
}

static void drop_turn(lua_State *L, void *arg)
{
	drop_coroutine(L, ((Script *)arg)->sql);
}

static void undo_event(Script *s)
{
	Sql *q = s->sql;

	lua_event_point(s->event, NULL);
	lua_gate(s->host, drop_turn, s, NULL);
	if (q->count > q->before)
		q->count = q->before > q->taken ? q->before : q->taken;
}

/* Letters for an event of which a key is parked. True: nothing is to be run. */
static bool is_parked(Script *s, const Event *e)
{
	bool parked = false;

	if (!parked_any(s->parked) || !script_keys_of(s, e, NULL))
		return false;
	for (size_t i = 0; i < s->key_list.count; i++)
		parked = parked || parked_has(s->parked, key_list_at(&s->key_list, i));
	for (size_t i = 0; parked && i < s->key_list.count; i++)
		script_wait(s, e->id, key_list_at(&s->key_list, i));
	return parked;
}

/* The server refused the query: the transaction is lost, so the script is not asked. */
static RunResult refused(Script *s, const Event *e, Err *err)
{
	*err = s->sql->error;
	err_prefix(err, "%s: %s: db:query", s->def.path, lua_host_label(s->host));
	script_blame(e, (Str){ NULL, 0 }, err);
	undo_event(s);
	return RUN_FAILED;
}

/* The event in its newest schema version: also while it waits, where the page may have moved. */
static const Event *newest(Script *s, const Event *e, Err *err)
{
	Sql *q = s->sql;

	return q->co != NULL ? script_upcast_again(&q->upcast, e)
			     : script_upcast(s, e, &q->upcast, err);
}

static RunResult failed(Script *s, const Event *e, Err *err)
{
	script_blame(e, (Str){ NULL, 0 }, err);
	undo_event(s);
	return RUN_FAILED;
}

RunResult script_sql_run(Script *s, EventSlice page, size_t *at, size_t to, Err *err)
{
	Sql *q = s->sql;

	for (; *at < to; (*at)++) {
		const TypeEntry *type = script_takes(s, &page.events[*at]);
		const Event *e;
		Turn t;

		if (type == NULL)
			continue;
		e = newest(s, &page.events[*at], err);
		if (e == NULL)
			return failed(s, &page.events[*at], err);
		if (q->co == NULL && is_parked(s, e))
			continue;
		if (q->state == SQL_REFUSED)
			return refused(s, e, err);
		t = (Turn){ s, e, type->handler, 0 };
		if (!lua_gate(s->host, take_turn, &t, err))
			return failed(s, e, err);
		if (q->state == SQL_WAITING)
			return RUN_QUERY;
	}
	return RUN_DONE;
}

/* ---- giving away ---- */

static void give(Sql *q, Effects *out)
{
	size_t n = q->count - q->taken;
	ScriptSql *copy = arena_alloc(q->arena, n * sizeof(*copy));

	if (n > 0)
		memcpy(copy, q->queue + q->taken, n * sizeof(*copy));
	out->sql = copy;
	out->nsql = n;
	q->taken = q->count;
}

void script_query(Handler *h, ScriptSql *query, Effects *before)
{
	Sql *q = script_of(h)->sql;

	*before = (Effects){ .upserts = STR(""),
		.deletes = STR(""),
		.snapshots = STR(""),
		.timers = STR(""),
		.raised = STR("") };
	give(q, before);
	*query = q->query;
}

void script_resume(Handler *h, Str rows, const Err *error)
{
	Sql *q = script_of(h)->sql;

	if (q->state != SQL_WAITING)
		return; /* forgotten meanwhile */
	if (error != NULL && error->kind != ERR_NONE) {
		q->error = *error;
		q->state = SQL_REFUSED;
		return;
	}
	buf_clear(&q->rows);
	if (rows.len > 0)
		buf_add(&q->rows, rows.s, rows.len);
	else
		buf_adds(&q->rows, "[]");
	q->state = SQL_ANSWERED;
}

void script_sql_collect(struct Sql *q, Effects *out)
{
	Arena *handed = q->handed;

	give(q, out);
	q->handed = q->arena;
	q->arena = handed;
	arena_reset(q->arena);
	q->count = q->taken = q->before = 0;
}

void script_sql_forget(Script *s)
{
	Sql *q = s->sql;

	undo_event(s);
	q->count = q->taken = q->before = 0;
	arena_reset(q->arena);
}
