DELETE FROM moonwake.dead_letters WHERE consumer = $1 AND event_id = $2::bigint
