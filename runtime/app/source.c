#include "app/source.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_each.h"

/* A word of Lua: as much of the language as it takes to know which brackets belong together. */
typedef struct {
	Str text;
	int line;
	size_t match; /* of a bracket, or of a word like `function`: the number of its other end */
} Token;

typedef struct {
	Str name; /* as the JSON has it, with quotes */
	Buf text;
	Token *tokens;
	size_t ntokens, cap;
} File;

struct Source {
	File *files;
	size_t n;
};

enum { NO_MATCH = -1 };

/* ---- words ---- */

static size_t long_bracket(const char *p, const char *end) /* "[==[": its length; 0: none */
{
	size_t n = 1;

	while (p + n < end && p[n] == '=')
		n++;
	return p + n < end && p[n] == '[' ? n + 1 : 0;
}

/* Behind the "]==]" that closes a bracket of `level` bytes. */
static const char *long_end(const char *p, const char *end, size_t level)
{
	for (; p + level <= end; p++) {
		size_t n = 1;

		if (*p != ']')
			continue;
		while (n < level - 1 && p[n] == '=')
			n++;
		if (n == level - 1 && p[n] == ']')
			return p + level;
	}
	return end;
}

static const char *quoted_end(const char *p, const char *end)
{
	char quote = *p++;

	while (p < end && *p != quote)
		p += *p == '\\' && p + 1 < end ? 2 : 1;
	return p < end ? p + 1 : end;
}

/* Behind a comment or a space that begins at p; p where there is none. */
static const char *skip_blank(const char *p, const char *end)
{
	size_t level;

	if (isspace((unsigned char)*p))
		return p + 1;
	if (end - p < 2 || p[0] != '-' || p[1] != '-')
		return p;
	level = p + 2 < end && p[2] == '[' ? long_bracket(p + 2, end) : 0;
	if (level > 0)
		return long_end(p + 2 + level, end, level);
	while (p < end && *p != '\n')
		p++;
	return p;
}

static const char *token_end(const char *p, const char *end)
{
	size_t level = *p == '[' ? long_bracket(p, end) : 0;
	const char *q = p;

	if (level > 0)
		return long_end(p + level, end, level);
	if (*p == '"' || *p == '\'')
		return quoted_end(p, end);
	while (q < end && (isalnum((unsigned char)*q) || *q == '_'))
		q++;
	if (q == p && end - p > 1 && p[1] == '=' && strchr("=~<>", *p) != NULL)
		return p + 2;
	return q > p ? q : p + 1;
}

static bool is_word(const Token *t, const char *word)
{
	return str_eq(t->text, str_from(word));
}

static bool is_one_of(const Token *t, const char *const *words)
{
	while (*words != NULL && !is_word(t, *words))
		words++;
	return *words != NULL;
}

static bool is_opener(const Token *t)
{
	return is_one_of(
		t, (const char *const[]){ "(", "{", "[", "function", "if", "do", "repeat", NULL });
}

static bool is_closer(const Token *t)
{
	return is_one_of(t, (const char *const[]){ ")", "}", "]", "end", "until", NULL });
}

static void match_tokens(File *f)
{
	size_t *open = mem_alloc((f->ntokens + 1) * sizeof(*open)), depth = 0;

	for (size_t i = 0; i < f->ntokens; i++) {
		f->tokens[i].match = (size_t)NO_MATCH;
		if (is_opener(&f->tokens[i])) {
			open[depth++] = i;
		} else if (is_closer(&f->tokens[i]) && depth > 0) {
			f->tokens[i].match = open[--depth];
			f->tokens[open[depth]].match = i;
		}
	}
	free(open);
}

static void read_tokens(File *f)
{
	const char *p = f->text.s, *end = p + f->text.len, *next;
	int line = 1;

	f->cap = 256;
	f->tokens = mem_alloc(f->cap * sizeof(*f->tokens));
	for (; p < end; p = next) {
		next = skip_blank(p, end);
		if (next == p) {
			next = token_end(p, end);
			if (f->ntokens == f->cap) {
				f->cap *= 2;
				f->tokens = mem_realloc(f->tokens, f->cap * sizeof(*f->tokens));
			}
			f->tokens[f->ntokens++] =
				(Token){ .text = { p, (size_t)(next - p) }, .line = line };
		}
		for (const char *q = p; q < next; q++)
			line += *q == '\n';
	}
	match_tokens(f);
}

