SELECT moonwake.log_head() AS head, coalesce(max(to_id), 0) AS sealed_to, count(*) AS seals FROM moonwake.seals
