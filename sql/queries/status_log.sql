-- The log's head, whether it is settled (nobody may still append below it), and who it waits for if not.
SELECT moonwake.log_head() AS head, (SELECT count(*) FROM moonwake.log_writers()) AS writers,
       (SELECT coalesce(application, gid, '') || CASE WHEN pid > 0 THEN ', pid ' || pid ELSE ', prepared' END
          || ', for ' || coalesce(extract(epoch FROM age)::bigint, 0) || ' s'
          FROM moonwake.log_writers() ORDER BY age DESC NULLS LAST LIMIT 1) AS oldest
