SELECT pg_advisory_unlock(moonwake.bell_key(), 100 + abs(hashtext(q.consumer) % 1000000000))
  FROM unnest($1::text[]) AS q(consumer)
