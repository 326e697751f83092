SELECT table_name, load_sql, upsert_sql, delete_sql, created, rebuild, note, NULL AS build
  FROM moonwake.rule_ensure($1::jsonb, $2)
