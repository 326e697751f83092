-- What has to hold before a daemon reads: the two pids differ where a transaction pooler is in between.
SELECT pg_is_in_recovery(), pg_backend_pid(),
       s.seqcache, q.last_value, q.is_called, coalesce((SELECT max(e.id) FROM moonwake.events e), 0) AS newest
  FROM pg_sequence s, moonwake.events_id_seq q
 WHERE s.seqrelid = 'moonwake.events_id_seq'::regclass
