-- Step 1 of the settled frontier: the last drawn number. Its own statement, before frontier_writers.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM moonwake.events_id_seq
