-- The ids between which the events with "timestamp" in [$3, $4) lie, of those in ($1, $2]. NULL where there are none.
SELECT (SELECT min(id) FROM moonwake.events WHERE id > $1::bigint AND id <= $2::bigint
           AND "timestamp" >= $3::timestamptz AND "timestamp" < $4::timestamptz) - 1,
       (SELECT max(id) FROM moonwake.events WHERE id > $1::bigint AND id <= $2::bigint
           AND "timestamp" >= $3::timestamptz AND "timestamp" < $4::timestamptz)
