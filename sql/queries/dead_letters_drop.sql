SELECT moonwake.drop_dead_letter($1, $2::bigint)
