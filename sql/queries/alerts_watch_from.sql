-- The position so many microseconds ago; for 0 the last event there is.
SELECT CASE WHEN $1::bigint = 0 THEN (SELECT coalesce(max(e.id), 0) FROM moonwake.events e)
  ELSE moonwake.position_before(clock_timestamp() - $1::bigint * interval '1 microsecond') END
