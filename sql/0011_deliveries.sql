-- What each consumer was given: the proof that it saw every event once.
--
-- In the transaction that moves a consumer's position, the events that its handler was given are counted and hashed,
-- for each range of 65,536 ids. What it should have been given follows from the log, the patterns that it had and its
-- position: `moonwake audit` compares the two.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

-- What belongs to a consumer follows its cursor: a version that is promoted takes it along.
CREATE TABLE moonwake.deliveries (
  consumer text NOT NULL REFERENCES moonwake.event_cursors ON UPDATE CASCADE ON DELETE CASCADE,
  range bigint NOT NULL,
  events bigint NOT NULL,
  hash bigint NOT NULL,
  power bigint NOT NULL,
  first_id bigint NOT NULL,
  last_id bigint NOT NULL,
  PRIMARY KEY (consumer, range)
) WITH (fillfactor = 50);
COMMENT ON TABLE moonwake.deliveries IS
  'What each consumer was given of each range of 65,536 ids, counted in the transaction that moved its position';
COMMENT ON COLUMN moonwake.deliveries.range IS 'Its ids are those with id >> 16 = range';
COMMENT ON COLUMN moonwake.deliveries.hash IS 'rolling_hash of their ids, in the order in which they were given';
COMMENT ON COLUMN moonwake.deliveries.power IS
  'The hash''s multiplier to the power of events: what it takes to append one hash to another';

CREATE TABLE moonwake.consumer_types (
  consumer text NOT NULL REFERENCES moonwake.event_cursors ON UPDATE CASCADE ON DELETE CASCADE,
  since bigint NOT NULL,
  types text[] NOT NULL,
  aggregate text,
  digest text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (consumer, since)
);
COMMENT ON TABLE moonwake.consumer_types IS
  'Which events each consumer takes: those with an id above since, up to its next row. Below its first row nothing '
  'was recorded';
COMMENT ON COLUMN moonwake.consumer_types.aggregate IS 'Of a reducer: events of other aggregate types are passed over';

-- plpgsql: a function of SQL would be planned anew for each event.
CREATE FUNCTION moonwake.rolling_hash_add(hash bigint, id bigint) RETURNS bigint
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
BEGIN
  RETURN (hash * 1048573 + id % 4398046511093) % 4398046511093;
END
$$;
CREATE AGGREGATE moonwake.rolling_hash(id bigint) (
  SFUNC = moonwake.rolling_hash_add, STYPE = bigint, INITCOND = '0', PARALLEL = SAFE);
COMMENT ON FUNCTION moonwake.rolling_hash_add(bigint, bigint) IS
  'One step of rolling_hash: the multiplier is 1048573, the modulus the largest prime below 2^42';
COMMENT ON AGGREGATE moonwake.rolling_hash(bigint) IS
  'A hash of ids in their order. Example: SELECT moonwake.rolling_hash(id ORDER BY id) FROM moonwake.events';

-- Comes with advance_cursor() in one transaction, which fences it: there is one writer of a row.
CREATE FUNCTION moonwake.add_deliveries(consumers text[], ranges bigint[], events bigint[], hashes bigint[],
  powers bigint[], first_ids bigint[], last_ids bigint[]) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  INSERT INTO deliveries AS d (consumer, range, events, hash, power, first_id, last_id)
    SELECT * FROM unnest(consumers, ranges, add_deliveries.events, hashes, powers, first_ids, last_ids)
  ON CONFLICT ON CONSTRAINT deliveries_pkey DO UPDATE SET
    events = d.events + excluded.events,
    hash = (d.hash::numeric * excluded.power + excluded.hash) % 4398046511093,
    power = (d.power::numeric * excluded.power) % 4398046511093,
    last_id = excluded.last_id;
END
$$;
COMMENT ON FUNCTION moonwake.add_deliveries(text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[]) IS
  'Adds what consumers were given since their last commit: for each range how many events, the rolling_hash of their '
  'ids, the multiplier to the power of their number, and the first and the last id';

