SELECT moonwake.outbox_tidy()
