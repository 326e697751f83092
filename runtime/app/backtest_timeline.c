#include "app/backtest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/rule_key.h"
#include "app/timeline.h"

/* A row for each key; where there are too many, one for each kind of change, as bars. */

enum { ROWS = 24, GAP = 2, LABEL_LEAST = 8, CELLS_LEAST = 10 };

typedef struct {
	Str key; /* of a key's row */
	Buf label;
	TimelineSpan *spans;
	size_t count, cap;
} Row;

typedef struct {
	const Backtest *b;
	TimelineScale scale;
	Row *rows;
	size_t count, cap;
	int label; /* columns */
} Picture;

static const Episode *either(const EpisodePair *p)
{
	return p->now != NULL ? p->now : p->before;
}

static TermStyle severity_style(Str severity)
{
	if (str_eq(severity, STR("critical")) || str_eq(severity, STR("error")))
		return TERM_RED;
	return str_eq(severity, STR("warning")) ? TERM_YELLOW : TERM_CYAN;
}

static TermStyle style_of(const Backtest *b, const EpisodePair *p)
{
	if (b->against == AGAINST_NONE)
		return severity_style(p->now->severity);
	if (p->changes & EPISODE_ADDED)
		return TERM_GREEN;
	if (p->changes & EPISODE_REMOVED)
		return TERM_RED;
	return p->changes != 0 ? TERM_YELLOW : TERM_PLAIN;
}

static void add_span(const Backtest *b, Row *row, const EpisodePair *p, const Episode *e)
{
	bool alone = b->against == AGAINST_NONE;

	if (e == NULL)
		return;
	if (row->count == row->cap) {
		row->cap = row->cap ? row->cap * 2 : 16;
		row->spans = mem_realloc(row->spans, row->cap * sizeof(*row->spans));
	}
	row->spans[row->count++] =
		(TimelineSpan){ episode_start(e, b->since_us), episode_end(e, b->until_us),
			alone || e == p->before, alone || e == p->now, style_of(b, p) };
}

static Row *new_row(Picture *x)
{
	if (x->count == x->cap) {
		x->cap = x->cap ? x->cap * 2 : ROWS + 1;
		x->rows = mem_realloc(x->rows, x->cap * sizeof(*x->rows));
	}
	x->rows[x->count] = (Row){ 0 };
	return &x->rows[x->count++];
}

/* ---- a row for each key ---- */

static Row *row_of(Picture *x, Str key)
{
	Row *row;

	for (size_t i = 0; i < x->count; i++)
		if (str_eq(x->rows[i].key, key))
			return &x->rows[i];
	row = new_row(x);
	row->key = key;
	rule_key_show(key, &row->label);
	return row;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(buf_str(&((const Row *)a)->label).s, buf_str(&((const Row *)b)->label).s);
}

static void clear_rows(Picture *x)
{
	for (size_t i = 0; i < x->count; i++) {
		buf_free(&x->rows[i].label);
		free(x->rows[i].spans);
	}
	x->count = 0;
}

/* False: there are too many keys. */
static bool make_keys(Picture *x)
{
	const EpisodeDiff *d = &x->b->diff;

	for (size_t i = 0; i < d->count; i++) {
		Row *row = row_of(x, either(&d->pairs[i])->key);

		if (x->count > ROWS) {
			clear_rows(x);
			return false;
		}
		add_span(x->b, row, &d->pairs[i], d->pairs[i].before);
		add_span(x->b, row, &d->pairs[i], d->pairs[i].now);
	}
	qsort(x->rows, x->count, sizeof(*x->rows), by_key);
	return true;
}

/* ---- a row for each kind ---- */

