SELECT moonwake.quarantine_consumer($1, $2::bigint, $3)
