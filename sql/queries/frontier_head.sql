-- Step 1 of the settled frontier: the last drawn number. Its own statement, before frontier_writers. Never read from
-- the sequence's row: nextval writes a number up to 32 ahead there while it logs, and only this function waits for it.
-- Beside it the server's clock, by which rules' timers are waited for.
SELECT coalesce(pg_sequence_last_value('moonwake.events_id_seq'), 0) AS head,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now
