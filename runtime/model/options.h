#pragma once

#include "base/err.h"

#include <stddef.h>

/* Command line options as data: one table says what exists, what the help shows, and what is taken.
 */
typedef struct {
	const char *name; /* "json" for --json; a table ends with a NULL name */
	char letter;      /* 'n' for -n; 0: none */
	const char *arg;  /* what its value is called in the help, "DSN"; NULL: a flag */
	const char *def;  /* its value where it was not given; NULL: none */
	const char *help;
} Option;

#define OPTIONS_GIVEN_MAX 64

/* What was typed, checked against up to two tables (a command's own and the general ones). Values
 * point into argv. */
typedef struct {
	const Option *tables[2];
	struct {
		const Option *option;
		const char *value;
	} given[OPTIONS_GIVEN_MAX];
	size_t ngiven;
} Options;

/* Takes the options out of argv and leaves the other words, in their order; *argc becomes their
 * number. What follows `--` is never an option, and neither is `-` alone. An unknown one names its
 * neighbour. */
bool options_parse(Options *o, int *argc, char **argv, Err *err);

/* The option that a word of the command line is ("--name", "--name=value", "-n", "-nVALUE"), or
 * NULL. *value becomes the part that is in the same word, or NULL. */
const Option *options_find(const Option *table, const char *word, const char **value);

/* What was given last, else the default, else NULL. The name must be in a table. */
const char *options_value(const Options *o, const char *name);
bool options_flag(const Options *o, const char *name);

/* A whole number in [min, max]; *out is left alone where nothing was given and there is no default.
 */
bool options_int(
	const Options *o, const char *name, int64_t min, int64_t max, int64_t *out, Err *err);

/* How many single-character edits (a swap of two neighbours is one) lead from a to b. */
size_t options_distance(const char *a, const char *b);

/* True where `candidate` is a likely meaning of the misspelt `word`, and closer than *best, which
 * it then lowers. Start with *best = SIZE_MAX. */
bool options_closer(const char *word, const char *candidate, size_t *best);
