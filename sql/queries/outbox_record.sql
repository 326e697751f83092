SELECT moonwake.outbox_record($1::uuid[], $2, $3::int, $4, $5::float8, $6::float8, $7::float8, $8::boolean)
