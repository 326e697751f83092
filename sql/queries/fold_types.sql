-- The aggregate types that have events, a hundred at most: one descent of the index for each.
WITH RECURSIVE walk AS (
  (SELECT s.aggregate_type, 1 AS n FROM moonwake.streams s ORDER BY s.aggregate_type LIMIT 1)
  UNION ALL
  SELECT (SELECT s.aggregate_type FROM moonwake.streams s WHERE s.aggregate_type > w.aggregate_type
           ORDER BY s.aggregate_type LIMIT 1), w.n + 1
    FROM walk w WHERE w.aggregate_type IS NOT NULL AND w.n < 100
)
SELECT aggregate_type FROM walk WHERE aggregate_type IS NOT NULL
