SELECT moonwake.version_note($1::bigint, $2)
