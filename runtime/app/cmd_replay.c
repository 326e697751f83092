#include "app/cli.h"
#include "app/debugger_screen.h"
#include "app/debugger_session.h"
#include "app/loader.h"
#include "app/replay_batch.h"
#include "app/term.h"

static const Option options[] = {
	REPLAY_SOURCE_OPTIONS,
	{ "key", 0, "KEY", NULL, "show and stop at only the steps of this row" },
	{ "break", 'b', "EXPR", NULL,
		"stop where this is true: Lua over `event`, `state`, `before` and `key`; may be "
		"repeated" },
	{ "watch", 'w', "FIELD", NULL,
		"stop where this field of a state changes (apps.agent.image); may be repeated" },
	{ "commands", 0, "FILE", NULL, "a session whose commands are lines of a file; - is stdin" },
	{ "max", 0, "N", "0", "end after N events were shown (0: all)" },
	{ "quiet", 'q', NULL, NULL, "only the errors and the summary, at full speed" },
	{ "json", 0, NULL, NULL, "one JSON object per step, then {\"summary\": …}" },
	{ "fail-on-error", 0, NULL, NULL, "exit code 1 where the script fails at an event" },
	{ 0 },
};

typedef struct {
	Cli *cli;
	const char *script;
	Handler *h;
	ReplaySource *source;
	int64_t max, failures;
	Buf said;
	bool batch;
} Run;

/* print() of the script; a batch has nobody who could tell whose words they are. */
static void on_log(void *owner, const char *script, const char *line)
{
	Run *r = owner;

	(void)script;
	if (!r->batch)
		buf_addf(&r->said, "%s\n", line);
}

static bool has(const Cli *cli, const char *name)
{
	for (size_t i = 0; i < cli->options.ngiven; i++)
		if (strcmp(cli->options.given[i].option->name, name) == 0)
			return true;
	return false;
}

static bool add_points(const Cli *cli, Debugger *d, Err *err)
{
	for (size_t i = 0; i < cli->options.ngiven; i++) {
		const char *name = cli->options.given[i].option->name;
		const char *value = cli->options.given[i].value;

		if (strcmp(name, "break") == 0 && debugger_break(d, "--break", value, err) == 0)
			return false;
		if (strcmp(name, "watch") == 0 && debugger_watch(d, value, err) == 0)
			return false;
	}
	return true;
}

/* Everything that is to be seen, without asking. */
static bool show_all(Run *r, Debugger *d, Err *err)
{
	DebugStop why = STOP_STEP;

	for (int64_t shown = 0; r->max == 0 || shown < r->max; shown++) {
		if (!(d->npoints > 0 ? debugger_run(d, &why, err) : debugger_step(d, &why, err)))
			return false;
		if (why == STOP_END || why == STOP_INTERRUPT)
			break;
		screen_step(d);
	}
	screen_conditions(d);
	if (!debugger_summary(d, err))
		return false;
	return why != STOP_INTERRUPT || err_set(err, ERR_STOPPED, "replay: interrupted");
}

static bool converse(Run *r, Debugger *d, Err *err)
{
	const char *path = cli_value(r->cli, "commands");
	Prompt *prompt = prompt_open(r->cli, path, "(replay) ", err);
	bool ok;

	if (prompt == NULL)
		return false;
	if (path == NULL)
		printf("%s %s; `help` lists the commands, Enter alone steps on\n",
			d->def->kind == KIND_REDUCER ? "reducer"
			: d->def->kind == KIND_RULE  ? "rule"
						     : "projection",
			d->def->path);
	ok = debugger_session(d, prompt, path != NULL && !cli_flag(r->cli, "json"), err);
	prompt_close(prompt);
	screen_conditions(d);
	return ok && debugger_summary(d, err);
}

static bool is_conversation(const Cli *cli)
{
	return has(cli, "commands") || (term_is_tty(stdin) && term_is_tty(stdout) &&
					       !has(cli, "json") && !has(cli, "quiet"));
}

