-- Reducers: the states of aggregates, and snapshots of them.
--
-- Both are caches of what a script makes of the log: whatever was made by another version of the script, or from
-- another text of it (its digest), is not used. A state's digest is its reducer's, a snapshot carries its own.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE TABLE moonwake.reducers (
  name text PRIMARY KEY,
  version int NOT NULL,
  digest text NOT NULL,
  pending_version int,
  pending_digest text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE moonwake.reducers IS 'The reducers that have states here, as reducer_ensure made them';
COMMENT ON COLUMN moonwake.reducers.digest IS 'Of the script that made what is in aggregate_states';
COMMENT ON COLUMN moonwake.reducers.pending_digest IS
  'Of the script that will make it after reducer_reset, where it has changed';

-- Rows change with every event of their aggregate: the room keeps those updates on their page.
CREATE TABLE moonwake.aggregate_states (
  version bigint NOT NULL,
  position bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  reducer text NOT NULL,
  aggregate_id text NOT NULL,
  state jsonb NOT NULL,
  CONSTRAINT aggregate_states_pkey PRIMARY KEY (reducer, aggregate_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE moonwake.aggregate_states IS
  'The current state of each aggregate by each reducer. Example: SELECT state FROM moonwake.aggregate_states '
  'WHERE reducer = ''device'' AND aggregate_id = ''d-17''';
COMMENT ON COLUMN moonwake.aggregate_states.version IS 'Of the aggregate: the last event that is in the state';
COMMENT ON COLUMN moonwake.aggregate_states.position IS 'That event''s id';
COMMENT ON COLUMN moonwake.aggregate_states.updated_at IS 'That event''s timestamp';

CREATE TABLE moonwake.snapshots (
  version bigint NOT NULL,
  event_id bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  reducer_version int NOT NULL,
  reducer text NOT NULL,
  aggregate_id text NOT NULL,
  digest text NOT NULL,
  state jsonb NOT NULL,
  CONSTRAINT snapshots_pkey PRIMARY KEY (reducer, aggregate_id, digest, version)
);
COMMENT ON TABLE moonwake.snapshots IS
  'States of aggregates as they were at some version, so that an answer about the past need not begin at the first event';
COMMENT ON COLUMN moonwake.snapshots.version IS 'Of the aggregate: the last event that is in the state';
COMMENT ON COLUMN moonwake.snapshots.event_id IS 'That event''s id (events.id)';
COMMENT ON COLUMN moonwake.snapshots.digest IS 'Of the script that made it: with another one it is not used';


CREATE FUNCTION moonwake.reducer_ensure(name text, version int, digest text)
  RETURNS TABLE (table_name text, load_sql text, upsert_sql text, delete_sql text, created boolean, rebuild boolean,
    note text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  there reducers;
BEGIN
  IF coalesce(reducer_ensure.name, '') !~ '^[a-z][a-z0-9_]*(:[a-z0-9_]+)?$' OR octet_length(reducer_ensure.name) > 130 THEN
    PERFORM refuse_projection(format('reducer: %L is not a name', left(reducer_ensure.name, 100)),
      'names are lower case letters, digits and _, and begin with a letter');
  ELSIF coalesce(reducer_ensure.version, 0) < 1 OR coalesce(reducer_ensure.digest, '') = '' THEN
    PERFORM refuse_projection(format('reducer ''%s'': has no version or no digest', reducer_ensure.name),
      'versions are numbers from 1 on');
  END IF;
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM reducers r WHERE r.name = reducer_ensure.name;
  created := there.name IS NULL;
  rebuild := false;
  IF created THEN
    IF EXISTS (SELECT FROM state_projections p WHERE p.name = reducer_ensure.name) THEN
      PERFORM refuse_projection(format('reducer ''%s'': a projection had this name', reducer_ensure.name),
        'give it another name: a cursor would go on where that one stood');
    END IF;
    INSERT INTO reducers (name, version, digest)
      VALUES (reducer_ensure.name, reducer_ensure.version, reducer_ensure.digest);
  ELSIF (there.version, there.digest) <> (reducer_ensure.version, reducer_ensure.digest) THEN
    rebuild := true;
    note := CASE WHEN there.version <> reducer_ensure.version
      THEN format('version %s became %s', there.version, reducer_ensure.version) ELSE 'the script changed' END;
    UPDATE reducers r SET pending_version = reducer_ensure.version, pending_digest = reducer_ensure.digest
      WHERE r.name = there.name
        AND (r.pending_version, r.pending_digest) IS DISTINCT FROM (reducer_ensure.version, reducer_ensure.digest);
  ELSIF there.pending_digest IS NOT NULL THEN
    UPDATE reducers r SET pending_version = NULL, pending_digest = NULL WHERE r.name = there.name; -- it was put back
  END IF;

  table_name := format('%I.aggregate_states', own_schema());
  load_sql := format('SELECT k.n, json_build_object(''version'', t.version, ''state'', t.state)::text AS state '
    'FROM json_to_recordset($1::json) AS k (n int, key text) '
    'JOIN %s t ON t.reducer = %L AND t.aggregate_id = k.key', table_name, reducer_ensure.name);
  upsert_sql := format('INSERT INTO %s AS t (reducer, aggregate_id, version, position, state, updated_at) '
    'SELECT %L, r.key, r.version, r.position, r.state, %I.epoch_or_iso(r.updated_at) FROM json_to_recordset($1::json) '
    'AS r (key text, version bigint, position bigint, state jsonb, updated_at text) '
    'ON CONFLICT (reducer, aggregate_id) DO UPDATE SET version = excluded.version, position = excluded.position, '
    'state = excluded.state, updated_at = excluded.updated_at', table_name, reducer_ensure.name, own_schema());
  delete_sql := format('DELETE FROM %s t USING json_to_recordset($1::json) AS k (n int, key text) '
    'WHERE t.reducer = %L AND t.aggregate_id = k.key', table_name, reducer_ensure.name);
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION moonwake.reducer_ensure(text, int, text) IS
  'Registers a reducer, and returns the statements to run on its states, as projection_ensure does: load_sql and '
  'delete_sql take [{"n": 0, "key": "d-17"}], load_sql answers (n, {"version", "state"} as JSON text); upsert_sql takes '
  '[{"key", "version", "position", "state", "updated_at"}]. rebuild = true: what is there was made by another version '
  'or text of the script, and nothing changes until reducer_reset. '
  'Example: SELECT * FROM moonwake.reducer_ensure(''device'', 1, ''9f86d0…'')';

-- The snapshots of the script that is replaced stay, so that putting it back costs nothing; those of others go.
CREATE FUNCTION moonwake.reducer_reset(name text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  there reducers;
  wanted text;
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM reducers r WHERE r.name = reducer_reset.name;
  IF NOT FOUND THEN
    PERFORM refuse_projection(format('reducer ''%s'': there is none', left(reducer_reset.name, 100)));
  END IF;
  wanted := coalesce(there.pending_digest, there.digest);
  DELETE FROM aggregate_states s WHERE s.reducer = there.name;
  IF wanted <> there.digest THEN
    DELETE FROM snapshots s WHERE s.reducer = there.name AND s.digest NOT IN (wanted, there.digest);
  END IF;
  UPDATE reducers r SET version = coalesce(there.pending_version, there.version), digest = wanted,
    pending_version = NULL, pending_digest = NULL, updated_at = clock_timestamp() WHERE r.name = there.name;
END
$$;
COMMENT ON FUNCTION moonwake.reducer_reset(text) IS
  'Deletes a reducer''s states, to be made anew by the script that reducer_ensure was last called for. Rewind its cursor '
  'in the same transaction. Example: SELECT moonwake.reducer_reset(''device'')';

CREATE FUNCTION moonwake.add_snapshots(reducer text, version int, digest text, snapshots json) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  n bigint;
BEGIN
  INSERT INTO snapshots AS s (reducer, aggregate_id, version, event_id, reducer_version, digest, state)
    SELECT $1, x.aggregate_id, x.version, x.event_id, $2, $3, x.state
      FROM json_to_recordset($4) AS x (aggregate_id text, version bigint, event_id bigint, state jsonb)
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END
$$;
COMMENT ON FUNCTION moonwake.add_snapshots(text, int, text, json) IS
  'Keeps states of aggregates: [{"aggregate_id", "version", "event_id", "state"}]. One that is there already stays, since '
  'the same script makes the same state. Returns how many were new';


-- The one statement that version_at needs, in a function of its own, so that a session plans it once.
CREATE FUNCTION moonwake.last_version_between(aggregate_type text, aggregate_id text, after_version bigint,
  upto_version bigint, since timestamptz, until timestamptz) RETURNS bigint
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN (SELECT e.version FROM events e
    WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.version > $3 AND e.version <= $4
      AND e."timestamp" >= $5 AND e."timestamp" <= $6
    ORDER BY e.version DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION moonwake.last_version_between(text, text, bigint, bigint, timestamptz, timestamptz) IS
  'The last version of an aggregate among some that was appended in a span of time, or NULL';

-- Timestamps ascend with the versions unless the server's clock was set back. A long history is therefore bisected, and
-- the versions shortly behind the place that this finds are looked at one by one.
CREATE FUNCTION moonwake.version_at(aggregate_type text, aggregate_id text, at timestamptz) RETURNS bigint
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  near CONSTANT int := 250;
  behind CONSTANT int := 1000;
  endless CONSTANT bigint := 9223372036854775807;
  instant CONSTANT interval := interval '1 microsecond';
  since timestamptz := date_trunc('day', at, 'UTC'); -- the bounds of the one partition that is searched
  until timestamptz := date_trunc('day', at, 'UTC') + interval '24 hours' - instant;
  low bigint := coalesce(last_version_between($1, $2, 0, endless, '-infinity', since - instant), 0);
  high bigint := last_version_between($1, $2, 0, endless, since, until);
  middle bigint;
BEGIN
  WHILE high - low > near LOOP
    middle := (low + high) / 2;
    IF last_version_between($1, $2, middle - 1, middle, since, at) IS NULL THEN
      high := middle;
    ELSE
      low := middle;
    END IF;
  END LOOP;
  RETURN coalesce(last_version_between($1, $2, low, high + behind, since, at), low);
END
$$;
COMMENT ON FUNCTION moonwake.version_at(text, text, timestamptz) IS
  'The last version of an aggregate that was appended by then, 0 where there was none. '
  'Example: SELECT moonwake.version_at(''device'', ''d-17'', ''2026-01-02 03:04Z'')';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.reducers, moonwake.aggregate_states, moonwake.snapshots TO moonwake_run, moonwake_read;
GRANT INSERT, UPDATE, DELETE ON moonwake.aggregate_states TO moonwake_run;
GRANT EXECUTE ON FUNCTION moonwake.reducer_ensure(text, int, text), moonwake.reducer_reset(text),
  moonwake.add_snapshots(text, int, text, json) TO moonwake_run;
GRANT EXECUTE ON FUNCTION moonwake.last_version_between(text, text, bigint, bigint, timestamptz, timestamptz),
  moonwake.version_at(text, text, timestamptz) TO moonwake_run, moonwake_read;
RESET ROLE;
