SELECT consumer, state, group_id, epoch, "position" FROM moonwake.claim_consumers($1::jsonb, $2, $3::integer)
