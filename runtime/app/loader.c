#include "app/loader.h"

#include "lua/lua_data.h"
#include "lua/lua_files.h"
#include "lua/lua_handler.h"
#include "lua/lua_upcast.h"
#include "model/options.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Where definitions are; modules that they require are in scripts/lib. */
static const char *const folders[] = { "projections", "scripts/reducers", "rules" };
static const char *const watched[] = { "projections", "scripts/reducers", "rules",
	"scripts/upcasters", "scripts/lib" };

enum { FOLDERS = sizeof(folders) / sizeof(folders[0]) };

/* ---- all of them ---- */

static LuaFiles *open_files(const LuaOptions *options, Err *err)
{
	LuaFiles *files = lua_files_open(options->workspace);

	if (options->files.s == NULL || lua_files_bundled(files, options->files, err))
		return files;
	lua_files_close(files);
	return NULL;
}

static LoadedScript *add_script(LoadedScripts *out, const char *path)
{
	LoadedScript *s;

	out->scripts = mem_realloc(out->scripts, (out->n + 1) * sizeof(*out->scripts));
	s = &out->scripts[out->n++];
	*s = (LoadedScript){ .path = mem_strdup(path) };
	return s;
}

static const char *name_of(const char *path, size_t *len)
{
	const char *name = strrchr(path, '/') + 1;

	*len = strlen(name) - strlen(".lua");
	return name;
}

/* A consumer's name belongs to one script. */
static void check_name(LoadedScripts *all, LoadedScript *s)
{
	size_t len, other;
	const char *name = name_of(s->path, &len);

	for (const LoadedScript *o = all->scripts; s->handler != NULL && o < s; o++) {
		if (memcmp(name_of(o->path, &other), name, len) != 0 || other != len)
			continue;
		s->handler->ops->close(s->handler);
		s->handler = NULL;
		err_set(&s->err, ERR_SCRIPT, "%s: %s has the same name (rename one of them)",
			s->path, o->path);
	}
}

static bool load_folder(const LuaOptions *options, LuaFiles *files, const char *folder,
	LoadedScripts *out, Err *err)
{
	char **paths;
	size_t n;
	bool ok = lua_files_list(files, folder, &paths, &n, err);

	for (size_t i = 0; ok && i < n; i++) {
		LoadedScript *s = add_script(out, paths[i]);

		s->handler = lua_handler_open(options, s->path, &s->err);
		check_name(out, s);
	}
	lua_files_free_list(paths, n);
	return ok;
}

static bool is_workspace(const LuaFiles *files)
{
	bool found = false;

	for (size_t i = 0; i < FOLDERS; i++)
		found = found || lua_files_has(files, folders[i]);
	return found;
}

bool loader_load(const LuaOptions *options, LoadedScripts *out, Err *err)
{
	LuaFiles *files = open_files(options, err);
	bool ok = files != NULL;

	*out = (LoadedScripts){ 0 };
	if (ok && options->files.s == NULL && !is_workspace(files)) {
		err_set(err, ERR_USAGE, "%s: there is no folder projections/ or rules/ here",
			options->workspace ? options->workspace : ".");
		ok = err_hint(err, "name the workspace with -C, or make one with `moonwake init`");
	}
	for (size_t i = 0; ok && i < FOLDERS; i++)
		ok = load_folder(options, files, folders[i], out, err);
	lua_files_close(files);
	return ok;
}

/* Two that take the same events. `infos` are of the scripts before this one. */
static void check_upcaster(LoadedScripts *all, LoadedScript *s, const UpcasterInfo *infos)
{
	const UpcasterInfo *mine = &infos[s - all->scripts];

	for (size_t i = 0; s->err.kind == ERR_NONE && &all->scripts[i] < s; i++) {
		if (all->scripts[i].err.kind == ERR_NONE && infos[i].from == mine->from &&
			strcmp(infos[i].type, mine->type) == 0)
			err_set(&s->err, ERR_SCRIPT,
				"%s: %s takes '%s' from %d, too (keep one of them)", s->path,
				all->scripts[i].path, mine->type, mine->from);
	}
}

bool loader_upcasters(const LuaOptions *options, LoadedScripts *out, Err *err)
{
	LuaFiles *files = open_files(options, err);
	UpcasterInfo *infos;
	char **paths = NULL;
	size_t n = 0;
	bool ok = files != NULL && lua_files_list(files, LUA_UPCASTERS, &paths, &n, err);

	*out = (LoadedScripts){ 0 };
	infos = mem_calloc(n + 1, sizeof(*infos));
	for (size_t i = 0; ok && i < n; i++) {
		LoadedScript *s = add_script(out, paths[i]);

		if (lua_upcaster_check(options, s->path, &infos[i], &s->err))
			check_upcaster(out, s, infos);
	}
	free(infos);
	lua_files_free_list(paths, n);
	lua_files_close(files);
	return ok;
}

