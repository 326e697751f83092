#include "lua/lua_decimal.h"

#include <lauxlib.h>
#include <math.h>

#include "base/json.h"

/* registry[&DECIMAL_KEY] is the metatable; its slot 1 a weak table text -> decimal. */
static const char DECIMAL_KEY = 0;

typedef struct {
	size_t len;
	char text[];
} Decimal;

static void push_metatable(lua_State *L)
{
	lua_pushlightuserdata(L, (void *)&DECIMAL_KEY);
	lua_rawget(L, LUA_REGISTRYINDEX);
}

Str lua_decimal_text(lua_State *L, int index)
{
	Decimal *d = lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;
	bool ours;

	if (d == NULL || !lua_getmetatable(L, index))
		return (Str){ 0 };
	push_metatable(L);
	ours = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return ours ? (Str){ d->text, d->len } : (Str){ 0 };
}

/* [metatable interned text] -> [metatable interned text decimal] */
static void new_decimal(lua_State *L)
{
	size_t len;
	const char *text = lua_tolstring(L, -1, &len);
	Decimal *d = lua_newuserdata(L, sizeof(*d) + len + 1);

	d->len = len;
	memcpy(d->text, text, len + 1);
	lua_pushvalue(L, -4);
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -2);
	lua_pushvalue(L, -2);
	lua_rawset(L, -5);
}

/* [text] -> [decimal] */
static void intern(lua_State *L)
{
	luaL_checkstack(L, 6, "decimal");
	push_metatable(L);
	lua_rawgeti(L, -1, 1);
	lua_pushvalue(L, -3); /* [text metatable interned text] */
	lua_pushvalue(L, -1);
	lua_rawget(L, -3);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		new_decimal(L); /* [text metatable interned text decimal] */
	}
	lua_replace(L, -5);
	lua_pop(L, 3);
}

void lua_decimal_push(lua_State *L, const Number *n)
{
	char small[256], *text = small;
	double v;

	if (number_exact(n, &v)) {
		lua_pushnumber(L, v);
		return;
	}
	luaL_checkstack(L, 2, "decimal");
	if (number_canonical_room(n) > sizeof(small))
		text = lua_newuserdata(L, number_canonical_room(n)); /* freed whatever is raised */
	else
		lua_pushnil(L);
	lua_pushlstring(L, text, number_canonical(n, text)); /* [room text] */
	intern(L);
	lua_replace(L, -2);
}

static Number scan(Str text)
{
	Number n;

	number_scan(text.s, text.s + text.len, &n);
	return n;
}

/* An operand of arithmetic: a number, a text that is one, or a decimal. */
static double operand(lua_State *L, int index)
{
	Str text = lua_decimal_text(L, index);
	Number n;

	if (text.s == NULL && !lua_isnumber(L, index))
		return luaL_error(
			L, "attempt to perform arithmetic on a %s value", luaL_typename(L, index));
	if (text.s == NULL)
		return lua_tonumber(L, index);
	n = scan(text);
	return number_nearest(&n);
}

#define ARITHMETIC(name, expression)                                                               \
	static int name(lua_State *L)                                                              \
	{                                                                                          \
		double a = operand(L, 1), b = operand(L, 2);                                       \
		lua_pushnumber(L, expression);                                                     \
		return 1;                                                                          \
	}
ARITHMETIC(decimal_add, a + b)
ARITHMETIC(decimal_sub, a - b)
ARITHMETIC(decimal_mul, a *b)
ARITHMETIC(decimal_div, a / b)
ARITHMETIC(decimal_mod, a - floor(a / b) * b)
ARITHMETIC(decimal_pow, pow(a, b))

static int decimal_unm(lua_State *L)
{
	lua_pushnumber(L, -operand(L, 1));
	return 1;
}

/* LuaJIT asks only where both sides are of one type. */
static int compare(lua_State *L)
{
	Str a = lua_decimal_text(L, 1), b = lua_decimal_text(L, 2);
	Number x, y;

	if (a.s == NULL || b.s == NULL)
		return luaL_error(L, "attempt to compare a decimal with another value");
	x = scan(a);
	y = scan(b);
	return number_compare(&x, &y);
}

static int decimal_lt(lua_State *L)
{
	lua_pushboolean(L, compare(L) < 0);
	return 1;
}

static int decimal_le(lua_State *L)
{
	lua_pushboolean(L, compare(L) <= 0);
	return 1;
}

/* [] -> [text] */
static void push_text(lua_State *L, int index)
{
	Str text = lua_decimal_text(L, index);

	if (text.s != NULL)
		lua_pushlstring(L, text.s, text.len);
	else if (lua_isstring(L, index))
		lua_pushvalue(L, index);
	else
		luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, index));
}

static int decimal_concat(lua_State *L)
{
	push_text(L, 1);
	push_text(L, 2);
	lua_concat(L, 2);
	return 1;
}

static int decimal_tostring(lua_State *L)
{
	push_text(L, 1);
	return 1;
}

void lua_decimal_setup(lua_State *L)
{
	static const luaL_Reg methods[] = { { "__add", decimal_add }, { "__sub", decimal_sub },
		{ "__mul", decimal_mul }, { "__div", decimal_div }, { "__mod", decimal_mod },
		{ "__pow", decimal_pow }, { "__unm", decimal_unm }, { "__lt", decimal_lt },
		{ "__le", decimal_le }, { "__concat", decimal_concat },
		{ "__tostring", decimal_tostring } };

	lua_pushlightuserdata(L, (void *)&DECIMAL_KEY);
	lua_createtable(L, 1, 12);
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		lua_pushcfunction(L, methods[i].func);
		lua_setfield(L, -2, methods[i].name);
	}
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_newtable(L); /* [key metatable interned] */
	lua_createtable(L, 0, 1);
	lua_pushliteral(L, "v");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_rawseti(L, -2, 1);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

int lua_decimal_new(lua_State *L)
{
	Number n;
	Str text;

	if (lua_decimal_text(L, 1).s != NULL || lua_type(L, 1) == LUA_TNUMBER) {
		lua_settop(L, 1);
		return 1;
	}
	luaL_checktype(L, 1, LUA_TSTRING);
	text.s = lua_tolstring(L, 1, &text.len);
	n = scan(text);
	if (n.end != text.s + text.len)
		return luaL_argerror(L, 1, "a decimal is written like \"-12.50\" or \"1e400\"");
	if (!number_in_range(&n))
		return luaL_argerror(L, 1, "outside of what PostgreSQL's numeric can hold");
	lua_decimal_push(L, &n);
	return 1;
}

static int decimal_tonumber(lua_State *L)
{
	if (lua_decimal_text(L, 1).s != NULL && lua_isnoneornil(L, 2)) {
		lua_pushnumber(L, operand(L, 1));
		return 1;
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

void lua_decimal_wrap_tonumber(lua_State *L)
{
	lua_pushcclosure(L, decimal_tonumber, 1);
}
