#include "app/blame_show.h"

#include <inttypes.h>
#include <stdlib.h>

#include "app/show.h"
#include "app/source.h"
#include "app/term.h"
#include "base/iso_time.h"
#include "base/json.h"
#include "base/json_each.h"

/* What told a field its value, beside the event. */
static const char *origin(const BlameField *f, const Definition *def)
{
	if (f->initial)
		return def->kind == KIND_REDUCER ? "initial" : "default";
	return f->file != NULL ? "line" : "unknown";
}

static int line_of(Source *source, const BlameField *f)
{
	return f->file ? source_statement(source, f->file, f->line, f->path) : 0;
}

/* ---- for programs ---- */

static void add_text(Buf *out, const char *name, Str text)
{
	buf_addf(out, ",\"%s\":", name);
	if (text.s != NULL)
		json_add_string(out, text);
	else
		buf_adds(out, "null");
}

static void add_time(Buf *out, const char *name, int64_t us)
{
	char text[ISO_TIME_SIZE] = "";

	if (iso_time_in_range(us))
		iso_time_format(us, text);
	add_text(out, name, str_from(iso_time_in_range(us) ? text : NULL));
}

static void add_event(Buf *out, const Event *e)
{
	char uuid[37];

	event_uuid_text(e->event_id, uuid);
	buf_addf(out, ",\"event\":{\"id\":%" PRId64, e->id);
	add_text(out, "event_id", str_from(uuid));
	add_text(out, "event_type", e->type);
	add_text(out, "aggregate_type", e->aggregate_type);
	add_text(out, "aggregate_id", e->aggregate_id);
	buf_addf(out, ",\"version\":%" PRId64, e->version);
	add_text(out, "correlation_id", e->correlation_id);
	add_text(out, "actor_type", e->actor_type);
	add_text(out, "actor_id", e->actor_id);
	add_time(out, "occurred_at", e->occurred_us);
	add_time(out, "timestamp", e->timestamp_us);
	buf_addc(out, '}');
}

void blame_show_json(const Blame *b, const Definition *def)
{
	Source *source = source_open(def->files);
	Buf out = { 0 };

	for (size_t i = 0; i < b->nfields; i++) {
		const BlameField *f = &b->fields[i];
		int line = line_of(source, f);

		buf_clear(&out);
		buf_adds(&out, "{\"field\":");
		json_add_string(&out, f->path);
		buf_adds(&out, ",\"value\":");
		buf_add(&out, f->value.s, f->value.len);
		add_event(&out, f->event);
		add_text(&out, "origin", str_from(origin(f, def)));
		add_text(&out, "file", str_from(f->file));
		if (f->file != NULL) {
			buf_addf(&out, ",\"line\":%d", line);
			add_text(&out, "text", source_line(source, f->file, line));
		}
		buf_addc(&out, '}');
		puts(out.s);
	}
	buf_free(&out);
	source_close(source);
}

/* ---- for people ---- */

enum { FIELD, VALUE, EVENT, TIME, BY, LINE, TEXT, COLUMNS };

enum { GAP = 2, INDENT = 4, TEXT_LEAST = 24, VALUE_ROOM = 32, BY_ROOM = 32 };

static void add_by(Buf *out, const Event *e)
{
	if (e->actor_id.s != NULL) {
		if (e->actor_type.s != NULL)
			buf_addf(out, "%.*s/", (int)e->actor_type.len, e->actor_type.s);
		buf_add(out, e->actor_id.s, e->actor_id.len);
	}
	if (e->correlation_id.s != NULL)
		buf_addf(out, "%s%.*s", out->len ? " " : "", (int)e->correlation_id.len,
			e->correlation_id.s);
}

/* The cell's text, cut to so many columns; -1: as long as it is. */
static char *cell(const BlameField *f, const Definition *def, Source *source, int column, int room)
{
	int line = column >= LINE ? line_of(source, f) : 0;
	Buf text = { 0 }, clean = { 0 };
	char time[32];
	Str code;

	if (column == FIELD)
		buf_add(&text, f->path.len ? f->path.s : "(all)", f->path.len ? f->path.len : 5);
	else if (column == VALUE)
		buf_add(&text, f->value.s, f->value.len);
	else if (column == EVENT)
		buf_addf(&text, "#%" PRId64 " %.*s", f->event->id, (int)f->event->type.len,
			f->event->type.s);
	else if (column == TIME)
		buf_adds(&text, show_time(f->event->timestamp_us, time));
	else if (column == BY)
		add_by(&text, f->event);
	else if (column == LINE && f->file == NULL)
		buf_addf(&text, "(%s)", origin(f, def));
	else if (column == LINE)
		buf_addf(&text, "%s:%d%s", f->file, line, f->initial ? " (initial)" : "");
	else if (f->file != NULL && (code = source_line(source, f->file, line)).s != NULL)
		buf_add(&text, code.s, code.len);
	show_clean(&clean, buf_str(&text), room);
	buf_adds(&clean, ""); /* never NULL */
	buf_free(&text);
	return clean.s;
}

