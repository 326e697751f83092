SELECT live, live_path, live_files, next, next_path, next_files, note
  FROM moonwake.plan_projection($1, $2::jsonb, $3, $4::boolean)
