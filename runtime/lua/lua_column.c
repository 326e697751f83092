#include "lua/lua_column.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "base/iso_time.h"
#include "base/number.h"
#include "lua/lua_decimal.h"

static const char *const type_names[COL_COUNT] = {
	[COL_BOOLEAN] = "boolean",
	[COL_SMALLINT] = "smallint",
	[COL_INTEGER] = "integer",
	[COL_BIGINT] = "bigint",
	[COL_DOUBLE] = "double precision",
	[COL_NUMERIC] = "numeric",
	[COL_TEXT] = "text",
	[COL_UUID] = "uuid",
	[COL_DATE] = "date",
	[COL_TIMESTAMPTZ] = "timestamptz",
	[COL_JSONB] = "jsonb",
};

ColumnType column_type(const char *name)
{
	ColumnType type = 0;

	while (type < COL_COUNT && strcmp(type_names[type], name) != 0)
		type++;
	return type;
}

const char *column_type_name(ColumnType type)
{
	return type_names[type];
}

/* The first value above the type's range, and its name for messages. */
static double integer_limit(ColumnType type)
{
	return type == COL_SMALLINT ? 0x1p15 : type == COL_INTEGER ? 0x1p31 : 0x1p63;
}

static ValueCheck wrong(lua_State *L, const Column *c, Err *err, const char *hint)
{
	const char *type = luaL_typename(L, -1);

	if (lua_type(L, -1) == LUA_TSTRING)
		err_set(err, ERR_SCRIPT, "%s expected, not the string '%.60s'", type_names[c->type],
			lua_tostring(L, -1));
	else if (lua_type(L, -1) == LUA_TNUMBER)
		err_set(err, ERR_SCRIPT, "%s expected, not the number %.17g", type_names[c->type],
			lua_tonumber(L, -1));
	else
		err_set(err, ERR_SCRIPT, "%s expected, not a %s", type_names[c->type],
			lua_decimal_text(L, -1).s ? "decimal" : type);
	if (hint != NULL)
		err_hint(err, "%s", hint);
	return VALUE_WRONG;
}

static ValueCheck changed_to(lua_State *L, double v)
{
	lua_pop(L, 1);
	lua_pushnumber(L, v);
	return VALUE_CHANGED;
}

/* A decimal's text as an integer of 64 bits. */
static bool decimal_integer(Str text, bool *fits)
{
	char digits[32], *end;

	*fits = false;
	for (size_t i = 0; i < text.len; i++) {
		if (!(text.s[i] >= '0' && text.s[i] <= '9') && !(i == 0 && text.s[i] == '-'))
			return false;
	}
	if (text.len < sizeof(digits)) {
		memcpy(digits, text.s, text.len);
		digits[text.len] = '\0';
		errno = 0;
		(void)strtoll(digits, &end, 10);
		*fits = errno == 0 && *end == '\0';
	}
	return true;
}

static ValueCheck out_of_range(const Column *c, Err *err)
{
	err_set(err, ERR_SCRIPT, "the value is out of range for %s", type_names[c->type]);
	if (c->type != COL_BIGINT)
		err_hint(err, "use bigint or numeric");
	else
		err_hint(err, "use numeric");
	return VALUE_WRONG;
}

static ValueCheck check_integer(lua_State *L, const Column *c, Err *err)
{
	Str text = { 0 };
	bool fits;
	double v;

	if (lua_type(L, -1) == LUA_TNUMBER) {
		v = lua_tonumber(L, -1);
		if (v != floor(v) || !isfinite(v))
			return wrong(L, c, err, "math.floor makes an integer");
		if (v < -integer_limit(c->type) || v >= integer_limit(c->type))
			return out_of_range(c, err);
		return v == 0 && signbit(v) ? changed_to(L, 0) : VALUE_KEPT;
	}
	text = lua_decimal_text(L, -1);
	if (text.s == NULL || !decimal_integer(text, &fits))
		return wrong(L, c, err, NULL);
	return c->type == COL_BIGINT && fits ? VALUE_KEPT : out_of_range(c, err);
}

static ValueCheck check_number(lua_State *L, const Column *c, Err *err)
{
	Str text;
	Number n;
	double v;

	if (lua_type(L, -1) == LUA_TNUMBER) {
		v = lua_tonumber(L, -1);
		if (!isfinite(v))
			return wrong(L, c, err, "a division by zero?");
		return v == 0 && signbit(v) ? changed_to(L, 0) : VALUE_KEPT;
	}
	text = lua_decimal_text(L, -1);
	if (text.s == NULL)
		return wrong(L, c, err, NULL);
	if (c->type == COL_NUMERIC)
		return VALUE_KEPT;
	number_scan(text.s, text.s + text.len, &n);
	v = number_nearest(&n);
	return isfinite(v) ? changed_to(L, v) : out_of_range(c, err);
}

