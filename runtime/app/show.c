#include "app/show.h"

#include "app/term.h"
#include "base/iso_time.h"
#include "base/json.h"
#include "base/json_each.h"
#include "flow/event_json.h"

enum {
	WIDE = 100,     /* where the output is no terminal */
	PATH_ROOM = 40, /* columns up to which paths are padded, so that the values stand in line */
	VALUE_LEAST = 16 /* columns that a cut value keeps */
};

const char *show_time(int64_t us, char out[32])
{
	if (!iso_time_in_range(us)) {
		snprintf(out, 32, "%lld us", (long long)us);
		return out;
	}
	iso_time_format(us, out);
	out[10] = ' ';
	out[23] = '\0'; /* milliseconds */
	return out;
}

/* ---- text of others ---- */

/* The character at p < end and its length; -1 where there is none. */
static int32_t character(const char *p, const char *end, size_t *n)
{
	const unsigned char *u = (const unsigned char *)p;

	*n = json_utf8_sequence(p, end);
	switch (*n) {
	case 1:
		return u[0];
	case 2:
		return (u[0] & 0x1f) << 6 | (u[1] & 0x3f);
	case 3:
		return (u[0] & 0x0f) << 12 | (u[1] & 0x3f) << 6 | (u[2] & 0x3f);
	case 4:
		return (u[0] & 0x07) << 18 | (u[1] & 0x3f) << 12 | (u[2] & 0x3f) << 6 |
		       (u[3] & 0x3f);
	default:
		*n = 1;
		return -1;
	}
}

