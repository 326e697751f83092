SELECT table_name, load_sql, upsert_sql, delete_sql, created, rebuild, note, build FROM moonwake.version_ensure($1, $2)
