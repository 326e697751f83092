#include "lua/lua_match.h"

#include <lauxlib.h>

enum { MAX_DEPTH = 200 };

static const char *match(Matcher *m, const char *s, const char *p);

void match_spend(lua_State *L, LuaBudget *budget, int64_t steps)
{
	budget->steps -= steps;
	if (budget->steps < 0) {
		budget->steps = -1; /* stays used up: pcall cannot hide it */
		luaL_error(L, "pattern budget exceeded");
	}
}

static inline void step(Matcher *m)
{
	match_spend(m->L, m->budget, 1);
}

static bool in(unsigned char c, char from, char to)
{
	return c >= (unsigned char)from && c <= (unsigned char)to;
}

static bool is_alnum(unsigned char c)
{
	return in(c | 32, 'a', 'z') || in(c, '0', '9');
}

/* Independent of the locale: bytes beyond ASCII are of no class. */
static bool in_class(unsigned char c, unsigned char class)
{
	bool yes;

	switch (class | 32) {
	case 'a':
		yes = in(c | 32, 'a', 'z');
		break;
	case 'c':
		yes = c < 32 || c == 127;
		break;
	case 'd':
		yes = in(c, '0', '9');
		break;
	case 'g':
		yes = in(c, '!', '~');
		break;
	case 'l':
		yes = in(c, 'a', 'z');
		break;
	case 'p':
		yes = in(c, '!', '~') && !is_alnum(c);
		break;
	case 's':
		yes = c == ' ' || in(c, '\t', '\r');
		break;
	case 'u':
		yes = in(c, 'A', 'Z');
		break;
	case 'w':
		yes = is_alnum(c);
		break;
	case 'x':
		yes = in(c, '0', '9') || in(c | 32, 'a', 'f');
		break;
	case 'z':
		yes = c == 0;
		break;
	default:
		return class == c;
	}
	return in(class, 'A', 'Z') ? !yes : yes;
}

/* Behind the ']' of the set whose '[' is before p. */
static const char *set_end(Matcher *m, const char *p)
{
	if (p < m->pattern_end && *p == '^')
		p++;
	do { /* a ']' that comes first stands for itself */
		if (p == m->pattern_end)
			luaL_error(m->L, "malformed pattern (missing ']')");
		if (*p++ == '%' && p < m->pattern_end)
			p++;
	} while (p == m->pattern_end || *p != ']');
	return p + 1;
}

/* Behind the single-character item at p. */
static const char *item_end(Matcher *m, const char *p)
{
	char c = *p++;

	if (c == '[')
		return set_end(m, p);
	if (c != '%')
		return p;
	if (p == m->pattern_end)
		luaL_error(m->L, "malformed pattern (ends with '%%')");
	return p + 1;
}

/* p is at '[', end at its ']'. */
static bool in_set(unsigned char c, const char *p, const char *end)
{
	bool found = true;

	if (p[1] == '^') {
		found = false;
		p++;
	}
	while (++p < end) {
		if (*p == '%') {
			p++;
			if (in_class(c, (unsigned char)*p))
				return found;
		} else if (p[1] == '-' && p + 2 < end) {
			p += 2;
			if (in(c, p[-2], *p))
				return found;
		} else if ((unsigned char)*p == c) {
			return found;
		}
	}
	return !found;
}

/* Does the character at s fit the item p … ep? */
static bool fits(Matcher *m, const char *s, const char *p, const char *ep)
{
	unsigned char c;

	step(m);
	if (s >= m->src_end)
		return false;
	c = (unsigned char)*s;
	switch (*p) {
	case '.':
		return true;
	case '%':
		return in_class(c, (unsigned char)p[1]);
	case '[':
		match_spend(m->L, m->budget, ep - p);
		return in_set(c, p, ep - 1);
	default:
		return (unsigned char)*p == c;
	}
}

/* %bxy at p = "xy…" */
static const char *match_balance(Matcher *m, const char *s, const char *p)
{
	char open, close;
	int depth = 1;

	if (m->pattern_end - p < 2)
		luaL_error(m->L, "unbalanced pattern");
	open = p[0];
	close = p[1];
	if (s >= m->src_end || *s != open)
		return NULL;
	while (++s < m->src_end) {
		step(m);
		if (*s == close) {
			if (--depth == 0)
				return s + 1;
		} else if (*s == open) {
			depth++;
		}
	}
	return NULL;
}

static const char *max_expand(Matcher *m, const char *s, const char *p, const char *ep)
{
	ptrdiff_t i = 0;
	const char *end;

	while (fits(m, s + i, p, ep))
		i++;
	for (; i >= 0; i--) {
		end = match(m, s + i, ep + 1);
		if (end != NULL)
			return end;
	}
	return NULL;
}

static const char *min_expand(Matcher *m, const char *s, const char *p, const char *ep)
{
	for (;; s++) {
		const char *end = match(m, s, ep + 1);

		if (end != NULL)
			return end;
		if (!fits(m, s, p, ep))
			return NULL;
	}
}

static const char *start_capture(Matcher *m, const char *s, const char *p, ptrdiff_t what)
{
	const char *end;

	if (m->level >= MATCH_CAPTURES)
		luaL_error(m->L, "too many captures");
	m->capture[m->level].start = s;
	m->capture[m->level].len = what;
	m->level++;
	end = match(m, s, p);
	if (end == NULL)
		m->level--;
	return end;
}

