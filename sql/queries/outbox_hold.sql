-- Whose deliveries are ours from now on: the lock lives as long as this session.
WITH got AS MATERIALIZED (
  SELECT q FROM jsonb_array_elements($1::jsonb) AS q
   WHERE pg_try_advisory_lock(moonwake.bell_key(), 100 + abs(hashtext('receiver ' || (q ->> 'name')) % 1000000000)))
SELECT h.name, h.disabled_why
  FROM moonwake.outbox_hold((SELECT coalesce(jsonb_agg(got.q), '[]') FROM got), $2, pg_backend_pid()) h
