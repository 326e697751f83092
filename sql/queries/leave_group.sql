SELECT moonwake.leave_group($1, $2::bigint, $3::bigint, $4, $5, $6, $7::bigint)
