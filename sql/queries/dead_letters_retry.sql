-- Marks letters for another try by the daemon that owns the consumer. A letter of a key takes all of that key along.
WITH due AS (
  UPDATE moonwake.dead_letters SET retry_at = clock_timestamp()
   WHERE consumer = $1 AND ($2::text IS NULL OR key = $2 OR key = to_json($2::text)::text) RETURNING 1)
SELECT (SELECT count(*) FROM due), pg_notify('moonwake', '')
