SELECT moonwake.heartbeat($1::bigint[], $2::bigint[])