static const char *end_capture(Matcher *m, const char *s, const char *p)
{
	int l = m->level - 1;
	const char *end;

	while (l >= 0 && m->capture[l].len != CAPTURE_OPEN)
		l--;
	if (l < 0)
		luaL_error(m->L, "invalid pattern capture");
	m->capture[l].len = s - m->capture[l].start;
	end = match(m, s, p);
	if (end == NULL)
		m->capture[l].len = CAPTURE_OPEN;
	return end;
}

/* %1 … %9 */
static const char *match_capture(Matcher *m, const char *s, char digit)
{
	int l = digit - '1';
	size_t len;

	if (l < 0 || l >= m->level || m->capture[l].len == CAPTURE_OPEN)
		luaL_error(m->L, "invalid capture index");
	if (m->capture[l].len == CAPTURE_POSITION)
		return NULL;
	len = (size_t)m->capture[l].len;
	match_spend(m->L, m->budget, (int64_t)len / 8 + 1);
	if ((size_t)(m->src_end - s) < len || memcmp(m->capture[l].start, s, len) != 0)
		return NULL;
	return s + len;
}

/* %f[set] at p = "[set]…"; *behind becomes its end. */
static bool match_frontier(Matcher *m, const char *s, const char *p, const char **behind)
{
	char before = s == m->src ? '\0' : s[-1], after = s < m->src_end ? *s : '\0';

	if (p == m->pattern_end || *p != '[')
		luaL_error(m->L, "missing '[' after '%%f' in pattern");
	*behind = set_end(m, p + 1);
	match_spend(m->L, m->budget, *behind - p);
	return !in_set((unsigned char)before, p, *behind - 1) &&
	       in_set((unsigned char)after, p, *behind - 1);
}

/* A single-character item at *p with what follows it. True: go on at *s, *p; otherwise *s is the
 * result. */
static bool match_item(Matcher *m, const char **s, const char **p)
{
	const char *ep = item_end(m, *p), *end;
	char repeat = ep < m->pattern_end ? *ep : '\0';

	switch (repeat) {
	case '?':
		if (fits(m, *s, *p, ep) && (end = match(m, *s + 1, ep + 1)) != NULL) {
			*s = end;
			return false;
		}
		*p = ep + 1;
		return true;
	case '*':
		*s = max_expand(m, *s, *p, ep);
		return false;
	case '+':
		*s = fits(m, *s, *p, ep) ? max_expand(m, *s + 1, *p, ep) : NULL;
		return false;
	case '-':
		*s = min_expand(m, *s, *p, ep);
		return false;
	default:
		if (!fits(m, *s, *p, ep)) {
			*s = NULL;
			return false;
		}
		*s += 1;
		*p = ep;
		return true;
	}
}

/* The items that begin with '%' and are more than a class. True: go on at *s, *p. */
static bool match_special(Matcher *m, const char **s, const char **p, bool *special)
{
	char c = *p + 1 < m->pattern_end ? (*p)[1] : '\0';
	const char *behind;

	*special = true;
	if (c == 'b') {
		*s = match_balance(m, *s, *p + 2);
		*p += 4;
	} else if (c == 'f') {
		if (!match_frontier(m, *s, *p + 2, &behind))
			*s = NULL;
		*p = behind;
	} else if (in((unsigned char)c, '0', '9')) {
		*s = match_capture(m, *s, c);
		*p += 2;
	} else {
		*special = false;
		return true;
	}
	return *s != NULL;
}

static const char *match_rest(Matcher *m, const char *s, const char *p)
{
	bool on = true, special;

	while (on && p < m->pattern_end) {
		step(m);
		if (*p == '(') {
			bool position = p + 1 < m->pattern_end && p[1] == ')';

			return start_capture(
				m, s, p + 1 + position, position ? CAPTURE_POSITION : CAPTURE_OPEN);
		}
		if (*p == ')')
			return end_capture(m, s, p + 1);
		if (*p == '$' && p + 1 == m->pattern_end)
			return s == m->src_end ? s : NULL;
		if (*p == '%') {
			on = match_special(m, &s, &p, &special);
			if (special)
				continue;
		}
		on = match_item(m, &s, &p);
	}
	return s;
}

static const char *match(Matcher *m, const char *s, const char *p)
{
	const char *end;

	if (++m->depth > MAX_DEPTH)
		luaL_error(m->L, "pattern too complex");
	end = match_rest(m, s, p);
	m->depth--;
	return end;
}

const char *match_here(Matcher *m, const char *s, const char *pattern)
{
	m->level = 0;
	m->depth = 0;
	return match(m, s, pattern);
}

void match_push_capture(Matcher *m, int i, const char *start, const char *end)
{
	if (i >= m->level) {
		if (i != 0)
			luaL_error(m->L, "invalid capture index");
		lua_pushlstring(m->L, start, (size_t)(end - start));
	} else if (m->capture[i].len == CAPTURE_POSITION) {
		lua_pushinteger(m->L, m->capture[i].start - m->src + 1);
	} else if (m->capture[i].len == CAPTURE_OPEN) {
		luaL_error(m->L, "unfinished capture");
	} else {
		lua_pushlstring(m->L, m->capture[i].start, (size_t)m->capture[i].len);
	}
}

int match_push_captures(Matcher *m, const char *start, const char *end)
{
	int n = m->level == 0 && start != NULL ? 1 : m->level;

	luaL_checkstack(m->L, n + 4, "too many captures");
	for (int i = 0; i < n; i++)
		match_push_capture(m, i, start, end);
	return n;
}
