#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "model/options.h"
#include "pg/pg_db.h"

#include <signal.h>

/* The command line: a table of commands, each a row of data and a function. A new command is a file
 * that exports one `const Command` and a line in main.c. */
typedef struct Cli Cli;

typedef struct {
	const char *name;
	const char *summary;   /* one line, lower case */
	const char *usage;     /* the words after the name: "[FILE]"; "" for none */
	const char *details;   /* paragraphs for `help NAME`; "" for none */
	const Option *options; /* its own; the general ones are always taken */
	const char *examples;  /* lines, each indented by two */
	/* argv: the words that are not options. Returns the exit code. */
	int (*run)(Cli *cli, int argc, char **argv);
} Command;

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct Cli {
	const Command *const *commands; /* ends with NULL */
	const Command *command;
	Options options;
	Arena *arena;          /* lives as long as the program */
	const char *workspace; /* -C; "." otherwise */
	PgTarget target;       /* --db, DATABASE_URL, PG*, or the workspace's running `dev` */
	PgTarget admin;        /* --admin-db; the same as target where that was not given */
	bool has_admin;
	/* Set by SIGINT and SIGTERM once cli_catch_stop() was called; before that they end the
	 * program. */
	const volatile sig_atomic_t *stop;
	void (*on_stop)(int signal);
};

/* Finds the command, parses the options, runs it. Returns the exit code. */
int cli_main(Cli *cli, int argc, char **argv);

/* Reports on stderr, `moonwake: message`, and returns the exit code that goes with the error's
 * kind. */
int cli_fail(const Err *err);

/* The same for what a person typed: adds where the help is. */
int cli_usage(const Cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The command's options: what was given, else the default. Names must be in its table or a general
 * one. */
const char *cli_value(const Cli *cli, const char *name);
bool cli_flag(const Cli *cli, const char *name);
bool cli_int(const Cli *cli, const char *name, int64_t min, int64_t max, int64_t *out, Err *err);

/* From here on Ctrl-C and SIGTERM only raise *cli->stop, and interrupt waiting system calls. */
void cli_catch_stop(Cli *cli);
static inline bool cli_stopped(const Cli *cli)
{
	return *cli->stop != 0;
}

/* A path below the workspace, in cli->arena: "projections" -> "WORKSPACE/projections". */
const char *cli_path(Cli *cli, const char *below);

extern const Command cmd_init, cmd_dev, cmd_migrate, cmd_check, cmd_run, cmd_publish, cmd_import,
	cmd_tail, cmd_status, cmd_rebuild, cmd_dead_letters, cmd_alerts, cmd_outbox, cmd_audit,
	cmd_test, cmd_state, cmd_blame, cmd_history, cmd_diff, cmd_replay, cmd_bisect, cmd_shrink,
	cmd_backtest, cmd_explain, cmd_version;
