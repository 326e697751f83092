-- The episodes of a rule that fired before $3 and had not ended before $2.
SELECT episode, key_text, severity, summary, reason, muted,
       (extract(epoch FROM started_at) * 1000000)::bigint,
       (extract(epoch FROM fired_at) * 1000000)::bigint,
       (extract(epoch FROM ended_at) * 1000000)::bigint, signal
  FROM moonwake.alerts
 WHERE rule = $1::text AND fired_at < $3::timestamptz AND (ended_at IS NULL OR ended_at >= $2::timestamptz)
