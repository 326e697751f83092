SELECT moonwake.drop_old_version($1)
