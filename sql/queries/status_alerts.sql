-- What fires, and what of it does not reach those who are to be told.
SELECT (SELECT count(*) FROM moonwake.alerts a WHERE a.state = 'firing') AS firing,
       (SELECT count(*) FROM moonwake.outbox o WHERE o.state IN ('waiting', 'sending')) AS waiting,
       (SELECT count(*) FROM moonwake.outbox o WHERE o.state = 'failed') AS failed
