SELECT pg_advisory_unlock(hashtextextended('migrate ' || $1::text, 0))
