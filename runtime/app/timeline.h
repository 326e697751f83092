#pragma once

#include "app/term.h"

/* Spans of time as rows of characters, as wide as the terminal. Where two versions are compared, a
 * cell says which of them has something there. */

typedef struct {
	int64_t from_us, until_us; /* an instant: both the same */
	bool before, now;          /* which version has it */
	TermStyle style;           /* where several meet in a cell: the first of the list */
} TimelineSpan;

typedef struct {
	int64_t from_us, until_us;
	int width;  /* cells of a row, at least 1 */
	bool ascii; /* the terminal knows no other characters */
} TimelineScale;

/* One character, with its style. */
typedef struct {
	const char *glyph;
	TermStyle style;
} TimelineCell;

/* What a row looks like: scale->width cells. A span that lies within a cell still fills it. */
void timeline_spans(
	const TimelineScale *scale, const TimelineSpan *spans, size_t n, TimelineCell *cells);
/* How many of the spans touch each cell, as bars: the highest is where most do. */
void timeline_density(
	const TimelineScale *scale, const TimelineSpan *spans, size_t n, TimelineCell *cells);

/* The line of times below the rows, scale->width columns at most. */
void timeline_axis(const TimelineScale *scale, Buf *out);

/* A label in exactly `columns` columns, cut where it is longer. */
void timeline_label(const TimelineScale *scale, Str label, int columns, Buf *out);

void timeline_print(FILE *f, const TimelineScale *scale, const TimelineCell *cells);

bool timeline_is_ascii(void); /* by LC_ALL, LC_CTYPE and LANG */
