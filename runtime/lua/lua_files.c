#include "lua/lua_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/json_each.h"

enum { FILE_MAX = 4 * 1024 * 1024 }; /* bytes of a script */

typedef struct {
	char *path;
	Buf text;
} File;

typedef struct {
	File *at;
	size_t n, cap;
} FileList;

struct LuaFiles {
	char *workspace;
	bool bundled, sealed;
	FileList bundle, used;
};

/* ---- lists ---- */

static File *add_file(FileList *list, const char *path)
{
	if (list->n == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 8;
		list->at = mem_realloc(list->at, list->cap * sizeof(*list->at));
	}
	list->at[list->n] = (File){ .path = mem_strdup(path) };
	return &list->at[list->n++];
}

static const File *find_file(const FileList *list, const char *path)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->at[i].path, path) == 0)
			return &list->at[i];
	}
	return NULL;
}

static void cut_list(FileList *list, size_t n)
{
	while (list->n > n) {
		list->n--;
		free(list->at[list->n].path);
		buf_free(&list->at[list->n].text);
	}
}

/* ---- opening ---- */

LuaFiles *lua_files_open(const char *workspace)
{
	LuaFiles *f = mem_calloc(1, sizeof(*f));

	f->workspace = mem_strdup(workspace ? workspace : ".");
	return f;
}

static bool unescape(Str literal, Buf *out)
{
	buf_clear(out);
	buf_reserve(out, 1);
	return json_unescape(out, literal);
}

bool lua_files_bundled(LuaFiles *f, Str bundle, Err *err)
{
	JsonEach each = json_each(bundle);
	Str name, value;
	bool ok = true;

	f->bundled = true;
	if (!json_check(bundle, 0, err))
		return err_prefix(err, "the bundle of a script's files");
	while (ok && json_each_next(&each, &name, &value)) {
		Buf path = { 0 };

		ok = name.s != NULL && unescape(name, &path) &&
		     unescape(value, &add_file(&f->bundle, path.s)->text);
		buf_free(&path);
	}
	return ok || err_set(err, ERR_DATA, "the bundle of a script's files is no {path: text}");
}

void lua_files_close(LuaFiles *f)
{
	if (f == NULL)
		return;
	cut_list(&f->bundle, 0);
	cut_list(&f->used, 0);
	free(f->bundle.at);
	free(f->used.at);
	free(f->workspace);
	free(f);
}

/* ---- reading ---- */

static char *file_name(const LuaFiles *f, const char *path)
{
	Buf file = { 0 };

	buf_addf(&file, "%s/%s", f->workspace, path);
	return file.s;
}

static bool read_stream(FILE *f, const char *path, Buf *out, Err *err)
{
	char block[16384];
	size_t n;

	while ((n = fread(block, 1, sizeof(block), f)) > 0) {
		buf_add(out, block, n);
		if (out->len > FILE_MAX)
			return err_set(err, ERR_LIMIT, "%s: a script may have at most %d MB", path,
				FILE_MAX >> 20);
	}
	return !ferror(f) || err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static bool read_file(const LuaFiles *files, const char *path, Buf *out, Err *err)
{
	char *file = file_name(files, path);
	FILE *f = fopen(file, "rb");
	struct stat st;
	bool ok = false;

	if (f == NULL)
		err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	else if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode))
		err_set(err, ERR_IO, "%s: not a plain file", path);
	else
		ok = read_stream(f, path, out, err);
	if (f != NULL)
		fclose(f);
	free(file);
	return ok;
}

static bool read_bundled(const LuaFiles *files, const char *path, Buf *out, Err *err)
{
	const File *file = find_file(&files->bundle, path);

	if (file == NULL)
		return err_set(err, ERR_IO, "%s: not among the script's stored files", path);
	buf_add(out, file->text.s ? file->text.s : "", file->text.len);
	return true;
}

/* The text becomes part of a JSON document, and of what a table shows. */
static bool check_text(const char *path, Str text, Err *err)
{
	Buf scratch = { 0 };
	bool ok;

	if (text.len > 0 && text.s[0] == '\033')
		return err_set(
			err, ERR_SCRIPT, "%s: bytecode is not accepted (give the source)", path);
	ok = json_add_string_checked(&scratch, text, err);
	buf_free(&scratch);
	if (!ok)
		err->kind = ERR_SCRIPT;
	return ok || err_prefix(err, "%s: the file is no UTF-8 text", path);
}

bool lua_files_has(const LuaFiles *f, const char *path)
{
	struct stat st;
	char *file;
	bool found;

	if (f->bundled)
		return find_file(&f->bundle, path) != NULL;
	file = file_name(f, path);
	found = stat(file, &st) == 0;
	free(file);
	return found;
}

