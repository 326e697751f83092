-- How rule $1 stands live, and its key $2: the consumer, its first parked event of the key, the alert that is open.
SELECT c."position", c.state, c.error, c.error_event, r.digest, r.body, d.event_id, d.error, a.episode, a.state, a.muted,
       (extract(epoch FROM coalesce(a.fired_at, a.started_at)) * 1000000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, a.severity
  FROM (VALUES ($1::text)) AS wanted (name)
  LEFT JOIN moonwake.rules r ON r.name = wanted.name
  LEFT JOIN moonwake.consumers c ON c.consumer = r.name
  LEFT JOIN LATERAL (SELECT d.event_id, d.error FROM moonwake.dead_letters d
    WHERE d.consumer = r.name AND d.key = $2::text AND d.parked ORDER BY d.event_id LIMIT 1) d ON true
  LEFT JOIN LATERAL (SELECT * FROM moonwake.alerts a WHERE a.rule = r.name AND a.key_text = $2::text
    AND a.state IN ('pending', 'firing') ORDER BY a.started_at DESC LIMIT 1) a ON true
