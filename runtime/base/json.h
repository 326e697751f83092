#pragma once

#include "base/err.h"
#include "base/mem.h"

enum { JSON_MAX_DEPTH = 512 };

/* Checks that `text` is one JSON value (RFC 8259) in valid UTF-8 and nothing more, with at most
 * `max_depth` containers in each other (0: JSON_MAX_DEPTH; 4096 are the limit). Repeated keys are
 * allowed. The error is an ERR_DATA that names line, column and byte offset. Uses no stack for
 * depth. */
bool json_check(Str text, int max_depth, Err *err);

/* The same, and refuses what is JSON but what jsonb cannot hold: \u0000, and numbers outside
 * of PostgreSQL's numeric. */
bool json_check_jsonb(Str text, int max_depth, Err *err);

/* Finds the member at a dotted path ("tenant.id") of a JSON object: *raw becomes its text as it
 * stands. Of a repeated key the last one counts. False where there is none. `text` should be
 * valid JSON; with any other the answer is meaningless but no byte outside of it is read. */
bool json_path(Str text, const char *path, Str *raw);

/* Appends a JSON string literal. `s` must be valid UTF-8 where the text is to be valid. */
void json_add_string(Buf *out, Str s);

/* The same with a check: false (and nothing appended) where jsonb cannot hold the string. The error
 * is what is wrong, without a subject: "a string holds a NUL (byte 3)". */
bool json_add_string_checked(Buf *out, Str s, Err *err);

/* Appends a finite double in its shortest form that reads back the same; -0 is 0. */
void json_add_double(Buf *out, double v);
void json_add_int(Buf *out, int64_t v);

/* Appends the bytes that a string literal (with its quotes) stands for. False where the literal is
 * not a valid one; `out` is then as it was. */
bool json_unescape(Buf *out, Str literal);

/* One escape sequence (a surrogate pair counts as one) at the backslash `p`: writes its bytes and
 * returns where it ends, or NULL where it is none. */
const char *json_escape(const char *p, const char *end, char utf8[4], size_t *n);

/* Length of the UTF-8 sequence that begins at p < end, or 0 where it is none. */
size_t json_utf8_sequence(const char *p, const char *end);

/* True where `s` is valid UTF-8 (no surrogates, no overlong forms); otherwise *bad, if given, is
 * the offset of the first wrong byte. */
bool json_utf8(Str s, size_t *bad);

/* True where jsonb can hold the string: valid UTF-8 without a NUL. */
bool json_storable(Str s);

/* The first byte in p … end that may not stand in a string literal as it is, or that is not ASCII;
 * `end` where there is none. */
const char *json_plain_end(const char *p, const char *end);

/* An ERR_DATA about the byte at `at` of `text`, with line and column. Returns false. */
bool json_fail(Str text, const char *at, Err *err, const char *what);
