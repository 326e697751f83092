-- history_page for one aggregate, by the index on its versions: their order is that of the ids.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version,
       CASE WHEN pg_column_size(data) <= 16384 THEN data END,
       CASE WHEN pg_column_size(metadata) <= 16384 THEN metadata END,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM moonwake.events
 WHERE aggregate_type = $9::text AND aggregate_id = $10::text AND version > $12::bigint AND version <= $13::bigint
   AND id > $1::bigint AND id <= $2::bigint
   AND "timestamp" >= $3::timestamptz AND "timestamp" < $5::timestamptz AND occurred_at <= $6::timestamptz
   AND ($7::text[] IS NULL OR event_type = ANY ($7::text[]) OR event_type LIKE ANY ($8::text[]))
   AND ($11::text IS NULL OR correlation_id = $11::text)
 ORDER BY version LIMIT $4::bigint
