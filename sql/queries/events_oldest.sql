-- No event after $1 is older than this, among those up to the settled frontier $2: NULL where there is none. Partitions
-- are spans of time: only the first that has such an event is searched.
SELECT (SELECT (extract(epoch FROM "timestamp") * 1000000)::bigint FROM moonwake.events
         WHERE id > $1::bigint AND id <= $2::bigint ORDER BY "timestamp" LIMIT 1)
