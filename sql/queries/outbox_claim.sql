SELECT ids, receiver, kind, try, body FROM moonwake.outbox_claim($1::jsonb)
