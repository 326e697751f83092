#include "app/import.h"

#include "base/json.h"

#include <stdlib.h>

/* Cuts a text into its top-level objects by counting brackets outside of strings. An array at the
 * top is a batch: its elements are the records. Each object is checked when it is whole, so a wrong
 * one costs itself only, as long as its brackets match. */
struct ImportDocument {
	Lines *lines;
	size_t limit;
	Str bytes; /* what was read and not yet looked at */
	Buf record;
	int64_t line;   /* of the next byte */
	int64_t begins; /* line of the record */
	int depth;      /* of brackets inside the record */
	bool in_array, in_string, escaped, ended;
};

ImportDocument *import_document_new(Lines *lines, size_t limit)
{
	ImportDocument *d = mem_calloc(1, sizeof(*d));

	d->lines = lines;
	d->limit = limit;
	d->line = 1;
	return d;
}

void import_document_free(ImportDocument *d)
{
	if (d == NULL)
		return;
	buf_free(&d->record);
	free(d);
}

/* Follows one byte of a record; true where it is the record's last. */
static bool step(ImportDocument *d, char c)
{
	if (d->in_string) {
		bool escapes = c == '\\' && !d->escaped;

		d->in_string = c != '"' || d->escaped;
		d->escaped = escapes;
		return false;
	}
	d->in_string = c == '"';
	d->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
	return d->depth == 0;
}

/* Passes over what may stand between records; true where one begins, or something that is none. */
static bool find_start(ImportDocument *d)
{
	for (; d->bytes.len > 0; d->bytes.s++, d->bytes.len--) {
		char c = *d->bytes.s;

		if (c == '\n')
			d->line++;
		else if (c == '[' && !d->in_array)
			d->in_array = true;
		else if (c == ']' && d->in_array)
			d->in_array = false;
		else if (strchr(" \t\r,\xef\xbb\xbf", c) == NULL || c == '\0')
			return true;
	}
	return false;
}

/* Adds bytes to the record until it is whole; true then. */
static bool gather(ImportDocument *d)
{
	const char *s = d->bytes.s, *end = s + d->bytes.len;
	bool whole = false;

	while (s < end && !whole) {
		d->line += *s == '\n';
		whole = step(d, *s++);
	}
	buf_add(&d->record, d->bytes.s, (size_t)(s - d->bytes.s));
	d->bytes = (Str){ s, (size_t)(end - s) };
	return whole;
}

/* A number or a word where an object should be: up to the next separator. */
static ImportResult stray(ImportDocument *d, ImportRecord *out, Err *err)
{
	while (d->bytes.len > 0 && strchr(",]\n", *d->bytes.s) == NULL) {
		buf_addc(&d->record, *d->bytes.s);
		d->bytes.s++;
		d->bytes.len--;
	}
	out->raw = buf_str(&d->record);
	err_set(err, ERR_DATA, "a JSON object was expected");
	return IMPORT_BAD;
}

static ImportResult unfinished(ImportDocument *d, ImportRecord *out, Err *err)
{
	d->ended = true;
	out->raw = buf_str(&d->record);
	if (out->raw.len > LINES_EXCERPT)
		out->raw.len = LINES_EXCERPT;
	err_set(err, ERR_DATA,
		"the object that begins here does not end (is a bracket or a quote missing?)");
	return IMPORT_BAD;
}

static ImportResult whole(ImportDocument *d, ImportRecord *out, Err *err)
{
	out->raw = out->json = buf_str(&d->record);
	return json_check_jsonb(out->json, 0, err) ? IMPORT_RECORD : IMPORT_BAD;
}

ImportResult import_document_next(ImportDocument *d, ImportRecord *out, Err *err)
{
	buf_clear(&d->record);
	d->depth = 0;
	d->in_string = d->escaped = false;
	while (!d->ended) {
		bool begun = d->record.len > 0;

		if (d->bytes.len == 0 && !lines_bytes(d->lines, &d->bytes, err))
			return IMPORT_FAILED;
		if (d->bytes.len == 0) {
			d->ended = true;
			return begun ? unfinished(d, out, err) : IMPORT_END;
		}
		if (!begun) {
			if (!find_start(d))
				continue;
			*out = (ImportRecord){ .line = d->line };
			if (*d->bytes.s != '{')
				return stray(d, out, err);
		}
		if (gather(d))
			return whole(d, out, err);
		if (d->record.len > d->limit)
			return unfinished(d, out, err);
	}
	return IMPORT_END;
}
