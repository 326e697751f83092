#include "app/explain.h"
#include "app/migrate.h"

static const Option options[] = {
	{ "why-not", 0, NULL, NULL, "RULE KEY: the first thing that keeps the rule from firing" },
	{ "at", 0, "TIME", NULL, "with --why-not: as it was then, by the rule's clock" },
	{ "json", 0, NULL, NULL, "one JSON document" },
	{ 0 },
};

static int explain_one(Cli *cli, const char *prefix)
{
	Explained x = { .cli = cli };
	int code = EXIT_OK;
	Err err = { 0 };

	x.db = pg_db_open(&cli->target, &err);
	if (x.db == NULL || !migrate_check(x.db, &err) || !explain_episode(&x, prefix, &err))
		code = cli_fail(&err);
	else if (cli_flag(cli, "json"))
		explain_show_json(&x);
	else
		explain_show(&x);
	explain_free(&x);
	pg_db_close(x.db);
	return code;
}

static int run(Cli *cli, int argc, char **argv)
{
	cli_catch_stop(cli);
	if (cli_flag(cli, "why-not"))
		return explain_why_not(cli, argc, argv);
	if (cli_value(cli, "at") != NULL)
		return cli_usage(cli, "--at goes with --why-not");
	if (argc != 1)
		return cli_usage(cli, "takes one episode (or --why-not, a rule and a key)");
	return explain_one(cli, argv[0]);
}

const Command cmd_explain = {
	.name = "explain",
	.summary = "why an alert fired, or why a rule does not: events, values, timers, mutes, "
		   "deliveries",
	.usage = "EPISODE | --why-not RULE KEY…",
	.details =
		"An EPISODE is the id of an alert, or the beginning of one (`moonwake alerts` "
		"lists them): its steps with\n"
		"what the rule saw and asked at each, the events that led to it, mutes with their "
		"reasons, who took it, and\n"
		"every try to tell somebody. The rule is the version that a daemon ran last, over "
		"the events of the key.\n"
		"\n"
		"--why-not runs the rule of the workspace over the events of one key, up to now or "
		"--at, and says what was\n"
		"looked at last and what is not fulfilled, with values. A KEY is a word for each "
		"part in the order of their\n"
		"names, one word with / between them, or JSON. Nothing is written.",
	.options = options,
	.examples = "  moonwake explain 0a1b2c3d\n"
		    "  moonwake explain --why-not crash_loop d-17\n"
		    "  moonwake explain --why-not crash_loop d-17 agent --at '2h ago' --json",
	.run = run,
};
