-- In the transaction of an action, before it.
SELECT moonwake.outbox_begin($1::uuid)
