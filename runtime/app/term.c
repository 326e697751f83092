#include "app/term.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const char *const codes[] = { "", "1", "2", "31", "32", "33", "36" };

struct TermTable {
	size_t ncolumns, nrows;
	char **cells; /* row by row; row 0 is the head */
	TermStyle *styles;
};

bool term_is_tty(FILE *f)
{
	return isatty(fileno(f)) == 1;
}

bool term_has_colour(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return (no == NULL || no[0] == '\0') && term_is_tty(f) &&
	       (term == NULL || strcmp(term, "dumb") != 0);
}

int term_width(FILE *f)
{
	struct winsize size;

	return ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int64_t term_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void term_print(FILE *f, TermStyle style, const char *fmt, ...)
{
	bool colour = style != TERM_PLAIN && term_has_colour(f);
	va_list args;

	if (colour)
		fprintf(f, "\033[%sm", codes[style]);
	va_start(args, fmt);
	vfprintf(f, fmt, args);
	va_end(args);
	if (colour)
		fputs("\033[0m", f);
}

size_t term_text_width(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

const char *term_count(int64_t n, char *out)
{
	char digits[32];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)n), to = 0;

	for (int i = 0; i < len && to < 30; i++) {
		out[to++] = digits[i];
		if (digits[i] != '-' && i < len - 1 && (len - 1 - i) % 3 == 0)
			out[to++] = ',';
	}
	out[to] = '\0';
	return out;
}

TermTable *term_table_new(size_t ncolumns, const char *const *heads)
{
	TermTable *t = mem_calloc(1, sizeof(*t));

	t->ncolumns = ncolumns;
	term_table_row(t, TERM_BOLD, heads);
	return t;
}

void term_table_row(TermTable *t, TermStyle style, const char *const *cells)
{
	size_t n = t->ncolumns, from = t->nrows * n;

	t->cells = mem_realloc(t->cells, (from + n) * sizeof(*t->cells));
	t->styles = mem_realloc(t->styles, (t->nrows + 1) * sizeof(*t->styles));
	for (size_t i = 0; i < n; i++)
		t->cells[from + i] = mem_strdup(cells[i] != NULL ? cells[i] : "");
	t->styles[t->nrows++] = style;
}

static bool to_the_right(const TermTable *t, size_t column)
{
	return t->cells[column][0] == '>';
}

static const char *cell_of(const TermTable *t, size_t row, size_t column)
{
	const char *text = t->cells[row * t->ncolumns + column];

	return row == 0 && text[0] == '>' ? text + 1 : text;
}

static size_t column_width(const TermTable *t, size_t column)
{
	size_t width = 0;

	for (size_t row = 0; row < t->nrows; row++) {
		size_t n = term_text_width(cell_of(t, row, column));

		width = n > width ? n : width;
	}
	return width;
}

static void add_cell(Buf *line, const TermTable *t, size_t row, size_t column)
{
	const char *text = cell_of(t, row, column);
	size_t gap = column_width(t, column) - term_text_width(text);
	bool last = column == t->ncolumns - 1;

	if (to_the_right(t, column))
		buf_addf(line, "%*s%s", (int)gap, "", text);
	else
		buf_addf(line, "%s%*s", text, last ? 0 : (int)gap, "");
	if (!last)
		buf_adds(line, "  ");
}

void term_table_print(const TermTable *t, FILE *f)
{
	Buf line = { 0 };

	for (size_t row = 0; row < t->nrows; row++) {
		buf_clear(&line);
		for (size_t column = 0; column < t->ncolumns; column++)
			add_cell(&line, t, row, column);
		term_print(f, t->styles[row], "%s", buf_str(&line).s);
		fputc('\n', f);
	}
	buf_free(&line);
}

void term_table_free(TermTable *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->nrows * t->ncolumns; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->styles);
	free(t);
}

#define BAR_CELLS    30
#define BAR_PERIOD   100000
#define LINE_PERIOD  5000000
#define MICROSECONDS 1e6

void progress_start(Progress *p, const char *unit, int64_t total)
{
	*p = (Progress){ .out = stderr, .unit = unit, .total = total, .start_us = term_now_us() };
	p->bar = term_is_tty(stderr);
	p->next_us = p->start_us + (p->bar ? BAR_PERIOD : LINE_PERIOD);
}

double progress_seconds(const Progress *p)
{
	return (double)(term_now_us() - p->start_us) / MICROSECONDS;
}

static void draw_bar(const Progress *p, int64_t done)
{
	int64_t filled = p->total > 0 ? done * BAR_CELLS / p->total : 0;

	if (filled > BAR_CELLS)
		filled = BAR_CELLS;
	fputs("\r\033[K", p->out);
	for (int64_t i = 0; i < BAR_CELLS; i++)
		fputs(i < filled ? "█" : "░", p->out);
	fputc(' ', p->out);
}

/* By how fast it went since the first time that somebody told us: what was resumed was not done
 * now. */
static void print_left(const Progress *p, int64_t done, int64_t now)
{
	double passed = (double)(now - p->from_us) / MICROSECONDS;
	int64_t left = (int64_t)((double)(p->total - done) * passed / (double)(done - p->from));

	fprintf(p->out, ", %d:%02d left", (int)(left / 60), (int)(left % 60));
}

void progress_show(Progress *p, int64_t done, int64_t count)
{
	int64_t now = term_now_us();
	double seconds = progress_seconds(p);
	char text[32];

	if (p->from_us == 0) {
		p->from_us = now;
		p->from = done;
	}
	if (now < p->next_us)
		return;
	p->next_us = now + (p->bar ? BAR_PERIOD : LINE_PERIOD);
	if (p->bar && p->total > 0)
		draw_bar(p, done);
	else if (p->bar)
		fputs("\r\033[K", p->out);
	if (p->total > 0)
		fprintf(p->out, "%3d %%  ", (int)(done * 100 / p->total));
	fprintf(p->out, "%s %s", term_count(count, text), p->unit);
	fprintf(p->out, ", %s/s",
		term_count((int64_t)((double)count / (seconds > 0 ? seconds : 1)), text));
	if (p->total > done && done > p->from)
		print_left(p, done, now);
	if (!p->bar)
		fputc('\n', p->out);
	p->drawn = p->bar;
	fflush(p->out);
}

void progress_end(Progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", p->out);
	p->drawn = false;
}
