#pragma once

#include "base/mem.h"

/* The text of a script's files, so that a command can show the lines that it speaks of. */
typedef struct Source Source;

Source *source_open(Str files); /* Definition.files, which must outlive it */
void source_close(Source *s);

/* A line without its indentation; s == NULL: there is none. Lives as long as the source. */
Str source_line(Source *s, const char *file, int line);

/* Lua tells the last line of a statement that stands over several. The line where somebody would
 * look for it: of the member `field` (a path as in base/json_diff.h), where a table is written out
 * that has it, otherwise the statement's first. */
int source_statement(Source *s, const char *file, int line, Str field);
