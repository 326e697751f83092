#include "app/csv.h"

#include "base/json.h"

#include <csv.h>
#include <stdio.h>
#include <stdlib.h>

enum { RECORD_LIMIT = 1024 * 1024 }; /* bytes of a record of several lines */

struct Csv {
	Lines *lines;
	struct csv_parser parser;
	char delimiter;
	Buf heads; /* each head as `"name":`, NUL after each */
	size_t nheads;
	Buf fields; /* the record's fields, NUL after each */
	Buf sizes;  /* size_t of each field */
	size_t nfields;
	bool complete;
	Buf raw;   /* the record's lines, each with its \n */
	Buf again; /* lines of a broken record that are read once more, from `again_at` on */
	size_t again_at;
	int64_t line, next_line;
	Buf json;
};

static void on_field(void *bytes, size_t n, void *owner)
{
	Csv *c = owner;

	buf_add(&c->fields, bytes, n);
	buf_addc(&c->fields, '\0');
	buf_add(&c->sizes, &n, sizeof(n));
	c->nfields++;
}

static void on_row(int end, void *owner)
{
	Csv *c = owner;

	(void)end;
	c->complete = true;
}

/* Spaces belong to the field that they stand in, as RFC 4180 says. */
static int is_never(unsigned char c)
{
	(void)c;
	return 0;
}

static int is_newline(unsigned char c)
{
	return c == '\n';
}

static void reset_parser(Csv *c)
{
	csv_free(&c->parser);
	csv_init(&c->parser, CSV_STRICT);
	csv_set_delim(&c->parser, (unsigned char)c->delimiter);
	csv_set_space_func(&c->parser, is_never);
	csv_set_term_func(&c->parser, is_newline);
}

static void begin_record(Csv *c)
{
	buf_clear(&c->fields);
	buf_clear(&c->sizes);
	buf_clear(&c->raw);
	c->nfields = 0;
	c->complete = false;
	c->line = c->next_line;
}

/* The next physical line: of those to be read again, else of the file. It is appended to `raw`. */
static LineResult next_line(Csv *c, Str *line, Err *err)
{
	LineResult result = LINE_OK;

	if (c->again_at < c->again.len) {
		const char *from = c->again.s + c->again_at;

		line->s = from;
		line->len = (size_t)((const char *)memchr(from, '\n', c->again.len - c->again_at) -
				     from);
		c->again_at += line->len + 1;
		c->next_line++;
	} else {
		result = lines_next(c->lines, line, err);
		c->next_line = lines_number(c->lines) + 1;
	}
	if (result != LINE_OK)
		return result;
	buf_add(&c->raw, line->s, line->len);
	buf_addc(&c->raw, '\n');
	return result;
}

/* What the broken record took beyond its first line is read again. */
static void give_back(Csv *c)
{
	size_t first = c->raw.len > 0
			       ? (size_t)((char *)memchr(c->raw.s, '\n', c->raw.len) - c->raw.s) + 1
			       : 0;
	Buf rest = { 0 };

	if (first < c->raw.len) {
		buf_add(&rest, c->raw.s + first, c->raw.len - first);
		if (c->again_at < c->again.len)
			buf_add(&rest, c->again.s + c->again_at, c->again.len - c->again_at);
		buf_free(&c->again);
		c->again = rest;
		c->again_at = 0;
		c->raw.len = first;
	}
	c->next_line = c->line + 1;
}

static CsvResult broken(Csv *c, const char *why, Err *err)
{
	give_back(c);
	reset_parser(c);
	err_set(err, ERR_DATA, "%s", why);
	return CSV_BAD;
}

static bool feed(Csv *c, Str line)
{
	return csv_parse(&c->parser, line.s, line.len, on_field, on_row, c) == line.len &&
	       csv_parse(&c->parser, "\n", 1, on_field, on_row, c) == 1;
}

static CsvResult too_long(Csv *c, Str excerpt, Err *err)
{
	buf_add(&c->raw, excerpt.s, excerpt.len);
	reset_parser(c);
	err_set(err, ERR_LIMIT, "the line is longer than the limit");
	return CSV_BAD;
}

