#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json_scan.h"
#include "base/number.h"

enum { DEPTH_CAP = 4096 }; /* a bit each on the stack of json_check() */

typedef struct {
	Str text;
	const char *p, *end;
	int depth, max_depth;
	bool jsonb; /* refuse what jsonb cannot hold */
	Err *err;
	unsigned char objects[DEPTH_CAP / 8]; /* a bit per open container: an object? */
} Checker;

bool json_fail(Str text, const char *at, Err *err, const char *what)
{
	const char *line_start = text.s;
	size_t line = 1;

	for (const char *p = text.s; p < at; p++) {
		if (*p == '\n') {
			line++;
			line_start = p + 1;
		}
	}
	return err_set(err, ERR_DATA, "invalid JSON at line %zu, column %zu (byte %zu): %s", line,
		(size_t)(at - line_start) + 1, (size_t)(at - text.s), what);
}

static bool fail(Checker *c, const char *what)
{
	return json_fail(c->text, c->p, c->err, what);
}

static void skip_space(Checker *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\r' || *c->p == '\t'))
		c->p++;
}

static bool starts(const Checker *c, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(c->end - c->p) >= n && memcmp(c->p, word, n) == 0;
}

static bool check_escape(Checker *c)
{
	char utf8[4];
	size_t n;
	const char *behind = json_escape(c->p, c->end, utf8, &n);

	if (behind == NULL)
		return fail(c, starts(c, "\\u")
				       ? "a \\u escape is not four hexadecimal digits, or half of "
					 "a surrogate pair stands alone"
				       : "a string holds an unknown escape");
	if (c->jsonb && n == 1 && utf8[0] == '\0')
		return fail(c, "jsonb cannot hold \\u0000");
	c->p = behind;
	return true;
}

static bool check_string(Checker *c)
{
	const char *open = c->p++;
	size_t n;

	for (;;) {
		c->p = scan_string(c->p, c->end, true);
		if (c->p == c->end) {
			c->p = open;
			return fail(c, "a string is not closed");
		}
		if (*c->p == '"')
			break;
		if (*c->p == '\\') {
			if (!check_escape(c))
				return false;
		} else if ((unsigned char)*c->p < ' ') {
			return fail(c, *c->p == '\0' ? "a string holds a NUL byte"
						     : "a string holds a control character");
		} else {
			n = json_utf8_sequence(c->p, c->end);
			if (n == 0)
				return fail(c, "a string holds invalid UTF-8");
			c->p += n;
		}
	}
	c->p++;
	return true;
}

static bool check_number(Checker *c)
{
	Number n;

	if (starts(c, "-Infinity"))
		return fail(c, "-Infinity is no JSON value");
	number_scan(c->p, c->end, &n);
	if (n.end == NULL)
		return fail(c, "a number is malformed");
	if (*c->p == '0' && n.end == c->p + 1 && n.end < c->end && *n.end >= '0' && *n.end <= '9')
		return fail(c, "a number begins with 0");
	if (c->jsonb && !number_in_range(&n))
		return fail(c, "a number is outside of what PostgreSQL's numeric can hold");
	c->p = n.end;
	return true;
}

static bool check_word(Checker *c)
{
	static const char *const words[] = { "true", "false", "null" };
	static const char *const refused[] = { "NaN", "Infinity", "nan", "inf", "undefined" };
	char what[64];

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (starts(c, words[i])) {
			c->p += strlen(words[i]);
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		if (starts(c, refused[i])) {
			snprintf(what, sizeof(what), "%s is no JSON value", refused[i]);
			return fail(c, what);
		}
	}
	if (starts(c, "\xEF\xBB\xBF"))
		return fail(c, "a byte order mark is not allowed");
	return fail(c, "a value is expected");
}

static bool check_scalar(Checker *c)
{
	if (c->p == c->end)
		return fail(c, "the text ends where a value is expected");
	if (*c->p == '"')
		return check_string(c);
	if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9'))
		return check_number(c);
	return check_word(c);
}

/* "key": of an object. */
static bool check_key(Checker *c)
{
	skip_space(c);
	if (c->p == c->end || *c->p != '"')
		return fail(c, "an object's key (a string) is expected");
	if (!check_string(c))
		return false;
	skip_space(c);
	if (c->p == c->end || *c->p != ':')
		return fail(c, "':' is expected behind an object's key");
	c->p++;
	return true;
}

static bool in_object(const Checker *c)
{
	int d = c->depth - 1;

	return c->objects[d / 8] >> d % 8 & 1;
}

