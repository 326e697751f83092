#pragma once

/* The matcher of Lua 5.1's patterns, with counted work. Private to lua_pattern.c. */

#include "lua/lua_pattern.h"

#include "base/mem.h"

enum { MATCH_CAPTURES = 32, CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 };

typedef struct {
	lua_State *L;
	LuaBudget *budget;
	const char *src, *src_end, *pattern_end;
	int level; /* captures, finished or not */
	int depth;
	struct {
		const char *start;
		ptrdiff_t len;
	} capture[MATCH_CAPTURES];
} Matcher;

/* Takes steps, or raises. */
void match_spend(lua_State *L, LuaBudget *budget, int64_t steps);

/* The end of a match of `pattern` that begins at s, or NULL. Raises on a malformed pattern. */
const char *match_here(Matcher *m, const char *s, const char *pattern);

/* Pushes capture i of the match start … end (the whole match for 0 where there is none). */
void match_push_capture(Matcher *m, int i, const char *start, const char *end);

/* Pushes all captures, or the whole match where there are none and `start` is given. */
int match_push_captures(Matcher *m, const char *start, const char *end);
