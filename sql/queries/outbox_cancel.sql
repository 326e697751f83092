SELECT moonwake.outbox_cancel($1::uuid)
