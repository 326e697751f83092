#include "lua/lua_json_tree.h"

#include "base/json_scan.h"
#include "base/number.h"
#include "lua/lua_decimal.h"

enum { FAST_DIGITS = 15, HINT_MAX = 64, ARRAY_START = 4 };

typedef struct {
	lua_State *L;
	LuaJson *json;
	const char *p, *end;
	int array_mark; /* stack index of the metatable */
	int depth;
	const char *what; /* why it failed, where json_check() would not know */
} Decoder;

static bool decode_value(Decoder *d);

static inline void skip_space(Decoder *d)
{
	while (d->p < d->end && (unsigned char)*d->p <= ' ' &&
		(*d->p == ' ' || *d->p == '\n' || *d->p == '\r' || *d->p == '\t'))
		d->p++;
}

static inline bool take(Decoder *d, char c)
{
	skip_space(d);
	if (d->p == d->end || *d->p != c)
		return false;
	d->p++;
	return true;
}

/* The rest of a string that is not plain ASCII throughout, from its first byte on. */
static bool decode_odd_string(Decoder *d, const char *start, Str *out)
{
	Buf *b = &d->json->scratch;
	const char *plain = start;
	char utf8[4];
	size_t n;

	buf_clear(b);
	for (;; d->p = scan_string(d->p, d->end, true)) {
		if (d->p == d->end || (unsigned char)*d->p < ' ')
			return false;
		if (*d->p == '"')
			break;
		if (*d->p == '\\') {
			buf_add(b, plain, (size_t)(d->p - plain));
			d->p = plain = json_escape(d->p, d->end, utf8, &n);
			if (plain == NULL)
				return false;
			buf_add(b, utf8, n);
		} else {
			n = json_utf8_sequence(d->p, d->end);
			if (n == 0)
				return false;
			d->p += n;
		}
	}
	buf_add(b, plain, (size_t)(d->p - plain));
	d->p++;
	*out = buf_str(b);
	return true;
}

/* p is at the opening quote. *out lives until the next string. */
static inline bool decode_string(Decoder *d, Str *out)
{
	const char *start = d->p + 1;

	d->p = scan_string(start, d->end, true);
	if (d->p < d->end && *d->p == '"') {
		*out = (Str){ start, (size_t)(d->p - start) };
		d->p++;
		return true;
	}
	return decode_odd_string(d, start, out);
}

static bool decode_any_number(Decoder *d)
{
	Number n;
	double v;

	number_scan(d->p, d->end, &n);
	if (n.end == NULL)
		return false;
	if (number_exact(&n, &v)) {
		lua_pushnumber(d->L, v);
	} else if (number_in_range(&n)) {
		lua_decimal_push(d->L, &n);
	} else {
		d->what = "a number is outside of what PostgreSQL's numeric can hold";
		return false;
	}
	d->p = n.end;
	return true;
}

static inline bool decode_number(Decoder *d)
{
	const char *p = d->p, *digits;
	bool negative = *p == '-';
	uint64_t v = 0;

	digits = p += negative;
	while (p < d->end && (unsigned char)(*p - '0') < 10 && p - digits < FAST_DIGITS)
		v = v * 10 + (uint64_t)(*p++ - '0');
	if (p == d->end || p == digits || (*p >= '0' && *p <= '9') || *p == '.' ||
		(*p | 32) == 'e' || *digits == '0')
		return decode_any_number(d);
	lua_pushnumber(d->L, negative ? -(double)v : (double)v);
	d->p = p;
	return true;
}

static bool enter(Decoder *d)
{
	if (++d->depth > JSON_MAX_DEPTH)
		return false; /* json_check() finds the same */
	if (!lua_checkstack(d->L, 4)) {
		d->what = "nested too deeply here";
		return false;
	}
	return true;
}

/* Objects that begin with the same key mostly have as many members as the last one: no rehashing.
 */
static unsigned char *size_hint(Decoder *d, Str first_key)
{
	size_t h = first_key.len;

	if (h > 0)
		h = h * 31 + (unsigned char)first_key.s[0] * 7 + (unsigned char)first_key.s[h - 1];
	return &d->json->sizes[h % SIZE_HINTS];
}

