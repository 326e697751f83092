SELECT a.episode, a.rule, moonwake.key_label(a.key) AS key, coalesce(a.severity, '') AS severity, a.state,
       coalesce(a.summary, '') AS summary, coalesce(a.description, '') AS description, coalesce(a.runbook, '') AS runbook,
       (SELECT coalesce(string_agg(l.key || '=' || l.value, ' ' ORDER BY l.key), '') FROM jsonb_each_text(a.labels) l) AS labels,
       CASE WHEN a.state = 'firing' THEN coalesce(a.muted, '') ELSE '' END AS muted, coalesce(a.acked_by, '') AS acked_by,
       coalesce(a.ack_note, '') AS note, coalesce(a.reason, '') AS reason,
       (extract(epoch FROM coalesce(a.ended_at, clock_timestamp()) - a.started_at) * 1000000)::bigint AS age,
       coalesce(to_char(a.notified_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '') AS notified,
       row_to_json(a)::text AS json
  FROM moonwake.alerts a WHERE a.episode = $1::uuid
