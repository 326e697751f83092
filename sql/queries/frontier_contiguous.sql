-- The end of the run of numbers without a hole after $1: visible rows, so nothing can appear between them any more.
SELECT coalesce(max(id), $1) FROM (
  SELECT id, row_number() OVER (ORDER BY id) AS n FROM (
    SELECT id FROM moonwake.events WHERE id > $1::bigint ORDER BY id LIMIT 1000) a) b
 WHERE id = $1 + n
