-- What was to be told or done because of episode $1, by itself or in a group with others, and every try at it.
SELECT o.id, o.kind, coalesce(o.receiver, ''), i.transition, o.state, o.tries, coalesce(o.note, ''), o.group_key IS NOT NULL,
       (extract(epoch FROM o.at) * 1000000)::bigint, (extract(epoch FROM o.due_at) * 1000000)::bigint,
       (extract(epoch FROM o.updated_at) * 1000000)::bigint,
       (SELECT coalesce(json_agg(json_build_object('at', to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'status', t.status, 'error', t.error, 'seconds', extract(epoch FROM t.took)) ORDER BY t.try), '[]')::text
          FROM moonwake.outbox_tries t WHERE t.outbox_id = o.id)
  FROM moonwake.outbox o,
    LATERAL (SELECT o.transition WHERE o.episode = $1::uuid
      UNION ALL SELECT a ->> 'transition' FROM jsonb_array_elements(o.payload -> 'alerts') a
        WHERE o.episode IS NULL AND a ->> 'episode' = $1::text) i (transition)
 WHERE o.episode = $1::uuid OR o.episode IS NULL AND o.payload @> jsonb_build_object('alerts', jsonb_build_array(
         jsonb_build_object('episode', $1::text)))
 ORDER BY o.seq
