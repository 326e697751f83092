#include "lua/lua_pattern.h"

#include <lauxlib.h>

#include "lua/lua_match.h"

static const char BUDGET_KEY = 0; /* its address is the registry key */

enum { UP_BUDGET = 1, UP_ORIGINAL = 2 };
enum { UP_SUBJECT = 2, UP_PATTERN = 3, UP_AT = 4 }; /* of gmatch's iterator */
enum { BYTES_PER_STEP = 8 };                        /* for what only copies */

static LuaBudget *budget_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(UP_BUDGET));
}

static Str check_str(lua_State *L, int index)
{
	Str s;

	s.s = luaL_checklstring(L, index, &s.len);
	return s;
}

static void spend_bytes(lua_State *L, size_t n)
{
	match_spend(L, budget_of(L), (int64_t)(n / BYTES_PER_STEP) + 1);
}

static void check_result(lua_State *L, const char *name, double size)
{
	if (size > LUA_RESULT_MAX)
		luaL_error(L, "%s: the result is longer than %d bytes", name, LUA_RESULT_MAX);
	spend_bytes(L, (size_t)size);
}

static Matcher matcher(lua_State *L, Str subject, Str pattern)
{
	return (Matcher){ .L = L,
		.budget = budget_of(L),
		.src = subject.s,
		.src_end = subject.s + subject.len,
		.pattern_end = pattern.s + pattern.len };
}

/* From where find() and match() look: the optional third argument. */
static size_t start_at(lua_State *L, size_t len)
{
	lua_Integer at = luaL_optinteger(L, 3, 1);

	if (at < 0)
		at += (lua_Integer)len;
	else
		at--;
	return at < 0 ? 0 : (size_t)at > len ? len : (size_t)at;
}

static bool is_plain(Str pattern)
{
	for (size_t i = 0; i < pattern.len; i++)
		if (memchr("^$*+?.([%-", pattern.s[i], 10) != NULL)
			return false;
	return true;
}

static int find_plain(lua_State *L, Str s, size_t from, Str what)
{
	const char *hit;

	spend_bytes(L, s.len - from);
	hit = what.len ? memmem(s.s + from, s.len - from, what.s, what.len) : s.s + from;
	if (hit == NULL)
		return 0;
	lua_pushinteger(L, hit - s.s + 1);
	lua_pushinteger(L, hit - s.s + (lua_Integer)what.len);
	return 2;
}

/* The first match at or behind `from`; *start is where. */
static const char *search(Matcher *m, size_t from, const char *pattern, const char **start)
{
	bool anchored = pattern < m->pattern_end && *pattern == '^';
	const char *s = m->src + from, *end;

	do {
		end = match_here(m, s, pattern + anchored);
		*start = s;
	} while (end == NULL && s++ < m->src_end && !anchored);
	return end;
}

static int string_find(lua_State *L)
{
	Str s = check_str(L, 1), p = check_str(L, 2);
	size_t from = start_at(L, s.len);
	Matcher m = matcher(L, s, p);
	const char *start, *end;
	int found;

	if (lua_toboolean(L, 4) || is_plain(p)) {
		found = find_plain(L, s, from, p);
		if (found > 0)
			return found;
	} else if ((end = search(&m, from, p.s, &start)) != NULL) {
		lua_pushinteger(L, start - s.s + 1);
		lua_pushinteger(L, end - s.s);
		return 2 + match_push_captures(&m, NULL, NULL);
	}
	lua_pushnil(L);
	return 1;
}

static int string_match(lua_State *L)
{
	Str s = check_str(L, 1), p = check_str(L, 2);
	Matcher m = matcher(L, s, p);
	const char *start, *end = search(&m, start_at(L, s.len), p.s, &start);

	if (end != NULL)
		return match_push_captures(&m, start, end);
	lua_pushnil(L);
	return 1;
}

static int next_match(lua_State *L)
{
	Str s = check_str(L, lua_upvalueindex(UP_SUBJECT));
	Str p = check_str(L, lua_upvalueindex(UP_PATTERN));
	Matcher m = matcher(L, s, p);
	const char *at = s.s + lua_tointeger(L, lua_upvalueindex(UP_AT)), *end;

	for (; at <= m.src_end; at++) {
		end = match_here(&m, at, p.s);
		if (end != NULL) {
			lua_pushinteger(L, end - s.s + (end == at)); /* an empty match moves on */
			lua_replace(L, lua_upvalueindex(UP_AT));
			return match_push_captures(&m, at, end);
		}
	}
	lua_pushinteger(L, (lua_Integer)s.len + 1);
	lua_replace(L, lua_upvalueindex(UP_AT));
	return 0;
}

