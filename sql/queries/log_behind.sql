-- Rows above the last drawn number: a restored or replicated log, or setval(). Their numbers would be drawn again.
SELECT coalesce((SELECT max(id) FROM moonwake.events), 0) > last_value FROM moonwake.events_id_seq
