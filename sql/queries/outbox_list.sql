-- $1 states (comma-separated, '' for all), $2 receiver, rule or NULL, $3 rows, $4 a delivery or NULL. The newest first.
SELECT o.id, coalesce(nullif(o.receiver, ''), o.kind) AS "to",
       CASE o.kind WHEN 'alert' THEN coalesce(o.transition, 'group of ' || jsonb_array_length(o.payload -> 'alerts')) ELSE o.kind END AS what,
       o.rule, coalesce(o.key_text, '') AS key,
       CASE WHEN r.disabled_at IS NOT NULL THEN 'disabled' WHEN o.state = 'waiting' AND o.tries > 0 THEN 'retrying' ELSE o.state END AS state,
       o.tries, to_char(o.at, 'YYYY-MM-DD HH24:MI:SS') AS at, coalesce(o.note, r.disabled_why, '') AS note, count(*) OVER () AS total,
       json_build_object('id', o.id, 'receiver', o.receiver, 'kind', o.kind, 'rule', o.rule, 'episode', o.episode,
         'transition', o.transition, 'key', o.key_text::json, 'state', o.state, 'disabled', r.disabled_at IS NOT NULL,
         'tries', o.tries, 'at', moonwake.iso_time(o.at), 'due_at', moonwake.iso_time(o.due_at), 'note', o.note) AS json,
       CASE WHEN o.state = 'waiting' THEN to_char(o.due_at, 'YYYY-MM-DD HH24:MI:SS') ELSE '' END AS due,
       coalesce(o.episode::text, '') AS episode, o.payload
  FROM moonwake.outbox o LEFT JOIN moonwake.receivers r ON r.name = o.route AND o.state = 'waiting' AND r.disabled_at IS NOT NULL
 WHERE ($1 = '' OR o.state = ANY (string_to_array($1, ',')) OR r.disabled_at IS NOT NULL AND 'failed' = ANY (string_to_array($1, ',')))
   AND ($2::text IS NULL OR o.receiver = $2)
   AND ($4::uuid IS NULL OR o.id = $4::uuid)
 ORDER BY o.seq DESC LIMIT $3::bigint
