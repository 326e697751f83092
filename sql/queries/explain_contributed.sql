SELECT id, event_type, aggregate_type, aggregate_id, version, (extract(epoch FROM "timestamp") * 1000000)::bigint,
       (extract(epoch FROM occurred_at) * 1000000)::bigint, actor_type, actor_id, data::text
  FROM moonwake.events WHERE id = ANY ($1::bigint[]) ORDER BY id
