#include "app/debugger_screen.h"

#include "app/show.h"
#include "app/term.h"
#include "base/json.h"

static bool wants_json(const Debugger *d)
{
	return cli_flag(d->cli, "json");
}

static void put_line(Buf *out)
{
	buf_addc(out, '\n');
	fwrite(out->s, 1, out->len, stdout);
	buf_free(out);
}

static void add_text(Buf *out, const char *name, Str text)
{
	buf_addf(out, ",\"%s\":", name);
	json_add_string(out, text);
}

static void add_json(Buf *out, const char *name, Str json)
{
	if (json.s == NULL)
		return;
	buf_addf(out, ",\"%s\":", name);
	buf_add(out, json.s, json.len);
}

/* --- JSON --- */

static void json_error(Buf *out, const Err *err)
{
	buf_adds(out, ",\"error\":{\"kind\":");
	json_add_string(out, str_from(err_kind_name(err->kind)));
	add_text(out, "message", str_from(err->message));
	if (err->trace[0] != '\0')
		add_text(out, "traceback", str_from(err->trace));
	buf_addc(out, '}');
}

static void json_changes(Buf *out, const Debugger *d)
{
	const WalkChange *change;
	JsonDiff diff = { 0 };

	buf_adds(out, ",\"rows\":[");
	for (size_t n = 0; (change = debugger_change(d, n)) != NULL; n++) {
		json_diff(change->before, change->after, &diff);
		buf_addf(out, "%s{\"key\":", n > 0 ? "," : "");
		buf_add(out, change->key.s, change->key.len);
		buf_adds(out, ",\"changes\":");
		show_changes_json(out, &diff);
		buf_adds(out, ",\"state\":");
		buf_add(out, change->after.s != NULL ? change->after.s : "null",
			change->after.s != NULL ? change->after.len : 4);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
	json_diff_free(&diff);
}

static void json_hits(Buf *out, const Debugger *d)
{
	buf_adds(out, ",\"hits\":[");
	for (size_t i = 0; i < d->nhits; i++) {
		const DebugHit *hit = &d->hits[i];

		buf_addf(out, "%s{\"%s\":%d", i > 0 ? "," : "", hit->watch ? "watch" : "break",
			hit->number);
		add_text(out, hit->watch ? "field" : "expression", str_from(hit->text));
		add_json(out, "key", hit->key);
		add_json(out, "before", hit->before);
		add_json(out, "after", hit->after);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

static void json_step(Debugger *d)
{
	Buf out = { 0 };
	const char *file;
	int line;

	buf_addf(&out, "{\"number\":%zu,\"event\":", d->step.number + 1);
	show_event_json(&out, &d->step.event);
	buf_addf(&out, ",\"taken\":%s", d->step.taken ? "true" : "false");
	if (debugger_origin(d, &file, &line)) {
		add_text(&out, "file", str_from(file));
		buf_addf(&out, ",\"line\":%d", line);
	}
	json_changes(&out, d);
	if (d->npoints > 0)
		json_hits(&out, d);
	if (d->said->len > 0)
		add_text(&out, "said", buf_str(d->said));
	if (d->step.failed)
		json_error(&out, &d->step.err);
	buf_addc(&out, '}');
	put_line(&out);
}

/* --- For people --- */

/* On a terminal what follows the place is cut at its width. */
static void print_place(Debugger *d, const char *file, int line, const char *lead)
{
	Buf place = { 0 }, text = { 0 }, clean = { 0 };
	int room = -1;

	buf_addf(&place, "%s%s:%d", lead, file, line);
	if (term_is_tty(stdout))
		room = term_width(stdout) - (int)term_text_width(place.s) - 2;
	term_print(stdout, TERM_CYAN, "%s", place.s);
	if ((room < 0 || room > 10) && debugger_source_line(d, file, line, &text)) {
		show_clean(&clean, str_from(text.s + strspn(text.s, " \t")), room);
		term_print(stdout, TERM_DIM, "  %s", buf_str(&clean).s);
	}
	putchar('\n');
	buf_free(&place);
	buf_free(&text);
	buf_free(&clean);
}

/* Tabs, which print() puts between its values, and line ends are those of the script. */
static void print_lines(Str text, const char *lead)
{
	const char *end = text.s + text.len;
	char before = '\n';

	for (const char *p = text.s, *stop; p < end; p = stop + 1) {
		for (stop = p; stop < end && *stop != '\n' && *stop != '\t';)
			stop++;
		fputs(before == '\n' ? lead : "    ", stdout);
		show_text(stdout, (Str){ p, (size_t)(stop - p) });
		before = stop < end ? *stop : '\n';
		if (before == '\n')
			putchar('\n');
	}
}

static void print_failure(Debugger *d, const Err *err)
{
	char file[256];
	int line;

	term_print(stdout, TERM_RED, "  error: ");
	show_text(stdout, str_from(err->message));
	putchar('\n');
	if (debugger_error_place(err->message, file, &line))
		print_place(d, file, line, "    ");
	print_lines(str_from(err->trace), "    ");
}

static void print_key(Str key)
{
	fputs("  ", stdout);
	show_styled(stdout, TERM_BOLD, key);
}

static void print_change(const WalkChange *change)
{
	JsonDiff diff = { 0 };

	json_diff(change->before, change->after, &diff);
	print_key(change->key);
	if (change->before.s == NULL && change->after.s == NULL)
		term_print(stdout, TERM_DIM, "  there is no row");
	else if (change->before.s == NULL)
		term_print(stdout, TERM_GREEN, "  new row");
	else if (change->after.s == NULL)
		term_print(stdout, TERM_RED, "  row removed");
	else if (diff.count == 0)
		term_print(stdout, TERM_DIM, "  unchanged");
	putchar('\n');
	show_changes(stdout, &diff, 4);
	json_diff_free(&diff);
}

static void print_hit(const DebugHit *hit)
{
	term_print(stdout, TERM_YELLOW, "  %s %d", hit->watch ? "watch" : "break", hit->number);
	printf(": %s", hit->text);
	if (hit->watch) {
		fputs("  ", stdout);
		show_text(stdout, hit->before.s != NULL ? hit->before : STR("-"));
		fputs(" -> ", stdout);
		show_text(stdout, hit->after.s != NULL ? hit->after : STR("-"));
	}
	putchar('\n');
}

void screen_step(Debugger *d)
{
	const WalkChange *change;
	const char *file;
	int line;

	if (!d->standing)
		return;
	if (wants_json(d)) {
		json_step(d);
		return;
	}
	/* The origin steps the walk away and back: it is asked for before anything is drawn. */
	if (!debugger_origin(d, &file, &line))
		file = NULL;
	show_event(stdout, &d->step.event);
	if (file != NULL)
		print_place(d, file, line, "  ");
	if (!d->step.taken)
		term_print(stdout, TERM_DIM, "  passed over: %s has no handler for it\n",
			d->def->name);
	if (d->step.failed)
		print_failure(d, &d->step.err);
	for (size_t n = 0; (change = debugger_change(d, n)) != NULL; n++)
		print_change(change);
	if (d->step.taken && !d->step.failed && d->step.nchanges == 0)
		term_print(stdout, TERM_DIM, "  it belongs to no row\n");
	print_lines(buf_str(d->said), "  | ");
	for (size_t i = 0; i < d->nhits; i++)
		print_hit(&d->hits[i]);
}

void screen_stop(Debugger *d, DebugStop why)
{
	static const char *const words[] = {
		[STOP_END] = "end", [STOP_START] = "start", [STOP_INTERRUPT] = "interrupted"
	};

	if (why != STOP_END && why != STOP_START && why != STOP_INTERRUPT)
		return;
	if (wants_json(d))
		printf("{\"stop\":\"%s\",\"number\":%zu}\n", words[why], walk_position(d->walk));
	else if (why == STOP_END)
		printf("-- the end: %zu events\n", walk_position(d->walk));
	else if (why == STOP_START)
		printf("-- the start: no event is behind us\n");
	else
		printf("-- interrupted behind event %zu\n", walk_position(d->walk));
}

static void json_lines(Debugger *d, const TraceStep *steps, size_t n)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"lines\":[");
	for (size_t i = 0; i < n; i++) {
		JsonDiff diff = { 0 };

		json_diff(steps[i].before, steps[i].after, &diff);
		buf_addf(&out, "%s{\"line\":%d", i > 0 ? "," : "", steps[i].line);
		add_text(&out, "file", str_from(steps[i].file));
		add_json(&out, "key", steps[i].key);
		buf_adds(&out, ",\"changes\":");
		show_changes_json(&out, &diff);
		buf_addc(&out, '}');
		json_diff_free(&diff);
	}
	buf_adds(&out, "]}");
	put_line(&out);
	(void)d;
}

void screen_lines(Debugger *d, const TraceStep *steps, size_t n)
{
	Str last = { NULL, 0 };

	if (wants_json(d)) {
		json_lines(d, steps, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		JsonDiff diff = { 0 };

		if (steps[i].key.s != NULL && (last.s == NULL || !str_eq(steps[i].key, last))) {
			last = steps[i].key;
			print_key(last);
			putchar('\n');
		}
		if (steps[i].line > 0)
			print_place(d, steps[i].file, steps[i].line, "  ");
		else
			term_print(stdout, TERM_DIM, "  before the first line\n");
		json_diff(steps[i].before, steps[i].after, &diff);
		show_changes(stdout, &diff, 6);
		json_diff_free(&diff);
	}
	if (n == 0)
		printf("  no line ran: the script has no handler for it\n");
}

void screen_source(Debugger *d, const char *file, int line, int around)
{
	Buf out = { 0 }, text = { 0 };
	bool any = false;

	buf_adds(&out, "{\"file\":");
	json_add_string(&out, str_from(file));
	buf_addf(&out, ",\"line\":%d,\"source\":[", line);
	if (!wants_json(d))
		term_print(stdout, TERM_CYAN, "%s\n", file);
	for (int i = line > around ? line - around : 1; i <= line + around; i++) {
		buf_clear(&text);
		if (!debugger_source_line(d, file, i, &text))
			break;
		buf_addf(&out, "%s{\"line\":%d", any ? "," : "", i);
		add_text(&out, "text", buf_str(&text));
		buf_addc(&out, '}');
		any = true;
		if (!wants_json(d))
			term_print(stdout, i == line ? TERM_BOLD : TERM_PLAIN, "%c %4d  %s\n",
				i == line ? '>' : ' ', i, buf_str(&text).s);
	}
	buf_adds(&out, "]}");
	if (wants_json(d))
		put_line(&out);
	buf_free(&out);
	buf_free(&text);
}

void screen_value(Debugger *d, const char *name, Str key, Str value)
{
	Buf out = { 0 };

	if (wants_json(d)) {
		buf_addf(&out, "{\"%s\":", name);
		buf_add(&out, value.s ? value.s : "null", value.s ? value.len : 4);
		add_json(&out, "key", key);
		buf_addc(&out, '}');
		put_line(&out);
		return;
	}
	if (key.s != NULL) {
		print_key(key);
		putchar('\n');
	}
	if (value.s == NULL)
		printf("  there is none\n");
	else
		show_json(stdout, value, 2);
}

void screen_error(const Debugger *d, const Err *err)
{
	Buf out = { 0 };

	fflush(stdout);
	if (wants_json(d)) {
		json_error(&out, err);
		out.s[0] = '{';
		buf_addc(&out, '}');
		put_line(&out);
		return;
	}
	term_print(stdout, TERM_RED, "error: ");
	show_text(stdout, str_from(err->message));
	putchar('\n');
	print_lines(str_from(err->trace), "    ");
}

static void tell(const char *name, const Condition *c)
{
	if (c->failures > 0)
		fprintf(stderr,
			"moonwake: %s failed at %lld events and counts as false there, first at "
			"event %lld: %s\n",
			name, (long long)c->failures, (long long)c->first.event_id,
			c->first.message);
}

void screen_conditions(const Debugger *d)
{
	const Condition *where = replay_source_condition(d->source);

	if (where != NULL)
		tell("--where", where);
	for (size_t i = 0; i < d->npoints; i++) {
		char name[32];

		snprintf(name, sizeof(name), "break %d", d->points[i].number);
		tell(name, &d->points[i].when);
		if (d->points[i].watch && !d->points[i].seen)
			fprintf(stderr, "moonwake: watch %d: no state had a field '%s'\n",
				d->points[i].number, d->points[i].text);
	}
}
