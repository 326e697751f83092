#include "app/server.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OLDEST_MAJOR 15

bool server_user_find(ServerUser *out, Err *err)
{
	const struct passwd *pw;

	*out = (ServerUser){ .drop = geteuid() == 0, .uid = geteuid(), .gid = getegid() };
	if (!out->drop)
		return true;
	pw = getpwnam("postgres");
	if (pw == NULL)
		pw = getpwnam("nobody");
	if (pw == NULL) {
		err_set(err, ERR_IO,
			"cluster: root may not run PostgreSQL, and there is no other user for it");
		return err_hint(err, "add a user postgres");
	}
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	snprintf(out->name, sizeof(out->name), "%s", pw->pw_name);
	return true;
}

static bool become(const ServerUser *user)
{
	return !user->drop || (initgroups(user->name, user->gid) == 0 && setgid(user->gid) == 0 &&
				      setuid(user->uid) == 0);
}

bool server_user_reaches(const ServerUser *user, const char *folder)
{
	int status;
	pid_t pid;

	if (!user->drop)
		return access(folder, X_OK) == 0;
	pid = fork();
	if (pid == 0)
		_exit(become(user) && access(folder, X_OK) == 0 ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

/* The major version of the server in a folder; 0 where there is none, or initdb is missing. */
static int major_of(const char *folder)
{
	char text[1200], line[128] = "";
	int major = 0;
	FILE *pipe;

	snprintf(text, sizeof(text), "%s/initdb", folder);
	if (strchr(folder, '\'') != NULL || access(text, X_OK) != 0)
		return 0;
	snprintf(text, sizeof(text), "'%s/postgres' -V 2>/dev/null", folder);
	pipe = popen(text, "re");
	if (pipe == NULL)
		return 0;
	if (fgets(line, sizeof(line), pipe) != NULL &&
		sscanf(line, "postgres (PostgreSQL) %d", &major) != 1)
		major = 0;
	pclose(pipe);
	return major;
}

typedef struct {
	int wanted, best;
	char *out;
	size_t size;
} Search;

static void consider(Search *s, const char *folder)
{
	int major = major_of(folder);
	bool fits = s->wanted != 0 ? major == s->wanted : major >= OLDEST_MAJOR;

	if (!fits || major <= s->best)
		return;
	s->best = major;
	snprintf(s->out, s->size, "%s", folder);
}

static void consider_pg_config(Search *s)
{
	char line[1024] = "";
	FILE *pipe = popen("pg_config --bindir 2>/dev/null", "re");

	if (pipe == NULL)
		return;
	if (fgets(line, sizeof(line), pipe) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		consider(s, line);
	}
	pclose(pipe);
}

bool server_find_programs(int major, char *out, size_t size, Err *err)
{
	static const char *const patterns[] = { "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/usr/local/pgsql*/bin", "/usr/local/bin", "/usr/bin" };
	Search search = { .wanted = major, .out = out, .size = size };

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		glob_t found;

		if (glob(patterns[i], 0, NULL, &found) == 0)
			for (size_t k = 0; k < found.gl_pathc; k++)
				consider(&search, found.gl_pathv[k]);
		globfree(&found);
	}
	consider_pg_config(&search);
	if (search.best != 0)
		return true;
	if (major != 0)
		err_set(err, ERR_IO,
			"cluster: it was made by PostgreSQL %d, whose server is not installed",
			major);
	else
		err_set(err, ERR_IO, "cluster: no PostgreSQL server of version %d or later found",
			OLDEST_MAJOR);
	return err_hint(err,
		"install one, on Debian `apt-get install postgresql`, or name a server with --db");
}

static void become_program(
	const ServerUser *user, char *const argv[], int log, bool bound, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);

	setsid();
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	signal(SIGPIPE, SIG_DFL);
	if (!become(user) || chdir("/") != 0)
		_exit(126);
	/* After the change of user, which clears it. A parent that died before is noticed by hand.
	 */
	if (bound && (prctl(PR_SET_PDEATHSIG, SIGINT) != 0 || getppid() != parent))
		_exit(126);
	execv(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

pid_t server_spawn(
	const ServerUser *user, char *const argv[], const char *log, bool bound, Err *err)
{
	int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	pid_t parent = getpid(), pid;

	if (fd < 0) {
		err_set(err, ERR_IO, "%s: %s", log, strerror(errno));
		return -1;
	}
	pid = fork();
	if (pid == 0)
		become_program(user, argv, fd, bound, parent);
	if (pid < 0)
		err_set(err, ERR_IO, "%s: %s", argv[0], strerror(errno));
	close(fd);
	return pid;
}

/* A server's line without its time and process: "FATAL:  …" -> "…". */
static const char *log_text(const char *line)
{
	static const char *const levels[] = { "FATAL:  ", "LOG:  ", "error: " };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		const char *at = strstr(line, levels[i]);

		if (at != NULL)
			return at + strlen(levels[i]);
	}
	return line;
}

bool server_log_error(const char *log, const char *subject, Err *err)
{
	char line[512], last[512] = "it said nothing";
	FILE *f = fopen(log, "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		bool fatal = strstr(line, "FATAL:") != NULL || strstr(line, "error:") != NULL;

		line[strcspn(line, "\n")] = '\0';
		/* The first fatal line says more than what follows from it; a wrong setting stands
		 * above it. */
		if (line[0] != '\0' && strstr(line, "contains errors") == NULL)
			snprintf(last, sizeof(last), "%s", line);
		if (fatal)
			break;
	}
	if (f != NULL)
		fclose(f);
	err_set(err, ERR_IO, "%s: %s", subject, log_text(last));
	return err_hint(err, "see %s", log);
}

bool server_execute(const ServerUser *user, char *const argv[], const char *log, Err *err)
{
	pid_t pid = server_spawn(user, argv, log, true, err), got;
	int status = 0;

	if (pid < 0)
		return false;
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	return (got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
	       server_log_error(log, "cluster", err);
}
