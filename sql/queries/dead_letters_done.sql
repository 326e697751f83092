DELETE FROM moonwake.dead_letters WHERE consumer = $1 AND event_id = ANY ($2::bigint[]) AND retry_at IS NOT NULL
