#include "app/builder.h"

#include "app/daemon.h"
#include "app/loader.h"
#include "app/term.h"
#include "app/versions.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_US 100000
#define ALONE   30 /* so many looks without a daemon, and a child does the work */

static bool plain(const char *name)
{
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static Handler *open_file(const Build *b, bool *there, Err *err)
{
	LuaOptions lua = { .workspace = b->cli->workspace };
	Buf below = { 0 };
	const char *path;

	buf_addf(&below, "projections/%s.lua", b->name);
	path = cli_path(b->cli, below.s);
	buf_free(&below);
	*there = plain(b->name) && access(path, F_OK) == 0;
	return *there ? loader_open(&lua, b->name, err) : NULL;
}

static bool start(Build *b, const Definition *def, Err *err)
{
	const char *params[] = { b->name, def ? def->spec.s : NULL, def ? def->digest : NULL,
		b->approved ? "t" : "f" };
	PgRows *rows = pg_db_run(b->db, SQL_VERSION_START, 4, params, err);

	if (rows != NULL)
		snprintf(b->build, sizeof(b->build), "%s", pg_rows_text(rows, 0, 0));
	pg_rows_free(rows);
	return rows != NULL;
}

bool builder_start(Build *b, Err *err)
{
	bool there, ok = true;
	Handler *h = open_file(b, &there, err);
	const Definition *def = h ? h->ops->definition(h) : NULL;

	if (there && h == NULL)
		return false;
	if (def != NULL) {
		const char *params[] = { def->digest, def->path, def->files.s };
		PgRows *rows = pg_db_run(b->db, SQL_KEEP_SOURCE, 3, params, err);

		ok = rows != NULL;
		pg_rows_free(rows);
	}
	ok = ok && start(b, def, err);
	if (h != NULL)
		h->ops->close(h);
	return ok;
}

/* The connection is the parent's: the child leaves it alone, and ends without cleaning up. */
static pid_t work(const Build *b)
{
	DaemonOptions how = daemon_defaults();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	how.until_caught_up = true;
	how.supervise = false;
	how.quiet = true;
	how.only = b->name;
	_exit(daemon_main(b->cli, &b->cli->target, &how));
}

static int row_of(const Build *b, const PgRows *v)
{
	for (int i = 0; i < pg_rows_count(v); i++)
		if (strcmp(pg_rows_text(v, i, V_BUILD), b->build) == 0)
			return i;
	return -1;
}

/* Where nobody but its daemon, or we, can help: what stands in the way. */
static bool stuck(const Build *b, const PgRows *v, int row, Err *err)
{
	const char *state = versions_state(v, row);

	if (strcmp(state, "parked") == 0 || strcmp(state, "quarantined") == 0) {
		err_set(err, ERR_SCRIPT, "%s: the new version stopped at event %s: %s", b->name,
			pg_rows_text(v, row, V_ERROR_EVENT), pg_rows_text(v, row, V_ERROR));
		err_hint(err, "the live one goes on; correct the file, or --cancel");
		return true;
	}
	if (strcmp(state, "paused") == 0) {
		err_set(err, ERR_STOPPED, "%s: building is paused", b->name);
		err_hint(err, "--resume goes on");
		return true;
	}
	if (strcmp(state, "refused") == 0) {
		err_set(err, ERR_DATA, "%s", pg_rows_text(v, row, V_NOTE));
		return true;
	}
	return false;
}

typedef struct {
	Build *b;
	Progress progress;
	int64_t first; /* the position at which we began to look */
	pid_t child;   /* 0: none */
	bool ended;    /* … any more */
	int alone;
	char said[1024];
} Watch;

static void show(Watch *w, const PgRows *v, int row)
{
	int64_t position = pg_rows_i64(v, row, V_POSITION), head = pg_rows_i64(v, row, V_HEAD);
	const char *note = pg_rows_text(v, row, V_NOTE);

	if (w->first < 0) {
		w->first = position;
		progress_start(&w->progress, "events", head);
	}
	w->progress.total = head;
	if (strcmp(versions_state(v, row), "building") == 0)
		progress_show(&w->progress, position < head ? position : head, position - w->first);
	if (note[0] != '\0' && strcmp(note, w->said) != 0) {
		progress_end(&w->progress);
		fprintf(stderr, "moonwake: %s: %s\n", w->b->name, note);
		snprintf(w->said, sizeof(w->said), "%s", note);
	}
}

/* Reaps the child, or starts one where nobody works for us. */
static void tend(Watch *w, const PgRows *v, int row)
{
	int status;

	if (w->child > 0 && waitpid(w->child, &status, WNOHANG) == w->child) {
		w->child = 0;
		w->ended = true;
	}
	w->alone = pg_rows_bool(v, row, V_OWNED) || w->child > 0 ? 0 : w->alone + 1;
	if (w->child == 0 && !w->ended && (w->alone > ALONE || (w->alone == 1 && w->first < 0)))
		w->child = work(w->b);
}

static void stop_child(Watch *w)
{
	if (w->child <= 0)
		return;
	kill(w->child, SIGTERM);
	while (waitpid(w->child, NULL, 0) < 0 && errno == EINTR)
		;
	w->child = 0;
	w->ended = true;
}

/* The child has come to the end of the log; what is left needs no daemon. */
static void step(Watch *w, const char *state)
{
	const char *params[] = { w->b->name };
	PgRows *rows;
	bool go;
	Err err;

	if (strcmp(state, "building") == 0)
		return;
	w->alone = 0;
	rows = pg_db_run(w->b->db, SQL_VERSION_STEP, 1, params, &err);
	go = rows != NULL && strcmp(pg_rows_text(rows, 0, 0), "go") == 0;
	pg_rows_free(rows);
	if (!go)
		return;
	rows = pg_db_run(w->b->db, SQL_VERSION_PROMOTE, 1, params, &err);
	if (rows == NULL &&
		strcmp(err.sqlstate, "MW011") == 0) /* what was compared holds no longer */
		rows = pg_db_run(w->b->db, SQL_VERSION_COMPARE_AGAIN, 1, params, &err);
	pg_rows_free(rows);
}

/* One look: 1 over, 0 not yet, -1 failed. */
static int look(Watch *w, Err *err)
{
	PgRows *v = versions_list(w->b->db, w->b->name, err);
	int row = v ? row_of(w->b, v) : -1, result = 0;
	const char *state = row >= 0 ? versions_state(v, row) : "";

	if (v == NULL)
		return -1;
	if (row < 0) {
		err_set(err, ERR_STOPPED,
			"%s: the new version was given up, or another took its place", w->b->name);
		result = -1;
	} else if (strcmp(state, "live") == 0) {
		w->b->outcome = BUILD_LIVE;
		result = 1;
	} else if (strcmp(state, "ready") == 0) {
		w->b->outcome = BUILD_READY;
		result = 1;
	} else if (stuck(w->b, v, row, err)) {
		result = -1;
	} else {
		tend(w, v, row);
		show(w, v, row);
		if (w->ended && !pg_rows_bool(v, row, V_OWNED))
			step(w, state);
		if (w->ended && w->alone > ALONE) {
			err_set(err, ERR_STOPPED, "%s: building stopped at event %s", w->b->name,
				pg_rows_text(v, row, V_POSITION));
			err_hint(err, "say `moonwake rebuild %s` again, or start a daemon",
				w->b->name);
			result = -1;
		}
	}
	pg_rows_free(v);
	return result;
}

bool builder_await(Build *b, Err *err)
{
	Watch w = { .b = b, .first = -1 };
	int result = 0;
	bool own;

	while (result == 0 && !cli_stopped(b->cli)) {
		result = look(&w, err);
		if (result == 0)
			usleep(LOOK_US);
	}
	own = w.child > 0;
	progress_end(&w.progress);
	stop_child(&w);
	if (result == 0) {
		err_set(err, ERR_STOPPED, "%s: %s", b->name,
			own ? "building stopped where it is" : "a daemon goes on building");
		err_hint(err,
			own ? "`moonwake rebuild %s` or `moonwake run` goes on"
			    : "`moonwake rebuild %s` watches it again, --cancel gives it up",
			b->name);
	}
	return result > 0;
}
