-- The types of the aggregates with id $1: two at most, which is as good as many.
SELECT aggregate_type FROM moonwake.streams WHERE aggregate_id = $1::text ORDER BY aggregate_type LIMIT 2
