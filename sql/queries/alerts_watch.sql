-- $1 position, $2 rule, $3 severity, $4 key (each a pattern or NULL), $5 rows. At least one row; its id is NULL when nothing matched.
SELECT e.scanned_to, CASE WHEN e.id IS NOT NULL AND e.data ? 'episode'
         AND ($2::text IS NULL OR moonwake.text_matches(e.data ->> 'rule', $2))
         AND ($3::text IS NULL OR moonwake.text_matches(e.data ->> 'severity', $3))
         AND ($4::text IS NULL OR moonwake.key_label(e.data -> 'key') = $4
              OR EXISTS (SELECT FROM jsonb_each_text(e.data -> 'key') k WHERE moonwake.text_matches(k.value, $4))) THEN e.id END AS id,
       to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS at, e.event_type, coalesce(e.severity, '') AS severity,
       coalesce(e.data ->> 'reason', e.data ->> 'note', '') AS why, coalesce(e.data ->> 'summary', '') AS summary,
       CASE WHEN e.actor_type = 'user' THEN e.actor_id ELSE '' END AS by, e.data ->> 'rule' AS rule,
       moonwake.key_label(e.data -> 'key') AS key, e.data ->> 'episode' AS episode,
       json_build_object('id', e.id, 'event_id', e.event_id, 'event_type', e.event_type, 'occurred_at', e.occurred_at,
         'timestamp', e."timestamp", 'severity', e.severity, 'actor_type', e.actor_type, 'actor_id', e.actor_id,
         'data', e.data)::text AS json
  FROM moonwake.read_events($1::bigint, ARRAY['alert.*'], $5::int) e
