SELECT pg_advisory_unlock(moonwake.bell_key(), 100 + abs(hashtext('receiver ' || n) % 1000000000)),
       moonwake.outbox_leave(ARRAY[n], pg_backend_pid())
  FROM unnest($1::text[]) AS n
