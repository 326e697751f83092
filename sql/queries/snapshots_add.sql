SELECT moonwake.add_snapshots($1, $2::integer, $3, $4::json)
