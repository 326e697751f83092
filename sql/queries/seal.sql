SELECT moonwake.seal_events($1::bigint)
