SELECT moonwake.outbox_act($1::uuid)
