-- $1 matchers, $2 microseconds, $3 reason, $4 person. Its number, and how many alerts fire that it mutes.
SELECT s.id, (SELECT count(*) FROM moonwake.alerts a WHERE a.state = 'firing'
         AND moonwake.matchers_match($1::jsonb, a.rule, a.severity, a.labels, a.key)) AS alerts
  FROM moonwake.silence($1::jsonb, clock_timestamp() + $2::bigint * interval '1 microsecond', $3, $4) s (id)
