-- recorded: the position from which on deliveries are counted, -1 where they never were; last_range: of deliveries.
SELECT c.consumer, c.kind, coalesce(g."position", c."position") AS "position",
       coalesce((SELECT min(t.since) FROM moonwake.consumer_types t WHERE t.consumer = c.consumer), -1) AS recorded,
       coalesce((SELECT max(d.range) FROM moonwake.deliveries d WHERE d.consumer = c.consumer), -1) AS last_range
  FROM moonwake.event_cursors c LEFT JOIN moonwake.consumer_groups g USING (group_id)
 ORDER BY c.consumer
