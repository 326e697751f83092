#include "app/rule_version.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "lua/lua_handler.h"

extern char **environ;

/* What a rule may be made of, beside its own file. */
static const char *const folders[] = { "scripts/lib", "scripts/upcasters", "projections",
	"rules/calendars", "rules/receivers" };

enum { FOLDERS = sizeof(folders) / sizeof(folders[0]), DEPTH = 8, FILE_MOST = 4 << 20 };

/* ---- a bundle ---- */

static void add_file(Buf *bundle, const char *path, Str text)
{
	buf_addc(bundle, bundle->len == 0 ? '{' : ',');
	json_add_string(bundle, str_from(path));
	buf_addc(bundle, ':');
	json_add_string(bundle, text);
}

static Handler *open_bundle(const LuaOptions *lua, Buf *bundle, const char *path, Err *err)
{
	LuaOptions options = *lua;

	buf_adds(bundle, bundle->len == 0 ? "{}" : "}");
	options.files = buf_str(bundle);
	return lua_handler_open(&options, path, err);
}

static bool is_lua(const char *name)
{
	size_t len = strlen(name);

	return name[0] != '.' && len > 4 && strcmp(name + len - 4, ".lua") == 0;
}

/* ---- the workspace ---- */

static bool read_file(const char *path, Buf *out, Err *err)
{
	FILE *f = fopen(path, "rbe");
	char part[8192];
	size_t n;
	bool ok = f != NULL;

	while (ok && (n = fread(part, 1, sizeof(part), f)) > 0 && out->len < FILE_MOST)
		buf_add(out, part, n);
	ok = ok && !ferror(f);
	if (!ok)
		err_set(err, ERR_USAGE, "%s: %s", path, strerror(errno));
	else if (!json_utf8(buf_str(out), NULL) || out->len >= FILE_MOST)
		ok = err_set(
			err, ERR_USAGE, "%s: it is no script (text in UTF-8, below 4 MB)", path);
	if (f != NULL)
		fclose(f);
	return ok;
}

static bool add_folder(const char *workspace, const char *folder, Buf *bundle, int depth, Err *err);

static bool add_entry(const char *workspace, const char *path, Buf *bundle, int depth, Err *err)
{
	Buf name = { 0 }, text = { 0 };
	struct stat st;
	bool ok = true;

	buf_addf(&name, "%s/%s", workspace, path);
	if (stat(name.s, &st) == 0 && S_ISDIR(st.st_mode)) {
		ok = depth == 0 || add_folder(workspace, path, bundle, depth - 1, err);
	} else if (is_lua(strrchr(path, '/') + 1)) {
		ok = read_file(name.s, &text, err);
		if (ok)
			add_file(bundle, path, buf_str(&text));
	}
	buf_free(&name);
	buf_free(&text);
	return ok;
}

static bool add_folder(const char *workspace, const char *folder, Buf *bundle, int depth, Err *err)
{
	Buf path = { 0 };
	struct dirent *entry;
	bool ok = true;
	DIR *dir;

	buf_addf(&path, "%s/%s", workspace, folder);
	dir = opendir(path.s);
	while (ok && dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		buf_clear(&path);
		buf_addf(&path, "%s/%s", folder, entry->d_name);
		ok = add_entry(workspace, path.s, bundle, depth, err);
	}
	if (dir != NULL)
		closedir(dir);
	buf_free(&path);
	return ok;
}

Handler *rule_version_file(const LuaOptions *lua, const char *path, const char *file, Err *err)
{
	const char *workspace = lua->workspace != NULL ? lua->workspace : ".";
	Buf bundle = { 0 }, text = { 0 };
	Handler *h = NULL;
	bool ok = read_file(file, &text, err);

	if (ok)
		add_file(&bundle, path, buf_str(&text));
	for (size_t i = 0; ok && i < FOLDERS; i++)
		ok = add_folder(workspace, folders[i], &bundle, DEPTH, err);
	if (ok)
		h = open_bundle(lua, &bundle, path, err);
	if (ok && h == NULL)
		err_prefix(err, "%s: ", file);
	buf_free(&bundle);
	buf_free(&text);
	return h;
}

