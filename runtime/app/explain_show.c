#include "app/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/duration.h"
#include "app/rule_key.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "base/json_each.h"

enum { INDENT = 38 /* of what stands below a step */ };

/* ---- words ---- */

static void add_value(Str json, Buf *out)
{
	char *end;
	double v;

	if (json_unescape(out, json))
		return;
	v = strtod(json.s, &end);
	if (end == json.s + json.len && strchr("-0123456789", json.s[0]) != NULL && json.len > 10)
		buf_addf(out, "%.6g", v);
	else
		buf_add(out, json.s, json.len);
}

void explain_values(Str object, Buf *out)
{
	JsonEach each;
	Str name, value;

	if (object.s == NULL)
		return;
	for (each = json_each(object); json_each_next(&each, &name, &value);) {
		buf_adds(out, out->len > 0 ? ", " : "");
		if (!json_unescape(out, name))
			buf_add(out, name.s, name.len);
		buf_adds(out, " = ");
		add_value(value, out);
	}
}

void explain_levels(const char *name, Str object, Buf *out)
{
	JsonEach each;
	Str level, value;
	const char *before = name;

	if (object.s == NULL)
		return;
	for (each = json_each(object); json_each_next(&each, &level, &value); before = ",") {
		buf_addf(out, "%s%s %.*s", out->len > 0 && before == name ? "; " : "", before,
			level.len > 2 ? (int)level.len - 2 : 0, level.s + 1);
		buf_addf(out, " %.*s", (int)value.len, value.s);
	}
}

/* "timer i.leave": by the field of the rule that made it. */
static void add_timer(Str what, Buf *out)
{
	static const char *const names[][2] = { { "timer i.leave", "timer: leaves the window" },
		{ "timer i.end", "timer: the window ends" },
		{ "timer i.close", "timer: the window closes" },
		{ "timer i.absent", "timer: absent" }, { "timer i.seq", "timer: within is over" } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_eq(what, str_from(names[i][0])))
			what = str_from(names[i][1]);
	buf_add(out, what.s, what.len);
}

void explain_cause(const Probe *p, Buf *out)
{
	if (p->type.s != NULL)
		buf_addf(out, "#%" PRId64 " %.*s", p->position, (int)p->type.len, p->type.s);
	else
		add_timer(p->what, out);
}

static void print_below(const Buf *text)
{
	if (text->len == 0)
		return;
	printf("%*s", INDENT, "");
	show_text(stdout, buf_str(text));
	putchar('\n');
}

/* ---- the head ---- */

static const char *cell(const Explained *x, int column)
{
	return pg_rows_text(x->alert, 0, column);
}

static bool has(const Explained *x, int column)
{
	return !pg_rows_null(x->alert, 0, column) && cell(x, column)[0] != '\0';
}

static void print_state(const Explained *x)
{
	bool ended = has(x, X_ENDED), fired = has(x, X_FIRED);
	int64_t from = pg_rows_i64(x->alert, 0, fired ? X_FIRED : X_STARTED);
	char text[32];

	show_text(stdout, pg_rows_str(x->alert, 0, X_SEVERITY));
	if (pg_rows_bool(x->alert, 0, X_SIGNAL)) {
		fputs(", a signal", stdout);
		return;
	}
	printf(", %s", cell(x, X_STATE));
	if (ended)
		printf(" after %s", duration_text(pg_rows_i64(x->alert, 0, X_ENDED) - from, text));
	if (ended && !fired)
		fputs(" of pending", stdout);
	if (has(x, X_REASON)) {
		fputs(" (", stdout);
		show_text(stdout, pg_rows_str(x->alert, 0, X_REASON));
		putchar(')');
	}
}

static void print_line(const char *name, Str text)
{
	if (text.s == NULL || text.len == 0)
		return;
	term_print(stdout, TERM_DIM, "  %-9s ", name);
	show_text(stdout, text);
	putchar('\n');
}

