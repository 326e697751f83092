-- events_page for consumers that do not take every type: $5 exact types, $6 LIKE patterns.
-- unnest: a plan for any parameters hashes the rows of a query, but goes through the elements of an array for each event.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version,
       CASE WHEN pg_column_size(data) <= 16384 THEN data END,
       CASE WHEN pg_column_size(metadata) <= 16384 THEN metadata END,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM moonwake.events
 WHERE id > $1::bigint AND id <= $2::bigint AND "timestamp" >= $3::timestamptz
   AND (event_type IN (SELECT unnest($5::text[])) OR event_type LIKE ANY ($6::text[]))
 ORDER BY id LIMIT $4::bigint