bool lua_files_read(LuaFiles *f, const char *path, Str *text, Err *err)
{
	const File *known = find_file(&f->used, path);
	Buf fresh = { 0 };

	if (known != NULL) {
		*text = buf_str(&known->text);
		return true;
	}
	if (f->sealed)
		return err_set(err, ERR_SCRIPT,
			"%s is read too late (require modules at the beginning of the file)", path);
	if (!(f->bundled ? read_bundled : read_file)(f, path, &fresh, err) ||
		!check_text(path, buf_str(&fresh), err)) {
		buf_free(&fresh);
		return false;
	}
	add_file(&f->used, path)->text = fresh;
	*text = buf_str(&fresh);
	return true;
}

bool lua_files_adopt(LuaFiles *f, const LuaFiles *other, Err *err)
{
	for (size_t i = 0; i < other->used.n; i++) {
		const File *file = &other->used.at[i], *known = find_file(&f->used, file->path);

		if (known != NULL && !str_eq(buf_str(&known->text), buf_str(&file->text)))
			return err_set(err, ERR_IO, "%s: it changed while it was read", file->path);
		if (known == NULL)
			buf_add(&add_file(&f->used, file->path)->text, buf_str(&file->text).s,
				file->text.len);
	}
	return true;
}

/* ---- folders ---- */

/* "folder/x.lua", hidden files apart; `name` is what stands behind the folder. */
static bool is_script(const char *name)
{
	size_t len = strlen(name);

	return name[0] != '.' && len > 4 && strcmp(name + len - 4, ".lua") == 0 &&
	       strchr(name, '/') == NULL;
}

static void add_path(char ***paths, size_t *n, const char *folder, const char *name)
{
	Buf path = { 0 };

	buf_addf(&path, "%s/%s", folder, name);
	*paths = mem_realloc(*paths, (*n + 1) * sizeof(**paths));
	(*paths)[(*n)++] = path.s;
}

static void list_bundle(const LuaFiles *f, const char *folder, char ***paths, size_t *n)
{
	size_t len = strlen(folder);

	for (size_t i = 0; i < f->bundle.n; i++) {
		const char *path = f->bundle.at[i].path;

		if (strncmp(path, folder, len) == 0 && path[len] == '/' &&
			is_script(path + len + 1))
			add_path(paths, n, folder, path + len + 1);
	}
}

static bool list_folder(const LuaFiles *f, const char *folder, char ***paths, size_t *n, Err *err)
{
	char *name = file_name(f, folder);
	DIR *dir = opendir(name);
	bool ok = dir != NULL || errno == ENOENT || errno == ENOTDIR;
	struct dirent *entry;

	if (!ok)
		err_set(err, ERR_IO, "%s: %s", folder, strerror(errno));
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (is_script(entry->d_name))
			add_path(paths, n, folder, entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	free(name);
	return ok;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool lua_files_list(const LuaFiles *f, const char *folder, char ***paths, size_t *n, Err *err)
{
	bool ok = true;

	*paths = NULL;
	*n = 0;
	if (f->bundled)
		list_bundle(f, folder, paths, n);
	else
		ok = list_folder(f, folder, paths, n, err);
	if (*n > 1)
		qsort(*paths, *n, sizeof(**paths), by_bytes);
	return ok;
}

void lua_files_free_list(char **paths, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
	free(paths);
}

/* ---- what was read ---- */

size_t lua_files_count(const LuaFiles *f)
{
	return f->used.n;
}

void lua_files_at(const LuaFiles *f, size_t i, Str *path, Str *text)
{
	*path = str_from(f->used.at[i].path);
	*text = buf_str(&f->used.at[i].text);
}

void lua_files_back(LuaFiles *f, size_t count)
{
	cut_list(&f->used, count);
}

void lua_files_seal(LuaFiles *f)
{
	f->sealed = true;
}

void lua_files_digest(const LuaFiles *f, char out[65])
{
	Digest *d = digest_open();

	for (size_t i = 0; i < f->used.n; i++) {
		const File *file = &f->used.at[i];

		digest_add(d, (Str){ file->path, strlen(file->path) + 1 });
		digest_add(d, buf_str(&file->text));
		digest_add(d, (Str){ "", 1 });
	}
	digest_hex(d, out);
	digest_close(d);
}

void lua_files_bundle(const LuaFiles *f, Buf *out)
{
	buf_addc(out, '{');
	for (size_t i = 0; i < f->used.n; i++) {
		if (i > 0)
			buf_addc(out, ',');
		json_add_string(out, str_from(f->used.at[i].path));
		buf_addc(out, ':');
		json_add_string(out, buf_str(&f->used.at[i].text));
	}
	buf_addc(out, '}');
}
