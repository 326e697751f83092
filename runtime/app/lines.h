#pragma once

#include "base/err.h"
#include "base/mem.h"

/* Lines of a file or of standard input ("-"), plain or gzip (told by its first bytes; several
 * members in a row are one text). Memory is bounded: of a line beyond the limit only the beginning
 * is kept. */
typedef struct Lines Lines;

typedef enum {
	LINE_OK,
	LINE_TOO_LONG, /* *line has its first bytes; the rest was passed over */
	LINE_END,
	LINE_FAILED, /* the file cannot be read further */
} LineResult;

enum { LINES_EXCERPT = 4096 }; /* what is kept of a line that is too long */

Lines *lines_open(const char *path, size_t limit, Err *err);
void lines_close(Lines *l);

/* The next line without its end (\n or \r\n) and, for the first, without a byte order mark. *line
 * lives until the next call. */
LineResult lines_next(Lines *l, Str *line, Err *err);

/* What is there next, without regard to lines; "" at the end. Lives until the next call. Not to be
 * mixed with lines_next() on one file. */
bool lines_bytes(Lines *l, Str *bytes, Err *err);

/* The first bytes, at least `want` of them where the file has so many, without taking them. */
bool lines_peek(Lines *l, size_t want, Str *bytes, Err *err);

int64_t lines_number(const Lines *l); /* of the line that came last; the first is 1 */
int64_t lines_taken(const Lines *l);  /* bytes read from the file, compressed where it is */
int64_t lines_size(const Lines *l);   /* of the file; -1 where that is not known */
bool lines_ready(const Lines *l);     /* the next call will not wait for a slow writer */
