SELECT moonwake.pause_version($1, $2::boolean)
