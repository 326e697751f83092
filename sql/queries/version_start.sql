SELECT moonwake.start_version($1, $2::jsonb, $3, $4::boolean)