static bool uuid_lower(Str text, char out[37], bool *changed)
{
	*changed = false;
	if (text.len != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		char ch = text.s[i];
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (ch >= 'A' && ch <= 'F') {
			ch = (char)(ch - 'A' + 'a');
			*changed = true;
		}
		if (dash ? ch != '-' : !((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f')))
			return false;
		out[i] = ch;
	}
	out[36] = '\0';
	return true;
}

static ValueCheck check_text(lua_State *L, const Column *c, Err *err)
{
	Str text;
	char uuid[37];
	bool changed;

	if (lua_type(L, -1) != LUA_TSTRING)
		return wrong(L, c, err,
			c->type == COL_DATE   ? "utc_date makes one of a time"
			: c->type == COL_TEXT ? "tostring makes a text of a value"
					      : NULL);
	text.s = lua_tolstring(L, -1, &text.len);
	switch (c->type) {
	case COL_UUID:
		if (!uuid_lower(text, uuid, &changed))
			return wrong(L, c, err, NULL);
		if (!changed)
			return VALUE_KEPT;
		lua_pop(L, 1);
		lua_pushlstring(L, uuid, 36);
		return VALUE_CHANGED;
	case COL_DATE:
		return iso_date_valid(text) ? VALUE_KEPT : wrong(L, c, err, "a day as 2026-01-02");
	default:
		if (json_storable(text))
			return VALUE_KEPT;
		err_set(err, ERR_SCRIPT,
			"a text that is not UTF-8, or holds a NUL, cannot be stored");
		return VALUE_WRONG;
	}
}

static ValueCheck check_time(lua_State *L, const Column *c, Err *err)
{
	Str text;
	int64_t us;
	double v;

	if (lua_type(L, -1) == LUA_TSTRING) {
		text.s = lua_tolstring(L, -1, &text.len);
		if (!iso_time_parse(text, &us))
			return wrong(L, c, err, "a time as 2026-01-02T03:04:05Z, or seconds");
		return changed_to(L, (double)us / 1e6);
	}
	if (lua_type(L, -1) != LUA_TNUMBER)
		return wrong(L, c, err, "seconds since 1970, as event.occurred_at");
	v = rint(lua_tonumber(L, -1) * 1e6);
	if (!(fabs(v) < 1e18) || !iso_time_in_range((int64_t)v))
		return wrong(L, c, err, "seconds, not milliseconds; years 1 to 9999");
	v /= 1e6;
	return v == lua_tonumber(L, -1) ? VALUE_KEPT : changed_to(L, v);
}

ValueCheck column_check(lua_State *L, const Column *c, LuaJsonOwner *owner, Str key, Err *err)
{
	if (lua_json_is_null(L, -1)) {
		lua_pop(L, 1);
		lua_pushnil(L);
		return VALUE_CHANGED;
	}
	switch (c->type) {
	case COL_BOOLEAN:
		return lua_isboolean(L, -1) ? VALUE_KEPT : wrong(L, c, err, NULL);
	case COL_SMALLINT:
	case COL_INTEGER:
	case COL_BIGINT:
		return check_integer(L, c, err);
	case COL_DOUBLE:
	case COL_NUMERIC:
		return check_number(L, c, err);
	case COL_TIMESTAMPTZ:
		return check_time(L, c, err);
	case COL_JSONB:
		if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) == 0)
			return changed_to(L, 0); /* -0 too */
		return lua_json_adopt(L, lua_gettop(L), owner, c->subject, key, err) ? VALUE_KEPT
										     : VALUE_WRONG;
	default:
		return check_text(L, c, err);
	}
}

static void add_quoted(Buf *out, const char *text, size_t n)
{
	buf_addc(out, '"');
	buf_add(out, text, n);
	buf_addc(out, '"');
}

void column_add_integer(Buf *out, int64_t v)
{
	char digits[24], *p = digits + sizeof(digits);
	uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		*--p = (char)('0' + left % 10);
		left /= 10;
	} while (left > 0);
	if (v < 0)
		*--p = '-';
	buf_add(out, p, (size_t)(digits + sizeof(digits) - p));
}

static void add_number(Buf *out, double v)
{
	if (v == floor(v) && fabs(v) < 1e15)
		column_add_integer(out, (int64_t)v);
	else
		json_add_double(out, v);
}

