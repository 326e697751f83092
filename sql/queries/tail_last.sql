-- The position before the last $2 events of the types $1 (comma-separated, '' for all); 0 where there are fewer.
SELECT CASE WHEN count(*) < $2::bigint THEN 0 ELSE min(l.id) - 1 END
  FROM (SELECT e.id
          FROM moonwake.events e
         WHERE $1 = '' OR e.event_type LIKE ANY (
                 SELECT moonwake.type_pattern(t) FROM unnest(string_to_array($1, ',')) AS t)
         ORDER BY e.id DESC
         LIMIT $2::bigint) AS l
