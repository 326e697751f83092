-- events_page_types where few of many rows match: one index scan on (event_type, id) for each type that occurs,
-- found by jumping from type to type, so that a long history of other types costs nothing. `event_type = type` would
-- leave the planner the choice to go through the log by id: this order only the index on types has.
WITH RECURSIVE found(type) AS (
  SELECT (SELECT event_type FROM moonwake.events ORDER BY event_type LIMIT 1)
  UNION ALL
  SELECT (SELECT event_type FROM moonwake.events e WHERE e.event_type > f.type ORDER BY event_type LIMIT 1)
    FROM found f WHERE f.type IS NOT NULL
)
SELECT e.* FROM found f CROSS JOIN LATERAL (
  SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version,
         CASE WHEN pg_column_size(data) <= 16384 THEN data END,
         CASE WHEN pg_column_size(metadata) <= 16384 THEN metadata END,
         source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
         occurred_at, "timestamp", occurrences
    FROM moonwake.events x
   WHERE (x.event_type, x.id) > (f.type, $1::bigint) AND x.event_type <= f.type AND x.id <= $2::bigint
     AND x."timestamp" >= $3::timestamptz
   ORDER BY x.event_type, x.id LIMIT $4::bigint) e
 WHERE f.type = ANY ($5::text[]) OR f.type LIKE ANY ($6::text[])
 ORDER BY e.id LIMIT $4::bigint
