-- Waits in the queue for the bell: already the waiting request keeps publishers from ringing.
SELECT pg_advisory_lock(moonwake.bell_key(), 1)
