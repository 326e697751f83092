SELECT moonwake.set_timers($1, $2::json)
