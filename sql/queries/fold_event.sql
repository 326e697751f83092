-- Whose event $1 is, and which of its versions.
SELECT aggregate_type, aggregate_id, version FROM moonwake.events WHERE id = $1::bigint
