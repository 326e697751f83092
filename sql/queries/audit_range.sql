SELECT consumer, "position", expected, expected_hash, events, hash, coalesce(first_id, 0), coalesce(last_id, 0)
  FROM moonwake.audit_range($1::text[], $2::bigint)
