SELECT moonwake.keep_source($1, $2, $3::jsonb)