static int widest(const Blame *b, const Definition *def, Source *source, int column)
{
	int most = 0;

	for (size_t i = 0; i < b->nfields; i++) {
		char *text = cell(&b->fields[i], def, source, column, -1);
		int width = (int)term_text_width(text);

		most = width > most ? width : most;
		free(text);
	}
	return most;
}

static int at_most(int n, int most)
{
	return n < most ? n : most;
}

/* How wide each column may be. False where a terminal's line does not hold them all. */
static bool find_room(const Blame *b, const Definition *def, Source *source, int room[COLUMNS])
{
	int left = term_width(stdout);

	for (int i = 0; i < COLUMNS; i++)
		room[i] = term_is_tty(stdout) ? widest(b, def, source, i) : -1;
	if (!term_is_tty(stdout))
		return true;
	room[VALUE] = at_most(room[VALUE], VALUE_ROOM);
	room[BY] = at_most(room[BY], BY_ROOM);
	for (int i = 0; i < TEXT; i++)
		left -= room[i] + GAP;
	if (left < at_most(room[TEXT], TEXT_LEAST))
		return false;
	room[TEXT] = at_most(room[TEXT], left);
	return true;
}

static void print_table(const Blame *b, const Definition *def, Source *source, const int *room)
{
	static const char *const heads[COLUMNS] = { "field", "value", "event", "time", "by", "line",
		"code" };
	const char *shown[COLUMNS], *cells[COLUMNS];
	int columns[COLUMNS];
	size_t n = 0;
	TermTable *table;

	for (int i = 0; i < COLUMNS; i++) {
		if (i == BY && widest(b, def, source, i) == 0)
			continue;
		shown[n] = heads[i];
		columns[n++] = i;
	}
	table = term_table_new(n, shown);
	for (size_t i = 0; i < b->nfields; i++) {
		for (size_t c = 0; c < n; c++)
			cells[c] = cell(&b->fields[i], def, source, columns[c], room[columns[c]]);
		term_table_row(table, b->fields[i].initial ? TERM_DIM : TERM_PLAIN, cells);
		for (size_t c = 0; c < n; c++)
			free((char *)cells[c]);
	}
	term_table_print(table, stdout);
	term_table_free(table);
}

/* Some cells in a line of their own, cut at the terminal's width. */
static void print_line(
	const BlameField *f, const Definition *def, Source *source, int indent, const int *columns)
{
	static const TermStyle styles[COLUMNS] = {
		[FIELD] = TERM_BOLD, [TIME] = TERM_DIM, [LINE] = TERM_CYAN
	};
	int left = term_width(stdout);

	for (int gap = indent; *columns >= 0 && left > gap; columns++) {
		char *text = cell(f, def, source, *columns, left - gap);

		if (*text != '\0') {
			printf("%*s", gap, "");
			term_print(stdout, styles[*columns], "%s", text);
			left -= gap + (int)term_text_width(text);
			gap = GAP;
		}
		free(text);
	}
	putchar('\n');
}

/* Where a line does not hold it all: three lines for a field. */
static void print_stacked(const Blame *b, const Definition *def, Source *source)
{
	for (size_t i = 0; i < b->nfields; i++) {
		const BlameField *f = &b->fields[i];

		print_line(f, def, source, 0, (const int[]){ FIELD, VALUE, -1 });
		print_line(f, def, source, INDENT, (const int[]){ EVENT, TIME, BY, -1 });
		print_line(f, def, source, INDENT, (const int[]){ LINE, TEXT, -1 });
	}
}

static void print_head(const Blame *b, const Definition *def, const char *subject)
{
	char n[2][32];

	term_print(stdout, TERM_BOLD, "%s", subject);
	term_print(stdout, TERM_DIM, "  (%s, version %d; %s %s, #%" PRId64 " to #%" PRId64,
		def->path, def->version, term_count(b->events, n[0]),
		b->events == 1 ? "event" : "events", b->first, b->last);
	if (b->skipped > 0)
		term_print(stdout, TERM_YELLOW, "; %s failed and %s skipped",
			term_count(b->skipped, n[1]), b->skipped == 1 ? "was" : "were");
	term_print(stdout, TERM_DIM, ")\n");
}

void blame_show(const Blame *b, const Definition *def, const char *subject)
{
	Source *source = source_open(def->files);
	int room[COLUMNS];

	if (term_is_tty(stdout))
		print_head(b, def, subject);
	if (find_room(b, def, source, room))
		print_table(b, def, source, room);
	else
		print_stacked(b, def, source);
	source_close(source);
}
