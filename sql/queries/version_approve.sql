SELECT moonwake.promote_version($1, $2::boolean)
