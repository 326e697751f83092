-- The first event of an aggregate, and the first that happened: id and time in microseconds since 1970 of each.
(SELECT e.id, (extract(epoch FROM e."timestamp") * 1000000)::bigint FROM moonwake.events e
  WHERE e.aggregate_type = $1::text AND e.aggregate_id = $2::text ORDER BY e.version LIMIT 1)
UNION ALL
(SELECT e.id, (extract(epoch FROM e.occurred_at) * 1000000)::bigint FROM moonwake.events e
  WHERE e.aggregate_type = $1::text AND e.aggregate_id = $2::text ORDER BY e.occurred_at, e.version LIMIT 1)
