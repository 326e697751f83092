SELECT moonwake.roll_back_version($1)