CREATE FUNCTION moonwake.note_types(notes jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  INSERT INTO consumer_types AS old (consumer, since, types, aggregate, digest)
    SELECT c.consumer, coalesce(g.position, c.position), n.types, n.aggregate, n.digest
    FROM (
      SELECT x.consumer, ARRAY(SELECT DISTINCT t.name FROM unnest(x.types) t (name) ORDER BY 1) AS types,
        x.aggregate, x.digest
      FROM jsonb_to_recordset(notes) AS x (consumer text, types text[], aggregate text, digest text)) n
    JOIN event_cursors c USING (consumer) LEFT JOIN consumer_groups g USING (group_id)
    WHERE NOT EXISTS (
      SELECT FROM (SELECT * FROM consumer_types t WHERE t.consumer = c.consumer ORDER BY t.since DESC LIMIT 1) t
      WHERE t.types = n.types AND t.aggregate IS NOT DISTINCT FROM n.aggregate)
    ORDER BY 1
  ON CONFLICT (consumer, since) DO UPDATE
    SET types = excluded.types, aggregate = excluded.aggregate, digest = excluded.digest, at = excluded.at
$$;
COMMENT ON FUNCTION moonwake.note_types(jsonb) IS
  'Notes which events consumers take from their position on, where that has changed: '
  '[{"consumer":…,"types":[…],"aggregate":…,"digest":…}, …]. Belongs to the transaction that claims them';

CREATE FUNCTION moonwake.deliveries_reset(consumer text) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  DELETE FROM deliveries d WHERE d.consumer = $1;
  DELETE FROM consumer_types t WHERE t.consumer = $1
$$;
COMMENT ON FUNCTION moonwake.deliveries_reset(text) IS
  'Forgets what a consumer was given: belongs to the transaction that sends it back to the log''s start';


-- --- The audit

-- One statement, so one snapshot: positions, what was recorded, and the log agree. The log is read once for all; a
-- type is matched once and not for each event.
CREATE FUNCTION moonwake.audit_range(consumers text[], range bigint)
  RETURNS TABLE (consumer text, "position" bigint, recorded_after bigint, expected bigint, expected_hash bigint,
    events bigint, hash bigint, first_id bigint, last_id bigint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp SET jit = off SET enable_nestloop = off
  AS $$
  WITH who AS MATERIALIZED (
    SELECT c.consumer, coalesce(g.position, c.position) AS position
    FROM event_cursors c LEFT JOIN consumer_groups g USING (group_id) WHERE c.consumer = ANY ($1)
  ), span AS MATERIALIZED (
    SELECT w.consumer, t.since, least(w.position, lead(t.since) OVER (PARTITION BY w.consumer ORDER BY t.since)) AS upto,
      ARRAY(SELECT type_pattern(p) FROM unnest(t.types) p) AS patterns, t.aggregate
    FROM who w JOIN consumer_types t USING (consumer)
  ), log AS MATERIALIZED (
    SELECT e.id, e.event_type, e.aggregate_type FROM events e
    WHERE e.id BETWEEN $2 << 16 AND ($2 << 16) + 65535 AND e.id <= (SELECT max(s.upto) FROM span s)
  ), taken AS MATERIALIZED (
    SELECT s.consumer, s.since, s.upto, k.event_type, k.aggregate_type
    FROM (SELECT DISTINCT l.event_type, l.aggregate_type FROM log l) k
    JOIN span s ON k.event_type LIKE ANY (s.patterns) AND coalesce(s.aggregate = k.aggregate_type, true)
  ), due AS (
    SELECT t.consumer, count(*) AS expected, rolling_hash(l.id ORDER BY l.id) AS hash
    FROM log l JOIN taken t USING (event_type, aggregate_type)
    WHERE l.id > t.since AND l.id <= t.upto GROUP BY 1
  )
  SELECT w.consumer, w.position, (SELECT min(s.since) FROM span s WHERE s.consumer = w.consumer),
    coalesce(u.expected, 0), coalesce(u.hash, 0), coalesce(d.events, 0), coalesce(d.hash, 0), d.first_id, d.last_id
  FROM who w LEFT JOIN due u USING (consumer)
  LEFT JOIN deliveries d ON d.consumer = w.consumer AND d.range = $2
  ORDER BY 1
$$;
COMMENT ON FUNCTION moonwake.audit_range(text[], bigint) IS
  'For a range of ids: what each consumer should have been given of it by now (expected) and what it was given. '
  'recorded_after: events up to there are not counted, NULL where nothing is. '
  'Example: SELECT * FROM moonwake.audit_range(''{device_summary}'', 0) WHERE (expected, expected_hash) <> (events, hash)';

CREATE FUNCTION moonwake.audit_ids(consumer text, range bigint) RETURNS SETOF bigint
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
  SELECT e.id
  FROM (
    SELECT t.since, least(coalesce(g.position, c.position), lead(t.since) OVER (ORDER BY t.since)) AS upto,
      ARRAY(SELECT type_pattern(p) FROM unnest(t.types) p) AS patterns, t.aggregate
    FROM event_cursors c JOIN consumer_types t USING (consumer) LEFT JOIN consumer_groups g USING (group_id)
    WHERE c.consumer = $1
  ) s JOIN events e ON e.id > s.since AND e.id <= s.upto AND e.id BETWEEN $2 << 16 AND ($2 << 16) + 65535
    AND e.event_type LIKE ANY (s.patterns) AND coalesce(s.aggregate = e.aggregate_type, true)
  ORDER BY 1
$$;
COMMENT ON FUNCTION moonwake.audit_ids(text, bigint) IS
  'The events of a range of ids that a consumer should have been given by now. '
  'Example: SELECT count(*) FROM moonwake.audit_ids(''device_summary'', 0)';

CREATE FUNCTION moonwake.audit_seals(after_id bigint, most int)
  RETURNS TABLE (from_id bigint, to_id bigint, events bigint, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT s.from_id, s.to_id, d.count, CASE
    WHEN s.from_id <> s.due THEN format('the seal of ids %s to %s is missing', s.due, s.from_id - 1)
    WHEN s.previous <> s.before THEN 'the seal does not follow from the one before'
    WHEN d.count < s.count THEN format('%s of %s events are gone', s.count - d.count, s.count)
    WHEN d.count > s.count THEN format('%s events were not there when it was sealed', d.count - s.count)
    WHEN d.digest <> s.digest THEN 'an event or the seal is not what it was when it was sealed' END
  FROM (
    SELECT s.*, coalesce(b.digest, '') AS before, coalesce(b.to_id, 0) + 1 AS due
    FROM (SELECT * FROM seals s WHERE s.to_id > after_id ORDER BY s.to_id LIMIT most) s
    LEFT JOIN LATERAL (SELECT * FROM seals b WHERE b.to_id < s.to_id ORDER BY b.to_id DESC LIMIT 1) b ON true
  ) s, LATERAL range_digest(s.from_id, s.to_id, s.previous) d
  ORDER BY 1
$$;
COMMENT ON FUNCTION moonwake.audit_seals(bigint, int) IS
  'The next few sealed ranges that end behind an id, compared with the log: problem is NULL where nothing was altered';

-- The versions of an aggregate are 1, 2, 3 … in the order of ids, and event_ids knows what was published under the ids
-- that publishers gave: two ways to tell an event that was altered. `gone` looks for those whose row is missing too,
-- which reads all of event_ids.
CREATE FUNCTION moonwake.suspect_events(from_id bigint, to_id bigint, gone boolean)
  RETURNS TABLE (id bigint, problem text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
  WITH log AS MATERIALIZED (
    SELECT * FROM events e WHERE e.id BETWEEN from_id AND to_id
  ), step AS (
    SELECT l.id, l.aggregate_type, l.aggregate_id, l.version, lag(l.version) OVER w AS before
    FROM log l WINDOW w AS (PARTITION BY l.aggregate_type, l.aggregate_id ORDER BY l.id, l."timestamp")
  ), follows AS (
    SELECT s.id, s.aggregate_type, s.aggregate_id, s.version, coalesce(s.before, (
      SELECT e.version FROM events e WHERE s.before IS NULL AND s.version > 1 AND e.aggregate_type = s.aggregate_type
        AND e.aggregate_id = s.aggregate_id AND e.version < s.version AND e.id < s.id
      ORDER BY e.version DESC LIMIT 1), 0) AS before
    FROM step s
  )
  SELECT f.id, CASE WHEN f.version > f.before
    THEN format('version %s of %s/%s, which comes before it, is missing', f.before + 1, f.aggregate_type, f.aggregate_id)
    ELSE format('is version %s of %s/%s, behind version %s', f.version, f.aggregate_type, f.aggregate_id, f.before) END
  FROM follows f WHERE f.version <> f.before + 1
  UNION ALL
  SELECT l.id, 'is not what was published under its event_id'
  FROM log l JOIN event_ids i USING (event_id)
  WHERE i.id <> l.id OR i.version <> l.version OR i.digest NOT IN (
    event_digest(l.event_type, l.aggregate_type, l.aggregate_id, l.data, l.metadata, l.schema_version, l.source,
      l.correlation_id, l.causation_id, l.actor_type, l.actor_id, l.severity, l.impact, l.occurred_at),
    event_digest(l.event_type, l.aggregate_type, l.aggregate_id, l.data, l.metadata, l.schema_version, l.source,
      l.correlation_id, l.causation_id, l.actor_type, l.actor_id, l.severity, l.impact, NULL))
  UNION ALL
  SELECT i.id, format('is gone; it was published as %s', i.event_id)
  FROM event_ids i WHERE gone AND i.id BETWEEN from_id AND to_id AND NOT EXISTS (SELECT FROM log l WHERE l.id = i.id)
  UNION ALL
  SELECT l.id, 'is there twice' FROM log l GROUP BY 1 HAVING count(*) > 1
  ORDER BY 1, 2
$$;
COMMENT ON FUNCTION moonwake.suspect_events(bigint, bigint, boolean) IS
  'The events of a range of ids that cannot be as they were published: by the versions of their aggregate, and by what '
  'was given with their event_id. Example: SELECT * FROM moonwake.suspect_events(1, 10000, true)';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.deliveries, moonwake.consumer_types TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.rolling_hash_add(bigint, bigint), moonwake.rolling_hash(bigint),
  moonwake.audit_range(text[], bigint), moonwake.audit_ids(text, bigint), moonwake.audit_seals(bigint, int),
  moonwake.suspect_events(bigint, bigint, boolean) TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION
  moonwake.add_deliveries(text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[]),
  moonwake.note_types(jsonb), moonwake.deliveries_reset(text) TO moonwake_run;
RESET ROLE;
