#include "app/timeline.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/show.h"
#include "base/iso_time.h"

enum { NONE, BEFORE, NOW, BOTH };

enum { LEVELS = 8, TICK = 20 /* columns from one time of the axis to the next */ };

static const char *const blocks[] = { "·", "▄", "▀", "█" };
static const char *const block_ascii[] = { ".", "-", "+", "#" };
static const char *const bars[] = { "·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
static const char *const bar_ascii[] = { ".", "1", "2", "3", "4", "5", "6", "7", "#" };

bool timeline_is_ascii(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = getenv(names[i]);

		if (value != NULL && value[0] != '\0')
			return strcasestr(value, "utf-8") == NULL &&
			       strcasestr(value, "utf8") == NULL;
	}
	return true;
}

/* ---- rows ---- */

/* The cell of an instant; what lies outside is at the edge. */
static int cell_of(const TimelineScale *s, int64_t us)
{
	double length = (double)(s->until_us - s->from_us);
	double at = length > 0 ? (double)(us - s->from_us) / length * s->width : 0;

	return at < 0 ? 0 : at >= s->width ? s->width - 1 : (int)at;
}

static bool is_seen(const TimelineScale *s, const TimelineSpan *x)
{
	return x->until_us >= s->from_us && x->from_us <= s->until_us;
}

/* The last cell that a span touches: one that ends where a cell begins does not. */
static int last_cell(const TimelineScale *s, const TimelineSpan *x)
{
	return cell_of(s, x->until_us > x->from_us ? x->until_us - 1 : x->until_us);
}

void timeline_spans(
	const TimelineScale *s, const TimelineSpan *spans, size_t n, TimelineCell *cells)
{
	const char *const *glyphs = s->ascii ? block_ascii : blocks;
	char *sides = mem_calloc((size_t)s->width, 1);

	for (int i = 0; i < s->width; i++)
		cells[i].style = TERM_DIM;
	for (size_t k = 0; k < n; k++) {
		if (!is_seen(s, &spans[k]))
			continue;
		for (int i = cell_of(s, spans[k].from_us); i <= last_cell(s, &spans[k]); i++) {
			if (sides[i] == NONE)
				cells[i].style = spans[k].style;
			sides[i] |= (spans[k].before ? BEFORE : 0) | (spans[k].now ? NOW : 0);
		}
	}
	for (int i = 0; i < s->width; i++)
		cells[i].glyph = glyphs[(int)sides[i]];
	free(sides);
}

static size_t *count_cells(const TimelineScale *s, const TimelineSpan *spans, size_t n)
{
	size_t *counts = mem_calloc((size_t)s->width, sizeof(*counts));

	for (size_t k = 0; k < n; k++)
		for (int i = cell_of(s, spans[k].from_us);
			is_seen(s, &spans[k]) && i <= last_cell(s, &spans[k]); i++)
			counts[i]++;
	return counts;
}

void timeline_density(
	const TimelineScale *s, const TimelineSpan *spans, size_t n, TimelineCell *cells)
{
	size_t *counts = count_cells(s, spans, n), most = 0;

	for (int i = 0; i < s->width; i++)
		most = counts[i] > most ? counts[i] : most;
	for (int i = 0; i < s->width; i++) {
		size_t level = most > 0 ? (counts[i] * LEVELS + most - 1) / most : 0;

		cells[i].glyph = s->ascii ? bar_ascii[level] : bars[level];
		cells[i].style = level > 0 ? spans[0].style : TERM_DIM;
	}
	free(counts);
}

/* ---- beside and below them ---- */

/* A time as exactly as the next one on the axis needs it. */
static void add_time(const TimelineScale *s, int64_t us, Buf *out)
{
	static const int64_t minute = 60000000, day = INT64_C(86400000000);
	int64_t step = (s->until_us - s->from_us) / s->width * TICK;
	char text[ISO_TIME_SIZE];

	if (!iso_time_in_range(us))
		return;
	iso_time_format(us, text);
	text[10] = ' ';
	if (step >= day)
		buf_add(out, text, 10);
	else if (step >= minute)
		buf_add(out, text + 5, 11);
	else
		buf_add(out, text + 11, 8);
}

void timeline_axis(const TimelineScale *s, Buf *out)
{
	for (int at = 0; at == 0 || at + TICK <= s->width; at += TICK) {
		Buf label = { 0 };
		double part = (double)at / s->width;
		int column;

		add_time(s, s->from_us + (int64_t)((double)(s->until_us - s->from_us) * part),
			&label);
		if ((int)label.len + 1 > s->width)
			label.len = s->width > 1 ? (size_t)s->width - 1 : 0;
		buf_adds(out, s->ascii ? "|" : "╵");
		buf_addf(out, "%.*s", (int)label.len, buf_str(&label).s);
		column = (int)label.len + 1;
		if (at + 2 * TICK <= s->width)
			buf_addf(out, "%*s", TICK - column, "");
		buf_free(&label);
	}
}

void timeline_label(const TimelineScale *s, Str label, int columns, Buf *out)
{
	Buf clean = { 0 };
	const char *p;
	int used = 0, width;

	show_clean(&clean, label, -1);
	width = (int)term_text_width(buf_str(&clean).s);
	for (p = buf_str(&clean).s; *p != '\0'; p++) {
		bool begins = ((unsigned char)*p & 0xc0) != 0x80;

		if (begins && width > columns && used == columns - 1)
			break;
		used += begins;
		buf_addc(out, *p);
	}
	if (*p != '\0') {
		buf_adds(out, s->ascii ? "~" : "…");
		used++;
	}
	buf_addf(out, "%*s", columns - used, "");
	buf_free(&clean);
}

void timeline_print(FILE *f, const TimelineScale *s, const TimelineCell *cells)
{
	Buf run = { 0 };

	for (int i = 0; i < s->width; i++) {
		buf_adds(&run, cells[i].glyph);
		if (i + 1 < s->width && cells[i + 1].style == cells[i].style)
			continue;
		term_print(f, cells[i].style, "%s", run.s);
		buf_clear(&run);
	}
	buf_free(&run);
}
