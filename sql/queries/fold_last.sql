-- The last version of an aggregate, or no row. $1 type, $2 id.
SELECT version FROM moonwake.streams WHERE aggregate_type = $1::text AND aggregate_id = $2::text
