#include "app/debugger_commands.h"

#include "app/debugger_screen.h"
#include "app/debugger_session.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS_MAX = 1000000 };

static bool wants_json(const Debugger *d)
{
	return cli_flag(d->cli, "json");
}

/* A count behind a command's name; 1 where there is none. */
bool debugger_count(const char *command, const char *rest, int64_t *n, Err *err)
{
	char *end;

	*n = 1;
	if (rest[0] == '\0')
		return true;
	errno = 0;
	*n = strtoll(rest, &end, 10);
	return (*end == '\0' && errno == 0 && *n > 0 && *n <= STEPS_MAX) ||
	       err_set(err, ERR_USAGE, "%s: '%.40s' is not a number from 1 to %d", command, rest,
		       STEPS_MAX);
}

/* --- Moving --- */

static bool repeat(Debugger *d, const char *name, const char *rest,
	bool (*move)(Debugger *, DebugStop *, Err *), Err *err)
{
	DebugStop why = STOP_STEP;
	int64_t n;

	if (!debugger_count(name, rest, &n, err))
		return false;
	while (n-- > 0) {
		if (!move(d, &why, err))
			return false;
		if (why == STOP_START || why == STOP_END || why == STOP_INTERRUPT)
			break;
		screen_step(d);
		if (n > 0 && why == STOP_HIT)
			break;
	}
	screen_stop(d, why);
	return true;
}

static bool cmd_step(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s;
	return repeat(d, "step", rest, debugger_step, err);
}

static bool cmd_back(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s;
	return repeat(d, "back", rest, debugger_back, err);
}

static bool run_until(Debugger *d, bool (*move)(Debugger *, DebugStop *, Err *), Err *err)
{
	DebugStop why;

	if (!move(d, &why, err))
		return false;
	if (why == STOP_HIT || why == STOP_ERROR)
		screen_step(d);
	screen_stop(d, why);
	return true;
}

static bool cmd_rc(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s, (void)rest;
	return run_until(d, debugger_run_back, err);
}

static bool cmd_run_on(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	if (strcmp(rest, "back") == 0)
		return cmd_rc(d, s, "", err);
	if (rest[0] != '\0')
		return err_set(err, ERR_USAGE, "run: takes no word but `back`");
	return run_until(d, debugger_run, err);
}

/* Where `goto` leads: *number is an event's, SIZE_MAX the start. */
static bool target_of(Debugger *d, const char *rest, size_t *number, Err *err)
{
	int64_t id, us;
	char *end;

	*number = SIZE_MAX;
	if (strcmp(rest, "start") == 0)
		return true;
	if (strcmp(rest, "end") == 0)
		return tape_all(d->tape, number, err);
	if (rest[0] == '@') {
		errno = 0;
		id = strtoll(rest + 1, &end, 10);
		if (end == rest + 1 || *end != '\0' || errno != 0 || id < 0)
			return err_set(err, ERR_USAGE,
				"goto: '%.40s' is not a place on the tape (@1 is its first event)",
				rest);
		*number = id > 0 ? (size_t)id - 1 : SIZE_MAX;
		return true;
	}
	if (!replay_source_point("goto", rest, &id, &us, err))
		return err_hint(err, "or @N, `start`, `end`");
	if (id > 0 ? !tape_find(d->tape, id, number, err)
		   : !tape_find_time(d->tape, us, number, err))
		return false;
	return *number != SIZE_MAX ||
	       err_set(err, ERR_USAGE, "goto: the tape ends before %.60s (goto end)", rest);
}

static bool cmd_goto(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	DebugStop why;
	size_t number;

	(void)s;
	if (!target_of(d, rest, &number, err) || !debugger_goto(d, number, &why, err))
		return false;
	screen_step(d);
	screen_stop(d, why);
	return true;
}

/* --- Breaks and watches --- */

void debugger_list_points(const Debugger *d, bool watches, bool breaks)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"points\":[");
	for (size_t i = 0; i < d->npoints; i++) {
		const DebugPoint *p = &d->points[i];

		if (p->watch ? !watches : !breaks)
			continue;
		if (!wants_json(d))
			printf("  %s %d: %s\n", p->watch ? "watch" : "break", p->number, p->text);
		buf_addf(&out, "%s{\"%s\":%d,\"text\":", out.s[out.len - 1] == '[' ? "" : ",",
			p->watch ? "watch" : "break", p->number);
		json_add_string(&out, str_from(p->text));
		buf_addc(&out, '}');
	}
	if (wants_json(d))
		printf("%s]}\n", out.s);
	else if (out.s[out.len - 1] == '[')
		printf("  there is none\n");
	buf_free(&out);
}

static bool is_list(const char *rest)
{
	return rest[0] == '\0' || strcmp(rest, "list") == 0;
}