/* ---- files ---- */

Source *source_open(Str files)
{
	Source *s = mem_calloc(1, sizeof(*s));
	JsonEach each = json_each(files);
	Str name, text;

	while (json_each_next(&each, &name, &text)) {
		s->files = mem_realloc(s->files, (s->n + 1) * sizeof(*s->files));
		s->files[s->n] = (File){ .name = name };
		json_unescape(&s->files[s->n].text, text);
		s->n++;
	}
	return s;
}

void source_close(Source *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++) {
		buf_free(&s->files[i].text);
		free(s->files[i].tokens);
	}
	free(s->files);
	free(s);
}

static File *find_file(Source *s, const char *path)
{
	Buf quoted = { 0 };
	File *found = NULL;

	json_add_string(&quoted, str_from(path));
	for (size_t i = 0; i < s->n && found == NULL; i++) {
		if (str_eq(s->files[i].name, buf_str(&quoted)))
			found = &s->files[i];
	}
	buf_free(&quoted);
	return found;
}

Str source_line(Source *s, const char *file, int line)
{
	File *f = find_file(s, file);
	const char *p = f ? f->text.s : NULL, *end;

	for (; p != NULL && line > 1; line--) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (p == NULL)
		return (Str){ NULL, 0 };
	p += strspn(p, " \t");
	end = p + strcspn(p, "\r\n");
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (Str){ p, (size_t)(end - p) };
}

/* ---- statements ---- */

/* The number of the member's name in the table whose brackets are `open` and its match. */
static size_t find_member(const File *f, size_t open, Str name)
{
	size_t close = f->tokens[open].match;

	for (size_t i = open + 1; i + 1 < close; i++) {
		const Token *t = &f->tokens[i], *before = &f->tokens[i - 1];

		if (str_eq(t->text, name) && is_word(&f->tokens[i + 1], "=") &&
			(i == open + 1 || is_word(before, ",") || is_word(before, ";")))
			return i;
		if (is_opener(t) && t->match != (size_t)NO_MATCH)
			i = t->match;
	}
	return (size_t)NO_MATCH;
}

static Str next_name(Str *path)
{
	size_t n = 0;
	Str name;

	while (path->len > 0 && strchr(".[", *path->s) != NULL) {
		path->s++;
		path->len--;
	}
	while (n < path->len && strchr(".[", path->s[n]) == NULL)
		n++;
	name = (Str){ path->s, n };
	path->s += n;
	path->len -= n;
	return name;
}

/* The line of the innermost member that the path names, table in table; 0: none. */
static int member_line(const File *f, size_t open, Str path)
{
	int line = 0;
	Str name;

	while ((name = next_name(&path)).len > 0) {
		size_t at = find_member(f, open, name);

		if (at == (size_t)NO_MATCH)
			continue;
		line = f->tokens[at].line;
		if (!is_word(&f->tokens[at + 2], "{") ||
			f->tokens[at + 2].match == (size_t)NO_MATCH)
			break;
		open = at + 2;
	}
	return line;
}

/* The last of the brackets that a line begins with, which something on an earlier line opened. */
static size_t leading_closer(const File *f, int line)
{
	size_t found = (size_t)NO_MATCH, i = 0;

	while (i < f->ntokens && f->tokens[i].line < line)
		i++;
	for (; i < f->ntokens && f->tokens[i].line == line && is_closer(&f->tokens[i]); i++) {
		size_t open = f->tokens[i].match;

		if (open == (size_t)NO_MATCH || f->tokens[open].line >= line)
			break;
		if (!is_word(&f->tokens[i], "end") && !is_word(&f->tokens[i], "until"))
			found = open;
	}
	return found;
}

int source_statement(Source *s, const char *file, int line, Str field)
{
	File *f = find_file(s, file);
	size_t open;
	int member;

	if (f == NULL)
		return line;
	if (f->tokens == NULL)
		read_tokens(f);
	while ((open = leading_closer(f, line)) != (size_t)NO_MATCH) {
		member = is_word(&f->tokens[open], "{") ? member_line(f, open, field) : 0;
		if (member > 0)
			return member;
		line = f->tokens[open].line;
	}
	return line;
}