/* Reads lines until a row is complete; empty ones before it are passed over. */
static CsvResult read_row(Csv *c, Err *err)
{
	Str line;

	begin_record(c);
	while (!c->complete) {
		LineResult result = next_line(c, &line, err);

		if (result == LINE_FAILED)
			return CSV_FAILED;
		if (result == LINE_END && c->raw.len == 0)
			return CSV_END;
		if (result == LINE_END)
			return broken(c, "a quoted field that begins here never ends", err);
		if (result == LINE_TOO_LONG)
			return too_long(c, line, err);
		if (line.len == 0 && c->raw.len == 1) {
			begin_record(c);
			continue;
		}
		if (!feed(c, line))
			return broken(c,
				"a quote stands inside of a field (quote the field, double the "
				"quote)",
				err);
		if (!c->complete && c->raw.len > RECORD_LIMIT)
			return broken(
				c, "a quoted field that begins here does not end within 1 MB", err);
	}
	return CSV_RECORD;
}

static Str field(const Csv *c, size_t i)
{
	const size_t *sizes = (const size_t *)(const void *)c->sizes.s;
	size_t at = 0;

	for (size_t k = 0; k < i; k++)
		at += sizes[k] + 1;
	return (Str){ c->fields.s + at, sizes[i] };
}

/* True where the name is taken by an earlier column. */
static bool head_taken(const Csv *c, const Buf *head)
{
	const char *at = c->heads.s;

	for (size_t i = 0; i < c->nheads; i++) {
		size_t n = strlen(at);

		if (n == head->len && memcmp(at, head->s, n) == 0)
			return true;
		at += n + 1;
	}
	return false;
}

static bool add_head(Csv *c, size_t i, Err *err)
{
	Str name = field(c, i);
	Buf head = { 0 };
	char unnamed[32];
	bool ok;

	snprintf(unnamed, sizeof(unnamed), "column_%zu", i + 1);
	ok = json_add_string_checked(&head, name.len > 0 ? name : str_from(unnamed), err);
	if (ok)
		buf_addc(&head, ':');
	if (ok && head_taken(c, &head))
		ok = err_set(
			err, ERR_DATA, "column %zu: the name is taken by an earlier one", i + 1);
	if (ok) {
		buf_add(&c->heads, head.s, head.len + 1);
		c->nheads++;
	}
	buf_free(&head);
	return ok || err_prefix(err, "csv: first row");
}

static bool read_heads(Csv *c, Err *err)
{
	CsvResult result = read_row(c, err);
	bool ok = result == CSV_RECORD;

	if (result == CSV_END)
		return err_set(
			err, ERR_DATA, "csv: the file is empty (its first row names the columns)");
	for (size_t i = 0; ok && i < c->nfields; i++)
		ok = add_head(c, i, err);
	return ok;
}

Csv *csv_open(Lines *lines, char delimiter, Err *err)
{
	Csv *c = mem_calloc(1, sizeof(*c));

	c->lines = lines;
	c->delimiter = delimiter;
	c->next_line = 1;
	csv_init(&c->parser, CSV_STRICT);
	reset_parser(c);
	if (read_heads(c, err))
		return c;
	csv_close(c);
	return NULL;
}

void csv_close(Csv *c)
{
	Buf *bufs[] = { &c->heads, &c->fields, &c->sizes, &c->raw, &c->again, &c->json };

	csv_free(&c->parser);
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_free(bufs[i]);
	free(c);
}

static bool make_json(Csv *c, Err *err)
{
	const size_t *sizes = (const size_t *)(const void *)c->sizes.s;
	const char *head = c->heads.s, *value = c->fields.s;

	buf_clear(&c->json);
	buf_addc(&c->json, '{');
	for (size_t i = 0; i < c->nfields; i++) {
		if (i > 0)
			buf_addc(&c->json, ',');
		buf_adds(&c->json, head);
		if (!json_add_string_checked(&c->json, (Str){ value, sizes[i] }, err))
			return err_prefix(err, "column %.*s", (int)strlen(head) - 1, head);
		head += strlen(head) + 1;
		value += sizes[i] + 1;
	}
	buf_addc(&c->json, '}');
	return true;
}

CsvResult csv_next(Csv *c, CsvRecord *out, Err *err)
{
	CsvResult result = read_row(c, err);

	if (result == CSV_RECORD && c->nfields != c->nheads) {
		err_set(err, ERR_DATA, "%zu fields where the first row has %zu", c->nfields,
			c->nheads);
		result = CSV_BAD;
	} else if (result == CSV_RECORD && !make_json(c, err)) {
		result = CSV_BAD;
	}
	*out = (CsvRecord){ .json = buf_str(&c->json), .line = c->line };
	out->raw = (Str){ buf_str(&c->raw).s, c->raw.len > 0 ? c->raw.len - 1 : 0 };
	return result;
}
