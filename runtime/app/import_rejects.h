#pragma once

#include "base/err.h"
#include "base/mem.h"

/* Records that could not become events, kept in a file of their own: one JSON object a line with
 * `line`, `error` and `raw` (`raw_base64` where the bytes are no valid UTF-8). The file is made at
 * the first one. */
typedef struct ImportRejects ImportRejects;

ImportRejects *import_rejects_new(const char *path);
bool import_rejects_add(ImportRejects *r, int64_t line, const char *error, Str raw, Err *err);
const char *import_rejects_path(const ImportRejects *r);
int64_t import_rejects_count(const ImportRejects *r);

/* False where not everything could be written. */
bool import_rejects_close(ImportRejects *r, Err *err);
