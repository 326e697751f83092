SELECT moonwake.dissolve_groups($1::bigint[])