static bool tell_point(const Debugger *d, const char *kind, int number, const char *text)
{
	Buf out = { 0 };

	if (number == 0)
		return false;
	if (!wants_json(d)) {
		printf("%s %d: %s\n", kind, number, text);
		return true;
	}
	json_add_string(&out, str_from(text));
	printf("{\"%s\":%d,\"text\":%s}\n", kind, number, out.s);
	buf_free(&out);
	return true;
}

static bool cmd_break(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s;
	if (is_list(rest)) {
		debugger_list_points(d, false, true);
		return true;
	}
	return tell_point(d, "break", debugger_break(d, "break", rest, err), rest);
}

static bool cmd_watch(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s;
	if (is_list(rest)) {
		debugger_list_points(d, true, false);
		return true;
	}
	return tell_point(d, "watch", debugger_watch(d, rest, err), rest);
}

static bool cmd_delete(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	int64_t n;

	(void)s;
	if (rest[0] == '\0')
		return err_set(err, ERR_USAGE,
			"delete: the number of a break or a watch is needed (break list)");
	if (!debugger_count("delete", rest, &n, err))
		return false;
	return debugger_delete(d, (int)n) ||
	       err_set(err, ERR_USAGE, "delete: there is no break or watch %lld (break list)",
		       (long long)n);
}

static bool cmd_errors(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s;
	if (strcmp(rest, "stop") != 0 && strcmp(rest, "pass") != 0)
		return err_set(err, ERR_USAGE, "errors: takes `stop` or `pass`");
	d->pass_errors = strcmp(rest, "pass") == 0;
	return true;
}

static bool cmd_compare(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s;
	if (rest[0] != '\0' && strcmp(rest, "end") != 0)
		return err_set(err, ERR_USAGE, "compare: takes no word but `end`");
	return debugger_compare(d, rest[0] != '\0', err);
}

static bool cmd_summary(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)s, (void)rest;
	return debugger_summary(d, err);
}

static bool cmd_help(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)d, (void)s, (void)rest, (void)err;
	for (const DebugCommand *c = debug_commands; c->name != NULL; c++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", c->name, c->usage[0] ? " " : "", c->usage);
		printf("  %-20s %-3s  %s\n", left, c->alias, c->help);
	}
	printf("A field is a path: apps.agent.image, list[2].name. EXPR is Lua over `event`, "
	       "`state` (or `row`), `before`\nand `key`. Enter alone repeats a move.\n");
	return true;
}

static bool cmd_quit(Debugger *d, DebugSession *s, const char *rest, Err *err)
{
	(void)d, (void)rest, (void)err;
	s->quit = true;
	return true;
}

const DebugCommand debug_commands[] = {
	{ "step", "s", "[N]", "one event on", true, cmd_step },
	{ "back", "b", "[N]", "one event back", true, cmd_back },
	{ "run", "r", "", "on to the next break, watch, error, or the end", true, cmd_run_on },
	{ "continue", "c", "", "the same", true, cmd_run_on },
	{ "rc", "rc", "", "the same backwards (or `run back`)", true, cmd_rc },
	{ "goto", "g", "ID|TIME|@N",
		"to an event by its id, a time, or its place on the tape; `start`, `end`", false,
		cmd_goto },
	{ "break", "br", "[EXPR]", "stop where a Lua expression is true; alone: list them", false,
		cmd_break },
	{ "watch", "w", "[FIELD]", "stop where a field changes; alone: list them", false,
		cmd_watch },
	{ "delete", "d", "N", "remove a break or a watch", false, cmd_delete },
	{ "errors", "er", "stop|pass", "whether a run stops where the script fails", false,
		cmd_errors },
	{ "print", "p", "[FIELD]", "the state of this event's row, or a field of it", false,
		look_print },
	{ "eval", "e", "EXPR", "the value of a Lua expression", false, look_eval },
	{ "event", "ev", "", "the whole event", false, look_event },
	{ "lines", "l", "", "the lines that ran at this event, and what each changed", false,
		look_lines },
	{ "where", "wh", "", "the place on the tape, the event, the breaks", false, look_where },
	{ "list", "li", "[LINE]", "the script around the handler", false, look_list },
	{ "keys", "k", "[TEXT]", "the rows that there are", false, look_keys },
	{ "state", "st", "KEY", "the state of any row", false, look_state },
	{ "compare", "co", "[end]", "the difference to the true history, here or at the end", false,
		cmd_compare },
	{ "summary", "su", "", "what was replayed so far", false, cmd_summary },
	{ "help", "h", "", "this list", false, cmd_help },
	{ "?", "?", "", "the same", false, cmd_help },
	{ "quit", "q", "", "the end (or Ctrl-D)", false, cmd_quit },
	{ 0 },
};
