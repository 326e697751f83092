LISTEN "moonwake_outbox"
