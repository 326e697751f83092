SELECT moonwake.outbox_retry($1::uuid, $2)
