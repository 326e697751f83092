-- What the log says of episode $1, in the order in which it happened.
SELECT id, event_type, (extract(epoch FROM occurred_at) * 1000000)::bigint, severity, actor_type, actor_id,
       data ->> 'from', data ->> 'reason', data ->> 'note', data ->> 'summary', (data -> 'subject')::text
  FROM moonwake.events WHERE aggregate_type = 'alert' AND aggregate_id = $1::text ORDER BY version
