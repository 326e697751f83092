-- The ids of aggregates, of any type, that stand next to $1.
SELECT n.aggregate_id FROM (
  (SELECT DISTINCT s.aggregate_id FROM moonwake.streams s WHERE s.aggregate_id > $1::text ORDER BY s.aggregate_id LIMIT 5)
  UNION ALL
  (SELECT DISTINCT s.aggregate_id FROM moonwake.streams s WHERE s.aggregate_id < $1::text ORDER BY s.aggregate_id DESC
    LIMIT 5)) n
