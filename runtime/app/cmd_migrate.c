#include "app/cli.h"
#include "app/migrate.h"
#include "app/term.h"

static const Option options[] = {
	{ "dry-run", 0, NULL, NULL, "list what is pending and change nothing" },
	{ "json", 0, NULL, NULL, "one JSON object per migration" },
	{ 0 },
};

static void report(void *owner, MigrateStep step, const SqlMigration *m)
{
	const Cli *cli = owner;
	const char *word = step == MIGRATE_PENDING ? "pending" : "applied";

	if (cli_flag(cli, "json"))
		printf("{\"migration\":\"%s\",\"number\":%d,\"state\":\"%s\"}\n", m->name,
			m->number, word);
	else
		printf("%s %s\n", word, m->name);
	fflush(stdout);
}

static void summary(const Cli *cli, size_t n, bool dry_run)
{
	size_t all = sql_migration_count();

	if (cli_flag(cli, "json"))
		return;
	if (n == 0)
		printf("schema %s is up to date (%zu migrations)\n", cli->admin.schema, all);
	else if (dry_run)
		printf("%zu of %zu migrations would be applied to schema %s\n", n, all,
			cli->admin.schema);
	else
		printf("schema %s is installed (%zu of %zu migrations applied now)\n",
			cli->admin.schema, n, all);
}

static void on_notice(void *owner, const char *text)
{
	size_t n = strlen(text);

	(void)owner;
	if (n < 8 || strcmp(text + n - 8, "skipping") != 0)
		fprintf(stderr, "moonwake: migrate: %s\n", text);
}

static int run(Cli *cli, int argc, char **argv)
{
	MigrateOptions how = {
		.dry_run = cli_flag(cli, "dry-run"), .report = report, .owner = cli
	};
	size_t applied = 0;
	PgDb *db;
	bool ok;
	Err err;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	db = pg_db_open(&cli->admin, &err);
	if (db == NULL)
		return cli_fail(&err);
	pg_db_on_notice(db, on_notice, NULL);
	ok = migrate_apply(db, &how, &applied, &err);
	pg_db_close(db);
	if (!ok)
		return cli_fail(&err);
	summary(cli, applied, how.dry_run);
	return EXIT_OK;
}

const Command cmd_migrate = {
	.name = "migrate",
	.summary = "install or upgrade the schema in the database",
	.usage = "",
	.details = "Applies the schema's migrations that the database does not have yet: in order, "
		   "each in a\n"
		   "transaction of its own, one migrate at a time. Doing it twice does nothing. It "
		   "needs the rights\n"
		   "of a superuser, or of the database's owner with CREATEROLE; --admin-db names "
		   "such a connection.",
	.options = options,
	.examples = "  moonwake migrate --db postgresql://postgres@localhost/fleet\n"
		    "  moonwake migrate --dry-run",
	.run = run,
};
