#include "app/cli.h"
#include "app/cluster.h"
#include "app/daemon.h"
#include "app/migrate.h"
#include "app/term.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const Option options[] = {
	{ "shell", 0, "CMD", NULL,
		"run this shell command instead of the daemon, with DATABASE_URL set" },
	{ "until-caught-up", 0, NULL, NULL, "end when everything that is in the log is handled" },
	{ "quiet", 'q', NULL, NULL, "only warnings and errors" },
	{ 0 },
};

static bool migrate(Cli *cli, const Cluster *cluster, Err *err)
{
	PgTarget target = {
		.dsn = cluster->admin_dsn, .schema = cli->target.schema, .role = cli->target.role
	};
	MigrateOptions how = { 0 };
	size_t applied;
	PgDb *db = pg_db_open(&target, err);
	bool ok = db != NULL && migrate_apply(db, &how, &applied, err);

	pg_db_close(db);
	return ok;
}

/* What a child needs to reach the server: DATABASE_URL for most programs, PG* for psql and its
 * like. */
static void set_environment(const Cluster *cluster)
{
	setenv("DATABASE_URL", cluster->admin_dsn, 1);
	setenv("PGHOST", cluster->socket, 1);
	setenv("PGPORT", "5432", 1);
	setenv("PGUSER", "postgres", 1);
	setenv("PGDATABASE", "moonwake", 1);
}

static pid_t start_child(const Cluster *cluster, char **argv)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	set_environment(cluster);
	execvp(argv[0], argv);
	fprintf(stderr, "moonwake: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Waits for the child; a signal to stop is passed on. Ctrl-C reaches it from the terminal as well,
 * which does no harm. */
static int await_child(const Cli *cli, pid_t pid)
{
	bool passed = false;
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
		if (cli_stopped(cli) && !passed)
			kill(pid, *cli->stop);
		passed = cli_stopped(cli);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_child(Cli *cli, const Cluster *cluster, char **argv)
{
	pid_t pid = start_child(cluster, argv);
	Err err;

	if (pid > 0)
		return await_child(cli, pid);
	err_set(&err, ERR_IO, "%s: %s", argv[0], strerror(errno));
	return cli_fail(&err);
}

static int run_daemon(Cli *cli, const Cluster *cluster)
{
	DaemonOptions how = daemon_defaults();
	PgTarget target = {
		.dsn = cluster->run_dsn, .schema = cli->target.schema, .role = cli->target.role
	};

	how.supervise = true;
	how.quiet = cli_flag(cli, "quiet");
	how.until_caught_up = cli_flag(cli, "until-caught-up");
	cli->admin = target;
	cli->admin.dsn = cluster->admin_dsn;
	cli->has_admin = true;
	return daemon_main(cli, &target, &how);
}

static int run_in_cluster(Cli *cli, const Cluster *cluster, int argc, char **argv)
{
	const char *shell = cli_value(cli, "shell");
	char *words[] = { "/bin/sh", "-c", (char *)shell, NULL };
	Err err;

	if (!migrate(cli, cluster, &err))
		return cli_fail(&err);
	if (!cli_flag(cli, "quiet"))
		fprintf(stderr, "moonwake: dev: the database is DATABASE_URL='%s'\n",
			cluster->admin_dsn);
	if (cli_stopped(cli))
		return EXIT_OK;
	if (shell != NULL)
		return run_child(cli, cluster, words);
	return argc > 0 ? run_child(cli, cluster, argv) : run_daemon(cli, cluster);
}

static int run(Cli *cli, int argc, char **argv)
{
	Cluster cluster;
	int code;
	Err err;

	if (cli_value(cli, "shell") != NULL && argc > 0)
		return cli_usage(cli, "takes --shell CMD or -- CMD, not both");
	/* The server is to be stopped whatever happens to us: no signal may end us before that. */
	cli_catch_stop(cli);
	if (!cluster_start(cli->workspace, &cluster, &err))
		return cli_fail(&err);
	code = run_in_cluster(cli, &cluster, argc, argv);
	cluster_stop(&cluster);
	return code;
}

const Command cmd_dev = {
	.name = "dev",
	.summary = "run everything with an embedded PostgreSQL: no server, no configuration",
	.usage = "[-- CMD ARGS…]",
	.details = "Starts a private PostgreSQL cluster that lies in the workspace's .moonwake/ "
		   "folder (made at the first time),\n"
		   "brings its schema up to date, runs the workspace's scripts as `moonwake run` "
		   "does, and stops the cluster\n"
		   "at the end. While it runs, other moonwake commands in the same workspace use "
		   "its database. With a\n"
		   "command, that is run instead of the daemon, with DATABASE_URL and PGHOST … "
		   "set. As root the server runs\n"
		   "as the user postgres; where that cannot reach the workspace, the cluster is in "
		   "/var/lib/moonwake.",
	.options = options,
	.examples = "  moonwake dev\n"
		    "  moonwake dev -- psql\n"
		    "  moonwake dev --shell 'moonwake import events.ndjson && moonwake run "
		    "--until-caught-up'",
	.run = run,
};
