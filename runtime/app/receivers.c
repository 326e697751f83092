#include "app/receivers.h"

#include "lua/lua_data.h"
#include "lua/lua_files.h"

#include <stdlib.h>

#define FOLDER "rules/receivers"

static void load(const LuaOptions *options, Receivers *list, ReceiverFile *file)
{
	const char *workspace = options->workspace ? options->workspace : ".";
	Buf definition = { 0 };

	err_clear(&file->err);
	if (lua_data_definition(options, file->path, &definition, &file->err))
		receivers_add(list, buf_str(&definition), workspace, &file->err);
	buf_free(&definition);
}

bool receivers_load(const LuaOptions *options, LoadedReceivers *out, Err *err)
{
	LuaFiles *files = lua_files_open(options->workspace);
	char **paths = NULL;
	size_t n = 0;
	bool ok = lua_files_list(files, FOLDER, &paths, &n, err);

	*out = (LoadedReceivers){
		.list = receivers_new(n), .files = mem_calloc(n + 1, sizeof(*out->files)), .n = n
	};
	for (size_t i = 0; ok && i < n; i++) {
		out->files[i].path = mem_strdup(paths[i]);
		load(options, out->list, &out->files[i]);
	}
	lua_files_free_list(paths, n);
	lua_files_close(files);
	return ok;
}

bool receivers_check(const LoadedReceivers *l, void (*fn)(void *owner, const Err *err), void *owner)
{
	bool ok = true;

	for (size_t i = 0; i < l->n; i++)
		if (l->files[i].err.kind != ERR_NONE) {
			fn(owner, &l->files[i].err);
			ok = false;
		}
	for (size_t i = 0; i < l->list->n; i++) {
		Err err;

		if (!receiver_check(&l->list->items[i], &err)) {
			fn(owner, &err);
			ok = false;
		}
	}
	return ok;
}

void receivers_free(LoadedReceivers *l)
{
	receivers_release(l->list);
	for (size_t i = 0; i < l->n; i++)
		free(l->files[i].path);
	free(l->files);
	*l = (LoadedReceivers){ 0 };
}
