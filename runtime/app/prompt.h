#pragma once

#include "app/cli.h"

/* Commands, typed by a person or fed from a file. On a terminal a line can be
 * edited and earlier ones come back; the terminal is in the modes it had
 * whenever no line is being read, also when the program is stopped or ended in
 * the middle of one. */
typedef struct Prompt Prompt;

typedef enum {
	PROMPT_LINE,
	PROMPT_END,    /* Ctrl-D, or the file's end */
	PROMPT_FAILED, /* the file cannot be read further, or SIGTERM came */
} PromptResult;

/* `path`: a file, "-" for standard input, NULL for the terminal.
 * cli_catch_stop() was called. */
Prompt *prompt_open(Cli *cli, const char *path, const char *text, Err *err);
void prompt_close(Prompt *p);

/* *line lives until the next call; it has no line end. Ctrl-C begins a new
 * line. */
PromptResult prompt_read(Prompt *p, const char **line, Err *err);
