-- $1: those that have ended too.
SELECT s.id, CASE WHEN s.ended_at IS NOT NULL OR s.ends_at <= clock_timestamp() THEN 'ended'
         WHEN s.starts_at > clock_timestamp() THEN 'to come' ELSE 'holds' END AS state,
       (extract(epoch FROM CASE WHEN s.ended_at IS NOT NULL OR s.ends_at <= clock_timestamp() THEN interval '0'
         ELSE s.ends_at - clock_timestamp() END) * 1000000)::bigint AS left,
       (SELECT string_agg(m.key || '=' || CASE jsonb_typeof(m.value) WHEN 'array'
          THEN (SELECT string_agg(p, '|') FROM jsonb_array_elements_text(m.value) p) ELSE m.value #>> '{}' END, ' ' ORDER BY m.key)
          FROM jsonb_each(s.matchers) m) AS matchers,
       s.created_by, s.reason,
       (SELECT count(*) FROM moonwake.alerts a WHERE a.state = 'firing' AND moonwake.matchers_match(s.matchers, a.rule, a.severity, a.labels, a.key)) AS alerts,
       row_to_json(s)::text AS json
  FROM moonwake.silences s
 WHERE $1::boolean OR s.ended_at IS NULL AND s.ends_at > clock_timestamp() ORDER BY s.id
