/* The parts of JSON texts: strings and numbers, read and written. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/number.h"

const char *json_plain_end(const char *p, const char *end)
{
	return scan_string(p, end, true);
}

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t json_utf8_sequence(const char *p, const char *end)
{
	unsigned char a = (unsigned char)p[0], b;
	size_t n = a < 0x80 ? 1 : a < 0xc2 ? 0 : a < 0xe0 ? 2 : a < 0xf0 ? 3 : a < 0xf5 ? 4 : 0;

	if (n < 2)
		return n;
	if ((size_t)(end - p) < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if (!is_continuation(p[i]))
			return 0;
	b = (unsigned char)p[1];
	if ((a == 0xe0 && b < 0xa0) || (a == 0xf0 && b < 0x90)) /* overlong */
		return 0;
	if ((a == 0xed && b > 0x9f) || (a == 0xf4 && b > 0x8f)) /* surrogates; above U+10FFFF */
		return 0;
	return n;
}

bool json_utf8(Str s, size_t *bad)
{
	const char *p = s.s, *end = s.s + s.len;

	while (p < end) {
		size_t n = (unsigned char)*p < 0x80 ? 1 : json_utf8_sequence(p, end);

		if (n == 0) {
			if (bad)
				*bad = (size_t)(p - s.s);
			return false;
		}
		p += n;
	}
	return true;
}

bool json_storable(Str s)
{
	if (scan_is_text(s.s, s.len))
		return true;
	return memchr(s.s, '\0', s.len) == NULL && json_utf8(s, NULL);
}

/* Four hexadecimal digits; -1 where they are not. */
static int hex4(const char *p, const char *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v << 4 | ((c | 32) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

static size_t put_utf8(uint32_t code, char out[4])
{
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

	for (size_t i = n - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (code & 0x3f));
		code >>= 6;
	}
	out[0] = (char)(lead[n] | code);
	return n;
}

/* p is at the 'u'. */
static const char *unicode_escape(const char *p, const char *end, char utf8[4], size_t *n)
{
	int high = hex4(p + 1, end), low;

	if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
		return NULL;
	p += 5;
	if (high < 0xd800 || high > 0xdbff) {
		*n = put_utf8((uint32_t)high, utf8);
		return p;
	}
	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return NULL;
	low = hex4(p + 2, end);
	if (low < 0xdc00 || low > 0xdfff)
		return NULL;
	*n = put_utf8(0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00), utf8);
	return p + 6;
}

const char *json_escape(const char *p, const char *end, char utf8[4], size_t *n)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (end - p < 2)
		return NULL;
	if (p[1] == 'u')
		return unicode_escape(p + 1, end, utf8, n);
	name = memchr(names, p[1], sizeof(names) - 1);
	if (name == NULL)
		return NULL;
	utf8[0] = values[name - names];
	*n = 1;
	return p + 2;
}

bool json_unescape(Buf *out, Str literal)
{
	const char *p = literal.s + 1, *end = literal.s + literal.len - 1;
	size_t before = out->len, n;
	char utf8[4];

	if (literal.len < 2 || p[-1] != '"' || *end != '"')
		return false;
	while (p < end) {
		const char *plain = p;

		p = json_plain_end(p, end);
		buf_add(out, plain, (size_t)(p - plain));
		if (p == end)
			break;
		plain = p;
		if (*p == '\\')
			p = json_escape(p, end, utf8, &n);
		else if ((unsigned char)*p >= 0x80 && (n = json_utf8_sequence(p, end)) > 0)
			p += n;
		else
			p = NULL;
		if (p == NULL) {
			out->len = before;
			return false;
		}
		buf_add(out, *plain == '\\' ? utf8 : plain, n);
	}
	return true;
}

static void add_escape(Buf *out, unsigned char c)
{
	static const char hex[] = "0123456789abcdef", names[] = "btn.fr";
	char text[6] = { '\\', (char)c };
	size_t n = 2;

	if (c >= '\b' && c <= '\r' && c != '\v') {
		text[1] = names[c - '\b'];
	} else if (c < ' ') {
		memcpy(text + 1, "u00", 3);
		text[4] = hex[c >> 4];
		text[5] = hex[c & 15];
		n = 6;
	}
	buf_add(out, text, n);
}

void json_add_string(Buf *out, Str s)
{
	const char *p = s.s, *end = s.s + s.len, *plain;

	buf_reserve(out, s.len + 2);
	out->s[out->len++] = '"';
	for (plain = p; (p = scan_string(p, end, false)) < end; plain = ++p) {
		buf_add(out, plain, (size_t)(p - plain));
		add_escape(out, (unsigned char)*p);
	}
	buf_reserve(out, (size_t)(end - plain) + 1);
	out->len =
		(size_t)((char *)mempcpy(out->s + out->len, plain, (size_t)(end - plain)) - out->s);
	out->s[out->len++] = '"';
	out->s[out->len] = '\0';
}

bool json_add_string_checked(Buf *out, Str s, Err *err)
{
	size_t bad = 0;

	if (json_storable(s)) {
		json_add_string(out, s);
		return true;
	}
	if (!json_utf8(s, &bad))
		return err_set(err, ERR_DATA, "a string is not UTF-8 (byte %zu)", bad);
	return err_set(err, ERR_DATA, "a string holds a NUL (byte %zu), which jsonb cannot hold",
		strnlen(s.s, s.len));
}

void json_add_double(Buf *out, double v)
{
	buf_reserve(out, NUMBER_PRINT_MAX);
	out->len += number_print(v, out->s + out->len);
	out->s[out->len] = '\0';
}

void json_add_int(Buf *out, int64_t v)
{
	buf_addf(out, "%" PRId64, v);
}
