#include "lua/lua_script.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

#include "base/json.h"
#include "lua/lua_files.h"
#include "lua/lua_source.h"

/* How often each line of a script's files ran, beside all the lines that could have. */

typedef struct {
	char *path;
	uint64_t *counts; /* by line */
	size_t n;
} CoverFile;

struct Cover {
	CoverFile *files;
	size_t n, last;
	Buf json;
};

void script_cover_close(struct Cover *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->n; i++) {
		free(c->files[i].path);
		free(c->files[i].counts);
	}
	free(c->files);
	buf_free(&c->json);
	free(c);
}

static CoverFile *find_file(struct Cover *c, const char *path)
{
	if (c->n > 0 && strcmp(c->files[c->last].path, path) == 0)
		return &c->files[c->last];
	for (c->last = 0; c->last < c->n; c->last++) {
		if (strcmp(c->files[c->last].path, path) == 0)
			return &c->files[c->last];
	}
	c->files = mem_realloc(c->files, (c->n + 1) * sizeof(*c->files));
	c->files[c->n] = (CoverFile){ .path = mem_strdup(path) };
	return &c->files[c->n++];
}

void script_cover_line(struct Cover *c, const char *path, int line)
{
	CoverFile *f = find_file(c, path);
	size_t at = (size_t)line;

	if (at >= f->n) {
		f->counts = mem_realloc(f->counts, (at + 64) * sizeof(*f->counts));
		memset(f->counts + f->n, 0, (at + 64 - f->n) * sizeof(*f->counts));
		f->n = at + 64;
	}
	f->counts[at]++;
}

void script_cover(Handler *h)
{
	Script *s = script_of(h);

	if (s->sql != NULL || s->cover != NULL)
		return;
	s->cover = mem_calloc(1, sizeof(*s->cover));
	script_watch_lines(s);
}

/* ---- the report ---- */

typedef struct {
	struct Cover *cover;
	const LuaFiles *files;
} Reporting;

/* [… lines functions] -> [… lines functions] */
static void add_functions(lua_State *L, Buf *out)
{
	size_t n = lua_objlen(L, -1);

	buf_adds(out, "{\"functions\":[");
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, (int)i);
		lua_rawgeti(L, -1, 1);
		lua_rawgeti(L, -2, 2);
		buf_addf(out, "%s{\"line\":%d,\"last\":%d}", i > 1 ? "," : "",
			(int)lua_tonumber(L, -2), (int)lua_tonumber(L, -1));
		lua_pop(L, 3);
	}
	buf_addc(out, ']');
}

/* [… lines functions] -> [… lines functions] */
static void add_lines(lua_State *L, const CoverFile *f, Buf *out)
{
	size_t n = lua_objlen(L, -2);

	buf_adds(out, ",\"lines\":{");
	for (size_t i = 1; i <= n; i++) {
		size_t line;

		lua_rawgeti(L, -2, (int)i);
		line = (size_t)lua_tonumber(L, -1);
		lua_pop(L, 1);
		buf_addf(out, "%s\"%zu\":%llu", i > 1 ? "," : "", line,
			(unsigned long long)(line < f->n ? f->counts[line] : 0));
	}
	buf_adds(out, "}}");
}

/* In a Lua of its own, where the compiler can be asked. [reporting] -> [] */
static int report(lua_State *L)
{
	const Reporting *r = lua_touserdata(L, 1);
	Buf *out = &r->cover->json;

	luaL_openlibs(L);
	lua_source_prelude(L, "functions");
	lua_call(L, 0, 1);
	for (size_t i = 0; i < lua_files_count(r->files); i++) {
		Str path, text;

		lua_files_at(r->files, i, &path, &text);
		lua_pushvalue(L, -1);
		lua_pushlstring(L, text.s, text.len);
		lua_pushfstring(L, "@%s", path.s);
		lua_call(L, 2, 2); /* [list-lines lines functions] */
		buf_addc(out, i == 0 ? '{' : ',');
		json_add_string(out, path);
		buf_addc(out, ':');
		add_functions(L, out);
		add_lines(L, find_file(r->cover, path.s), out);
		lua_pop(L, 2);
	}
	buf_addc(out, '}');
	return 0;
}

Str script_coverage(Handler *h)
{
	Script *s = script_of(h);
	Reporting r = { s->cover, lua_host_files(s->host) };
	lua_State *L;
	bool ok;

	if (s->cover == NULL)
		return (Str){ NULL, 0 };
	buf_clear(&s->cover->json);
	L = luaL_newstate();
	ok = L != NULL && lua_cpcall(L, report, &r) == 0;
	if (L != NULL)
		lua_close(L);
	return ok ? buf_str(&s->cover->json) : (Str){ NULL, 0 };
}
