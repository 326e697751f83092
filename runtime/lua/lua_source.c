#include "lua/lua_source.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lua/lua_gate.h"

enum { FILE_MAX = 4 * 1024 * 1024 }; /* bytes of a script */

static const struct {
	const char *name, *text;
} prelude[] = {
#define PRELUDE(name, text) { name, text },
#include "prelude_data.inc"
#undef PRELUDE
};

void lua_source_prelude(lua_State *L, const char *name)
{
	for (size_t i = 0; i < sizeof(prelude) / sizeof(prelude[0]); i++) {
		char chunk[64];

		if (strcmp(prelude[i].name, name) != 0)
			continue;
		snprintf(chunk, sizeof(chunk), "@prelude/%s.lua", name);
		if (luaL_loadbuffer(L, prelude[i].text, strlen(prelude[i].text), chunk) != 0)
			lua_error(L);
		return;
	}
	luaL_error(L, "no prelude module '%s'", name);
}

/* require "prelude.x", for the prelude's own modules; the upvalue has what is loaded. */
static int require_prelude(lua_State *L) /* [name] -> [module] */
{
	const char *name = luaL_checkstring(L, 1);

	lua_getfield(L, lua_upvalueindex(1), name);
	if (!lua_isnil(L, -1))
		return 1;
	lua_source_prelude(L, strncmp(name, "prelude.", 8) == 0 ? name + 8 : name);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -1);
	lua_setfield(L, lua_upvalueindex(1), name);
	return 1;
}

void lua_source_open(lua_State *L)
{
	lua_newtable(L);
	lua_pushcclosure(L, require_prelude, 1);
	lua_setglobal(L, "require");
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

/* `path` is the workspace's name of the file: what errors say. */
static bool read_file(const LuaHost *h, const char *path, Buf *out, Err *err)
{
	char *file = lua_host_file(h, path);
	FILE *f = fopen(file, "rb");
	struct stat st;
	bool ok = false;

	if (f == NULL)
		err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	else if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode))
		err_set(err, ERR_IO, "%s: not a plain file", path);
	else
		ok = read_stream(f, path, out, err);
	if (ok && out->len > 0 && out->s[0] == '\033')
		ok = err_set(
			err, ERR_SCRIPT, "%s: bytecode is not accepted (give the source)", path);
	if (f != NULL)
		fclose(f);
	free(file);
	return ok;
}

/* [] -> [source]; raises */
static void push_source(lua_State *L, LuaHost *h, const char *path)
{
	Buf text = { 0 };
	Err err = { 0 };

	if (!read_file(h, path, &text, &err)) {
		buf_free(&text);
		lua_host_raise(L, &err);
	}
	lua_host_loaded(h, path, buf_str(&text));
	/* Only a lack of memory raises here, and a script's text is small. */
	lua_pushlstring(L, text.s ? text.s : "", text.len);
	buf_free(&text);
}

void lua_source_script(lua_State *L, LuaHost *h)
{
	const char *path = lua_host_script(h), *source;
	Err err = { 0 };
	size_t len;

	push_source(L, h, path);
	source = lua_tolstring(L, -1, &len);
	lua_pushfstring(L, "@%s", path);
	if (luaL_loadbuffer(L, source, len, lua_tostring(L, -1)) != 0) {
		err_set(&err, ERR_SCRIPT, "%s", lua_tostring(L, -1));
		lua_host_raise(L, &err);
	}
	lua_host_push_environment(L, h); /* [source name chunk environment] */
	lua_setfenv(L, -2);
	lua_replace(L, -3);
	lua_pop(L, 1);
}

int lua_source_module(lua_State *L)
{
	LuaHost *h = lua_host_of(L);
	const char *name = luaL_checkstring(L, 1), *path;
	char *file;
	FILE *probe;

	lua_pushfstring(L, "scripts/lib/%s.lua", luaL_gsub(L, name, ".", "/"));
	path = lua_tostring(L, -1);
	file = lua_host_file(h, path);
	probe = fopen(file, "rb");
	free(file);
	if (probe == NULL) {
		lua_pushnil(L);
		lua_pushfstring(L, "no module '%s' (there is no file %s)", name, path);
		return 2;
	}
	fclose(probe);
	push_source(L, h, path);
	lua_pushvalue(L, -2);
	return 2;
}