/* p is behind '{'. [] -> [table] */
static bool decode_object(Decoder *d)
{
	unsigned char *hint = NULL;
	Str key;
	int n = 0;

	if (!enter(d))
		return false;
	if (take(d, '}')) {
		lua_createtable(d->L, 0, 0);
		d->depth--;
		return true;
	}
	do {
		skip_space(d);
		if (d->p == d->end || *d->p != '"' || !decode_string(d, &key))
			return false;
		if (n == 0) {
			hint = size_hint(d, key);
			lua_createtable(d->L, 0, *hint);
		}
		lua_pushlstring(d->L, key.s, key.len); /* [table key] */
		if (!take(d, ':') || !decode_value(d)) /* [table key value] */
			return false;
		lua_rawset(d->L, -3);
		n++;
	} while (take(d, ','));
	*hint = (unsigned char)(n < HINT_MAX ? n : HINT_MAX);
	d->depth--;
	return take(d, '}');
}

/* p is behind '['. [] -> [table] */
static bool decode_array(Decoder *d)
{
	bool empty;
	int n = 0;

	if (!enter(d))
		return false;
	empty = take(d, ']');
	lua_createtable(d->L, empty ? 0 : ARRAY_START, 0);
	lua_pushvalue(d->L, d->array_mark);
	lua_setmetatable(d->L, -2);
	if (!empty) {
		do {
			if (!decode_value(d))
				return false;
			lua_rawseti(d->L, -2, ++n);
		} while (take(d, ','));
	}
	d->depth--;
	return empty || take(d, ']');
}

static bool decode_word(Decoder *d, const char *word, size_t n)
{
	if ((size_t)(d->end - d->p) < n || memcmp(d->p, word, n) != 0)
		return false;
	d->p += n;
	return true;
}

/* [] -> [value] */
static bool decode_value(Decoder *d)
{
	Str s;

	skip_space(d);
	if (d->p == d->end)
		return false;
	switch (*d->p) {
	case '"':
		if (!decode_string(d, &s))
			return false;
		lua_pushlstring(d->L, s.s, s.len);
		return true;
	case '{':
		d->p++;
		return decode_object(d);
	case '[':
		d->p++;
		return decode_array(d);
	case 't':
		lua_pushboolean(d->L, 1);
		return decode_word(d, "true", 4);
	case 'f':
		lua_pushboolean(d->L, 0);
		return decode_word(d, "false", 5);
	case 'n':
		lua_json_push_null(d->L);
		return decode_word(d, "null", 4);
	default:
		return decode_number(d);
	}
}

bool lua_json_decode(lua_State *L, Str text, Err *err)
{
	int top = lua_gettop(L);
	Decoder d = { .L = L, .json = lua_json_of(L), .p = text.s, .end = text.s + text.len };

	if (!lua_checkstack(L, 4))
		return err_set(err, ERR_LIMIT, "no room on Lua's stack");
	d.array_mark = top + 1;
	lua_rawgeti(L, LUA_REGISTRYINDEX, d.json->array_ref);
	if (decode_value(&d)) {
		skip_space(&d);
		if (d.p == d.end) {
			lua_replace(L, top + 1); /* [mark value] -> [value] */
			return true;
		}
	}
	lua_settop(L, top);
	if (d.what != NULL)
		return json_fail(text, d.p, err, d.what);
	if (json_check(text, 0, err)) /* it reads the same grammar, and says where it is broken */
		return json_fail(text, d.p, err, "malformed");
	return false;
}

bool lua_json_decode_slice(lua_State *L, LuaJson *json, Str slice, const char *end)
{
	int top = lua_gettop(L);
	Decoder d = { L, json, slice.s, end, top + 1, 0, NULL };
	bool nested = *slice.s == '{' || *slice.s == '[';

	if (nested)
		lua_rawgeti(L, LUA_REGISTRYINDEX, json->array_ref);
	if (decode_value(&d) && d.p == slice.s + slice.len) {
		if (nested)
			lua_remove(L, top + 1);
		return true;
	}
	lua_settop(L, top);
	return false;
}
