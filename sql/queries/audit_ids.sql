SELECT id FROM moonwake.audit_ids($1, $2::bigint) AS id
