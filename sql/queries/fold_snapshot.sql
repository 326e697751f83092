-- The newest state of an aggregate ($2) by a reducer ($1) that this text ($3) and version ($4) of the script made and
-- that is not beyond version $5. The current state counts as one more snapshot.
SELECT s.version, s.state::text FROM (
  (SELECT s.version, s.state FROM moonwake.snapshots s
    WHERE s.reducer = $1::text AND s.aggregate_id = $2::text AND s.digest = $3::text
      AND s.reducer_version = $4::int AND s.version <= $5::bigint
    ORDER BY s.version DESC LIMIT 1)
  UNION ALL
  SELECT s.version, s.state FROM moonwake.aggregate_states s JOIN moonwake.reducers r ON r.name = s.reducer
   WHERE s.reducer = $1::text AND s.aggregate_id = $2::text AND s.version <= $5::bigint
     AND r.digest = $3::text AND r.version = $4::int) s
 ORDER BY s.version DESC LIMIT 1
