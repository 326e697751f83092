-- A part of the log, in id order: ($1, $2], "timestamp" in [$3, $5), occurred_at up to $6, types $7 (exact) or $8 (LIKE),
-- $4 rows, aggregate $9 $10, correlation $11, versions ($12, $13]. What is NULL is no condition.
-- A document of more than 16 kB does not travel here (NULL): history_large fetches it.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version,
       CASE WHEN pg_column_size(data) <= 16384 THEN data END,
       CASE WHEN pg_column_size(metadata) <= 16384 THEN metadata END,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM moonwake.events
 WHERE id > $1::bigint AND id <= $2::bigint
   AND "timestamp" >= $3::timestamptz AND "timestamp" < $5::timestamptz AND occurred_at <= $6::timestamptz
   AND ($7::text[] IS NULL OR event_type = ANY ($7::text[]) OR event_type LIKE ANY ($8::text[]))
   AND ($9::text IS NULL OR aggregate_type = $9::text) AND ($10::text IS NULL OR aggregate_id = $10::text)
   AND ($11::text IS NULL OR correlation_id = $11::text)
   AND version > $12::bigint AND version <= $13::bigint
 ORDER BY id LIMIT $4::bigint
