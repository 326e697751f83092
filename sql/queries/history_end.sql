-- How far a history that begins behind $1 may go: to the log's head once all that were appending have ended, waited for
-- up to 2 s; else to the end of the run of ids without a gap behind what is known to be settled.
SELECT moonwake.settled_head(least(moonwake.log_head(), greatest($1::bigint,
         (SELECT max(c.position) FROM moonwake.event_cursors c),
         (SELECT max(g.position) FROM moonwake.consumer_groups g),
         (SELECT max(s.to_id) FROM moonwake.seals s))), 2000, 1000000)
