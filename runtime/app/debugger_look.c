#include "app/debugger_commands.h"

#include "app/debugger_screen.h"
#include "app/row_key.h"
#include "app/show.h"
#include "base/json.h"
#include "base/json_diff.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINES_MAX = 500, LIST_AROUND = 6, KEYS_SHOWN = 40 };

static bool wants_json(const Debugger *d)
{
	return cli_flag(d->cli, "json");
}

static bool no_event(const char *command, Err *err)
{
	return err_set(err, ERR_USAGE, "%s: no event was handled yet (step)", command);
}

/* Keeps `candidate` where it is nearer to the word than *nearest. */
static void consider(const char *word, Str candidate, size_t *best, char **nearest)
{
	char *text = mem_strndup(candidate.s, candidate.len);

	if (options_closer(word, text, best)) {
		free(*nearest);
		*nearest = text;
	} else {
		free(text);
	}
}

/* The nearest of the paths that there are, whole or up to a container on the way. */
static bool no_field(Str state, const char *field, Err *err)
{
	JsonDiff leaves = { 0 };
	char *nearest = NULL;
	size_t best = SIZE_MAX;

	json_leaves(state, &leaves);
	for (size_t i = 0; i < leaves.count; i++) {
		Str path = leaves.at[i].path;

		for (size_t n = 1; n <= path.len; n++)
			if (n == path.len || path.s[n] == '.' || path.s[n] == '[')
				consider(field, (Str){ path.s, n }, &best, &nearest);
	}
	json_diff_free(&leaves);
	err_set(err, ERR_USAGE, "print: the state has no field '%.100s'", field);
	if (nearest != NULL)
		err_hint(err, "did you mean '%s'?", nearest);
	free(nearest);
	return false;
}

bool look_print(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	const WalkChange *change = debugger_change(d, 0);

	(void)s;
	if (!d->standing)
		return no_event("print", err);
	if (change == NULL)
		return err_set(err, ERR_USAGE, "print: this event belongs to no row (state KEY)");
	for (size_t n = 0; (change = debugger_change(d, n)) != NULL; n++) {
		Str value = change->after;

		if (rest[0] != '\0' && value.s != NULL)
			value = json_at(value, str_from(rest));
		if (value.s == NULL && change->after.s != NULL)
			return no_field(change->after, rest, err);
		screen_value(d, rest[0] != '\0' ? "value" : "state", change->key, value);
	}
	return true;
}

bool look_eval(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	const WalkChange none = { 0 }, *change = debugger_change(d, 0);
	int expression;
	bool truth;
	Str json;

	(void)s;
	if (rest[0] == '\0')
		return err_set(err, ERR_USAGE,
			"eval: an expression is needed (eval #state.drift, eval event.data.n)");
	expression = d->h->ops->expression(d->h, "eval", str_from(rest), err);
	if (expression == 0)
		return false;
	if (change == NULL)
		change = &none;
	if (!d->h->ops->evaluate(d->h, expression, d->standing ? &d->step.event : NULL, change->key,
		    change->before, change->after, &truth, &json, err))
		return false;
	screen_value(d, "value", (Str){ NULL, 0 }, json);
	return true;
}

bool look_event(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	Buf out = { 0 };

	(void)s, (void)rest;
	if (!d->standing)
		return no_event("event", err);
	show_event_json(&out, &d->step.event);
	screen_value(d, "event", (Str){ NULL, 0 }, buf_str(&out));
	buf_free(&out);
	return true;
}

bool look_lines(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	const TraceStep *steps;
	size_t n;

	(void)s, (void)rest;
	if (!debugger_lines(d, LINES_MAX, &steps, &n, err))
		return false;
	screen_lines(d, steps, n);
	if (d->standing && d->step.failed && !wants_json(d))
		printf("  error: %s\n", d->step.err.message);
	return true;
}

bool look_where(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	Buf out = { 0 };
	const char *file;
	int line;

	(void)s, (void)rest, (void)err;
	if (!wants_json(d)) {
		printf("event %zu of the tape; errors on the way: %lld, rows: %zu\n",
			walk_position(d->walk), (long long)walk_failures(d->walk),
			memory_table_count(walk_table(d->walk)));
		screen_step(d);
		if (d->npoints > 0)
			debugger_list_points(d, true, true);
		return true;
	}
	buf_addf(&out, "{\"number\":%zu,\"errors\":%lld,\"rows\":%zu", walk_position(d->walk),
		(long long)walk_failures(d->walk), memory_table_count(walk_table(d->walk)));
	if (debugger_origin(d, &file, &line)) {
		buf_adds(&out, ",\"file\":");
		json_add_string(&out, str_from(file));
		buf_addf(&out, ",\"line\":%d", line);
	}
	if (d->standing)
		buf_addf(&out, ",\"event\":%lld", (long long)d->step.event.id);
	printf("%s}\n", out.s);
	buf_free(&out);
	return true;
}

bool look_list(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	const char *file = NULL;
	char place[256];
	int64_t n = 0;
	int line = 1;

	(void)s;
	if (rest[0] != '\0' && !debugger_count("list", rest, &n, err))
		return false;
	if (d->standing && d->step.failed &&
		debugger_error_place(d->step.err.message, place, &line))
		file = place;
	else if (!debugger_origin(d, &file, &line))
		file = d->def->path;
	screen_source(d, file, n > 0 ? (int)n : line, LIST_AROUND);
	return true;
}

static void print_keys(Debugger *d, const MemoryRow *rows, size_t n)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"keys\":[");
	for (size_t i = 0; i < n; i++) {
		buf_adds(&out, i > 0 ? "," : "");
		buf_add(&out, rows[i].key.s, rows[i].key.len);
		if (!wants_json(d) && i < KEYS_SHOWN) {
			fputs("  ", stdout);
			show_text(stdout, rows[i].key);
			putchar('\n');
		}
	}
	if (wants_json(d))
		printf("%s]}\n", out.s);
	else if (n > KEYS_SHOWN)
		printf("  (%zu more)\n", n - KEYS_SHOWN);
	else if (n == 0)
		printf("  there is no row\n");
	buf_free(&out);
}

bool look_keys(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	MemoryRow *rows;
	size_t n, kept = 0;

	(void)s, (void)err;
	rows = memory_table_rows(walk_table(d->walk), &n);
	for (size_t i = 0; i < n; i++)
		if (rest[0] == '\0' || memmem(rows[i].key.s, rows[i].key.len, rest, strlen(rest)))
			rows[kept++] = rows[i];
	print_keys(d, rows, kept);
	free(rows);
	return true;
}

static bool no_row(Debugger *d, const char *word, Err *err)
{
	size_t n, best = SIZE_MAX;
	MemoryRow *rows = memory_table_rows(walk_table(d->walk), &n);
	char *nearest = NULL;

	for (size_t i = 0; i < n; i++) {
		Str text = rows[i].key;
		bool plain = text.len > 1 && text.s[0] == '"';

		text.s += plain;
		text.len -= 2 * plain;
		consider(word, text, &best, &nearest);
	}
	free(rows);
	err_set(err, ERR_USAGE, "state: there is no row %.100s at this point", word);
	err_hint(err, nearest != NULL ? "did you mean %s?" : "`keys` lists %s",
		nearest != NULL ? nearest : "them");
	free(nearest);
	return false;
}

bool look_state(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	const MemoryRow *row;

	if (rest[0] == '\0')
		return look_print(d, s, rest, err);
	row = row_key_find(walk_table(d->walk), rest);
	if (row == NULL)
		return no_row(d, rest, err);
	screen_value(d, "state", row->key, row_state(d->def, row->state));
	return true;
}