/* Enters the container at p. *empty: it was left again at once. */
static bool open_container(Checker *c, bool *empty)
{
	bool object = *c->p == '{';
	unsigned char bit = (unsigned char)(1u << c->depth % 8);
	char what[64];

	if (c->depth == c->max_depth) {
		snprintf(what, sizeof(what), "nested deeper than %d levels", c->max_depth);
		return fail(c, what);
	}
	if (object)
		c->objects[c->depth / 8] |= bit;
	else
		c->objects[c->depth / 8] &= (unsigned char)~bit;
	c->depth++;
	c->p++;
	skip_space(c);
	*empty = c->p < c->end && *c->p == (object ? '}' : ']');
	if (*empty) {
		c->depth--;
		c->p++;
		return true;
	}
	return !object || check_key(c);
}

/* Behind a value: closes containers until another value is expected (*more) or the text ends. */
static bool close_containers(Checker *c, bool *more)
{
	while (c->depth > 0) {
		bool object = in_object(c);

		skip_space(c);
		if (c->p == c->end)
			return fail(c, object ? "the text ends inside of an object"
					      : "the text ends inside of an array");
		if (*c->p == ',') {
			c->p++;
			*more = true;
			return !object || check_key(c);
		}
		if (*c->p != (object ? '}' : ']'))
			return fail(
				c, object ? "',' or '}' is expected" : "',' or ']' is expected");
		c->p++;
		c->depth--;
	}
	*more = false;
	skip_space(c);
	return c->p == c->end || fail(c, "something follows the value");
}

static bool check(Str text, int max_depth, bool jsonb, Err *err)
{
	Checker c = {
		.text = text, .p = text.s, .end = text.s + text.len, .jsonb = jsonb, .err = err
	};
	bool more = true, empty = false;

	c.max_depth = max_depth <= 0          ? JSON_MAX_DEPTH
		      : max_depth < DEPTH_CAP ? max_depth
					      : DEPTH_CAP;
	while (more) {
		skip_space(&c);
		if (c.p < c.end && (*c.p == '{' || *c.p == '[')) {
			if (!open_container(&c, &empty))
				return false;
			if (!empty)
				continue;
		} else if (!check_scalar(&c)) {
			return false;
		}
		if (!close_containers(&c, &more))
			return false;
	}
	return true;
}

bool json_check(Str text, int max_depth, Err *err)
{
	return check(text, max_depth, false, err);
}

bool json_check_jsonb(Str text, int max_depth, Err *err)
{
	return check(text, max_depth, true, err);
}

static const char *space_end(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* p is behind the opening quote. Behind the closing one, or NULL. */
static const char *string_end(const char *p, const char *end)
{
	for (;;) {
		const char *quote = memchr(p, '"', (size_t)(end - p)), *b;

		if (quote == NULL)
			return NULL;
		for (b = quote; b > p && b[-1] == '\\'; b--)
			;
		if ((quote - b) % 2 == 0)
			return quote + 1;
		p = quote + 1;
	}
}

/* Behind the value that begins at p, or NULL. Counts brackets: the text is valid or ours to err. */
static const char *value_end(const char *p, const char *end)
{
	size_t depth = 0;

	for (; p != NULL && p < end;) {
		char c = *p++;

		if (c == '"')
			p = string_end(p, end);
		else if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		else if (depth == 0) /* a number or a word */
			while (p < end && memchr(" \n\r\t,:]}", *p, 8) == NULL)
				p++;
		if (depth == 0)
			return p;
	}
	return NULL;
}

static bool key_is(Str literal, Str name)
{
	Buf key = { 0 };
	bool same;

	if (memchr(literal.s, '\\', literal.len) == NULL)
		return str_eq((Str){ literal.s + 1, literal.len - 2 }, name);
	same = json_unescape(&key, literal) && str_eq(buf_str(&key), name);
	buf_free(&key);
	return same;
}

/* The last member of that name. */
static bool find_member(Str object, Str name, Str *value)
{
	const char *end = object.s + object.len, *p = space_end(object.s, end), *key, *behind;
	bool found = false;

	if (p == end || *p != '{')
		return false;
	for (p++;;) {
		key = space_end(p, end);
		behind = key < end && *key == '"' ? string_end(key + 1, end) : NULL;
		if (behind == NULL)
			return found;
		p = space_end(behind, end);
		if (p == end || *p != ':')
			return false;
		p = space_end(p + 1, end);
		if (key_is((Str){ key, (size_t)(behind - key) }, name)) {
			value->s = p;
			found = true;
		}
		behind = value_end(p, end);
		if (behind == NULL)
			return false;
		if (found && value->s == p)
			value->len = (size_t)(behind - p);
		p = space_end(behind, end);
		if (p == end || *p != ',')
			return found;
		p++;
	}
}

bool json_path(Str text, const char *path, Str *raw)
{
	Str at = text;
	const char *dot;

	do {
		dot = strchrnul(path, '.');
		if (!find_member(at, (Str){ path, (size_t)(dot - path) }, &at))
			return false;
		path = dot + 1;
	} while (*dot == '.');
	*raw = at;
	return true;
}
