#include "app/versions.h"

#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "base/json_each.h"

#include <inttypes.h>
#include <stdlib.h>

PgRows *versions_list(PgDb *db, const char *name, Err *err)
{
	return pg_db_run(db, SQL_VERSION_LIST, 1, &name, err);
}

int versions_find(const PgRows *versions, const char *role)
{
	for (int i = 0; i < pg_rows_count(versions); i++)
		if (strcmp(pg_rows_text(versions, i, V_ROLE), role) == 0)
			return i;
	return -1;
}

const char *versions_state(const PgRows *versions, int row)
{
	const char *running = pg_rows_text(versions, row, V_RUNNING);

	if (strcmp(pg_rows_text(versions, row, V_ROLE), "next") != 0 ||
		strcmp(running, "running") == 0)
		return pg_rows_text(versions, row, V_STATE);
	return running;
}

static int percent(const PgRows *v, int row)
{
	int64_t head = pg_rows_i64(v, row, V_HEAD), position = pg_rows_i64(v, row, V_POSITION);

	return head > position ? (int)(position * 100 / head) : 100;
}

/* "device_summary: version 3 is built beside the live one: 42 %, building" */
void versions_print(const PgRows *v)
{
	for (int i = 0; i < pg_rows_count(v); i++) {
		const char *name = pg_rows_text(v, i, V_NAME), *note = pg_rows_text(v, i, V_NOTE);
		bool next = strcmp(pg_rows_text(v, i, V_ROLE), "next") == 0;

		if (next)
			printf("\n%s: version %s is built beside the live one: %d %%, %s%s%s\n",
				name, pg_rows_text(v, i, V_VERSION), percent(v, i),
				versions_state(v, i), note[0] ? ": " : "", note);
		if (next && pg_rows_text(v, i, V_ERROR)[0] != '\0')
			printf("%s: %s (event %s)\n", name, pg_rows_text(v, i, V_ERROR),
				pg_rows_text(v, i, V_ERROR_EVENT));
		if (strcmp(pg_rows_text(v, i, V_ROLE), "old") == 0)
			printf("\n%s: version %s is kept (`moonwake rebuild %s --rollback` or "
			       "--drop-old)\n",
				name, pg_rows_text(v, i, V_VERSION), name);
	}
}

static void add_text(Buf *out, const char *name, const char *value)
{
	buf_addf(out, ",\"%s\":", name);
	json_add_string(out, str_from(value));
}

void versions_json(const PgRows *v, int row, Buf *out)
{
	buf_addf(out, "{\"build\":%s,\"version\":%s,\"position\":%s,\"head\":%s",
		pg_rows_text(v, row, V_BUILD), pg_rows_text(v, row, V_VERSION),
		pg_rows_text(v, row, V_POSITION), pg_rows_text(v, row, V_HEAD));
	add_text(out, "projection", pg_rows_text(v, row, V_NAME));
	add_text(out, "role", pg_rows_text(v, row, V_ROLE));
	add_text(out, "state", versions_state(v, row));
	add_text(out, "promote", pg_rows_text(v, row, V_PROMOTE));
	add_text(out, "note", pg_rows_text(v, row, V_NOTE));
	add_text(out, "error", pg_rows_text(v, row, V_ERROR));
	buf_addf(out, ",\"error_event\":%s,\"difference\":%s}", pg_rows_text(v, row, V_ERROR_EVENT),
		pg_rows_text(v, row, V_DIFFERENCE));
}

/* --- Differences ------------------------------------------------------------ */

static Str member(Str object, const char *path)
{
	Str raw = { NULL, 0 };

	return json_path(object, path, &raw) ? raw : (Str){ NULL, 0 };
}

static int64_t number(Str object, const char *path)
{
	Str raw = member(object, path);
	char text[24] = "";

	if (raw.len < sizeof(text))
		memcpy(text, raw.s ? raw.s : "", raw.len);
	return strtoll(text, NULL, 10);
}

/* A string's text as the publishers' texts are shown. */
static void print_string(TermStyle style, Str literal)
{
	Buf text = { 0 };

	if (literal.s != NULL && json_unescape(&text, literal))
		show_styled(stdout, style, buf_str(&text));
	buf_free(&text);
}

static void print_field(Str name, Str values, Str key, Causes *causes)
{
	Buf cause = { 0 };
	Str live = member(values, "live"), next = member(values, "next");

	printf("      ");
	print_string(TERM_PLAIN, name);
	printf(": ");
	if (live.s != NULL)
		print_string(TERM_RED, live);
	if (live.s != NULL && next.s != NULL)
		printf(" -> ");
	print_string(TERM_GREEN, next);
	if (causes != NULL)
		causes_find(causes, key, name, &cause);
	if (cause.len > 0) {
		printf("  ");
		show_styled(stdout, TERM_DIM, buf_str(&cause));
	}
	putchar('\n');
	buf_free(&cause);
}

static void print_sample(Str sample, Causes *causes)
{
	JsonEach fields = json_each(member(sample, "fields"));
	Str event = member(sample, "event"), name, values;

	printf("  ");
	print_string(TERM_BOLD, member(sample, "change"));
	putchar(' ');
	show_text(stdout, member(sample, "key"));
	if (event.s != NULL && event.s[0] == '{') {
		printf("  last event %" PRId64 " ", number(event, "id"));
		print_string(TERM_PLAIN, member(event, "type"));
		putchar(' ');
		print_string(TERM_DIM, member(event, "timestamp"));
	}
	putchar('\n');
	while (json_each_next(&fields, &name, &values))
		print_field(name, values, member(sample, "key"), causes);
}

static void print_columns(Str names, const char *what)
{
	JsonEach each = json_each(names);
	Str none, name;

	while (json_each_next(&each, &none, &name)) {
		printf("  column ");
		print_string(TERM_BOLD, name);
		printf(" was %s\n", what);
	}
}

static void print_counts(Str d)
{
	char n[4][32];

	printf("%s rows compared: %s added, %s removed, %s changed",
		term_count(number(d, "rows"), n[0]), term_count(number(d, "added"), n[1]),
		term_count(number(d, "removed"), n[2]), term_count(number(d, "changed"), n[3]));
	if (str_eq(member(d, "equal"), STR("true")))
		printf(" (the versions are equal)");
	else if (!str_eq(member(d, "complete"), STR("true")))
		printf(" (not all rows were compared)");
	putchar('\n');
}

void versions_print_difference(Str d, Causes *causes)
{
	JsonEach samples = json_each(member(d, "samples"));
	Str none, sample;

	if (d.len == 0 || d.s[0] != '{') {
		printf("nothing was compared yet\n");
		return;
	}
	if (member(d, "note").s != NULL) {
		print_string(TERM_PLAIN, member(d, "note"));
		putchar('\n');
	}
	print_counts(d);
	print_columns(member(d, "columns_added"), "added");
	print_columns(member(d, "columns_removed"), "removed");
	while (json_each_next(&samples, &none, &sample))
		print_sample(sample, causes);
}
