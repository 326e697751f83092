SELECT count(*) FILTER (WHERE retry_at IS NOT NULL), count(*) FROM moonwake.dead_letters WHERE consumer = $1
