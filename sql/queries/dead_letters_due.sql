SELECT DISTINCT consumer FROM moonwake.dead_letters WHERE retry_at IS NOT NULL AND consumer = ANY ($1::text[])