static bool debug(Run *r, Err *err)
{
	Debugger *d = debugger_open(r->cli, r->script, r->h, r->source, &r->said, err);
	bool ok = false;

	if (d == NULL)
		return false;
	if (!add_points(r->cli, d, err) || !debugger_begin(d, err))
		goto out;
	if (is_conversation(r->cli)) {
		ok = converse(r, d, err);
	} else if (replay_source_is_changed(r->source) && d->npoints == 0) {
		ok = debugger_compare(d, true, err);
	} else {
		d->started_us = term_now_us();
		ok = show_all(r, d, err) &&
		     (!replay_source_is_changed(r->source) || debugger_compare(d, true, err));
	}
	r->failures += walk_failures(d->walk) + d->what_if_failures;
out:
	debugger_close(d);
	return ok;
}

static bool replay(Run *r, Err *err)
{
	const Definition *def = r->h->ops->definition(r->h);

	if (def->sql)
		return err_set(err, ERR_USAGE,
			"replay: %s says sql = true: its handlers ask and change the database "
			"itself, and a replay touches nothing",
			def->path);
	r->source = replay_source_open(r->cli, r->h, err);
	if (r->source == NULL)
		return false;
	r->batch = has(r->cli, "quiet") && !is_conversation(r->cli) && !has(r->cli, "break") &&
		   !has(r->cli, "watch") && !replay_source_is_changed(r->source);
	if (r->batch)
		return replay_batch(r->cli, r->h, r->source, &r->failures, err);
	return debug(r, err);
}

static int run(Cli *cli, int argc, char **argv)
{
	Run r = { .cli = cli };
	LuaOptions lua = { .workspace = cli->workspace, .log = on_log, .log_owner = &r };
	int code = EXIT_OK;
	Err err;

	if (argc != 1)
		return cli_usage(cli, "takes the name or the file of one script");
	r.script = argv[0];
	if (!cli_int(cli, "max", 0, INT64_MAX, &r.max, &err))
		return cli_fail(&err);
	r.h = loader_open(&lua, r.script, &err);
	if (r.h == NULL)
		return cli_fail(&err);
	cli_catch_stop(cli);
	if (!replay(&r, &err))
		code = cli_fail(&err);
	else if (r.failures > 0 && cli_flag(cli, "fail-on-error"))
		code = EXIT_FAILED;
	replay_source_close(r.source);
	r.h->ops->close(r.h);
	buf_free(&r.said);
	return code;
}

const Command cmd_replay = {
	.name = "replay",
	.summary = "run a script over the log again and watch it: step, back, break, what if",
	.usage = "SCRIPT",
	.details =
		"SCRIPT is a projection or a reducer, by its name or its file. Nothing is written "
		"and nothing is sent: the\n"
		"states are kept in memory, and the server refuses writes in these sessions.\n"
		"\n"
		"On a terminal it is a session: step, back, run, break, watch, goto, print, eval, "
		"lines, list … (`help` there).\n"
		"Ctrl-C interrupts a run. With --commands the same commands come from a file. "
		"Otherwise every event is shown,\n"
		"or with --break and --watch those where one of them, or an error, is hit. A "
		"condition that fails counts as false.\n"
		"\n"
		"--drop, --edit, --insert and --swap change the history that is replayed, never "
		"the log; what comes of it is\n"
		"shown as a difference to the true history. In a session, `compare` does.\n"
		"\n"
		"What the script refuses is shown, and is no failure of the replay: "
		"--fail-on-error "
		"makes it one.",
	.options = options,
	.examples = "  moonwake replay device_state\n"
		    "  moonwake replay device_state --aggregate device/d-17 --from 2026-01-02\n"
		    "  moonwake replay rollout_health --break 'state.crashed > 100' --max 1\n"
		    "  moonwake replay device_state --watch drift --json | jq .hits\n"
		    "  moonwake replay device_summary --quiet\n"
		    "  moonwake replay device_state --drop 4711\n"
		    "  moonwake replay device_state --edit '4711={\"data\":{\"new_state\":null}}'",
	.run = run,
};
