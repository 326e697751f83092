SELECT from_id, to_id, events, problem FROM moonwake.audit_seals($1::bigint, $2::integer)
