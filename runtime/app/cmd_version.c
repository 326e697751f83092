#include "app/cli.h"

#include <stdio.h>

static const Option options[] = {
	{ "json", 0, NULL, NULL, "as one JSON document" },
	{ 0 },
};

static int run(Cli *cli, int argc, char **argv)
{
	size_t n = sql_migration_count();
	const char *schema = n > 0 ? sql_migration(n - 1)->name : "none";

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	if (cli_flag(cli, "json"))
		printf("{\"version\":\"%s\",\"migrations\":%zu,\"newest_migration\":\"%s\"}\n",
			MOONWAKE_VERSION, n, schema);
	else
		printf("moonwake %s (%zu migrations, the newest is %s)\n", MOONWAKE_VERSION, n,
			schema);
	return EXIT_OK;
}

const Command cmd_version = {
	.name = "version",
	.summary = "print the program's version and that of the schema it brings",
	.usage = "",
	.details = "",
	.options = options,
	.examples = "  moonwake version\n"
		    "  moonwake version --json",
	.run = run,
};
