-- $1 position, $2 comma-separated types ('' for all), $3 rows. Always at least one row; its id is NULL when nothing matched.
SELECT scanned_to, id, event_type, aggregate_type, aggregate_id, version,
       to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS at,
       data,
       json_build_object('id', id, 'event_id', event_id, 'event_type', event_type, 'aggregate_type', aggregate_type,
         'aggregate_id', aggregate_id, 'version', version, 'schema_version', schema_version, 'data', data,
         'metadata', metadata, 'source', source, 'correlation_id', correlation_id, 'causation_id', causation_id,
         'actor_type', actor_type, 'actor_id', actor_id, 'severity', severity, 'impact', impact,
         'occurred_at', occurred_at, 'timestamp', "timestamp", 'occurrences', occurrences) AS json
  FROM moonwake.read_events($1::bigint, CASE WHEN $2 = '' THEN NULL ELSE string_to_array($2, ',') END, $3::int)