bool loader_data(const LuaOptions *options, const char *folder, LoadedScripts *out, Err *err)
{
	LuaFiles *files = open_files(options, err);
	Buf definition = { 0 };
	char **paths = NULL;
	size_t n = 0;
	bool ok = files != NULL && lua_files_list(files, folder, &paths, &n, err);

	*out = (LoadedScripts){ 0 };
	for (size_t i = 0; ok && i < n; i++) {
		LoadedScript *s = add_script(out, paths[i]);

		lua_data_definition(options, s->path, &definition, &s->err);
	}
	buf_free(&definition);
	lua_files_free_list(paths, n);
	lua_files_close(files);
	return ok;
}

void loader_free(LoadedScripts *l)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->scripts[i].handler != NULL)
			l->scripts[i].handler->ops->close(l->scripts[i].handler);
		free(l->scripts[i].path);
	}
	free(l->scripts);
	*l = (LoadedScripts){ 0 };
}

/* ---- one of them ---- */

/* What a person typed may be a path as a shell completes it. */
static const char *plain_path(const LuaOptions *options, const char *script)
{
	const char *workspace = options->workspace ? options->workspace : ".";
	size_t len = strlen(workspace);

	if (strncmp(script, workspace, len) == 0 && script[len] == '/')
		script += len + 1;
	while (strncmp(script, "./", 2) == 0)
		script += 2;
	return script;
}

static bool is_named(const char *path, const char *script)
{
	size_t len;
	const char *name = name_of(path, &len);

	if (strchr(script, '/') != NULL)
		return strcmp(path, script) == 0;
	return strncmp(name, script, len) == 0 &&
	       (script[len] == '\0' || strcmp(script + len, ".lua") == 0);
}

typedef struct {
	char *found, *nearest;
	size_t best;
	bool twice;
} Search;

static void look_at(Search *s, const char *path, const char *script)
{
	bool by_path = strchr(script, '/') != NULL;
	char *name;
	size_t len;

	if (is_named(path, script)) {
		s->twice = s->found != NULL;
		if (s->found == NULL)
			s->found = mem_strdup(path);
		return;
	}
	name_of(path, &len);
	name = by_path ? mem_strdup(path) : mem_strndup(strrchr(path, '/') + 1, len);
	if (!options_closer(script, name, &s->best)) {
		free(name);
		return;
	}
	free(s->nearest);
	s->nearest = name;
}

static bool search(LuaFiles *files, const char *script, Search *s, Err *err)
{
	bool ok = true;

	for (size_t f = 0; ok && f < FOLDERS; f++) {
		char **paths;
		size_t n;

		ok = lua_files_list(files, folders[f], &paths, &n, err);
		for (size_t i = 0; ok && i < n; i++)
			look_at(s, paths[i], script);
		lua_files_free_list(paths, n);
	}
	if (!ok || (s->found != NULL && !s->twice))
		return ok;
	if (s->twice)
		return err_set(err, ERR_USAGE, "script '%s': there are several (name its file: %s)",
			script, s->found);
	err_set(err, ERR_USAGE,
		"script '%s': there is no such file in projections/, rules/ or "
		"scripts/reducers/",
		script);
	return s->nearest ? err_hint(err, "did you mean '%s'?", s->nearest) : false;
}

Handler *loader_open(const LuaOptions *options, const char *script, Err *err)
{
	LuaFiles *files = open_files(options, err);
	Search s = { .best = SIZE_MAX };
	Handler *h = NULL;

	if (files != NULL && search(files, plain_path(options, script), &s, err))
		h = lua_handler_open(options, s.found, err);
	free(s.found);
	free(s.nearest);
	lua_files_close(files);
	return h;
}

/* ---- the reducer of an aggregate type ---- */

static const Definition *definition_of(Handler *h)
{
	return h->ops->definition(h);
}

static Handler *take_script(LoadedScript *s)
{
	Handler *h = s->handler;

	s->handler = NULL;
	return h;
}

