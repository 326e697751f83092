SELECT moonwake.add_dead_letters($1, $2::json)
