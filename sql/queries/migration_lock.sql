-- One migrate at a time for each schema. Held by the session, so that it covers several transactions.
SELECT pg_advisory_lock(hashtextextended('migrate ' || $1::text, 0))
