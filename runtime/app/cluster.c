#include "app/cluster.h"

#include "app/server.h"
#include "base/digest.h"
#include "pg/pg_db.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In WORKSPACE/.moonwake: `lock` is held by the command that runs the cluster for as long as it
 * lives, `dsn` says where the server listens, `server.log` is its log, `pg` the cluster itself,
 * unless the user that PostgreSQL runs as cannot get there. */

#define HOME_OF_ROOT "/var/lib/moonwake"
#define START_TRIES  3

static void nap(int ms)
{
	usleep((useconds_t)ms * 1000);
}

static bool make_folder(const char *path, Err *err)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST ||
	       err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static void path_in(const char *workspace, const char *file, char *out, size_t size)
{
	snprintf(out, size, "%s/.moonwake/%s", workspace, file);
}

/* Reads a short text file; "" where there is none. */
static void read_text(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, size - 1) : 0;

	out[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

static bool write_text(const char *path, const char *text, Err *err)
{
	char fresh[600];
	FILE *f;
	bool ok;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	f = fopen(fresh, "we");
	ok = f != NULL && fputs(text, f) >= 0;
	ok = (f == NULL || fclose(f) == 0) && ok && rename(fresh, path) == 0;
	return ok || err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

/* Where the cluster lies. */

static bool choose_data(Cluster *c, const ServerUser *user, Err *err)
{
	char below[512], hex[65];

	path_in(c->workspace, "", below, sizeof(below));
	if (server_user_reaches(user, below)) {
		path_in(c->workspace, "pg", c->data, sizeof(c->data));
		return true;
	}
	if (!user->drop)
		return err_set(err, ERR_IO, "%s: %s", below, strerror(errno));
	digest_sha256_hex(str_from(c->workspace), hex);
	snprintf(below, sizeof(below), HOME_OF_ROOT "/%.16s", hex);
	snprintf(c->data, sizeof(c->data), HOME_OF_ROOT "/%.16s/pg", hex);
	return make_folder(HOME_OF_ROOT, err) && make_folder(below, err);
}

static bool own_folder(const char *path, const ServerUser *user, Err *err)
{
	bool ok = mkdir(path, 0700) == 0 || errno == EEXIST;

	ok = ok && (!user->drop || chown(path, user->uid, user->gid) == 0);
	return ok || err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static void remove_tree(const char *path)
{
	char *const argv[] = { "/bin/rm", "-rf", "--", (char *)path, NULL };
	ServerUser self = { .drop = false };
	Err ignored;

	server_execute(&self, argv, "/dev/null", &ignored);
}

/* Made beside its place and then moved there, so that a cluster is whole or not there. */
static bool make_cluster(const Cluster *c, const ServerUser *user, const char *programs, Err *err)
{
	char fresh[600], program[1100];
	char *const argv[] = { program, "-D", fresh, "-U", "postgres", "-A", "trust", "-E", "UTF8",
		"--lc-collate=C", "--lc-ctype=C.UTF-8", "--lc-messages=C", "--no-instructions",
		NULL };

	snprintf(fresh, sizeof(fresh), "%s.new", c->data);
	snprintf(program, sizeof(program), "%s/initdb", programs);
	remove_tree(fresh);
	if (!own_folder(fresh, user, err) || !server_execute(user, argv, c->log, err))
		return false;
	return rename(fresh, c->data) == 0 ||
	       err_set(err, ERR_IO, "%s: %s", c->data, strerror(errno));
}

/* What a killed command left behind. */

static bool is_server_of(pid_t pid, const char *data)
{
	char link[64], folder[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/cwd", (int)pid);
	n = readlink(link, folder, sizeof(folder) - 1);
	if (n < 0)
		return false;
	folder[n] = '\0';
	return strcmp(folder, data) == 0;
}

static bool gone_within(pid_t pid, const char *data, int ms)
{
	for (int waited = 0; is_server_of(pid, data); waited += 20) {
		if (waited >= ms)
			return false;
		nap(20);
	}
	return true;
}

static bool stop_leftover(const Cluster *c, Err *err)
{
	char path[600], text[32];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/postmaster.pid", c->data);
	read_text(path, text, sizeof(text));
	pid = (pid_t)strtol(text, NULL, 10);
	if (pid <= 1)
		return true;
	if (!is_server_of(pid, c->data)) {
		/* The number belongs to nobody or to another program by now. */
		unlink(path);
		return true;
	}
	kill(pid, SIGINT);
	if (gone_within(pid, c->data, 15000))
		return true;
	kill(pid, SIGQUIT);
	return gone_within(pid, c->data, 5000) ||
	       err_set(err, ERR_IO, "cluster: a server from before (pid %d) does not stop",
		       (int)pid);
}

static void remove_socket(const char *folder)
{
	static const char *const files[] = { ".s.PGSQL.5432", ".s.PGSQL.5432.lock" };
	char path[128];

	if (strncmp(folder, "/tmp/moonwake-dev.", 18) != 0)
		return;
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	rmdir(folder);
}

/* The socket's folder of the server that `dsn` spoke of. */
static void remove_old_socket(const Cluster *c)
{
	char path[512], text[256], folder[64] = "";
	const char *host;

	path_in(c->workspace, "dsn", path, sizeof(path));
	read_text(path, text, sizeof(text));
	host = strstr(text, "host=");
	if (host != NULL)
		snprintf(folder, sizeof(folder), "%.*s", (int)strcspn(host + 5, "&\n"), host + 5);
	remove_socket(folder);
	unlink(path);
}

/* Starting. */

static void name_dsns(Cluster *c)
{
	const char *form = "postgresql://%s@/moonwake?host=%s&port=5432";

	snprintf(c->admin_dsn, sizeof(c->admin_dsn), form, "postgres", c->socket);
	snprintf(c->run_dsn, sizeof(c->run_dsn), form, "moonwake_run", c->socket);
}

/* A unix socket's path has at most 107 bytes, a workspace's any number. */
static bool make_socket_folder(Cluster *c, const ServerUser *user, Err *err)
{
	snprintf(c->socket, sizeof(c->socket), "/tmp/moonwake-dev.XXXXXX");
	if (mkdtemp(c->socket) == NULL)
		return err_set(err, ERR_IO, "%s: %s", c->socket, strerror(errno));
	name_dsns(c);
	return own_folder(c->socket, user, err);
}

static PgDb *open_database(const Cluster *c, const char *database, Err *err)
{
	char dsn[160];
	PgTarget target = { .dsn = dsn, .schema = "moonwake", .role = "moonwake dev" };

	snprintf(dsn, sizeof(dsn), "postgresql://postgres@/%s?host=%s&port=5432", database,
		c->socket);
	return pg_db_open(&target, err);
}

static bool exited(Cluster *c)
{
	if (waitpid(c->server, NULL, WNOHANG) != c->server)
		return false;
	c->server = 0;
	return true;
}

/* Waits as long as the server lives: a recovery takes the time that it takes. */
static PgDb *await_server(Cluster *c, Err *err)
{
	PgDb *db;

	while ((db = open_database(c, "postgres", err)) == NULL) {
		if (exited(c)) {
			server_log_error(c->log, "cluster: the server did not start", err);
			return NULL;
		}
		nap(20);
	}
	return db;
}

static bool ensure_database(PgDb *db, Err *err)
{
	PgRows *rows = pg_db_run(db, SQL_CLUSTER_DATABASE, 0, NULL, err), *made = NULL;
	bool ok = rows != NULL;

	if (ok && pg_rows_count(rows) == 0) {
		made = pg_db_run(db, SQL_CLUSTER_CREATE, 0, NULL, err);
		ok = made != NULL;
	}
	pg_rows_free(made);
	pg_rows_free(rows);
	return ok;
}

static bool start_server(Cluster *c, const ServerUser *user, const char *programs, Err *err)
{
	char program[1100];
	char *const argv[] = { program, "-D", c->data, "-k", c->socket, "-p", "5432", "-c",
		"listen_addresses=", "-c", "logging_collector=off", NULL };
	PgDb *db = NULL;
	bool ok;

	snprintf(program, sizeof(program), "%s/postgres", programs);
	/* Backends that outlive a killed postmaster hold its shared memory for a moment. */
	for (int i = 0; db == NULL && i < START_TRIES; i++) {
		nap(i * 500);
		c->server = server_spawn(user, argv, c->log, true, err);
		if (c->server < 0) {
			c->server = 0;
			return false;
		}
		db = await_server(c, err);
	}
	ok = db != NULL && ensure_database(db, err);
	pg_db_close(db);
	return ok;
}

static int major_of_cluster(const Cluster *c)
{
	char path[600], text[16];

	snprintf(path, sizeof(path), "%s/PG_VERSION", c->data);
	read_text(path, text, sizeof(text));
	return (int)strtol(text, NULL, 10);
}

static bool start_owned(Cluster *c, Err *err)
{
	char programs[1024], path[512];
	ServerUser user;
	int major;

	c->owner = true;
	if (!server_user_find(&user, err) || !choose_data(c, &user, err))
		return false;
	major = major_of_cluster(c);
	if (!server_find_programs(major, programs, sizeof(programs), err))
		return false;
	remove_old_socket(c);
	if (major == 0 && !make_cluster(c, &user, programs, err))
		return false;
	if (!stop_leftover(c, err) || !make_socket_folder(c, &user, err) ||
		!start_server(c, &user, programs, err))
		return false;
	path_in(c->workspace, "dsn", path, sizeof(path));
	return write_text(path, c->admin_dsn, err);
}

/* True where another command's server answers; its folder is then in `socket`. */
static bool join(Cluster *c)
{
	char path[512], text[256];
	const char *host;
	PgDb *db;
	Err err;

	path_in(c->workspace, "dsn", path, sizeof(path));
	read_text(path, text, sizeof(text));
	host = strstr(text, "host=");
	if (host == NULL)
		return false;
	snprintf(c->socket, sizeof(c->socket), "%.*s", (int)strcspn(host + 5, "&\n"), host + 5);
	name_dsns(c);
	db = open_database(c, "moonwake", &err);
	pg_db_close(db);
	return db != NULL;
}

/* Becomes the command that runs the cluster, or the guest of the one that does. */
static bool start_or_join(Cluster *c, Err *err)
{
	for (int waited = 0; waited < 60000; waited += 100) {
		if (flock(c->lock, LOCK_EX | LOCK_NB) == 0)
			return start_owned(c, err);
		if (join(c))
			return true;
		nap(100);
	}
	err_set(err, ERR_IO,
		"cluster: another command holds %s/.moonwake/lock, but no server answers",
		c->workspace);
	return err_hint(err, "stop it");
}

bool cluster_start(const char *workspace, Cluster *out, Err *err)
{
	char real[PATH_MAX], path[512];

	*out = (Cluster){ .lock = -1 };
	if (realpath(workspace, real) == NULL)
		return err_set(err, ERR_IO, "%s: %s", workspace, strerror(errno));
	if (strlen(real) >= sizeof(out->workspace))
		return err_set(err, ERR_IO, "%s: the path is too long", real);
	memcpy(out->workspace, real, strlen(real) + 1);
	path_in(real, "", path, sizeof(path));
	if (!make_folder(path, err))
		return false;
	path_in(real, "server.log", out->log, sizeof(out->log));
	path_in(real, "lock", path, sizeof(path));
	out->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (out->lock < 0)
		return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	if (start_or_join(out, err))
		return true;
	cluster_stop(out);
	return false;
}

static void stop_server(Cluster *c)
{
	char path[512];

	kill(c->server, SIGINT);
	for (int waited = 0; waited < 60000 && !exited(c); waited += 10)
		nap(10);
	if (c->server != 0) {
		kill(c->server, SIGQUIT);
		waitpid(c->server, NULL, 0);
	}
	path_in(c->workspace, "dsn", path, sizeof(path));
	unlink(path);
	c->server = 0;
}

void cluster_stop(Cluster *c)
{
	if (c->server > 0)
		stop_server(c);
	if (c->owner)
		remove_socket(c->socket);
	if (c->lock >= 0)
		close(c->lock);
	c->lock = -1;
}

const char *cluster_running_dsn(const char *workspace, Arena *arena)
{
	char path[512], text[256] = "";
	int lock;

	path_in(workspace, "lock", path, sizeof(path));
	lock = open(path, O_RDONLY | O_CLOEXEC);
	if (lock < 0)
		return "";
	if (flock(lock, LOCK_SH | LOCK_NB) != 0) {
		path_in(workspace, "dsn", path, sizeof(path));
		read_text(path, text, sizeof(text));
	}
	close(lock);
	return arena_printf(arena, "%s", text);
}
