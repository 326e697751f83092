SELECT moonwake.outbox_beat($1::jsonb, pg_backend_pid())
