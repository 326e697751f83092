SELECT table_name, load_sql, upsert_sql, delete_sql, created, rebuild, note, build FROM moonwake.projection_ensure($1::jsonb)
