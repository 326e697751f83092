SELECT table_name, load_sql, upsert_sql, delete_sql, created, rebuild, note, NULL AS build
  FROM moonwake.reducer_ensure($1, $2::integer, $3)
