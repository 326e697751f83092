SELECT moonwake.advance_cursor($1::bigint, $2::bigint, $3::bigint, $4::bigint)
