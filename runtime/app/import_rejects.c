#include "app/import_rejects.h"

#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct ImportRejects {
	char *path;
	FILE *file;
	int64_t count;
	Buf text;
};

ImportRejects *import_rejects_new(const char *path)
{
	ImportRejects *r = mem_calloc(1, sizeof(*r));

	r->path = mem_strdup(path);
	return r;
}

const char *import_rejects_path(const ImportRejects *r)
{
	return r->path;
}

int64_t import_rejects_count(const ImportRejects *r)
{
	return r->count;
}

static void add_base64(Buf *out, Str s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < s.len; i += 3) {
		unsigned v = 0;

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (i + k < s.len ? (unsigned char)s.s[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			buf_addc(out, i + k > s.len ? '=' : digits[v >> (18 - 6 * k) & 63]);
	}
}

static bool failed(const ImportRejects *r, Err *err)
{
	err_set(err, ERR_IO, "%s: %s", r->path, strerror(errno));
	return err_hint(err, "rejected lines are kept there; --rejects names another file");
}

bool import_rejects_add(ImportRejects *r, int64_t line, const char *error, Str raw, Err *err)
{
	if (r->file == NULL)
		r->file = fopen(r->path, "we");
	if (r->file == NULL)
		return failed(r, err);
	r->count++;
	buf_clear(&r->text);
	buf_addf(&r->text, "{\"line\":%lld,\"error\":", (long long)line);
	json_add_string(
		&r->text, json_utf8(str_from(error), NULL) ? str_from(error) : STR("unreadable"));
	if (json_utf8(raw, NULL)) {
		buf_adds(&r->text, ",\"raw\":");
		json_add_string(&r->text, raw);
		buf_adds(&r->text, "}\n");
	} else {
		buf_adds(&r->text, ",\"raw_base64\":\"");
		add_base64(&r->text, raw);
		buf_adds(&r->text, "\"}\n");
	}
	return fwrite(r->text.s, 1, r->text.len, r->file) == r->text.len || failed(r, err);
}

bool import_rejects_close(ImportRejects *r, Err *err)
{
	bool ok = r->file == NULL || fclose(r->file) == 0 || failed(r, err);

	free(r->path);
	buf_free(&r->text);
	free(r);
	return ok;
}
