-- The version of an aggregate.
SELECT version FROM moonwake.streams WHERE aggregate_type = $1 AND aggregate_id = $2
