-- $1 states (comma-separated, '' for all), $2 rule, $3 severity, $4 key or a part of it, each a pattern or NULL; $5 begun so
-- many microseconds ago at most, or NULL; $6 rows. What fires comes first, the worst of it at the top; then the latest.
SELECT a.episode, a.rule, moonwake.key_label(a.key) AS key, coalesce(a.severity, '') AS severity, a.state,
       a.acked_by IS NOT NULL AS acked, a.state = 'firing' AND a.muted IS NOT NULL AS muted,
       (extract(epoch FROM coalesce(a.ended_at, clock_timestamp()) - coalesce(a.fired_at, a.started_at)) * 1000000)::bigint AS age,
       coalesce(a.summary, '') AS summary, count(*) OVER () AS total,
       json_build_object('episode', a.episode, 'rule', a.rule, 'key', a.key, 'severity', a.severity, 'state', a.state,
         'summary', a.summary, 'labels', a.labels, 'subject', a.subject, 'started_at', a.started_at, 'fired_at', a.fired_at,
         'ended_at', a.ended_at, 'reason', a.reason, 'muted', CASE WHEN a.state = 'firing' THEN a.muted END, 'acked_by', a.acked_by,
         'acked_at', a.acked_at, 'note', a.ack_note, 'notified_at', a.notified_at) AS json
  FROM moonwake.alerts a
 WHERE ($1 = '' OR a.state = ANY (string_to_array($1, ',')))
   AND ($2::text IS NULL OR moonwake.text_matches(a.rule, $2))
   AND ($3::text IS NULL OR moonwake.text_matches(a.severity, $3))
   AND ($4::text IS NULL OR moonwake.key_label(a.key) = $4
        OR EXISTS (SELECT FROM jsonb_each_text(a.key) k WHERE moonwake.text_matches(k.value, $4)))
   AND ($5::bigint IS NULL OR coalesce(a.ended_at, 'infinity') >= clock_timestamp() - $5::bigint * interval '1 microsecond')
 ORDER BY a.state = 'firing' DESC, a.state = 'pending' DESC,
          CASE WHEN a.ended_at IS NULL THEN array_position(ARRAY['critical', 'error', 'warning', 'info'], a.severity) END,
          coalesce(a.fired_at, a.started_at) DESC, a.episode
 LIMIT $6::bigint
