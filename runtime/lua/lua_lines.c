#include "lua/lua_script.h"

#include <stdlib.h>

#include "lua/lua_trace.h"

/* Which lines of a script run: the hook of lua_host, and whom it tells. */

/* A function that is at work, and the line that it has reached. The offset in Lua's stack rises
 * from caller to callee. */
typedef struct {
	const lua_State *L;
	int offset, line;
} LineFrame;

struct Lines {
	LineFrame *frames;
	size_t n, cap;
};

static bool is_known(const struct Lines *l, const lua_State *L)
{
	size_t i = l->n;

	while (i > 0 && l->frames[i - 1].L != L)
		i--;
	return i > 0;
}

/* The hook tells a line once more when the function goes on with it after a call: that is the same
 * run of the line. True where it is so. */
static bool goes_on(struct Lines *l, const lua_State *L, int offset, int line)
{
	size_t before = l->n;
	LineFrame *top;

	if (is_known(l, L)) {
		while (l->frames[l->n - 1].L != L || l->frames[l->n - 1].offset > offset) {
			if (--l->n == 0)
				break;
		}
	}
	top = l->n > 0 ? &l->frames[l->n - 1] : NULL;
	if (top != NULL && top->L == L && top->offset == offset) {
		bool same = l->n < before && top->line == line;

		top->line = line;
		return same;
	}
	if (l->frames == NULL || l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 32;
		l->frames = mem_realloc(l->frames, l->cap * sizeof(*l->frames));
	}
	l->frames[l->n++] = (LineFrame){ L, offset, line };
	return false;
}

static void on_line(void *owner, lua_State *L, lua_Debug *ar)
{
	Script *s = owner;
	bool again = goes_on(s->lines, L, ar->i_ci, ar->currentline);

	lua_getinfo(L, "S", ar);
	if (!lua_trace_is_script(ar))
		return;
	if (s->cover != NULL && !again)
		script_cover_line(s->cover, ar->source + 1, ar->currentline);
	if (s->tracing)
		script_steps_line(L, s, ar->source + 1, ar->currentline, again);
}

void script_watch_lines(Script *s)
{
	bool on = s->tracing || s->cover != NULL;

	if (s->lines == NULL)
		s->lines = mem_calloc(1, sizeof(*s->lines));
	s->lines->n = 0;
	lua_host_watch(s->host, on ? on_line : NULL, s);
}

void script_lines_close(struct Lines *l)
{
	if (l == NULL)
		return;
	free(l->frames);
	free(l);
}