/* Does something to the terminal or to the order of what stands around it. */
static bool is_unsafe(int32_t c)
{
	return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x061c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

void show_clean(Buf *out, Str text, int columns)
{
	const char *end = text.s + text.len;
	int used = 0;
	size_t n, cut = out->len;

	for (const char *p = text.s; p < end; p += n) {
		int32_t c = character(p, end, &n);
		size_t before = out->len;

		if (c < 0)
			buf_addf(out, "\\x%02x", (unsigned char)*p);
		else if (is_unsafe(c))
			buf_addf(out, "\\u%04x", (unsigned)c);
		else
			buf_add(out, p, n);
		used += is_unsafe(c) ? (int)(out->len - before) : 1;
		if (columns >= 0 && used > columns) {
			out->len = cut;
			buf_adds(out, "…");
			return;
		}
		if (used < columns)
			cut = out->len;
	}
}

void show_text(FILE *f, Str text)
{
	Buf clean = { 0 };

	show_clean(&clean, text, -1);
	fwrite(clean.s, 1, clean.len, f);
	buf_free(&clean);
}

static void print_clean(FILE *f, TermStyle style, Str text, int columns)
{
	Buf clean = { 0 };

	show_clean(&clean, text, columns);
	if (clean.len > 0)
		term_print(f, style, "%s", clean.s);
	buf_free(&clean);
}

void show_styled(FILE *f, TermStyle style, Str text)
{
	print_clean(f, style, text, -1);
}

/* ---- events ---- */

void show_event(FILE *f, const Event *e)
{
	char time[32];

	term_print(f, TERM_BOLD, "#%lld", (long long)e->id);
	term_print(f, TERM_DIM, "  %s  ", show_time(e->timestamp_us, time));
	print_clean(f, TERM_CYAN, e->type, -1);
	fputs("  ", f);
	show_text(f, e->aggregate_type);
	fputc('/', f);
	show_text(f, e->aggregate_id);
	fprintf(f, " v%lld\n", (long long)e->version);
}

void show_actor(FILE *f, Str type, Str id)
{
	if (id.s == NULL)
		return;
	fputs("  by ", f);
	if (type.s != NULL) {
		show_text(f, type);
		fputc('/', f);
	}
	show_text(f, id);
}

void show_event_json(Buf *out, const Event *e)
{
	event_to_json(out, e);
}

/* ---- values ---- */

/* Whether a value in one line, with a space behind "," and ":", takes at most `most` bytes. */
static bool fits(Str json, size_t most)
{
	const char *end = json.s + json.len, *behind;
	size_t used = 0;

	for (const char *p = json.s; p < end && used <= most; p = behind) {
		behind = *p == '"' ? json_value_end(p, end) : p + 1;
		if (memchr(" \n\r\t", *p, 4) == NULL)
			used += (size_t)(behind - p) + (*p == ',' || *p == ':');
	}
	return used <= most;
}

static TermStyle style_of(char first)
{
	switch (first) {
	case '"':
		return TERM_GREEN;
	case 't':
	case 'f':
	case 'n':
		return TERM_YELLOW;
	default:
		return TERM_PLAIN;
	}
}

static void print_name(FILE *f, Str name)
{
	print_clean(f, TERM_CYAN, name, -1);
	fputs(": ", f);
}

static void print_line(FILE *f, Str json)
{
	JsonEach each = json_each(json);
	bool object = each.object;
	const char *before = "";
	Str name, value;

	if (*json.s != '{' && *json.s != '[') {
		print_clean(f, style_of(*json.s), json, -1);
		return;
	}
	fputc(object ? '{' : '[', f);
	for (; json_each_next(&each, &name, &value); before = ", ") {
		fputs(before, f);
		if (object)
			print_name(f, name);
		print_line(f, value);
	}
	fputc(object ? '}' : ']', f);
}

static void print_value(FILE *f, Str json, int indent, int column, int width);

/* Each member or element in a line of its own. */
static void print_lines(FILE *f, Str json, int indent, int width)
{
	JsonEach each = json_each(json);
	bool object = each.object, first = true;
	Str name, value;

	fputs(object ? "{\n" : "[\n", f);
	while (json_each_next(&each, &name, &value)) {
		int column = indent + 2;

		fprintf(f, "%s%*s", first ? "" : ",\n", column, "");
		if (object) {
			print_name(f, name);
			column += (int)name.len + 2;
		}
		print_value(f, value, indent + 2, column, width);
		first = false;
	}
	fprintf(f, "\n%*s%c", indent, "", object ? '}' : ']');
}

static void print_value(FILE *f, Str json, int indent, int column, int width)
{
	size_t room = width > column + 1 ? (size_t)(width - column - 1) : 1;
	JsonEach each = json_each(json);
	Str name, value;

	if (!json_each_next(&each, &name, &value) || fits(json, room))
		print_line(f, json);
	else
		print_lines(f, json, indent, width);
}

static Str trim(Str json)
{
	while (json.len > 0 && memchr(" \n\r\t", *json.s, 4) != NULL) {
		json.s++;
		json.len--;
	}
	return json;
}

void show_json(FILE *f, Str json, int indent)
{
	json = trim(json);
	fprintf(f, "%*s", indent, "");
	if (json.len == 0)
		term_print(f, TERM_DIM, "nothing");
	else
		print_value(f, json, indent, indent, term_is_tty(f) ? term_width(f) : WIDE);
	fputc('\n', f);
}

/* ---- changes ---- */

static bool starts_below(Str path, Str below)
{
	return below.len > path.len && memcmp(below.s, path.s, path.len) == 0 &&
	       (path.len == 0 || below.s[path.len] == '.' || below.s[path.len] == '[');
}

/* An empty container that got its first member, or lost its last: what came or went tells it. */
static bool is_told_by_neighbour(const JsonDiff *d, size_t i)
{
	const JsonChange *c = &d->at[i];
	Str value = c->before.s != NULL ? c->before : c->after;

	if ((c->before.s != NULL && c->after.s != NULL) || (*value.s != '{' && *value.s != '['))
		return false;
	if (c->after.s == NULL)
		return i + 1 < d->count && starts_below(c->path, d->at[i + 1].path);
	return i > 0 && starts_below(c->path, d->at[i - 1].path);
}

static int text_columns(Str s)
{
	int n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += ((unsigned char)s.s[i] & 0xc0) != 0x80;
	return n;
}

static int path_column(const JsonDiff *d)
{
	int most = 0;

	for (size_t i = 0; i < d->count; i++) {
		int n = text_columns(d->at[i].path);

		if (n > most && n <= PATH_ROOM && !is_told_by_neighbour(d, i))
			most = n;
	}
	return most;
}

static void print_change(FILE *f, const JsonChange *c, int indent, int column)
{
	static const struct {
		char sign;
		TermStyle style;
	} kinds[] = { { '-', TERM_RED }, { '+', TERM_GREEN }, { '~', TERM_YELLOW } };
	int kind = c->after.s == NULL ? 0 : c->before.s == NULL ? 1 : 2, room = -1;
	Str path = c->path.len > 0 ? c->path : STR("(all)");
	int used = text_columns(path) > column ? text_columns(path) : column;

	if (term_is_tty(f)) {
		room = term_width(f) - indent - used - 5;
		room = kind == 2 ? (room - 4) / 2 : room;
		room = room > VALUE_LEAST ? room : VALUE_LEAST;
	}
	fprintf(f, "%*s", indent, "");
	term_print(f, kinds[kind].style, "%c ", kinds[kind].sign);
	print_clean(f, TERM_BOLD, path, -1);
	fprintf(f, "%*s", used - text_columns(path) + 2, "");
	if (c->before.s != NULL)
		print_clean(f, TERM_RED, c->before, room);
	if (kind == 2)
		fputs(" -> ", f);
	if (c->after.s != NULL)
		print_clean(f, TERM_GREEN, c->after, room);
	fputc('\n', f);
}

void show_changes_of(FILE *f, const JsonDiff *diff, int indent,
	bool (*which)(void *owner, size_t change), void *owner)
{
	int column = path_column(diff);

	for (size_t i = 0; i < diff->count; i++)
		if (!is_told_by_neighbour(diff, i) && (which == NULL || which(owner, i)))
			print_change(f, &diff->at[i], indent, column);
}

void show_changes(FILE *f, const JsonDiff *diff, int indent)
{
	show_changes_of(f, diff, indent, NULL, NULL);
}

void show_change_json(Buf *out, const JsonChange *c)
{
	buf_adds(out, "{\"path\":");
	json_add_string(out, c->path);
	if (c->before.s != NULL) {
		buf_adds(out, ",\"before\":");
		buf_add(out, c->before.s, c->before.len);
	}
	if (c->after.s != NULL) {
		buf_adds(out, ",\"after\":");
		buf_add(out, c->after.s, c->after.len);
	}
	buf_addc(out, '}');
}

void show_changes_json(Buf *out, const JsonDiff *diff)
{
	buf_addc(out, '[');
	for (size_t i = 0; i < diff->count; i++) {
		buf_adds(out, i > 0 ? "," : "");
		show_change_json(out, &diff->at[i]);
	}
	buf_addc(out, ']');
}