static void print_head(const Explained *x)
{
	Buf key = { 0 }, labels = { 0 };

	rule_key_show(pg_rows_str(x->alert, 0, X_KEY_TEXT), &key);
	term_print(stdout, TERM_BOLD, "%s", cell(x, X_RULE));
	fputs("  ", stdout);
	show_styled(stdout, TERM_CYAN, buf_str(&key));
	fputs("  ", stdout);
	print_state(x);
	putchar('\n');
	print_line("summary", pg_rows_str(x->alert, 0, X_SUMMARY));
	explain_values(pg_rows_str(x->alert, 0, X_LABELS), &labels);
	print_line("labels", buf_str(&labels));
	print_line("means", pg_rows_str(x->alert, 0, X_DESCRIPTION));
	print_line("runbook", pg_rows_str(x->alert, 0, X_RUNBOOK));
	print_line("episode", pg_rows_str(x->alert, 0, X_EPISODE));
	term_print(stdout, TERM_DIM, "  %-9s ", "rule");
	printf("body %.12s%s\n", has(x, X_BODY) ? cell(x, X_BODY) : "unknown",
		x->changed ? ", as it ran last: the workspace has another version" : "");
	buf_free(&key);
	buf_free(&labels);
}

/* ---- what happened ---- */

static TermStyle style_of(const char *type)
{
	if (strcmp(type, "alert.firing") == 0)
		return TERM_RED;
	if (strcmp(type, "alert.resolved") == 0 || strcmp(type, "alert.expired") == 0)
		return TERM_GREEN;
	return TERM_YELLOW;
}

static Str field(const Explained *x, int row, int column)
{
	return pg_rows_str(x->events, row, column);
}

static void add_with(Buf *out, const char *before, Str text)
{
	if (text.s != NULL && text.len > 0)
		buf_addf(out, "%s%s%.*s", out->len > 0 ? ", " : "", before, (int)text.len, text.s);
}

/* In one line: what made it so, by what the rule says and by what the replay knows. */
static void print_step(const Explained *x, int row)
{
	const char *type = pg_rows_text(x->events, row, E_TYPE);
	const Probe *p = explain_probe(x, row);
	Buf line = { 0 }, values = { 0 };
	char time[32];

	printf("  %s  ", show_time(pg_rows_i64(x->events, row, E_AT), time));
	term_print(
		stdout, style_of(type), "%-9s", strncmp(type, "alert.", 6) == 0 ? type + 6 : type);
	if (p != NULL)
		explain_cause(p, &line);
	if (strcmp(type, "alert.firing") == 0)
		add_with(&line, "", field(x, row, E_SEVERITY));
	if (row > 0 && pg_rows_i64(x->events, row, E_AT) < pg_rows_i64(x->events, row - 1, E_AT))
		add_with(&line, "", STR("said anew: it is told later than it was so"));
	add_with(&line, "was ", field(x, row, E_FROM));
	add_with(&line, "", field(x, row, E_REASON));
	if (strcmp(pg_rows_text(x->events, row, E_ACTOR_TYPE), "user") == 0)
		add_with(&line, "by ", field(x, row, E_ACTOR));
	add_with(&line, "", field(x, row, E_NOTE));
	fputs("  ", stdout);
	show_text(stdout, buf_str(&line));
	putchar('\n');
	explain_values(
		p != NULL && p->subject.s != NULL ? p->subject : field(x, row, E_SUBJECT), &values);
	if (p != NULL) {
		explain_levels("when", p->when, &values);
		explain_levels("clear", p->clear, &values);
	}
	if (strcmp(pg_rows_text(x->events, row, E_ACTOR_TYPE), "rule") == 0)
		print_below(&values);
	buf_free(&line);
	buf_free(&values);
}

static void print_story(const Explained *x)
{
	putchar('\n');
	for (int i = 0; i < pg_rows_count(x->events); i++)
		print_step(x, i);
	if (x->missing != NULL)
		printf("\n  the rule is not to be had, so nothing is known of the events behind "
		       "it: %s\n",
			x->missing);
	else if (!x->reproduced && pg_rows_count(x->events) > 0)
		printf("\n  the rule as it ran last does not raise this episode: it was another "
		       "one then\n");
}

static void print_contributed(const Explained *x)
{
	int n = x->contributed != NULL ? pg_rows_count(x->contributed) : 0;

	if (n == 0)
		return;
	term_print(stdout, TERM_BOLD, "\nbecause of %zu event%s\n", x->ncontributed,
		x->ncontributed == 1 ? "" : "s");
	if ((size_t)n < x->ncontributed)
		printf("  … the last %d of them\n", n);
	for (int i = 0; i < n; i++) {
		Event e = { .id = pg_rows_i64(x->contributed, i, C_ID),
			.timestamp_us = pg_rows_i64(x->contributed, i, C_AT),
			.version = pg_rows_i64(x->contributed, i, C_VERSION),
			.type = pg_rows_str(x->contributed, i, C_TYPE),
			.aggregate_type = pg_rows_str(x->contributed, i, C_AGGREGATE_TYPE),
			.aggregate_id = pg_rows_str(x->contributed, i, C_AGGREGATE) };

		fputs("  ", stdout);
		show_event(stdout, &e);
	}
}

