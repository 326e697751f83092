#include "base/json_lua.h"

#include "base/json.h"
#include "base/number.h"

typedef struct {
	Buf *out;
	const char *p, *end;
	Buf text; /* a string without its escapes */
} Reader;

static void add_value(Reader *r);

void json_add_lua_string(Buf *out, Str text)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.s[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c == '\n')
			buf_adds(out, "\\n");
		else if (c < ' ' || c == 0x7f)
			buf_addf(out, "\\%03d", c);
		else
			buf_addc(out, (char)c);
	}
	buf_addc(out, '"');
}

static char peek(Reader *r)
{
	while (r->p < r->end && strchr(" \t\r\n", *r->p) != NULL)
		r->p++;
	return r->p < r->end ? *r->p : '\0';
}

/* r->text becomes the string at hand. */
static void take_string(Reader *r)
{
	const char *start = r->p++;

	while (r->p < r->end && *r->p != '"')
		r->p += *r->p == '\\' ? 2 : 1;
	r->p++;
	buf_clear(&r->text);
	json_unescape(&r->text, (Str){ start, (size_t)(r->p - start) });
}

static bool is_word(Str s)
{
	static const char *const reserved[] = { "and", "break", "do", "else", "elseif", "end",
		"false", "for", "function", "goto", "if", "in", "local", "nil", "not", "or",
		"repeat", "return", "then", "true", "until", "while" };

	if (s.len == 0 || (s.s[0] >= '0' && s.s[0] <= '9'))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
			    s.s[i]) == NULL ||
			s.s[i] == '\0')
			return false;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (str_eq(s, str_from(reserved[i])))
			return false;
	return true;
}

static void add_name(Reader *r)
{
	take_string(r);
	if (is_word(buf_str(&r->text))) {
		buf_adds(r->out, r->text.s);
	} else {
		buf_addc(r->out, '[');
		json_add_lua_string(r->out, buf_str(&r->text));
		buf_addc(r->out, ']');
	}
	buf_adds(r->out, " = ");
}

static void add_container(Reader *r, char open, char close)
{
	bool first = true;

	r->p++;
	if (peek(r) == close) {
		r->p++;
		buf_adds(r->out, open == '[' ? "array {}" : "{}");
		return;
	}
	buf_adds(r->out, "{ ");
	for (; peek(r) != close && r->p < r->end; first = false) {
		if (!first) {
			r->p++; /* the comma */
			buf_adds(r->out, ", ");
			peek(r);
		}
		if (open == '{') {
			add_name(r);
			peek(r);
			r->p++; /* the colon */
		}
		add_value(r);
	}
	r->p++;
	buf_adds(r->out, " }");
}

static void add_number(Reader *r)
{
	Number n;
	double value;
	char text[NUMBER_PRINT_MAX];

	number_scan(r->p, r->end, &n);
	if (n.end == NULL) {
		r->p = r->end;
		return;
	}
	if (number_exact(&n, &value))
		buf_add(r->out, text, number_print(value, text));
	else
		buf_addf(r->out, "decimal \"%.*s\"", (int)(n.end - r->p), r->p);
	r->p = n.end;
}

static void add_word(Reader *r, const char *word, const char *lua)
{
	size_t len = strlen(word), left = (size_t)(r->end - r->p);

	buf_adds(r->out, lua);
	r->p += len < left ? len : left;
}

static void add_value(Reader *r)
{
	switch (peek(r)) {
	case '{':
		add_container(r, '{', '}');
		break;
	case '[':
		add_container(r, '[', ']');
		break;
	case '"':
		take_string(r);
		json_add_lua_string(r->out, buf_str(&r->text));
		break;
	case 't':
		add_word(r, "true", "true");
		break;
	case 'f':
		add_word(r, "false", "false");
		break;
	case 'n':
		add_word(r, "null", "json.null");
		break;
	default:
		add_number(r);
	}
}

void json_add_lua(Buf *out, Str json)
{
	Reader r = { out, json.s, json.s + json.len, { 0 } };

	add_value(&r);
	buf_free(&r.text);
}
