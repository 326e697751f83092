#include "app/cli.h"
#include "app/migrate.h"
#include "app/term.h"

#include <stdlib.h>
#include <unistd.h>

static const Option options[] = {
	{ "lines", 'n', "N", "10", "begin with the last N events" },
	{ "from", 0, "WHERE", NULL,
		"begin with the event of this id, or at `start`, or with what comes `now`" },
	{ "types", 0, "LIST", "",
		"only these event types, comma-separated; * stands for any characters" },
	{ "no-follow", 0, NULL, NULL, "end after the last event there is" },
	{ "json", 0, NULL, NULL, "one JSON object per event" },
	{ 0 },
};

/* The bell may not ring while a daemon is awake and idle between batches: a slow poll stands behind
 * it. */
enum { PAGE = 500, POLL_MS = 1000 };

typedef struct {
	const Cli *cli;
	PgDb *db;
	int64_t position;
	bool lost;   /* the server is away, and that was said */
	bool placed; /* the position is known: a new connection goes on from it */
	bool json, tty;
	int width;
} Tail;

static void print_event(const Tail *t, const PgRows *rows, int row)
{
	const char *data = pg_rows_text(rows, row, 7);
	int used;

	if (t->json) {
		puts(pg_rows_text(rows, row, 8));
		return;
	}
	used = printf("%s  %s  ", pg_rows_text(rows, row, 1), pg_rows_text(rows, row, 6));
	term_print(stdout, TERM_CYAN, "%s", pg_rows_text(rows, row, 2));
	used += printf("  %s %s v%s  ", pg_rows_text(rows, row, 3), pg_rows_text(rows, row, 4),
		pg_rows_text(rows, row, 5));
	used += (int)strlen(pg_rows_text(rows, row, 2));
	if (!t->tty)
		puts(data);
	else
		printf("%.*s\n", t->width > used + 20 ? t->width - used : 20, data);
}

static bool single(PgDb *db, SqlId id, int n, const char *const *params, int64_t *out, Err *err)
{
	PgRows *rows = pg_db_run(db, id, n, params, err);

	if (rows == NULL)
		return false;
	*out = pg_rows_i64(rows, 0, 0);
	pg_rows_free(rows);
	return true;
}

/* Where to begin, by --from or -n. */
static bool place(Tail *t, Err *err)
{
	const char *from = cli_value(t->cli, "from");
	const char *params[] = { cli_value(t->cli, "types"), cli_value(t->cli, "lines") };
	char *end;

	if (t->placed)
		return true;
	t->placed = true;
	if (from == NULL)
		return single(t->db, SQL_TAIL_LAST, 2, params, &t->position, err);
	if (strcmp(from, "now") == 0)
		return single(t->db, SQL_TAIL_NOW, 0, NULL, &t->position, err);
	t->position = strcmp(from, "start") == 0 ? 0 : strtoll(from, &end, 10) - 1;
	return true;
}

static bool check_words(const Cli *cli, Err *err)
{
	const char *from = cli_value(cli, "from");
	int64_t n;
	char *end;

	if (!cli_int(cli, "lines", 0, 1000000, &n, err))
		return false;
	if (from == NULL || strcmp(from, "now") == 0 || strcmp(from, "start") == 0)
		return true;
	n = strtoll(from, &end, 10);
	return (end != from && *end == '\0' && n > 0) ||
	       err_set(err, ERR_USAGE,
		       "tail: --from takes an event's id, `start` or `now`, not '%.40s'", from);
}

/* Prints one page; *more: there may be another right behind it. */
static bool read_page(Tail *t, bool *more, Err *err)
{
	char position[32], max[16];
	const char *params[] = { position, cli_value(t->cli, "types"), max };
	PgRows *rows;
	int n;

	snprintf(position, sizeof(position), "%lld", (long long)t->position);
	snprintf(max, sizeof(max), "%d", PAGE);
	rows = pg_db_run(t->db, SQL_TAIL_READ, 3, params, err);
	if (rows == NULL)
		return false;
	n = pg_rows_count(rows);
	for (int row = 0; row < n; row++) {
		if (!pg_rows_null(rows, row, 1))
			print_event(t, rows, row);
		*more = pg_rows_i64(rows, row, 0) > t->position;
		t->position = pg_rows_i64(rows, row, 0);
	}
	pg_rows_free(rows);
	fflush(stdout);
	return true;
}

static bool follow(Tail *t, Err *err)
{
	bool once = cli_flag(t->cli, "no-follow");

	while (!cli_stopped(t->cli) && !ferror(stdout)) {
		bool more = false;

		if (!read_page(t, &more, err))
			return false;
		if (more)
			continue;
		if (once)
			return true;
		if (!pg_db_wait_notify(t->db, POLL_MS, err) && err->kind != ERR_NONE)
			return false;
	}
	return true;
}

static bool connect_and_follow(Tail *t, Err *err)
{
	PgRows *rows;
	bool ok;

	t->db = pg_db_open(&t->cli->target, err);
	if (t->db == NULL)
		return false;
	ok = migrate_check(t->db, err);
	/* Listening comes before the first look: what is appended in between rings. */
	rows = ok ? pg_db_run(t->db, SQL_LISTEN, 0, NULL, err) : NULL;
	t->lost = t->lost && rows == NULL;
	ok = rows != NULL && place(t, err) && follow(t, err);
	pg_rows_free(rows);
	pg_db_close(t->db);
	t->db = NULL;
	return ok;
}

/* Once it was connected, a server that goes away is waited for. */
static bool wait_for_server(Tail *t, const Err *err)
{
	if (!t->placed || err->kind != ERR_CONN || cli_stopped(t->cli))
		return false;
	if (!t->lost)
		fprintf(stderr,
			"moonwake: tail: the connection was lost; waiting for the server\n");
	t->lost = true;
	usleep(500000);
	return true;
}

static int run(Cli *cli, int argc, char **argv)
{
	Tail t = { .cli = cli, .json = cli_flag(cli, "json"), .tty = term_is_tty(stdout) };
	bool ok;
	Err err;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	if (!check_words(cli, &err))
		return cli_fail(&err);
	t.width = term_width(stdout);
	cli_catch_stop(cli);
	while (!(ok = connect_and_follow(&t, &err)) && wait_for_server(&t, &err))
		;
	if (!ok && !cli_stopped(cli))
		return cli_fail(&err);
	return EXIT_OK;
}

const Command cmd_tail = {
	.name = "tail",
	.summary = "print events as they are appended",
	.usage = "",
	.details = "Only settled events are shown, in the order of their ids, none twice and none "
		   "left out. Ctrl-C ends it;\n"
		   "a server that goes away is waited for.",
	.options = options,
	.examples = "  moonwake tail\n"
		    "  moonwake tail --types 'container.*,device.offline' --from now\n"
		    "  moonwake tail --from start --no-follow --json | jq .data",
	.run = run,
};
