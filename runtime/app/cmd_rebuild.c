#include "app/cli.h"
#include "app/migrate.h"

#include <stdio.h>

static const Option options[] = {
	{ "yes", 'y', NULL, NULL, "do not ask" },
	{ 0 },
};

static bool confirmed(const Cli *cli, const char *name)
{
	char answer[8] = "";

	if (cli_flag(cli, "yes"))
		return true;
	fprintf(stderr,
		"This empties the table of %s and fills it again from the whole log. Go on? [y/N] ",
		name);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	       (answer[0] == 'y' || answer[0] == 'Y');
}

static int run(Cli *cli, int argc, char **argv)
{
	const char *params[1];
	PgRows *rows = NULL;
	PgDb *db;
	Err err;

	if (argc != 1)
		return cli_usage(cli, "takes the name of one consumer");
	params[0] = argv[0];
	if (!confirmed(cli, argv[0])) {
		err_set(&err, ERR_STOPPED, "rebuild: nothing was changed");
		err_hint(&err, "answer y, or say --yes");
		return cli_fail(&err);
	}
	db = pg_db_open(&cli->target, &err);
	if (db != NULL && migrate_check(db, &err))
		rows = pg_db_run(db, SQL_CONSUMER_REBUILD, 1, params, &err);
	pg_db_close(db);
	if (rows == NULL)
		return cli_fail(&err);
	pg_rows_free(rows);
	printf("%s starts again at the beginning of the log (`moonwake status` shows how far it "
	       "is)\n",
		argv[0]);
	return EXIT_OK;
}

const Command cmd_rebuild = {
	.name = "rebuild",
	.summary = "fill a projection again from the whole log",
	.usage = "NAME",
	.details = "Empties the projection's table and sends its cursor back to the beginning, in "
		   "one transaction. A\n"
		   "daemon that runs begins at once; otherwise the next `moonwake run` does.",
	.options = options,
	.examples = "  moonwake rebuild device_summary\n  moonwake rebuild device_summary --yes",
	.run = run,
};
