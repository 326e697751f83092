#include "app/row_events.h"

#include "app/key_words.h"

bool row_events_are_few(const Definition *def)
{
	return def->nkey_paths == 1 && str_eq(def->key_paths[0], STR("aggregate_id"));
}

bool row_events(PgDb *db, const Definition *def, Str key, Arena *arena, HistoryFilter *out,
	bool *none, Err *err)
{
	const char *id;
	PgRows *rows;

	*out = (HistoryFilter){ .types = def->types, .ntypes = def->ntypes };
	*none = false;
	if (!row_events_are_few(def))
		return true;
	id = key_word(arena, key);
	rows = pg_db_run(db, SQL_ROW_STREAMS, 1, &id, err);
	if (rows == NULL)
		return false;
	*none = pg_rows_count(rows) == 0;
	out->aggregate_id = id;
	if (pg_rows_count(rows) == 1)
		out->aggregate_type = arena_str(arena, str_from(pg_rows_text(rows, 0, 0))).s;
	pg_rows_free(rows);
	return true;
}
