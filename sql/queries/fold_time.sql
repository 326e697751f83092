-- The last version that was appended by $3.
SELECT moonwake.version_at($1::text, $2::text, $3::timestamptz)
