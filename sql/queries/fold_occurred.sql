-- The last version that had happened by $3, and the first one that had not; 0 where there is none.
SELECT coalesce((SELECT e.version FROM moonwake.events e WHERE e.aggregate_type = $1::text AND e.aggregate_id = $2::text
                    AND e.occurred_at <= $3::timestamptz ORDER BY e.version DESC LIMIT 1), 0),
       coalesce((SELECT e.version FROM moonwake.events e WHERE e.aggregate_type = $1::text AND e.aggregate_id = $2::text
                    AND e.occurred_at > $3::timestamptz ORDER BY e.version LIMIT 1), 0)
