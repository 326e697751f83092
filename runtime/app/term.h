#pragma once

#include "base/mem.h"

#include <stdio.h>

/* What a person sees: colour where the stream is a terminal and NO_COLOR does not forbid it, tables
 * with aligned columns, and the progress of long work. */
typedef enum {
	TERM_PLAIN,
	TERM_BOLD,
	TERM_DIM,
	TERM_RED,
	TERM_GREEN,
	TERM_YELLOW,
	TERM_CYAN
} TermStyle;

bool term_is_tty(FILE *f);
bool term_has_colour(FILE *f);
int term_width(FILE *f); /* columns; 80 where that is not known */

/* printf, in a style. */
void term_print(FILE *f, TermStyle style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* How many columns a text takes: characters, not bytes. */
size_t term_text_width(const char *s);

/* 1234567 -> "1,234,567"; `out` holds 32 bytes. Returns out. */
const char *term_count(int64_t n, char *out);

/* A table: cells are copied. A head that begins with '>' aligns its column to the right. */
typedef struct TermTable TermTable;

TermTable *term_table_new(size_t ncolumns, const char *const *heads);
void term_table_row(TermTable *t, TermStyle style, const char *const *cells);
void term_table_print(const TermTable *t, FILE *f);
void term_table_free(TermTable *t);

/* Progress of long work on stderr: a bar that redraws itself on a terminal, a line every few
 * seconds otherwise. `total` < 0: not known. */
typedef struct {
	FILE *out;
	const char *unit;      /* "events" */
	int64_t from, from_us; /* what was done when it was first told, and when that was */
	int64_t total, start_us, next_us;
	bool bar, drawn;
} Progress;

void progress_start(Progress *p, const char *unit, int64_t total);
void progress_show(
	Progress *p, int64_t done, int64_t count); /* cheap: draws at most some times a second */
void progress_end(Progress *p);                    /* wipes the bar */
double progress_seconds(const Progress *p);

int64_t term_now_us(void); /* a clock that only goes forward, for measuring */
