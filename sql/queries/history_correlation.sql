-- history_page for one correlation, which has few events: all of them by the index, and then those that are wanted.
-- OFFSET 0 keeps the planner from going through the log by id instead.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version,
       CASE WHEN pg_column_size(data) <= 16384 THEN data END,
       CASE WHEN pg_column_size(metadata) <= 16384 THEN metadata END,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM (SELECT * FROM moonwake.events
         WHERE correlation_id = $11::text AND "timestamp" >= $3::timestamptz AND "timestamp" < $5::timestamptz
        OFFSET 0) e
 WHERE id > $1::bigint AND id <= $2::bigint AND occurred_at <= $6::timestamptz
   AND ($7::text[] IS NULL OR event_type = ANY ($7::text[]) OR event_type LIKE ANY ($8::text[]))
   AND ($9::text IS NULL OR aggregate_type = $9::text) AND ($10::text IS NULL OR aggregate_id = $10::text)
   AND version > $12::bigint AND version <= $13::bigint
 ORDER BY id LIMIT $4::bigint