static int string_gmatch(lua_State *L)
{
	check_str(L, 1);
	check_str(L, 2);
	lua_pushvalue(L, lua_upvalueindex(UP_BUDGET));
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, next_match, 4);
	return 1;
}

/* gsub's result, in a userdata: an error on the way, in the replacement function for one, frees it.
 */
typedef struct {
	lua_State *L;
	int slot;
	char *s;
	size_t len, cap;
} Result;

static void add(Result *r, const char *s, size_t n)
{
	if (r->len + n > LUA_RESULT_MAX)
		luaL_error(r->L, "gsub: the result is longer than %d bytes", LUA_RESULT_MAX);
	if (r->len + n > r->cap) {
		size_t cap = r->cap * 2 > r->len + n ? r->cap * 2 : r->len + n;
		char *bigger = lua_newuserdata(r->L, cap);

		if (r->len > 0)
			memcpy(bigger, r->s, r->len);
		lua_replace(r->L, r->slot);
		r->s = bigger;
		r->cap = cap;
	}
	if (n > 0)
		memcpy(r->s + r->len, s, n);
	r->len += n;
}

/* Adds the string on top of the stack and pops it. */
static void add_top(Result *r)
{
	size_t len;
	const char *s = lua_tolstring(r->L, -1, &len);

	spend_bytes(r->L, len);
	add(r, s, len);
	lua_pop(r->L, 1);
}

/* "%1 and %2" */
static void add_template(Matcher *m, Result *r, const char *start, const char *end)
{
	Str t = check_str(m->L, 3);

	spend_bytes(m->L, t.len);
	for (size_t i = 0; i < t.len; i++) {
		const char *escape = memchr(t.s + i, '%', t.len - i);
		size_t plain = escape ? (size_t)(escape - t.s) : t.len;

		add(r, t.s + i, plain - i);
		i = plain + 1;
		if (escape == NULL)
			return;
		if (i == t.len)
			luaL_error(m->L, "invalid use of '%%' at the end of the replacement");
		match_spend(m->L, m->budget, 1);
		if (t.s[i] == '0') {
			add(r, start, (size_t)(end - start));
		} else if (t.s[i] > '0' && t.s[i] <= '9') {
			match_push_capture(m, t.s[i] - '1', start, end);
			add_top(r);
		} else {
			add(r, t.s + i, 1);
		}
	}
}

static void add_replacement(Matcher *m, Result *r, const char *start, const char *end)
{
	lua_State *L = m->L;
	int type = lua_type(L, 3);

	if (type == LUA_TSTRING || type == LUA_TNUMBER) {
		add_template(m, r, start, end);
		return;
	}
	if (type == LUA_TFUNCTION) {
		lua_pushvalue(L, 3);
		lua_call(L, match_push_captures(m, start, end), 1);
	} else {
		match_push_capture(m, 0, start, end);
		lua_gettable(L, 3);
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		add(r, start, (size_t)(end - start));
		return;
	}
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	add_top(r);
}

static int string_gsub(lua_State *L)
{
	Str s = check_str(L, 1), p = check_str(L, 2);
	int type = lua_type(L, 3);
	bool anchored = p.len > 0 && *p.s == '^';
	lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)s.len + 1), n = 0;
	Matcher m = matcher(L, s, p);
	const char *at = s.s, *end;
	Result r = { .L = L, .slot = 5 };

	if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TFUNCTION &&
		type != LUA_TTABLE)
		return luaL_argerror(L, 3, "string/function/table expected");
	lua_settop(L, 4);
	lua_pushnil(L); /* slot 5: the result's bytes */
	spend_bytes(L, s.len);
	while (n < max) {
		end = match_here(&m, at, p.s + anchored);
		if (end != NULL) {
			n++;
			add_replacement(&m, &r, at, end);
		}
		if (end != NULL && end > at)
			at = end;
		else if (at < m.src_end)
			add(&r, at++, 1);
		else
			break;
		if (anchored)
			break;
	}
	add(&r, at, (size_t)(m.src_end - at));
	lua_pushlstring(L, r.s ? r.s : "", r.len);
	lua_pushinteger(L, n);
	return 2;
}

/* Calls the function that was replaced with the arguments as they are. */
static int call_original(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(UP_ORIGINAL));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

