SELECT consumer, kind, version, state, "position", coalesce(daemon, '') AS daemon,
       coalesce(extract(epoch FROM clock_timestamp() - heartbeat_at), -1)::bigint AS silent,
       parked, skipped, coalesce(error, '') AS error, coalesce(error_event, 0) AS error_event,
       coalesce(error_trace, '') AS error_trace, coalesce(note, '') AS note
  FROM moonwake.consumers c WHERE consumer NOT LIKE '%:old'
   AND NOT EXISTS (SELECT FROM moonwake.rules r WHERE r.name = c.consumer AND r.retired_at IS NOT NULL) ORDER BY consumer
