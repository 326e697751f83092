-- The database's time, and what is known of rule $1 (NULL where it never ran): where it stands, and after which event it
-- began.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now, c."position", r.first_position
  FROM (VALUES ($1::text)) AS wanted (name)
  LEFT JOIN moonwake.rules r ON r.name = wanted.name
  LEFT JOIN moonwake.consumers c ON c.consumer = r.name