static int string_rep(lua_State *L)
{
	Str s = check_str(L, 1);
	double n = luaL_checknumber(L, 2);
	size_t separator = 0;

	if (!lua_isnoneornil(L, 3))
		separator = check_str(L, 3).len;
	check_result(L, "rep", n > 0 ? n * (double)(s.len + separator) : 0);
	return call_original(L);
}

/* lower, upper, reverse: as long as their argument. */
static int string_map(lua_State *L)
{
	spend_bytes(L, check_str(L, 1).len);
	return call_original(L);
}

/* %p prints an address, which no two runs share. */
static void refuse_addresses(lua_State *L, Str format)
{
	const char *end = format.s + format.len;

	for (const char *p = format.s; p < end && (p = memchr(p, '%', (size_t)(end - p))); p++) {
		do
			p++;
		while (p < end && memchr("-+ #.0123456789", *p, 15) != NULL);
		if (p < end && *p == 'p')
			luaL_error(L, "format: %%p is not available");
	}
}

static int string_format(lua_State *L)
{
	Str format = check_str(L, 1);
	double size = (double)format.len;
	int results;

	refuse_addresses(L, format);
	for (int i = 2; i <= lua_gettop(L); i++)
		if (lua_type(L, i) == LUA_TSTRING)
			size += (double)lua_objlen(L, i);
	check_result(L, "format", size);
	results = call_original(L);
	check_result(L, "format", (double)lua_objlen(L, 1)); /* widths and %q add to it */
	return results;
}

static int table_concat(lua_State *L)
{
	double size = 0, separator = 0, i, last;

	luaL_checktype(L, 1, LUA_TTABLE);
	if (!lua_isnoneornil(L, 2))
		separator = (double)check_str(L, 2).len;
	i = luaL_optnumber(L, 3, 1);
	last = lua_isnoneornil(L, 4) ? (double)lua_objlen(L, 1) : luaL_checknumber(L, 4);
	for (; i <= last && size <= LUA_RESULT_MAX && i >= INT32_MIN && i <= INT32_MAX; i++) {
		lua_rawgeti(L, 1, (int)i);
		if (!lua_isstring(L, -1)) {
			lua_pop(L, 1);
			break; /* the original says what is wrong */
		}
		size += separator +
			(lua_type(L, -1) == LUA_TSTRING ? (double)lua_objlen(L, -1) : 24);
		lua_pop(L, 1);
		match_spend(L, budget_of(L), 1);
	}
	check_result(L, "concat", size);
	return call_original(L);
}

static LuaBudget *registered(lua_State *L)
{
	LuaBudget *budget;

	lua_pushlightuserdata(L, (void *)&BUDGET_KEY);
	lua_rawget(L, LUA_REGISTRYINDEX);
	budget = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return budget;
}

void lua_pattern_budget(lua_State *L, LuaBudget *budget)
{
	lua_pushlightuserdata(L, (void *)&BUDGET_KEY);
	lua_pushlightuserdata(L, budget);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

void lua_pattern_spend(lua_State *L, size_t bytes)
{
	LuaBudget *budget = registered(L);

	if (budget != NULL)
		match_spend(L, budget, (int64_t)(bytes / BYTES_PER_STEP) + 1);
}

typedef struct {
	const char *name;
	lua_CFunction fn;
} Replacement;

/* [library] -> [library]: the originals stay reachable for the new functions only. */
static void replace(lua_State *L, const Replacement *list, size_t n)
{
	LuaBudget *budget = registered(L);

	if (budget == NULL)
		luaL_error(L, "patterns have no budget");
	for (size_t i = 0; i < n; i++) {
		lua_pushlightuserdata(L, budget);
		lua_getfield(L, -2, list[i].name);
		lua_pushcclosure(L, list[i].fn, 2);
		lua_setfield(L, -2, list[i].name);
	}
}

void lua_pattern_open(lua_State *L)
{
	static const Replacement list[] = { { "find", string_find }, { "match", string_match },
		{ "gmatch", string_gmatch }, { "gsub", string_gsub }, { "rep", string_rep },
		{ "format", string_format }, { "lower", string_map }, { "upper", string_map },
		{ "reverse", string_map } };

	replace(L, list, sizeof(list) / sizeof(*list));
	lua_pushnil(L);
	lua_setfield(L, -2, "gfind"); /* LuaJIT's second name for the original gmatch */
}

void lua_pattern_open_table(lua_State *L)
{
	static const Replacement list[] = { { "concat", table_concat } };

	replace(L, list, 1);
}
