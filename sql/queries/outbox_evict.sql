-- Ends the sessions that hold these receivers' locks for daemons that have been silent for so many seconds: a stopped
-- process keeps its locks. Who died gave them back, and its number may be somebody else's by now.
SELECT pg_terminate_backend(l.pid)
  FROM moonwake.receivers r JOIN pg_locks l ON l.pid = r.pid
 WHERE r.name = ANY ($1::text[]) AND r.beat_at < clock_timestamp() - make_interval(secs => $2::double precision)
   AND l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
   AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
   AND l.objid = (100 + abs(hashtext('receiver ' || r.name) % 1000000000))::oid
