SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid
