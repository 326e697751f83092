#include "app/cli.h"

#include "app/cluster.h"
#include "app/term.h"

#include <stdlib.h>
#include <sys/stat.h>

static const Option general[] = {
	{ "workspace", 'C', "DIR", ".",
		"the workspace: the folder that holds projections/, rules/, scripts/" },
	{ "db", 0, "DSN", NULL,
		"the database, as a libpq conninfo or URI (default: DATABASE_URL, PG*)" },
	{ "schema", 0, "NAME", "moonwake", "the schema that moonwake lives in" },
	{ "admin-db", 0, "DSN", NULL,
		"the same database as its owner, for what needs the owner's rights" },
	{ "help", 'h', NULL, NULL, "what the command does, its options and examples" },
	{ "version", 0, NULL, NULL, "the program's version" },
	{ 0 },
};

int cli_fail(const Err *err)
{
	fflush(stdout);
	term_print(stderr, TERM_RED, "moonwake:");
	fprintf(stderr, " %s\n", err->message);
	if (err->trace[0] != '\0')
		fprintf(stderr, "%s\n", err->trace);
	return err->kind == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

int cli_usage(const Cli *cli, const char *fmt, ...)
{
	char text[512];
	va_list args;
	bool hinted;
	Err err;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	hinted = text[0] != '\0' && text[strlen(text) - 1] == ')';
	err_set(&err, ERR_USAGE, "%s", text);
	if (cli->command != NULL)
		err_prefix(&err, "%s", cli->command->name);
	if (!hinted && cli->command != NULL)
		err_hint(&err, "see moonwake help %s", cli->command->name);
	else if (!hinted)
		err_hint(&err, "see moonwake --help");
	return cli_fail(&err);
}

const char *cli_value(const Cli *cli, const char *name)
{
	return options_value(&cli->options, name);
}

bool cli_flag(const Cli *cli, const char *name)
{
	return options_flag(&cli->options, name);
}

bool cli_int(const Cli *cli, const char *name, int64_t min, int64_t max, int64_t *out, Err *err)
{
	return options_int(&cli->options, name, min, max, out, err) ||
	       err_prefix(err, "%s", cli->command->name);
}

void cli_catch_stop(Cli *cli)
{
	/* No SA_RESTART: a read or a wait that is under way ends, so that the flag is seen. */
	struct sigaction action = { .sa_handler = cli->on_stop }, before;

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* nohup's way of saying that the terminal may go. */
	if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &action, NULL);
}

const char *cli_path(Cli *cli, const char *below)
{
	if (strcmp(cli->workspace, ".") == 0)
		return arena_printf(cli->arena, "%s", below);
	return arena_printf(cli->arena, "%s/%s", cli->workspace, below);
}

/* The help. */

static void show_options(const Option *table)
{
	for (const Option *o = table; o->name != NULL; o++) {
		char letter[8] = "    ", left[64];

		if (o->letter != 0)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
			o->arg ? o->arg : "");
		printf("  %-30s %s", left, o->help);
		if (o->def != NULL && o->def[0] != '\0')
			printf(" (default: %s)", o->def);
		putchar('\n');
	}
}

static void heading(const char *text)
{
	putchar('\n');
	term_print(stdout, TERM_BOLD, "%s", text);
	putchar('\n');
}

static void show_help(const Cli *cli)
{
	printf("moonwake runs Lua projections and rules over an append-only event log in "
	       "PostgreSQL.\n");
	printf("\nusage: moonwake [-C WORKSPACE] [--db DSN] COMMAND [options]\n");
	heading("commands");
	for (const Command *const *c = cli->commands; *c != NULL; c++)
		printf("  %-14s %s\n", (*c)->name, (*c)->summary);
	heading("options of every command");
	show_options(general);
	printf("\nThe database is what --db says, else DATABASE_URL, else PGHOST, PGDATABASE and "
	       "their like,\n"
	       "else the embedded server of a `moonwake dev` that runs in the workspace.\n"
	       "NO_COLOR switches colours off. Exit code: 0 success, 1 the work failed, 2 wrong "
	       "usage.\n"
	       "\nStart with `moonwake init` and `moonwake dev`; `moonwake help COMMAND` has "
	       "examples.\n");
}

static void show_command_help(const Command *c)
{
	printf("moonwake %s: %s\n", c->name, c->summary);
	printf("\nusage: moonwake %s%s%s [options]\n", c->name, c->usage[0] ? " " : "", c->usage);
	if (c->details[0] != '\0')
		printf("\n%s\n", c->details);
	if (c->options != NULL && c->options->name != NULL) {
		heading("options");
		show_options(c->options);
	}
	heading("options of every command");
	show_options(general);
	heading("examples");
	printf("%s\n", c->examples);
}

/* Finding the command. */

static const Command *find_command(const Cli *cli, const char *name)
{
	for (const Command *const *c = cli->commands; *c != NULL; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

static int unknown_command(const Cli *cli, const char *name)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX;
	Err err;

	for (const Command *const *c = cli->commands; *c != NULL; c++)
		if (options_closer(name, (*c)->name, &best))
			nearest = (*c)->name;
	err_set(&err, ERR_USAGE, "'%.60s': no such command", name);
	if (nearest != NULL)
		err_hint(&err, "did you mean '%s'?", nearest);
	else
		err_hint(&err, "see moonwake --help");
	return cli_fail(&err);
}

/* True where the word is an option whose value is the next word, whichever command it belongs to.
 */
static bool takes_next(const Cli *cli, const char *word)
{
	const char *value;
	const Option *o = options_find(general, word, &value);

	for (const Command *const *c = cli->commands; o == NULL && *c != NULL; c++)
		o = options_find((*c)->options, word, &value);
	return o != NULL && o->arg != NULL && value == NULL;
}

/* The index of the first word that is neither an option nor an option's value; argc: none. Options
 * may stand before the command too. */
static int command_at(const Cli *cli, int argc, char **argv)
{
	int i = 1;

	while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0' && strcmp(argv[i], "--") != 0)
		i += takes_next(cli, argv[i]) ? 2 : 1;
	return i < argc && strcmp(argv[i], "--") != 0 ? i : argc;
}

/* What the general options mean. */

static bool env_names_server(void)
{
	static const char *const names[] = { "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE",
		"PGSERVICE" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (getenv(names[i]) != NULL)
			return true;
	return false;
}

static const char *choose_dsn(Cli *cli)
{
	const char *dsn = cli_value(cli, "db"), *url = getenv("DATABASE_URL");

	if (dsn != NULL)
		return dsn;
	if (url != NULL && url[0] != '\0')
		return url;
	return env_names_server() ? "" : cluster_running_dsn(cli->workspace, cli->arena);
}

static bool settle(Cli *cli, Err *err)
{
	struct stat st;

	cli->workspace = cli_value(cli, "workspace");
	if (stat(cli->workspace, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(err, ERR_USAGE, "%s: no such folder (-C names the workspace)",
			cli->workspace);
	cli->target.dsn = choose_dsn(cli);
	cli->target.schema = cli_value(cli, "schema");
	cli->target.role = arena_printf(cli->arena, "moonwake %s", cli->command->name);
	if (strspn(cli->target.schema, "abcdefghijklmnopqrstuvwxyz0123456789_") !=
			strlen(cli->target.schema) ||
		cli->target.schema[0] == '\0' || strlen(cli->target.schema) > 63)
		return err_set(err, ERR_USAGE,
			"option '--schema': a name has 1 to 63 lower-case letters, digits and "
			"underscores");
	cli->admin = cli->target;
	cli->has_admin = cli_value(cli, "admin-db") != NULL;
	if (cli->has_admin)
		cli->admin.dsn = cli_value(cli, "admin-db");
	return true;
}

static int help_for(Cli *cli, const char *name)
{
	if (name == NULL) {
		show_help(cli);
		return EXIT_OK;
	}
	cli->command = find_command(cli, name);
	if (cli->command == NULL)
		return unknown_command(cli, name);
	show_command_help(cli->command);
	return EXIT_OK;
}

static int run_command(Cli *cli, int argc, char **argv)
{
	Err err;

	if (!settle(cli, &err))
		return cli_fail(&err);
	return cli->command->run(cli, argc, argv);
}

/* A command may mean something else by that word: `state --version 12`. */
static bool asks_for_version(const Cli *cli)
{
	const Option *own = cli->command != NULL ? cli->command->options : NULL;
	const char *value;

	return cli_flag(cli, "version") && options_find(own, "--version", &value) == NULL;
}

static int dispatch(Cli *cli, int argc, char **argv)
{
	int at = command_at(cli, argc, argv), n = argc - 1;
	const char *name = at < argc ? argv[at] : NULL;
	bool help = name != NULL && strcmp(name, "help") == 0;
	Err err;

	if (name != NULL && !help && (cli->command = find_command(cli, name)) == NULL)
		return unknown_command(cli, name);
	cli->options.tables[0] = cli->command != NULL ? cli->command->options : NULL;
	cli->options.tables[1] = general;
	if (name != NULL)
		memmove(argv + at, argv + at + 1, (size_t)(--n - at + 1) * sizeof(*argv));
	if (!options_parse(&cli->options, &n, argv + 1, &err))
		return cli_usage(cli, "%s", err.message);
	argv[n + 1] = NULL;
	if (help)
		return help_for(cli, n > 0 ? argv[1] : NULL);
	if (asks_for_version(cli)) {
		cli->options.tables[0] = cmd_version.options;
		return cmd_version.run(cli, 0, NULL);
	}
	if (cli_flag(cli, "help") || name == NULL)
		return name == NULL && !cli_flag(cli, "help") ? (show_help(cli), EXIT_USAGE)
							      : help_for(cli, name);
	return run_command(cli, n, argv + 1);
}

int cli_main(Cli *cli, int argc, char **argv)
{
	int code;
	Err err;

	cli->arena = arena_new(4096);
	code = dispatch(cli, argc, argv);
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_OK) {
		err_set(&err, ERR_IO,
			"stdout: not everything could be written (is the disk full?)");
		code = cli_fail(&err);
	}
	arena_free(cli->arena);
	return code;
}
