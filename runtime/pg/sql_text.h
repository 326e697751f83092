#pragma once

#include "base/mem.h"

/* Every statement that the programs run, one for each file sql/queries/NAME.sql, as SQL_NAME in
 * upper case; and the numbered migrations, in order. The build makes the lists. */
typedef enum {
#define SQL_QUERY(id, name, text) SQL_##id,
#include "sql_queries.inc"
#undef SQL_QUERY
	SQL_COUNT
} SqlId;

const char *sql_name(SqlId id);

/* Appends the statement's text for a schema. The files say `moonwake`; for another schema the word
 * is exchanged wherever it stands for the schema, and not for the channel or a setting. */
void sql_text(SqlId id, const char *schema, Buf *out);

typedef struct {
	int number;       /* 1 for 0001_… */
	const char *name; /* "0001_roles" */
	const char *text;
} SqlMigration;

size_t sql_migration_count(void);
const SqlMigration *sql_migration(size_t i); /* in ascending order of number */
void sql_migration_text(const SqlMigration *m, const char *schema, Buf *out);

/* Appends `name` as an SQL identifier in double quotes. */
void sql_quote_ident(const char *name, Buf *out);
