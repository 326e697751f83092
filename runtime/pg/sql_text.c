#include "pg/sql_text.h"

#include <ctype.h>

static const struct {
	const char *name, *text;
} queries[] = {
#define SQL_QUERY(id, name, text) { name, text },
#include "sql_queries.inc"
#undef SQL_QUERY
};

static const SqlMigration migrations[] = {
#define SQL_MIGRATION(number, name, text) { number, name, text },
#include "sql_migrations.inc"
#undef SQL_MIGRATION
};

const char *sql_name(SqlId id)
{
	return queries[id].name;
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static bool ends_with(const char *text, const char *at, const char *suffix)
{
	size_t len = strlen(suffix);

	return (size_t)(at - text) >= len && memcmp(at - len, suffix, len) == 0;
}

/* Not the schema: part of a longer word (moonwake_run), the channel ('moonwake' and "moonwake"), a
 * setting. */
static bool names_schema(const char *text, const char *hit, const char *end)
{
	char before = hit > text ? hit[-1] : ' ';

	if (in_word(before) || in_word(*end))
		return false;
	if (before == '"' || before == '`') /* in a hint `moonwake …` is the command */
		return false;
	if (before != '\'')
		return true;
	return *end == '.' && !ends_with(text, hit, "_setting('") &&
	       !ends_with(text, hit, "_config('");
}

static void for_schema(const char *text, const char *schema, Buf *out)
{
	static const Str word = { "moonwake", 8 };
	const char *at = text, *hit;

	if (strcmp(schema, word.s) == 0) {
		buf_adds(out, text);
		return;
	}
	while ((hit = strstr(at, word.s)) != NULL) {
		bool is_schema = names_schema(text, hit, hit + word.len);

		buf_add(out, at, (size_t)(hit - at));
		at = hit + word.len;
		if (is_schema)
			sql_quote_ident(schema, out);
		else
			buf_add(out, word.s, word.len);
	}
	buf_adds(out, at);
}

void sql_text(SqlId id, const char *schema, Buf *out)
{
	for_schema(queries[id].text, schema, out);
}

size_t sql_migration_count(void)
{
	return sizeof(migrations) / sizeof(migrations[0]);
}

const SqlMigration *sql_migration(size_t i)
{
	return &migrations[i];
}

void sql_migration_text(const SqlMigration *m, const char *schema, Buf *out)
{
	for_schema(m->text, schema, out);
}

void sql_quote_ident(const char *name, Buf *out)
{
	buf_addc(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"')
			buf_addc(out, '"');
		buf_addc(out, *name);
	}
	buf_addc(out, '"');
}
