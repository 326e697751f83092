-- The event that made version $3 of an aggregate: its id, and its time in microseconds since 1970.
SELECT id, (extract(epoch FROM "timestamp") * 1000000)::bigint
  FROM moonwake.events WHERE aggregate_type = $1::text AND aggregate_id = $2::text AND version = $3::bigint
