#include "app/cli.h"
#include "app/term.h"
#include "app/trial.h"
#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

static const Option options[] = {
	{ "filter", 0, "PATTERN", NULL, "only tests whose full name matches this Lua pattern" },
	{ "list", 0, NULL, NULL, "print the names of the tests and run none" },
	{ "coverage", 0, NULL, NULL,
		"show which lines of the handlers, and which event types, no test reached" },
	{ "junit", 0, "FILE", NULL, "also write the results as JUnit XML" },
	{ "tap", 0, NULL, NULL, "print TAP, for a harness" },
	{ "json", 0, NULL, NULL, "one JSON object per test (and per file, with --coverage)" },
	{ "seed", 0, "N", "1", "where the determinism guard cuts its pages and restarts" },
	{ 0 },
};

static void add_member(Buf *out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	json_add_string(out, str_from(name));
	buf_addc(out, ':');
	json_add_string(out, str_from(value));
	buf_addc(out, ',');
}

static void add_flag(Cli *cli, Buf *out, const char *name)
{
	buf_addf(out, "\"%s\":%s,", name, cli_flag(cli, name) ? "true" : "false");
}

/* The file is named from where the program was called, and written after the change of folder. */
static const char *absolute(Cli *cli, const char *path)
{
	char here[PATH_MAX];

	if (path == NULL || path[0] == '/' || getcwd(here, sizeof(here)) == NULL)
		return path;
	return arena_printf(cli->arena, "%s/%s", here, path);
}

static void add_options(Cli *cli, int argc, char **argv, int64_t seed, Buf *out)
{
	static const char *const flags[] = { "list", "coverage", "tap", "json" };

	buf_addc(out, '{');
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		add_flag(cli, out, flags[i]);
	add_member(out, "filter", cli_value(cli, "filter"));
	add_member(out, "junit", absolute(cli, cli_value(cli, "junit")));
	buf_addf(out, "\"colour\":%s,\"seed\":%lld,\"paths\":[",
		term_has_colour(stdout) ? "true" : "false", (long long)seed);
	for (int i = 0; i < argc; i++) {
		if (i > 0)
			buf_addc(out, ',');
		json_add_string(out, str_from(argv[i]));
	}
	buf_adds(out, "]}");
}

static void show_log(void *owner, const char *script, const char *line)
{
	(void)owner;
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", script, line);
}

static int run_specs(Cli *cli, Str texts)
{
	LuaOptions lua = { .log = show_log };
	bool passed = false;
	Err err;

	if (!lua_spec_run(&trial_ops, &lua, texts, &passed, &err)) {
		err_prefix(&err, "%s", cli->command->name);
		return cli_fail(&err);
	}
	return passed ? EXIT_OK : EXIT_FAILED;
}

static int run(Cli *cli, int argc, char **argv)
{
	Buf texts = { 0 };
	int64_t seed = 1;
	int code;
	Err err;

	if (cli_flag(cli, "tap") && cli_flag(cli, "json"))
		return cli_usage(cli, "--tap and --json do not go together");
	if (!cli_int(cli, "seed", 0, INT32_MAX, &seed, &err))
		return cli_fail(&err);
	for (int i = 0; i < argc; i++)
		if (!json_storable(str_from(argv[i])))
			return cli_usage(cli, "a path is not UTF-8");
	add_options(cli, argc, argv, seed, &texts);
	if (chdir(cli->workspace) != 0) {
		err_set(&err, ERR_IO, "%s: %s", cli->workspace, strerror(errno));
		code = cli_fail(&err);
	} else {
		code = run_specs(cli, buf_str(&texts));
	}
	buf_free(&texts);
	return code;
}

const Command cmd_test = {
	.name = "test",
	.summary = "run the workspace's specs of its scripts, without a database",
	.usage = "[PATH…]",
	.details =
		"A spec is a file spec/NAME_spec.lua for busted (Debian's lua-busted, which must "
		"be "
		"installed). It gives the script\n"
		"NAME events and says what the rows are to be:\n"
		"\n"
		"  describe(\"device_summary\", function()\n"
		"    it(\"counts crashes\", function()\n"
		"      given { { \"device.online\", \"d-1\" } }\n"
		"      advance \"1h\"\n"
		"      when { { \"container.crashed\", \"c-1\", { device_uuid = \"d-1\", exit_code "
		"= 137 } } }\n"
		"      expect_row(\"d-1\", { online = true, crashes = 1 })\n"
		"    end)\n"
		"  end)\n"
		"\n"
		"  script \"NAME\"              the script under test, where the file's name does "
		"not say it; a path does too\n"
		"  given { … }, when { … }    events: { \"type\", \"aggregate_id\", { data }, at = "
		"\"2026-01-02\", field = value }.\n"
		"                             Fields of the list go for all. The aggregate type is "
		"the type's first word (a\n"
		"                             reducer's own), ids and versions rise by one, time "
		"by a second from 2026-01-01\n"
		"  advance(\"1h30m\")           the next event comes so much later (seconds, or "
		"ms, s, m, h, d, w); a rule's timers\n"
		"                             fire meanwhile, each at its time\n"
		"  expect_row(key, fields)    the row has these fields, maybe others; "
		"exactly { … }: no others; absent: no row.\n"
		"                             expect_state is the same, for reducers and "
		"documents. "
		"Composite keys are lists\n"
		"  expect_error(\"pattern\")    the last event failed; one that fails otherwise "
		"fails the test\n"
		"  row(key), state(key), rows()   Lua values, for asserts of your own\n"
		"\n"
		"  Of a rule:\n"
		"  expect_alert(key, fields)  it fires (or state = \"pending\") with this "
		"severity, "
		"reason, summary, labels, subject …\n"
		"  expect_no_alert(key)       nothing is pending or firing; without a key: for no "
		"key\n"
		"  expect_resolved(key, fields)   its last alert is over\n"
		"  expect_event(type, fields), expect_act(kind, fields)   what it emitted and "
		"asked "
		"for; nothing is done\n"
		"  alerts()                   all of them, for asserts of your own\n"
		"\n"
		"  json, array, decimal, time, iso, utc_date   as in scripts; absent stands for "
		"\"is "
		"not there\"\n"
		"\n"
		"At the end of each test its history is handled again by fresh copies of the "
		"script: one by one, all at once, with\n"
		"pages cut at random, rolled back, and with restarts. Other rows or alerts than "
		"before fail the test: such a script\n"
		"would give others in a replay, too.\n"
		"\n"
		"Without a PATH: the spec files in spec/ and in spec/projections, spec/reducers, "
		"spec/rules, spec/upcasters (there\n"
		"the folder says the kind of script). A PATH is a file, a folder, or a script's "
		"name.",
	.options = options,
	.examples = "  moonwake test\n"
		    "  moonwake test device_summary --coverage\n"
		    "  moonwake test --filter 'counts' --junit build/specs.xml",
	.run = run,
};
