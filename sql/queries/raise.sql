SELECT moonwake.raise($1::jsonb)
