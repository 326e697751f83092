-- The events.id of the event that its publisher named $3, or of one of this aggregate's ($1, $2) that we named so.
SELECT e.id FROM (
  SELECT i.id FROM moonwake.event_ids i WHERE i.event_id = $3::uuid
  UNION ALL
  SELECT e.id FROM moonwake.events e
   WHERE e.aggregate_type = $1::text AND e.aggregate_id = $2::text AND e.event_id = $3::uuid) e LIMIT 1
