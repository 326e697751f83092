SELECT id, problem FROM moonwake.suspect_events($1::bigint, $2::bigint, $3::boolean)
