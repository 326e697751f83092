SELECT pg_advisory_unlock(moonwake.bell_key(), 1)
