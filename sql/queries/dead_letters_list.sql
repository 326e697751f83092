SELECT d.consumer, d.event_id, d.key, CASE WHEN d.parked THEN 'parked' ELSE 'skipped' END AS state,
       coalesce(d.error, '') AS error, d.tries, to_char(d.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at,
       coalesce(d.trace, '') AS trace, e.event_type
  FROM moonwake.dead_letters d LEFT JOIN moonwake.events e ON e.id = d.event_id
 WHERE ($1::text IS NULL OR d.consumer = $1) ORDER BY d.consumer, d.event_id LIMIT 1000
