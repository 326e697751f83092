-- One page of the log. $1 position, $2 settled frontier, $3 no row after $1 is older than this, $4 rows.
-- A document of more than 16 kB does not travel here (NULL): the page ends before it, and events_large reads on.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version,
       CASE WHEN pg_column_size(data) <= 16384 THEN data END,
       CASE WHEN pg_column_size(metadata) <= 16384 THEN metadata END,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM moonwake.events
 WHERE id > $1::bigint AND id <= $2::bigint AND "timestamp" >= $3::timestamptz
 ORDER BY id LIMIT $4::bigint