/* ---- a revision ---- */

/* What `git -C WORKSPACE words…` writes. False where it cannot be run, or fails. */
static bool git(const LuaOptions *lua, char *const *words, Buf *out)
{
	char *argv[24] = { "git", "-C", (char *)(lua->workspace ? lua->workspace : ".") };
	posix_spawn_file_actions_t actions;
	int pipes[2], status = -1;
	char part[8192];
	ssize_t n;
	pid_t pid;

	for (size_t i = 0; words[i] != NULL && i < 20; i++)
		argv[i + 3] = words[i];
	if (pipe2(pipes, O_CLOEXEC) != 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, "git", &actions, NULL, argv, environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&actions);
	close(pipes[1]);
	while (pid > 0 &&
		((n = read(pipes[0], part, sizeof(part))) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0)
			buf_add(out, part, (size_t)n);
	close(pipes[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool add_revised(
	const LuaOptions *lua, const char *revision, const char *path, Buf *bundle, Err *err)
{
	Buf name = { 0 }, text = { 0 };
	bool ok;

	buf_addf(&name, "%s:./%s", revision, path);
	ok = git(lua, (char *[]){ "show", name.s, NULL }, &text) && json_utf8(buf_str(&text), NULL);
	if (ok)
		add_file(bundle, path, buf_str(&text));
	else
		err_set(err, ERR_USAGE, "--against: git cannot show %.200s", name.s);
	buf_free(&name);
	buf_free(&text);
	return ok;
}

static bool unknown_revision(const LuaOptions *lua, const char *revision, Err *err)
{
	Buf ignored = { 0 };
	bool repository = git(lua, (char *[]){ "rev-parse", "--git-dir", NULL }, &ignored);

	buf_free(&ignored);
	err_set(err, ERR_USAGE,
		"--against: '%.80s' is no file, and no revision that git knows here (live, none, a "
		"file, or a revision of the workspace's git repository)",
		revision);
	return repository || err_hint(err, "the workspace is in no git repository");
}

Handler *rule_version_revision(
	const LuaOptions *lua, const char *path, const char *revision, Err *err)
{
	char *list[] = { "ls-tree", "-r", "-z", "--name-only", (char *)revision, "--", (char *)path,
		(char *)folders[0], (char *)folders[1], (char *)folders[2], (char *)folders[3],
		(char *)folders[4], NULL };
	Buf names = { 0 }, bundle = { 0 };
	bool ok = true, found = false;
	Handler *h = NULL;

	if (revision[0] == '-' || !git(lua, list, &names)) {
		unknown_revision(lua, revision, err);
		buf_free(&names);
		return NULL;
	}
	for (size_t at = 0; ok && at < names.len; at += strlen(names.s + at) + 1) {
		if (!is_lua(strrchr(names.s + at, '/') + 1))
			continue;
		found = found || strcmp(names.s + at, path) == 0;
		ok = add_revised(lua, revision, names.s + at, &bundle, err);
	}
	if (ok && !found)
		err_set(err, ERR_USAGE, "--against: there is no %s in %.80s", path, revision);
	else if (ok && (h = open_bundle(lua, &bundle, path, err)) == NULL)
		err_prefix(err, "%.80s: ", revision);
	buf_free(&names);
	buf_free(&bundle);
	return h;
}

/* ---- what ran ---- */

Handler *rule_version_live(const LuaOptions *lua, PgDb *db, const Definition *def, Err *err)
{
	const char *params[] = { def->name, def->digest };
	PgRows *rows = pg_db_run(db, SQL_EXPLAIN_SOURCE, 2, params, err);
	LuaOptions options = *lua;
	Handler *h = NULL;

	if (rows == NULL)
		return NULL;
	err_clear(err);
	if (pg_rows_count(rows) > 0) {
		options.files = pg_rows_str(rows, 0, 1);
		h = lua_handler_open(&options, pg_rows_text(rows, 0, 0), err);
	}
	pg_rows_free(rows);
	return h;
}
