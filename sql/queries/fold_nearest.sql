-- The aggregates of type $1 whose ids stand next to $2: those before it and those behind it.
SELECT n.aggregate_id FROM (
  (SELECT s.aggregate_id FROM moonwake.streams s WHERE s.aggregate_type = $1::text AND s.aggregate_id > $2::text
    ORDER BY s.aggregate_id LIMIT 3)
  UNION ALL
  (SELECT s.aggregate_id FROM moonwake.streams s WHERE s.aggregate_type = $1::text AND s.aggregate_id < $2::text
    ORDER BY s.aggregate_id DESC LIMIT 3)) n
