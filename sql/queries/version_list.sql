-- The versions of a projection, or of all: how far each is, and what it waits for. `worked`: a daemon has its consumer.
SELECT v.name, v.role, v.build, v.version, v.state, coalesce(v.note, '') AS note, v.promote,
       coalesce(c.position, 0) AS "position", moonwake.log_head() AS head, coalesce(c.state, 'running') AS running,
       coalesce(c.error, '') AS error, coalesce(c.error_event, 0) AS error_event,
       coalesce(v.difference::text, 'null') AS difference, c.daemon IS NOT NULL AS worked,
       extract(epoch FROM clock_timestamp() - v.created_at)::bigint AS age,
       EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND l.classid::bigint = moonwake.bell_key()::bigint & 4294967295
         AND l.objid::bigint = 100 + abs(hashtext(v.name) % 1000000000)) AS owned
  FROM moonwake.projection_versions v
  LEFT JOIN moonwake.consumers c ON c.consumer = v.name || CASE v.role WHEN 'live' THEN '' ELSE ':' || v.role END
 WHERE v.name = $1 OR $1 IS NULL
 ORDER BY v.name, v.role = 'old', v.role = 'next'