bool column_encode(lua_State *L, int index, const Column *c, Buf *out, Err *err)
{
	char text[ISO_TIME_SIZE];
	Str s;

	if (c->type == COL_TIMESTAMPTZ && lua_type(L, index) == LUA_TNUMBER) {
		iso_time_format((int64_t)rint(lua_tonumber(L, index) * 1e6), text);
		add_quoted(out, text, ISO_TIME_SIZE - 1);
		return true;
	}
	switch (lua_type(L, index)) {
	case LUA_TNIL:
		buf_adds(out, "null");
		return true;
	case LUA_TBOOLEAN:
		buf_adds(out, lua_toboolean(L, index) ? "true" : "false");
		return true;
	case LUA_TNUMBER:
		add_number(out, lua_tonumber(L, index));
		return true;
	case LUA_TSTRING:
		s.s = lua_tolstring(L, index, &s.len);
		json_add_string(out, s);
		return true;
	default:
		return lua_json_encode(L, index, out, c->subject, err);
	}
}

/* ---- keys ---- */

static bool key_wrong(ColumnType type, KeyPart part, Err *err)
{
	static const char *const kinds[] = { "null", "the string", "the number", "the boolean",
		"NaN or an infinity", "an object or array" };

	err_set(err, ERR_SCRIPT, "%s expected, not %s", type_names[type], kinds[part.kind]);
	if (part.text.s != NULL)
		err_set(err, ERR_SCRIPT, "%s '%.*s'", err->message,
			(int)(part.text.len < 60 ? part.text.len : 60), part.text.s);
	return false;
}

static bool key_number(ColumnType type, KeyPart part, Buf *out, Err *err)
{
	size_t before = out->len;
	bool fits;
	Number n;
	double v;

	number_scan(part.text.s, part.text.s + part.text.len, &n);
	if (n.end != part.text.s + part.text.len || !number_in_range(&n))
		return key_wrong(type, part, err);
	buf_reserve(out, number_canonical_room(&n));
	out->len += number_canonical(&n, out->s + out->len);
	if (type == COL_NUMERIC)
		return true;
	v = number_nearest(&n);
	if (decimal_integer((Str){ out->s + before, out->len - before }, &fits) &&
		(type == COL_BIGINT ? fits : v >= -integer_limit(type) && v < integer_limit(type)))
		return true;
	out->len = before;
	return key_wrong(type, part, err);
}

static bool key_text(ColumnType type, KeyPart part, Buf *out, Err *err)
{
	char uuid[37], time[ISO_TIME_SIZE];
	bool changed;
	int64_t us;

	switch (type) {
	case COL_UUID:
		if (part.kind != PART_STRING || !uuid_lower(part.text, uuid, &changed))
			return key_wrong(type, part, err);
		add_quoted(out, uuid, 36);
		return true;
	case COL_DATE:
		if (part.kind != PART_STRING || !iso_date_valid(part.text))
			return key_wrong(type, part, err);
		break;
	case COL_TIMESTAMPTZ:
		if (part.kind != PART_STRING || !iso_time_parse(part.text, &us))
			return key_wrong(type, part, err);
		iso_time_format(us, time);
		add_quoted(out, time, ISO_TIME_SIZE - 1);
		return true;
	default:
		break;
	}
	return json_add_string_checked(out, part.text, err);
}

/* A time given as seconds. */
static bool key_seconds(KeyPart part, Buf *out, Err *err)
{
	char time[ISO_TIME_SIZE];
	Number n;
	double us;

	number_scan(part.text.s, part.text.s + part.text.len, &n);
	us = n.end != NULL ? rint(number_nearest(&n) * 1e6) : HUGE_VAL;
	if (!(fabs(us) < 1e18) || !iso_time_in_range((int64_t)us))
		return key_wrong(COL_TIMESTAMPTZ, part, err);
	iso_time_format((int64_t)us, time);
	add_quoted(out, time, ISO_TIME_SIZE - 1);
	return true;
}

bool column_key(ColumnType type, KeyPart part, Buf *out, Err *err)
{
	if (part.kind == PART_NULL || part.kind >= PART_NAN)
		return key_wrong(type, part, err);
	switch (type) {
	case COL_BOOLEAN:
		if (part.kind != PART_BOOLEAN)
			return key_wrong(type, part, err);
		buf_add(out, part.text.s, part.text.len);
		return true;
	case COL_SMALLINT:
	case COL_INTEGER:
	case COL_BIGINT:
	case COL_NUMERIC:
		return part.kind == PART_NUMBER ? key_number(type, part, out, err)
						: key_wrong(type, part, err);
	case COL_TIMESTAMPTZ:
		return part.kind == PART_NUMBER ? key_seconds(part, out, err)
						: key_text(type, part, out, err);
	default:
		return key_text(type, part, out, err);
	}
}
