-- Which of these consumers are ours: the lock lives as long as this session. A lock that is held already is not
-- taken a second time, since it would have to be released twice.
SELECT q.consumer
  FROM unnest($1::text[]) AS q(consumer)
 WHERE pg_try_advisory_lock(moonwake.bell_key(), 100 + abs(hashtext(q.consumer) % 1000000000))
