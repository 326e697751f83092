SELECT t.try, to_char(t.at, 'YYYY-MM-DD HH24:MI:SS') AS at, coalesce(t.status::text, '') AS status,
       coalesce(round(extract(epoch FROM t.took) * 1000)::text || ' ms', '') AS took, coalesce(t.error, '') AS error,
       json_build_object('try', t.try, 'at', moonwake.iso_time(t.at), 'status', t.status, 'error', t.error,
         'seconds', extract(epoch FROM t.took)) AS json
  FROM moonwake.outbox_tries t WHERE t.outbox_id = $1::uuid ORDER BY t.try
