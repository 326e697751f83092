-- What a person should know of a consumer that runs: that its changed file does not load, for one.
UPDATE moonwake.event_cursors SET note = nullif($2, '') WHERE consumer = $1 AND note IS DISTINCT FROM nullif($2, '')