/* ---- who was told ---- */

static void add_try(Str try, Buf *out)
{
	Str status, problem;
	bool has_status = json_path(try, "status", &status) && !str_eq(status, STR("null"));

	if (json_path(try, "error", &problem) && !str_eq(problem, STR("null"))) {
		Buf text = { 0 };

		json_unescape(&text, problem);
		if (has_status && strncmp(buf_str(&text).s, "answered ", 9) != 0)
			buf_addf(out, "%.*s ", (int)status.len, status.s);
		buf_add(out, text.s, text.len);
		buf_free(&text);
	} else if (has_status) {
		buf_add(out, status.s, status.len);
	} else {
		buf_adds(out, "ok");
	}
}

/* What came of each; the same several times in a row is said once. */
static void add_tries(Str tries, Buf *out)
{
	JsonEach each = json_each(tries);
	Buf last = { 0 }, text = { 0 };
	const char *before = ": ";
	Str name, try;
	int times = 0;
	bool more;

	do {
		buf_clear(&text);
		more = json_each_next(&each, &name, &try);
		if (more)
			add_try(try, &text);
		if (times > 0 && (!more || !str_eq(buf_str(&text), buf_str(&last)))) {
			buf_addf(out, "%s%s", before, buf_str(&last).s);
			if (times > 1)
				buf_addf(out, " (%d times)", times);
			before = ", ";
			times = 0;
		}
		buf_clear(&last);
		buf_add(&last, buf_str(&text).s, text.len);
		times++;
	} while (more);
	buf_free(&last);
	buf_free(&text);
}

static void print_delivery(const Explained *x, int i)
{
	Buf line = { 0 };
	char time[32];
	const char *state = pg_rows_text(x->outbox, i, O_STATE);
	bool waits = strcmp(state, "waiting") == 0;

	buf_addf(&line, "%s %s", pg_rows_text(x->outbox, i, O_KIND),
		pg_rows_text(x->outbox, i, O_RECEIVER));
	if (!pg_rows_null(x->outbox, i, O_TRANSITION))
		buf_addf(&line, ", %s", pg_rows_text(x->outbox, i, O_TRANSITION));
	if (pg_rows_bool(x->outbox, i, O_GROUPED))
		buf_adds(&line, ", with its group");
	buf_addf(&line, ": %s", state);
	buf_addf(&line, waits ? ", next at %s" : " at %s",
		show_time(pg_rows_i64(x->outbox, i, waits ? O_DUE : O_UPDATED), time));
	if (pg_rows_i64(x->outbox, i, O_TRIES) > 0) {
		buf_addf(&line, "; %s %s", pg_rows_text(x->outbox, i, O_TRIES),
			pg_rows_i64(x->outbox, i, O_TRIES) == 1 ? "try" : "tries");
		add_tries(pg_rows_str(x->outbox, i, O_TRIED), &line);
	}
	if (pg_rows_text(x->outbox, i, O_NOTE)[0] != '\0')
		buf_addf(&line, " (%s)", pg_rows_text(x->outbox, i, O_NOTE));
	fputs("  ", stdout);
	show_styled(stdout, strcmp(state, "failed") == 0 ? TERM_RED : TERM_PLAIN, buf_str(&line));
	putchar('\n');
	buf_free(&line);
}

static void print_told(const Explained *x)
{
	int n = pg_rows_count(x->outbox);
	char time[32];

	term_print(stdout, TERM_BOLD, "\ntold\n");
	for (int i = 0; i < n; i++)
		print_delivery(x, i);
	if (has(x, X_MUTED)) {
		printf("  muted since %s: ", show_time(pg_rows_i64(x->alert, 0, X_MUTED_AT), time));
		show_text(stdout, pg_rows_str(x->alert, 0, X_MUTED));
		putchar('\n');
	} else if (n == 0) {
		printf("  nobody: %s\n", strcmp(cell(x, X_NOTIFY), "[]") == 0
						 ? "the rule names no receiver"
						 : "it was old when it was known, or never fired");
	}
}

void explain_show(const Explained *x)
{
	print_head(x);
	print_story(x);
	print_contributed(x);
	print_told(x);
}
