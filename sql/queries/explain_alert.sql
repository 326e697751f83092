-- The episodes whose ids, as people or their rules name them, lie between $1 and $2; two are as good as many.
SELECT a.episode, a.machine, a.rule, a.key_text, a.key::text, a.state, a.severity, a.summary, a.signal,
       (extract(epoch FROM a.started_at) * 1000000)::bigint AS started,
       (extract(epoch FROM a.fired_at) * 1000000)::bigint AS fired,
       (extract(epoch FROM a.ended_at) * 1000000)::bigint AS ended, a.reason, a.muted,
       (extract(epoch FROM a.muted_at) * 1000000)::bigint AS muted_at, a.acked_by,
       (extract(epoch FROM a.acked_at) * 1000000)::bigint AS acked_at, a.ack_note, a.labels::text, a.subject::text,
       a.description, a.runbook, r.body, r.digest, a.notify::text
  FROM moonwake.alerts a LEFT JOIN moonwake.rules r ON r.name = a.rule
 WHERE a.episode BETWEEN $1::uuid AND $2::uuid OR a.machine BETWEEN $1::uuid AND $2::uuid
 ORDER BY a.started_at DESC LIMIT 2
