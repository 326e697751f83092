#include "app/daemon.h"

static const Option options[] = {
	{ "until-caught-up", 0, NULL, NULL,
		"end when everything that was in the log at the start is handled" },
	{ "takeover-after", 0, "SECONDS", "10",
		"replace another daemon that gave no sign of life for so long" },
	{ "hang-after", 0, "SECONDS", "10",
		"restart and park a script that computes at one event for so long" },
	{ "slow-poll", 0, "MS", "1000",
		"look at the log so often even if nobody rings (0: never)" },
	{ "poll", 0, "MS", "0", "poll instead of using the doorbell (0: the doorbell)" },
	{ "linger", 0, "MS", "30",
		"stay awake so long after the last commit before listening for the doorbell" },
	{ "memory", 0, "MB", "64", "what a script may hold" },
	{ "state-memory", 0, "MB", "64", "states of a script that are kept in memory" },
	{ "no-supervisor", 0, NULL, NULL,
		"work in this process: a crash is not answered by a restart" },
	{ "quiet", 'q', NULL, NULL, "only warnings and errors" },
	{ 0 },
};

static int run(Cli *cli, int argc, char **argv)
{
	DaemonOptions o = daemon_defaults();
	int64_t takeover, hang, slow, fast, linger, memory, states;
	Err err;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	if (!cli_int(cli, "takeover-after", 1, 86400, &takeover, &err) ||
		!cli_int(cli, "hang-after", 1, 86400, &hang, &err) ||
		!cli_int(cli, "slow-poll", 0, 3600000, &slow, &err) ||
		!cli_int(cli, "poll", 0, 3600000, &fast, &err) ||
		!cli_int(cli, "linger", 0, 60000, &linger, &err) ||
		!cli_int(cli, "memory", 1, 65536, &memory, &err) ||
		!cli_int(cli, "state-memory", 1, 65536, &states, &err))
		return cli_fail(&err);
	o.until_caught_up = cli_flag(cli, "until-caught-up");
	o.supervise = !cli_flag(cli, "no-supervisor");
	o.quiet = cli_flag(cli, "quiet");
	o.takeover_after = (double)takeover;
	o.hang_after = (double)hang;
	o.slow_poll_ms = (unsigned)slow;
	o.fast_poll_ms = (unsigned)fast;
	o.linger_ms = (unsigned)linger;
	o.script_memory = (size_t)memory << 20;
	o.state_memory = (size_t)states << 20;
	return daemon_main(cli, &cli->target, &o);
}

const Command cmd_run = {
	.name = "run",
	.summary = "run the workspace's scripts over the log, live",
	.usage = "",
	.details = "Handles every event once and in order: first the history that a script has not "
		   "seen yet, then\n"
		   "what is appended. A saved file is loaded again at a batch boundary. Several "
		   "daemons may run on one\n"
		   "database; each consumer is at work in one of them. Ctrl-C stops at a batch "
		   "boundary.",
	.options = options,
	.examples =
		"  moonwake run\n"
		"  moonwake run --until-caught-up --db postgresql://moonwake_run@localhost/fleet",
	.run = run,
};