static void make_kind(Picture *x, const char *name, unsigned changes)
{
	const EpisodeDiff *d = &x->b->diff;
	Row *row = new_row(x);
	char n[32];

	for (size_t i = 0; i < d->count; i++) {
		const EpisodePair *p = &d->pairs[i];

		if (changes == 0 ? p->changes == 0 : (p->changes & changes) != 0)
			add_span(x->b, row, p, either(p));
	}
	buf_addf(&row->label, "%s %s", term_count((int64_t)row->count, n), name);
	if (row->count == 0) {
		buf_free(&row->label);
		x->count--;
	}
}

static void make_severity(Picture *x, const char *name)
{
	const EpisodeDiff *d = &x->b->diff;
	Row *row = new_row(x);

	for (size_t i = 0; i < d->count; i++)
		if (str_eq(d->pairs[i].now->severity, str_from(name)))
			add_span(x->b, row, &d->pairs[i], d->pairs[i].now);
	buf_adds(&row->label, name);
	if (row->count == 0) {
		buf_free(&row->label);
		x->count--;
	}
}

static void make_kinds(Picture *x)
{
	static const char *const severities[] = { "critical", "error", "warning", "info" };

	if (x->b->against == AGAINST_NONE) {
		for (size_t i = 0; i < sizeof(severities) / sizeof(severities[0]); i++)
			make_severity(x, severities[i]);
		return;
	}
	make_kind(x, "same", 0);
	for (size_t bit = 0; bit < EPISODE_CHANGES; bit++)
		make_kind(x, episode_change_name(bit), 1u << bit);
}

/* ---- on the terminal ---- */

static void find_room(Picture *x)
{
	int width = term_width(stdout), widest = LABEL_LEAST;

	for (size_t i = 0; i < x->count; i++) {
		int n = (int)term_text_width(buf_str(&x->rows[i].label).s);

		widest = n > widest ? n : widest;
	}
	x->label = widest < width / 3 ? widest : width / 3;
	x->scale.width = width - x->label - GAP;
	x->scale.width = x->scale.width > CELLS_LEAST ? x->scale.width : CELLS_LEAST;
}

static void print_rows(const Picture *x, bool bars)
{
	TimelineCell *cells = mem_calloc((size_t)x->scale.width, sizeof(*cells));
	Buf text = { 0 };

	for (size_t i = 0; i < x->count; i++) {
		const Row *row = &x->rows[i];

		buf_clear(&text);
		timeline_label(&x->scale, buf_str(&row->label), x->label, &text);
		printf("%s%*s", text.s, GAP, "");
		if (bars)
			timeline_density(&x->scale, row->spans, row->count, cells);
		else
			timeline_spans(&x->scale, row->spans, row->count, cells);
		timeline_print(stdout, &x->scale, cells);
		putchar('\n');
	}
	buf_clear(&text);
	timeline_axis(&x->scale, &text);
	term_print(stdout, TERM_DIM, "%*s%s", x->label + GAP, "", text.s);
	putchar('\n');
	buf_free(&text);
	free(cells);
}

static void print_legend(const Picture *x, bool bars)
{
	const char *text = x->scale.ascii ? "# both, + now, - before" : "█ both  ▀ now  ▄ before";

	if (!bars && x->b->against != AGAINST_NONE)
		term_print(stdout, TERM_DIM, "%*s%s", x->label + GAP, "", text);
	else if (bars)
		term_print(stdout, TERM_DIM, "%*s%s", x->label + GAP, "",
			"bars: episodes at that time, each row to its own most");
	else
		return;
	putchar('\n');
}

void backtest_timeline(const Backtest *b)
{
	Picture x = { .b = b };
	bool bars;

	if (b->diff.count == 0 || b->until_us <= b->since_us)
		return;
	x.scale = (TimelineScale){ b->since_us, b->until_us, 1, timeline_is_ascii() };
	bars = !make_keys(&x);
	if (bars)
		make_kinds(&x);
	find_room(&x);
	putchar('\n');
	print_rows(&x, bars);
	print_legend(&x, bars);
	clear_rows(&x);
	free(x.rows);
}