static Handler *named_reducer(
	const LuaOptions *options, const char *type, const char *name, Err *err)
{
	Handler *h = loader_open(options, name, err);
	const Definition *def = h ? definition_of(h) : NULL;

	if (h == NULL || (def->kind == KIND_REDUCER && strcmp(def->aggregate, type) == 0))
		return h;
	if (def->kind == KIND_REDUCER)
		err_set(err, ERR_USAGE, "reducer '%s' folds aggregates of type '%s', not '%s'",
			def->name, def->aggregate, type);
	else
		err_set(err, ERR_USAGE, "%s is no reducer (reducers are in scripts/reducers/)",
			def->path);
	h->ops->close(h);
	return NULL;
}

/* The one that is named like the type, or the only one. */
static LoadedScript *choose(LoadedScripts *all, const char *type, Buf *names, size_t *count)
{
	LoadedScript *best = NULL;

	*count = 0;
	for (size_t i = 0; i < all->n; i++) {
		LoadedScript *s = &all->scripts[i];
		const Definition *def = s->handler ? definition_of(s->handler) : NULL;

		if (def == NULL || strcmp(def->aggregate, type) != 0)
			continue;
		buf_addf(names, "%s%s", names->len ? ", " : "", def->name);
		if (best == NULL || strcmp(def->name, type) == 0)
			best = s;
		++*count;
	}
	if (best != NULL && (*count == 1 || strcmp(definition_of(best->handler)->name, type) == 0))
		return best;
	return NULL;
}

static bool no_reducer(const LoadedScripts *all, const char *type, Err *err)
{
	const char *nearest = NULL, *broken = NULL;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < all->n; i++) {
		const LoadedScript *s = &all->scripts[i];

		if (s->handler == NULL)
			broken = broken ? broken : s->err.message;
		else if (options_closer(type, definition_of(s->handler)->aggregate, &best))
			nearest = definition_of(s->handler)->aggregate;
	}
	err_set(err, ERR_USAGE, "no reducer folds aggregates of type '%s'", type);
	if (nearest != NULL)
		return err_hint(err, "did you mean '%s'?", nearest);
	if (broken != NULL)
		return err_hint(err, "one does not load: %s", broken);
	return err_hint(err,
		"write scripts/reducers/NAME.lua: reducer \"NAME\" { aggregate = "
		"\"%s\", … }",
		type);
}

Handler *loader_reducer(const LuaOptions *options, const char *type, const char *name, Err *err)
{
	LoadedScripts all = { 0 };
	Buf names = { 0 };
	Handler *h = NULL;
	LuaFiles *files;
	LoadedScript *s;
	size_t count;

	if (name != NULL)
		return named_reducer(options, type, name, err);
	files = open_files(options, err);
	if (files != NULL && load_folder(options, files, "scripts/reducers", &all, err)) {
		s = choose(&all, type, &names, &count);
		if (s != NULL)
			h = take_script(s);
		else if (count == 0)
			no_reducer(&all, type, err);
		else
			err_set(err, ERR_USAGE,
				"several reducers fold aggregates of type '%s': "
				"%s (say --reducer NAME)",
				type, names.s);
	}
	loader_free(&all);
	lua_files_close(files);
	buf_free(&names);
	return h;
}

/* ---- what was saved ---- */

static bool is_script(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".lua") == 0;
}

static uint64_t mix(uint64_t h, uint64_t v) /* FNV-1a over eight bytes at a time */
{
	return (h ^ v) * UINT64_C(1099511628211);
}

static uint64_t folder_signature(const char *path, uint64_t h, int depth)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	uint64_t sum = 0; /* independent of the order in which the folder lists them */

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		Buf file = { 0 };
		struct stat st;
		uint64_t one = 1469598103934665603u;

		buf_addf(&file, "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.' && stat(file.s, &st) == 0) {
			for (const char *c = entry->d_name; *c; c++)
				one = mix(one, (unsigned char)*c);
			if (S_ISDIR(st.st_mode) && depth > 0)
				sum += folder_signature(file.s, one, depth - 1);
			else if (is_script(entry))
				sum += mix(mix(mix(mix(one, (uint64_t)st.st_ino),
						       (uint64_t)st.st_size),
						   (uint64_t)st.st_mtim.tv_sec),
					(uint64_t)st.st_mtim.tv_nsec);
		}
		buf_free(&file);
	}
	if (dir != NULL)
		closedir(dir);
	return mix(h, sum);
}

uint64_t loader_signature(const char *workspace)
{
	uint64_t h = 1469598103934665603u;

	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		Buf path = { 0 };

		buf_addf(&path, "%s/%s", workspace ? workspace : ".", watched[i]);
		h = folder_signature(path.s, h, 4);
		buf_free(&path);
	}
	return h;
}
