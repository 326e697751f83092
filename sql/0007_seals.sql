-- Seals: digests of settled ranges of ids, each over the one before, so that what was altered can be found later.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE TABLE moonwake.seals (
  from_id bigint PRIMARY KEY,
  to_id bigint NOT NULL UNIQUE CHECK (to_id >= from_id),
  count bigint NOT NULL,
  digest bytea NOT NULL,
  previous bytea NOT NULL,
  sealed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE moonwake.seals IS
  'Sealed ranges of the log, without gaps between them: how many events, and sha256 over them and the seal before';
CREATE TRIGGER seals_append_only BEFORE UPDATE OR DELETE ON moonwake.seals
  FOR EACH ROW EXECUTE FUNCTION moonwake.refuse_change();
CREATE TRIGGER seals_no_truncate BEFORE TRUNCATE ON moonwake.seals
  FOR EACH STATEMENT EXECUTE FUNCTION moonwake.refuse_change();

-- No word of the text depends on a session's settings.
CREATE FUNCTION moonwake.range_digest(from_id bigint, to_id bigint, previous bytea, OUT count bigint, OUT digest bytea)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
  SELECT r.n, sha256(previous || convert_to(format('%s-%s:%s', from_id, to_id, r.n), 'UTF8') || r.rows)
  FROM (
    SELECT count(*) AS n, coalesce(string_agg(sha256(convert_to(ROW(e.id, e.event_id, e.event_type,
      e.aggregate_type, e.aggregate_id, e.version, e.schema_version, e.occurrences, e.data, e.metadata, e.source,
      e.correlation_id, e.causation_id, e.actor_type, e.actor_id, e.severity, e.impact,
      extract(epoch FROM e.occurred_at), extract(epoch FROM e."timestamp"))::text, 'UTF8')), ''
      ORDER BY e.id, e."timestamp"), '') AS rows
    FROM events e WHERE e.id BETWEEN from_id AND to_id
  ) r
$$;

CREATE FUNCTION moonwake.seal_events(settled bigint, size int DEFAULT 10000) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  last seals;
  next_from bigint;
BEGIN
  IF settled IS NULL OR settled < 0 OR settled > log_head() OR size IS NULL OR size NOT BETWEEN 1 AND 1000000 THEN
    RAISE EXCEPTION 'seal_events: settled % or size % does not make sense', settled, size
      USING ERRCODE = 'MW009', HINT = 'settled is at most log_head(), size is from 1 to 1000000';
  END IF;
  PERFORM pg_advisory_xact_lock(bell_key(), 5);
  SELECT * INTO last FROM seals s ORDER BY s.from_id DESC LIMIT 1;
  FOR i IN 1 .. 10 LOOP
    next_from := coalesce(last.to_id, 0) + 1;
    EXIT WHEN next_from + size - 1 > settled;
    INSERT INTO seals (from_id, to_id, count, digest, previous)
      SELECT next_from, next_from + size - 1, d.count, d.digest, coalesce(last.digest, '')
      FROM range_digest(next_from, next_from + size - 1, coalesce(last.digest, '')) d
      RETURNING * INTO last;
  END LOOP;
  RETURN coalesce(last.to_id, 0);
END
$$;
COMMENT ON FUNCTION moonwake.seal_events(bigint, int) IS
  'Seals complete ranges of size ids up to a settled id, at most ten in a call so that no snapshot is held for long; '
  'returns the last id that is sealed. Call it again while that rises. Example: SELECT moonwake.seal_events(123456)';

CREATE FUNCTION moonwake.verify_seals(from_id bigint DEFAULT 0)
  RETURNS TABLE (first_id bigint, last_id bigint, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT s.from_id, s.to_id, CASE
    WHEN s.previous <> s.before OR s.from_id <> s.due THEN 'the seal does not follow from the one before'
    WHEN d.count < s.count THEN format('%s of %s events are gone', s.count - d.count, s.count)
    WHEN d.count > s.count THEN format('%s events were not there when it was sealed', d.count - s.count)
    ELSE 'an event or the seal is not what it was when it was sealed' END
  FROM (
    SELECT s.*, coalesce(lag(s.digest) OVER w, '') AS before, coalesce(lag(s.to_id) OVER w, 0) + 1 AS due
    FROM seals s WINDOW w AS (ORDER BY s.from_id)
  ) s, LATERAL range_digest(s.from_id, s.to_id, s.previous) d
  WHERE s.to_id >= $1
    AND (s.previous <> s.before OR s.from_id <> s.due OR d.count <> s.count OR d.digest <> s.digest)
  ORDER BY s.from_id
$$;
COMMENT ON FUNCTION moonwake.verify_seals(bigint) IS
  'The sealed ranges from an id on that no longer match the log, and in what; no row: nothing was altered. '
  'Example: SELECT * FROM moonwake.verify_seals()';
COMMENT ON FUNCTION moonwake.range_digest(bigint, bigint, bytea) IS
  'How many events a range of ids has, and sha256 over them and the digest of the seal before';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.seals TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.range_digest(bigint, bigint, bytea), moonwake.verify_seals(bigint)
  TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.seal_events(bigint, int) TO moonwake_run;
RESET ROLE;
