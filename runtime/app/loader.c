#include "app/loader.h"

#include "lua/lua_handler.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Where definitions are; modules that they require are in scripts/lib. */
static const char *const folders[] = { "projections" };
static const char *const watched[] = { "projections", "scripts/lib" };

static bool is_script(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".lua") == 0;
}

static int only_scripts(const struct dirent *entry)
{
	return is_script(entry);
}

static void load_one(
	const LuaOptions *options, const char *folder, const char *file, LoadedScripts *out)
{
	LoadedScript *s;
	Buf path = { 0 };

	out->scripts = mem_realloc(out->scripts, (out->n + 1) * sizeof(*out->scripts));
	s = &out->scripts[out->n++];
	buf_addf(&path, "%s/%s", folder, file);
	*s = (LoadedScript){ .path = path.s };
	s->handler = lua_handler_open(options, s->path, &s->err);
}

static bool load_folder(
	const LuaOptions *options, const char *folder, LoadedScripts *out, bool *found)
{
	Buf path = { 0 };
	struct dirent **entries = NULL;
	int n;

	buf_addf(&path, "%s/%s", options->workspace ? options->workspace : ".", folder);
	n = scandir(path.s, &entries, only_scripts, alphasort);
	*found = *found || n >= 0;
	for (int i = 0; i < n; i++) {
		load_one(options, folder, entries[i]->d_name, out);
		free(entries[i]);
	}
	free(entries);
	buf_free(&path);
	return n >= 0;
}

bool loader_load(const LuaOptions *options, LoadedScripts *out, Err *err)
{
	bool found = false;

	*out = (LoadedScripts){ 0 };
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		load_folder(options, folders[i], out, &found);
	if (found)
		return true;
	err_set(err, ERR_USAGE, "%s: there is no folder projections/ here",
		options->workspace ? options->workspace : ".");
	return err_hint(err, "name the workspace with -C, or make one with `moonwake init`");
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
