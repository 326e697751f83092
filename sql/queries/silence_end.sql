SELECT moonwake.unsilence($1::bigint, $2)
