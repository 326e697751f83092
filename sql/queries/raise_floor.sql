SELECT (extract(epoch FROM moonwake.raise_floor()) * 1000000)::bigint
