#include "lua/lua_sql.h"

#include <ctype.h>
#include <strings.h>

typedef struct {
	const char *p, *end;
} Scan;

typedef enum { TOKEN_END, TOKEN_WORD, TOKEN_OPEN, TOKEN_SEMICOLON, TOKEN_OTHER } Token;

static const char *const statements[] = { "select", "insert", "update", "delete", "merge", "with",
	"values" };

/* Functions that reach beyond the statement, to the session, other sessions or other transactions.
 */
static const char *const functions[] = { "set_config", "pg_notify", "pg_terminate_backend",
	"pg_cancel_backend", "pg_reload_conf", "pg_switch_wal", "pg_sleep", "pg_sleep_for",
	"pg_sleep_until", "setval" };
static const char *const families[] = { "pg_advisory_", "pg_try_advisory_", "dblink", "lo_",
	"pg_read_", "pg_ls_", "pg_logical_", "pg_replication_" };

static bool at(const Scan *s, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(s->end - s->p) >= n && memcmp(s->p, text, n) == 0;
}

static void skip_block_comment(Scan *s)
{
	int depth = 0;

	while (s->p < s->end) {
		if (at(s, "/*")) {
			depth++;
			s->p += 2;
		} else if (at(s, "*/")) {
			s->p += 2;
			if (--depth == 0)
				return;
		} else {
			s->p++;
		}
	}
}

static void skip_space(Scan *s)
{
	for (;;) {
		if (s->p < s->end && isspace((unsigned char)*s->p)) {
			s->p++;
		} else if (at(s, "--")) {
			while (s->p < s->end && *s->p != '\n')
				s->p++;
		} else if (at(s, "/*")) {
			skip_block_comment(s);
		} else {
			return;
		}
	}
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* '…' and "…", in which the quote is doubled; `backslash` for E'…'. */
static void skip_quoted(Scan *s, char quote, bool backslash)
{
	for (s->p++; s->p < s->end; s->p++) {
		if (backslash && *s->p == '\\' && s->p + 1 < s->end)
			s->p++;
		else if (*s->p == quote && s->p + 1 < s->end && s->p[1] == quote)
			s->p++;
		else if (*s->p == quote)
			break;
	}
	if (s->p < s->end)
		s->p++;
}

/* $tag$ … $tag$; a parameter ($1) is none. */
static bool skip_dollar(Scan *s)
{
	const char *tag = s->p, *p = s->p + 1;
	size_t len;

	while (p < s->end && in_word(*p))
		p++;
	if (p >= s->end || *p != '$' || isdigit((unsigned char)tag[1]))
		return false;
	len = (size_t)(p + 1 - tag);
	for (p++; p + len <= s->end; p++) {
		if (memcmp(p, tag, len) == 0) {
			s->p = p + len;
			return true;
		}
	}
	s->p = s->end;
	return true;
}

static Token next(Scan *s, Str *word)
{
	skip_space(s);
	if (s->p >= s->end)
		return TOKEN_END;
	*word = (Str){ s->p, 0 };
	if (isalpha((unsigned char)*s->p) || *s->p == '_') {
		while (s->p < s->end && (in_word(*s->p) || *s->p == '$'))
			s->p++;
		word->len = (size_t)(s->p - word->s);
		if (s->p < s->end && *s->p == '\'' && word->len == 1 &&
			tolower((unsigned char)*word->s) == 'e')
			skip_quoted(s, '\'', true);
		return TOKEN_WORD;
	}
	if (*s->p == '"') {
		skip_quoted(s, '"', false);
		*word = (Str){ word->s + 1, (size_t)(s->p - word->s) - 2 };
		return TOKEN_WORD;
	}
	if (*s->p == '\'') {
		skip_quoted(s, '\'', false);
		return TOKEN_OTHER;
	}
	if (*s->p == '$' && skip_dollar(s))
		return TOKEN_OTHER;
	return *s->p++ == '(' ? TOKEN_OPEN : s->p[-1] == ';' ? TOKEN_SEMICOLON : TOKEN_OTHER;
}

static bool is_word(Str word, const char *name)
{
	return word.len == strlen(name) && strncasecmp(word.s, name, word.len) == 0;
}

static bool begins_statement(Str word)
{
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		if (is_word(word, statements[i]))
			return true;
	}
	return false;
}

static bool reaches_out(Str word)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (is_word(word, functions[i]))
			return true;
	}
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (word.len >= strlen(families[i]) &&
			strncasecmp(word.s, families[i], strlen(families[i])) == 0)
			return true;
	}
	return false;
}

static bool refuse_start(Str word, Err *err)
{
	return err_set(err, ERR_SCRIPT,
		"'%.*s' is not accepted (only SELECT, INSERT, UPDATE, DELETE, MERGE, "
		"WITH and VALUES are: the transaction and the session belong to the program)",
		(int)(word.len < 30 ? word.len : 30), word.s);
}

bool lua_sql_allowed(Str sql, Err *err)
{
	Scan s = { sql.s, sql.s + sql.len };
	Str word = { "", 0 }, before = { "", 0 };
	Token token;

	if (memchr(sql.s, '\0', sql.len) != NULL)
		return err_set(err, ERR_SCRIPT, "a statement cannot hold a NUL byte");
	while ((token = next(&s, &word)) == TOKEN_OPEN)
		;
	if (token == TOKEN_END)
		return err_set(err, ERR_SCRIPT, "the statement is empty");
	if (token != TOKEN_WORD || !begins_statement(word))
		return refuse_start(word.len ? word : (Str){ word.s, 1 }, err);
	for (; token != TOKEN_END; before = token == TOKEN_WORD ? word : (Str){ "", 0 }) {
		token = next(&s, &word);
		if (token == TOKEN_SEMICOLON && next(&s, &word) != TOKEN_END)
			return err_set(err, ERR_SCRIPT,
				"one statement at a time (call exec or query for each)");
		if (token == TOKEN_OPEN && reaches_out(before))
			return err_set(err, ERR_SCRIPT,
				"%.*s() is not accepted (it reaches beyond the "
				"statement)",
				(int)before.len, before.s);
	}
	return true;
}
