#include "app/cli.h"

static volatile sig_atomic_t stop_signal;

static void on_stop(int sig)
{
	stop_signal = sig;
}

/* In the order of the help. */
static const Command *const commands[] = { &cmd_init, &cmd_dev, &cmd_migrate, &cmd_check, &cmd_test,
	&cmd_run, &cmd_publish, &cmd_import, &cmd_tail, &cmd_status, &cmd_rebuild,
	&cmd_dead_letters, &cmd_alerts, &cmd_outbox, &cmd_audit, &cmd_state, &cmd_history,
	&cmd_diff, &cmd_blame, &cmd_replay, &cmd_bisect, &cmd_shrink, &cmd_backtest, &cmd_explain,
	&cmd_version, NULL };

int main(int argc, char **argv)
{
	Cli cli = { .commands = commands, .stop = &stop_signal, .on_stop = on_stop };

	return cli_main(&cli, argc, argv);
}
