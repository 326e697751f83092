#include "lua/lua_trace.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

enum {
	FRAMES_SHOWN = 12,
	FRAMES_SEEN = 60, /* how deep the place of a message is searched */
};

typedef struct {
	const char *text; /* the message, without the place before it */
	char where[256];  /* "file:line", or "" */
	bool placed;      /* `where` is what the message itself said */
	int shown;
	size_t len;
	char *trace;
	size_t size;
} Trace;

bool lua_trace_is_script(const lua_Debug *ar)
{
	return ar->source[0] == '@' && strncmp(ar->source, "@prelude/", 9) != 0;
}

static const char *text_of(lua_State *L, char *scratch, size_t size)
{
	if (lua_type(L, -1) == LUA_TSTRING)
		return lua_tostring(L, -1);
	if (lua_type(L, -1) == LUA_TNUMBER)
		snprintf(scratch, size, "error %.14g", lua_tonumber(L, -1));
	else
		snprintf(scratch, size, "the script raised a %s (raise a text: error(\"…\"))",
			luaL_typename(L, -1));
	return scratch;
}

/* A message that begins with a place of its own: a module that cannot be parsed. */
static void place_of_text(Trace *t)
{
	const char *colon = strstr(t->text, ".lua:");
	size_t digits = colon ? strspn(colon + 5, "0123456789") : 0, len;

	if (digits == 0 || strncmp(colon + 5 + digits, ": ", 2) != 0 ||
		strcspn(t->text, " \n") < (size_t)(colon - t->text))
		return;
	len = (size_t)(colon + 5 + digits - t->text);
	snprintf(t->where, sizeof(t->where), "%.*s", (int)len, t->text);
	t->text += len + 2;
	t->placed = true;
}

/* Lua writes "short_src:line: " before a message: takes it off, since the short name may be cut. */
static void place(Trace *t, const lua_Debug *ar)
{
	char prefix[LUA_IDSIZE + 16];
	size_t len =
		(size_t)snprintf(prefix, sizeof(prefix), "%s:%d: ", ar->short_src, ar->currentline);
	bool named = !t->placed && strncmp(t->text, prefix, len) == 0;

	if (named)
		t->text += len;
	if (!lua_trace_is_script(ar) || t->placed || (!named && t->where[0] != '\0'))
		return; /* the innermost frame stands until one is named */
	t->placed = named;
	snprintf(t->where, sizeof(t->where), "%s:%d", ar->source + 1, ar->currentline);
}

static void show(Trace *t, const lua_Debug *ar)
{
	int n;

	if (t->shown++ >= FRAMES_SHOWN || t->len >= t->size)
		return;
	if (ar->what[0] == 'm')
		n = snprintf(t->trace + t->len, t->size - t->len, "%s%s:%d: in the file",
			t->len ? "\n" : "", ar->source + 1, ar->currentline);
	else if (ar->name != NULL)
		n = snprintf(t->trace + t->len, t->size - t->len, "%s%s:%d: in function '%.60s'",
			t->len ? "\n" : "", ar->source + 1, ar->currentline, ar->name);
	else
		n = snprintf(t->trace + t->len, t->size - t->len,
			"%s%s:%d: in the function at line %d", t->len ? "\n" : "", ar->source + 1,
			ar->currentline, ar->linedefined);
	t->len += (size_t)n;
}

/* "rule 'x'", and no expression that somebody asks for. */
static bool is_definition(const char *subject)
{
	size_t len = strlen(subject);

	return len > 0 && subject[len - 1] == '\'';
}

void lua_trace_describe(lua_State *L, const char *script, const char *subject, Err *err)
{
	char scratch[128], trace[sizeof(err->trace)] = "";
	Trace t = {
		.text = text_of(L, scratch, sizeof(scratch)), .trace = trace, .size = sizeof(trace)
	};
	lua_Debug ar;

	for (int level = 0; level < FRAMES_SEEN && lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "Sln", &ar);
		place(&t, &ar);
		if (lua_trace_is_script(&ar))
			show(&t, &ar);
	}
	if (!t.placed)
		place_of_text(&t);
	if (t.where[0] == '\0' && is_definition(subject))
		snprintf(t.where, sizeof(t.where), "%s", script);
	err_set(err, ERR_SCRIPT, "%s%s%s%s%s", t.where, t.where[0] ? ": " : "", subject,
		subject[0] ? ": " : "", t.text);
	memcpy(err->trace, trace, sizeof(trace));
}
