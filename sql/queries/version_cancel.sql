SELECT moonwake.cancel_version($1)
