-- The events of the alert $1.
SELECT to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') AS at, e.event_type, coalesce(e.severity, '') AS severity,
       coalesce(e.data ->> 'reason', e.data ->> 'note', '') AS why, coalesce(e.data ->> 'summary', '') AS summary,
       CASE WHEN e.actor_type = 'user' THEN e.actor_id ELSE '' END AS by, e.id,
       json_build_object('id', e.id, 'event_id', e.event_id, 'event_type', e.event_type, 'occurred_at', e.occurred_at,
         'timestamp', e."timestamp", 'severity', e.severity, 'actor_type', e.actor_type, 'actor_id', e.actor_id,
         'causation_id', e.causation_id, 'data', e.data)::text AS json
  FROM moonwake.events e WHERE e.aggregate_type = 'alert' AND e.aggregate_id = $1::uuid::text ORDER BY e.version
