#include "app/import.h"

#include "app/csv.h"
#include "base/json.h"

#include <stdlib.h>
#include <strings.h>

enum { RECORD_LIMIT = 16 * 1024 * 1024, PEEK = 64 * 1024 };

struct ImportReader {
	Lines *lines;
	ImportFormat format;
	Csv *csv; /* one of these two, or neither: a record for each line */
	ImportDocument *document;
};

static bool ends_with(const char *name, size_t len, const char *tail)
{
	size_t n = strlen(tail);

	return len >= n && strncasecmp(name + len - n, tail, n) == 0;
}

/* By the name, without .gz; IMPORT_AUTO where it tells nothing. */
static ImportFormat by_name(const char *path, char *delimiter)
{
	size_t len = strlen(path);

	if (ends_with(path, len, ".gz"))
		len -= 3;
	if (ends_with(path, len, ".tsv") && *delimiter == 0)
		*delimiter = '\t';
	if (ends_with(path, len, ".csv") || ends_with(path, len, ".tsv"))
		return IMPORT_CSV;
	if (ends_with(path, len, ".cloudevents") || ends_with(path, len, ".cloudevents.json") ||
		ends_with(path, len, ".cloudevents.ndjson"))
		return IMPORT_CLOUDEVENTS;
	if (ends_with(path, len, ".ndjson") || ends_with(path, len, ".jsonl") ||
		ends_with(path, len, ".json"))
		return IMPORT_NDJSON;
	return IMPORT_AUTO;
}

static Str first_line(Str bytes)
{
	const char *end;

	while (bytes.len > 0 && strchr(" \t\r\n\xef\xbb\xbf", *bytes.s) != NULL &&
		*bytes.s != '\0') {
		bytes.s++;
		bytes.len--;
	}
	end = bytes.len > 0 ? memchr(bytes.s, '\n', bytes.len) : NULL;
	if (end != NULL)
		bytes.len = (size_t)(end - bytes.s);
	while (bytes.len > 0 && strchr(" \t\r", bytes.s[bytes.len - 1]) != NULL)
		bytes.len--;
	return bytes;
}

/* True where the text is laid out over lines, or is a batch: no record for each line. */
static bool is_document(Str first)
{
	return first.len > 0 &&
	       (first.s[0] == '[' || strchr("{,[", first.s[first.len - 1]) != NULL);
}

static ImportFormat by_bytes(Str bytes)
{
	Str first = first_line(bytes);

	if (first.len == 0 || (first.s[0] != '{' && first.s[0] != '['))
		return first.len == 0 ? IMPORT_NDJSON : IMPORT_CSV;
	if (is_document(first))
		first = bytes;
	return memmem(first.s, first.len, "\"specversion\"", 13) != NULL ? IMPORT_CLOUDEVENTS
									 : IMPORT_NDJSON;
}

/* A name that says JSON does not say whose: the bytes tell CloudEvents apart. */
static ImportFormat guess(const char *path, Str bytes, char *delimiter)
{
	ImportFormat named = by_name(path, delimiter), seen = by_bytes(bytes);

	if (named == IMPORT_AUTO)
		return seen;
	return named == IMPORT_NDJSON && seen == IMPORT_CLOUDEVENTS ? seen : named;
}

static bool choose(ImportReader *r, const char *path, char delimiter, Err *err)
{
	Str bytes;

	if (!lines_peek(r->lines, PEEK, &bytes, err))
		return false;
	if (r->format == IMPORT_AUTO)
		r->format = guess(path, bytes, &delimiter);
	if (r->format == IMPORT_CSV) {
		r->csv = csv_open(r->lines, delimiter ? delimiter : ',', err);
		return r->csv != NULL || err_prefix(err, "%s", path);
	}
	if (is_document(first_line(bytes)))
		r->document = import_document_new(r->lines, RECORD_LIMIT);
	return true;
}

ImportReader *import_open(const char *path, ImportFormat format, char delimiter, Err *err)
{
	ImportReader *r = mem_calloc(1, sizeof(*r));

	r->format = format;
	r->lines = lines_open(path, RECORD_LIMIT, err);
	if (r->lines != NULL && choose(r, path, delimiter, err))
		return r;
	import_close(r);
	return NULL;
}

void import_close(ImportReader *r)
{
	if (r == NULL)
		return;
	if (r->csv != NULL)
		csv_close(r->csv);
	import_document_free(r->document);
	lines_close(r->lines);
	free(r);
}

ImportFormat import_format(const ImportReader *r)
{
	return r->format;
}

int64_t import_taken(const ImportReader *r)
{
	return lines_taken(r->lines);
}

int64_t import_size(const ImportReader *r)
{
	return lines_size(r->lines);
}

static ImportResult check_line(Str line, ImportRecord *out, Err *err)
{
	out->json = out->raw = line;
	if (!json_check_jsonb(line, 0, err))
		return IMPORT_BAD;
	if (first_line(line).s[0] == '{')
		return IMPORT_RECORD;
	err_set(err, ERR_DATA, "not a JSON object");
	return IMPORT_BAD;
}

/* Lines of white space only are no records. */
static ImportResult next_line(ImportReader *r, ImportRecord *out, Err *err)
{
	for (;;) {
		Str line;
		LineResult result = lines_next(r->lines, &line, err);

		*out = (ImportRecord){ .line = lines_number(r->lines), .raw = line };
		if (result == LINE_END)
			return IMPORT_END;
		if (result == LINE_FAILED)
			return IMPORT_FAILED;
		if (result == LINE_TOO_LONG) {
			err_set(err, ERR_LIMIT, "the line is longer than 16 MB");
			return IMPORT_BAD;
		}
		if (first_line(line).len > 0)
			return check_line(line, out, err);
	}
}

static ImportResult next_row(ImportReader *r, ImportRecord *out, Err *err)
{
	static const ImportResult results[] = { [CSV_RECORD] = IMPORT_RECORD,
		[CSV_BAD] = IMPORT_BAD,
		[CSV_END] = IMPORT_END,
		[CSV_FAILED] = IMPORT_FAILED };
	CsvRecord record;
	CsvResult result = csv_next(r->csv, &record, err);

	*out = (ImportRecord){ .json = record.json, .raw = record.raw, .line = record.line };
	return results[result];
}

ImportResult import_next(ImportReader *r, ImportRecord *out, Err *err)
{
	if (r->csv != NULL)
		return next_row(r, out, err);
	if (r->document != NULL)
		return import_document_next(r->document, out, err);
	return next_line(r, out, err);
}
