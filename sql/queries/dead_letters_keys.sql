-- The keys whose later events wait: all of them at the start ($2), and while letters are tried again those not due.
SELECT DISTINCT consumer, key FROM moonwake.dead_letters
 WHERE parked AND (retry_at IS NULL OR $2::boolean) AND consumer = ANY ($1::text[]) AND key <> ''
