-- Plans: what a daemon is to run of each projection, who may write to which version, and what people ask for.
--
-- SQLSTATE of our own: MW011 what was asked of a version cannot be done, or not yet.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE FUNCTION moonwake.version_ensure(name text, digest text)
  RETURNS TABLE (table_name text, load_sql text, upsert_sql text, delete_sql text, created boolean, rebuild boolean,
    note text, build bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  there projection_versions;
BEGIN
  SELECT * INTO there FROM projection_versions v
    WHERE v.name = version_ensure.name AND v.role = 'next' AND v.digest = version_ensure.digest;
  created := false;
  rebuild := NOT FOUND; -- the plan is stale
  IF FOUND THEN
    build := there.build;
    table_name := format('%I.%I', versions_schema(), there.leaf);
    SELECT s.* INTO load_sql, upsert_sql, delete_sql FROM projection_statements(there.spec, there.leaf) s;
  END IF;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION moonwake.version_ensure(text, text) IS
  'The statements of the version of a projection that is being built; rebuild = true: there is none of this digest';

-- From the log's start again, in place: the table or the states are made anew, the cursor goes back, whoever owns it is
-- fenced.
CREATE OR REPLACE FUNCTION moonwake.rebuild_consumer(consumer text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4); -- before groups and cursors, as whoever plans or promotes
  PERFORM 1 FROM event_cursors c WHERE c.consumer = rebuild_consumer.consumer;
  IF NOT FOUND AND NOT EXISTS (SELECT FROM reducers r WHERE r.name = rebuild_consumer.consumer)
    AND NOT EXISTS (SELECT FROM state_projections p WHERE p.name = rebuild_consumer.consumer) THEN
    RAISE EXCEPTION 'consumer ''%'' has never been started', consumer USING ERRCODE = 'MW007';
  END IF;
  PERFORM dissolve_groups(ARRAY(
    SELECT c.group_id FROM event_cursors c WHERE c.consumer = rebuild_consumer.consumer AND c.group_id IS NOT NULL));
  UPDATE event_cursors c
     SET position = 0, state = 'running', error = NULL, error_trace = NULL, error_event = NULL, error_at = NULL
   WHERE c.consumer = rebuild_consumer.consumer;
  DELETE FROM dead_letters d WHERE d.consumer = rebuild_consumer.consumer;
  PERFORM deliveries_reset(consumer);
  PERFORM projection_reset(consumer) FROM state_projections p WHERE p.name = rebuild_consumer.consumer;
  PERFORM reducer_reset(consumer) FROM reducers r WHERE r.name = rebuild_consumer.consumer;
  PERFORM pg_notify('moonwake', '');
END $$;


-- Claims --------------------------------------------------------------------------------------------------------------

DROP FUNCTION moonwake.claim_list(jsonb);
CREATE FUNCTION moonwake.claim_list(claims jsonb)
RETURNS TABLE (consumer text, kind text, version integer, digest text, solo boolean, retry boolean, build bigint)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM jsonb_to_recordset(claims)
    AS x(consumer text, kind text, version integer, digest text, solo boolean, retry boolean, build bigint)
$$;
COMMENT ON FUNCTION moonwake.claim_list(jsonb) IS 'The claims of claim_consumers() as rows.';

-- `build` in a claim is the version whose leaf the daemon is about to write to. Versions are exchanged by who has locked
-- the cursors: once they are ours here, what projection_versions says holds until the claim is committed.
CREATE OR REPLACE FUNCTION moonwake.claim_consumers(claims jsonb, daemon text, pid integer)
RETURNS TABLE (consumer text, state text, group_id bigint, epoch bigint, "position" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
#variable_conflict use_column
DECLARE
  place record;
  made  bigint;
  stale text;
BEGIN
  INSERT INTO event_cursors (consumer, kind, version, digest)
    SELECT q.consumer, q.kind, q.version, q.digest FROM claim_list(claims) q
    ORDER BY 1 ON CONFLICT DO NOTHING;
  PERFORM dissolve_groups(ARRAY(
    SELECT DISTINCT c.group_id FROM event_cursors c JOIN claim_list(claims) q USING (consumer)
     WHERE c.group_id IS NOT NULL));
  PERFORM 1 FROM event_cursors c JOIN claim_list(claims) q USING (consumer) ORDER BY c.consumer FOR UPDATE OF c;
  SELECT string_agg(q.consumer, ', ') INTO stale FROM claim_list(claims) q
    LEFT JOIN projection_versions v ON v.name || CASE v.role WHEN 'live' THEN '' ELSE ':' || v.role END = q.consumer
    WHERE q.build IS DISTINCT FROM v.build AND (v.build IS NOT NULL OR q.consumer LIKE '%:%');
  IF stale IS NOT NULL THEN
    RAISE EXCEPTION '%: another version is live now', stale USING ERRCODE = 'MW001';
  END IF;
  UPDATE event_cursors c
     SET kind = q.kind, version = q.version, digest = q.digest,
         state = CASE WHEN c.state = 'parked' AND q.retry THEN 'running'
                      WHEN c.state = 'quarantined' AND c.digest <> q.digest THEN 'running'
                      ELSE c.state END
    FROM claim_list(claims) q WHERE c.consumer = q.consumer;

  FOR place IN
    SELECT c.position, CASE WHEN q.solo THEN c.consumer END AS alone, array_agg(c.consumer) AS members
      FROM event_cursors c JOIN claim_list(claims) q USING (consumer)
     WHERE c.state = 'running' GROUP BY 1, 2 ORDER BY 1, 2
  LOOP
    INSERT INTO consumer_groups AS g (position, daemon, pid)
      VALUES (place.position, claim_consumers.daemon, claim_consumers.pid) RETURNING g.group_id INTO made;
    UPDATE event_cursors c SET group_id = made, error = NULL, error_trace = NULL, error_event = NULL, error_at = NULL
     WHERE c.consumer = ANY (place.members);
  END LOOP;
  RETURN QUERY
    SELECT c.consumer, c.state, g.group_id, g.epoch, coalesce(g.position, c.position)
      FROM claim_list(claims) q JOIN event_cursors c USING (consumer)
      LEFT JOIN consumer_groups g ON g.group_id = c.group_id ORDER BY 3, 1;
END $$;

CREATE FUNCTION moonwake.keep_source(digest text, path text, files jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$ INSERT INTO script_sources (digest, path, files) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING $$;
COMMENT ON FUNCTION moonwake.keep_source(text, text, jsonb) IS
  'Keeps the text of a script, {path: text}, so that it can run when the file is another one. '
  'Example: SELECT moonwake.keep_source(''9f86d0…'', ''projections/x.lua'', ''{"projections/x.lua": "…"}'')';


-- A version that is not live goes, with its rows, cursor and letters.
CREATE FUNCTION moonwake.drop_version(build bigint) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  gone projection_versions;
BEGIN
  DELETE FROM projection_versions v WHERE v.build = drop_version.build RETURNING * INTO gone;
  IF gone.role <> 'live' THEN
    PERFORM forget_consumer(gone.name || ':' || gone.role);
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I.%I', versions_schema(), gone.leaf);
END
$$;

CREATE FUNCTION moonwake.forget_consumer(consumer text) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT dissolve_groups(ARRAY(SELECT c.group_id FROM event_cursors c WHERE c.consumer = $1 AND c.group_id IS NOT NULL));
  DELETE FROM event_cursors c WHERE c.consumer = $1;
  DELETE FROM dead_letters d WHERE d.consumer = $1;
$$;

-- With all that belongs to it, what it was given included (by its foreign key); whoever had that name is forgotten.
CREATE FUNCTION moonwake.rename_consumer(consumer text, new_name text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  DELETE FROM event_cursors c WHERE c.consumer = $2;
  DELETE FROM dead_letters d WHERE d.consumer = $2;
  UPDATE event_cursors c SET consumer = $2 WHERE c.consumer = $1;
  UPDATE dead_letters d SET consumer = $2 WHERE d.consumer = $1;
END
$$;


-- What is to run ------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.begin_version(wanted jsonb, digest text, promote text, asked boolean) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  made bigint := nextval('projection_builds');
BEGIN
  PERFORM drop_version(v.build) FROM projection_versions v WHERE v.name = wanted ->> 'name' AND v.role = 'next';
  DELETE FROM declined_scripts d WHERE d.name = wanted ->> 'name'
    AND (d.digest = begin_version.digest OR d.version = (wanted ->> 'version')::int);
  INSERT INTO projection_versions (build, name, role, version, digest, spec, leaf, promote, asked, state)
    VALUES (made, wanted ->> 'name', 'next', (wanted ->> 'version')::int, digest, wanted, create_leaf(wanted, made),
      promote, asked, 'building');
  -- Indexes that people made are made while it is empty. What does not go is said when it is promoted.
  BEGIN
    PERFORM complete_leaf(wanted ->> 'name', v.leaf, ARRAY(SELECT projection_index_name(l.name, o)
        FROM projection_versions l, jsonb_array_elements(l.spec -> 'indexes') o WHERE l.name = v.name AND l.role = 'live'))
      FROM projection_versions v WHERE v.build = made;
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
  RETURN made;
END
$$;

-- Why a live table cannot go on as what a definition says, or NULL.
CREATE FUNCTION moonwake.needs_build(old jsonb, new jsonb, leaf text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  why text := projection_difference(old, new);
  full_table boolean;
BEGIN
  IF why IS NULL AND EXISTS (SELECT FROM jsonb_array_elements(new -> 'columns') n
    WHERE n ? 'not_null' AND NOT n ? 'default' AND NOT old -> 'columns' @> jsonb_build_array(n)) THEN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', versions_schema(), leaf) INTO full_table;
    why := CASE WHEN full_table THEN 'a NOT NULL column without a default was added' END;
  END IF;
  RETURN why;
END
$$;

-- live, next: 'file', 'stored' or 'none': from where that version runs. `fresh`: the file was just saved or the daemon
-- just began: only then does it change what there is, so that daemons with different files do not quarrel.
CREATE FUNCTION moonwake.plan_projection(name text, spec jsonb, digest text, fresh boolean)
  RETURNS TABLE (live text, live_path text, live_files jsonb, next text, next_path text, next_files jsonb, note text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET lock_timeout = '1s'
  AS $$
#variable_conflict use_column
DECLARE
  wanted jsonb;
  there projection_versions;
  building projection_versions;
  running text; -- the live version's digest
  why text;
  shut boolean;
BEGIN
  live := 'file';
  next := 'none';
  BEGIN
    wanted := check_projection(spec);
  EXCEPTION WHEN SQLSTATE 'MW006' THEN
    wanted := NULL; -- projection_ensure() says what is wrong
  END;
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM projection_versions v WHERE v.name = plan_projection.name AND v.role = 'live';
  SELECT * INTO building FROM projection_versions v WHERE v.name = plan_projection.name AND v.role = 'next';
  SELECT c.digest INTO running FROM event_cursors c WHERE c.consumer = plan_projection.name;
  IF there.build IS NULL OR spec IS NOT NULL AND (wanted IS NULL OR wanted ->> 'form' = 'sql') THEN
    RETURN NEXT;
    RETURN;
  END IF;
  why := CASE WHEN wanted IS NOT NULL THEN needs_build(there.spec, wanted, there.leaf) ELSE 'there is no file' END;
  shut := digest IS DISTINCT FROM running AND digest IS DISTINCT FROM building.digest AND (
    EXISTS (SELECT FROM declined_scripts d WHERE d.name = plan_projection.name
      AND (d.digest = plan_projection.digest OR d.version = (wanted ->> 'version')::int))
    OR EXISTS (SELECT FROM projection_versions v WHERE v.name = there.name AND v.role = 'old' AND v.digest = plan_projection.digest));
  IF fresh AND shut AND building.build IS NOT NULL AND NOT building.asked THEN
    PERFORM drop_version(building.build); -- of a file that is no longer there
    building := NULL;
  END IF;
  IF fresh AND wanted IS NOT NULL AND NOT shut AND building.digest IS DISTINCT FROM digest THEN
    IF building.build IS NOT NULL AND (why IS NOT NULL OR NOT building.asked) THEN
      PERFORM drop_version(building.build);
      building := NULL;
    END IF;
    IF building.build IS NULL AND why IS NOT NULL THEN
      PERFORM begin_version(wanted, digest, coalesce(spec ->> 'promote', 'auto'), false);
      SELECT * INTO building FROM projection_versions v WHERE v.name = there.name AND v.role = 'next';
      note := format('%s: version %s is built beside the live one', why, wanted ->> 'version');
    END IF;
  END IF;

  IF digest IS DISTINCT FROM running AND (why IS NOT NULL OR shut OR building.digest = digest) THEN
    live := 'stored';
    SELECT s.path, s.files INTO live_path, live_files FROM script_sources s WHERE s.digest = running;
    IF NOT FOUND THEN
      live := 'none';
      note := concat_ws('; ', note, 'the text of the live version is not known: its table stands still until the next is live');
    END IF;
  END IF;
  IF shut THEN
    note := 'the file''s version was declined or is the one before: the live one goes on (`rebuild` builds it again)';
  END IF;
  IF building.build IS NOT NULL THEN
    next := CASE WHEN building.digest = digest THEN 'file' ELSE 'stored' END;
    IF next = 'stored' THEN
      SELECT s.path, s.files INTO next_path, next_files FROM script_sources s WHERE s.digest = building.digest;
    END IF;
  END IF;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION moonwake.plan_projection(text, jsonb, text, boolean) IS
  'What a daemon is to run for a projection''s file: the live version and the one that is being built, each from the '
  'file, from what keep_source() has, or not at all. Begins a build where the file asks for other tables and fresh is true. '
  'Without a definition: what there is';

-- Changes whenever a plan may be another one.
CREATE FUNCTION moonwake.plan_stamp() RETURNS text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT md5(concat_ws(' ', (SELECT string_agg(concat_ws(':', v.build, v.role, v.promote, c.state = 'paused'), ' ' ORDER BY v.build)
      FROM projection_versions v LEFT JOIN event_cursors c ON v.role = 'next' AND c.consumer = v.name || ':next'
      WHERE v.role <> 'old'), (SELECT count(*) FROM declined_scripts)))
$$;
COMMENT ON FUNCTION moonwake.plan_stamp() IS 'Another text whenever versions were begun, exchanged, paused or dropped';


-- On request ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.refuse_version(problem text, hint text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION '%', problem USING ERRCODE = 'MW011', HINT = hint;
END
$$;

CREATE FUNCTION moonwake.version_of(name text, role text) RETURNS moonwake.projection_versions
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  there projection_versions;
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM projection_versions v WHERE v.name = $1 AND v.role = $2;
  IF NOT FOUND THEN
    IF NOT EXISTS (SELECT FROM projection_versions v WHERE v.name = $1) THEN
      PERFORM refuse_version(format('projection ''%s'': has no versions', left($1, 100)),
        'it was never started, or has tables of its own (sql = true)');
    END IF;
    PERFORM refuse_version(format('projection ''%s'': %s', $1, CASE $2 WHEN 'next' THEN 'no version is being built'
      ELSE 'no earlier version is kept' END), '`moonwake status` shows what there is');
  END IF;
  RETURN there;
END
$$;

CREATE FUNCTION moonwake.start_version(name text, spec jsonb DEFAULT NULL, digest text DEFAULT NULL, approved boolean DEFAULT false)
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  live projection_versions := version_of(name, 'live');
  building projection_versions;
  wanted jsonb := CASE WHEN spec IS NULL THEN live.spec ELSE check_projection(spec) END;
  text_of text := coalesce(digest, (SELECT c.digest FROM event_cursors c WHERE c.consumer = start_version.name));
  how text := CASE WHEN spec IS NULL THEN live.promote ELSE coalesce(spec ->> 'promote', 'auto') END;
BEGIN
  IF wanted ->> 'form' = 'sql' THEN
    PERFORM refuse_version(format('projection ''%s'': writes SQL itself', name), 'such a projection is rebuilt in place');
  ELSIF NOT EXISTS (SELECT FROM script_sources s WHERE s.digest = text_of) THEN
    PERFORM refuse_version(format('projection ''%s'': its text is not known', name), 'name the workspace with its file (-C)');
  END IF;
  how := CASE WHEN approved THEN 'auto' WHEN how = 'auto' THEN 'manual' ELSE how END;
  SELECT * INTO building FROM projection_versions v WHERE v.name = live.name AND v.role = 'next' AND v.digest = text_of;
  IF building.build IS NULL THEN
    building.build := begin_version(wanted, text_of, how, true);
  ELSIF approved THEN
    UPDATE projection_versions v SET promote = how, asked = true, state = 'building', note = NULL WHERE v.build = building.build;
  END IF;
  PERFORM pg_notify('moonwake', '');
  RETURN building.build;
END
$$;
COMMENT ON FUNCTION moonwake.start_version(text, jsonb, text, boolean) IS
  'Builds a projection again beside the live version: from a definition and the digest of its text that keep_source() '
  'has, or as it is. One that is being built from the same text is joined. It is promoted by itself where it is approved; '
  'otherwise as its definition says, but not unasked. Returns its build. '
  'Example: SELECT moonwake.start_version(''device_summary'')';

CREATE FUNCTION moonwake.cancel_version(name text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  building projection_versions := version_of(name, 'next');
BEGIN
  PERFORM drop_version(building.build);
  INSERT INTO declined_scripts (name, digest)
    SELECT building.name, building.digest WHERE building.digest IS DISTINCT FROM
      (SELECT c.digest FROM event_cursors c WHERE c.consumer = building.name) ON CONFLICT DO NOTHING;
  PERFORM pg_notify('moonwake', '');
END
$$;
COMMENT ON FUNCTION moonwake.cancel_version(text) IS
  'Gives up the version that is being built; its text is not built again unasked. Example: SELECT moonwake.cancel_version(''x'')';

CREATE FUNCTION moonwake.pause_version(name text, paused boolean) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  building projection_versions := version_of(name, 'next');
BEGIN
  PERFORM dissolve_groups(ARRAY(
    SELECT c.group_id FROM event_cursors c WHERE c.consumer = building.name || ':next' AND c.group_id IS NOT NULL));
  INSERT INTO event_cursors AS c (consumer, kind, version, digest, state)
    VALUES (building.name || ':next', 'projection', building.version, building.digest, CASE WHEN paused THEN 'paused' ELSE 'running' END)
    ON CONFLICT (consumer) DO UPDATE SET state = excluded.state;
  UPDATE projection_versions v SET state = 'building', caught_up_at = NULL, waits_for = NULL, note = NULL
    WHERE v.build = building.build;
  PERFORM pg_notify('moonwake', '');
END
$$;
COMMENT ON FUNCTION moonwake.pause_version(text, boolean) IS
  'Stops the building of a version, or lets it go on; one that a script''s error parked tries again. '
  'Example: SELECT moonwake.pause_version(''device_summary'', true)';

CREATE FUNCTION moonwake.drop_old_version(name text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$ BEGIN PERFORM drop_version((version_of(name, 'old')).build); END $$;
COMMENT ON FUNCTION moonwake.drop_old_version(text) IS
  'Drops the version before the live one, which is kept for a rollback. Example: SELECT moonwake.drop_old_version(''x'')';

COMMENT ON FUNCTION moonwake.begin_version(jsonb, text, text, boolean) IS 'Makes the empty leaf of a version to be built';
COMMENT ON FUNCTION moonwake.needs_build(jsonb, jsonb, text) IS 'Why a live table cannot go on as what a definition says, or NULL';
COMMENT ON FUNCTION moonwake.refuse_version(text, text) IS 'Raises MW011: what was asked of a version cannot be done';
COMMENT ON FUNCTION moonwake.version_of(text, text) IS 'The version of a projection in a role, or MW011. Holds the lock of all of them';
COMMENT ON FUNCTION moonwake.drop_version(bigint) IS 'Drops a version with its rows, cursor and letters';
COMMENT ON FUNCTION moonwake.forget_consumer(text) IS 'Drops a consumer''s cursor and letters';
COMMENT ON FUNCTION moonwake.rename_consumer(text, text) IS 'Gives a consumer another name; it must be in no group';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.version_ensure(text, text), moonwake.keep_source(text, text, jsonb),
  moonwake.plan_projection(text, jsonb, text, boolean), moonwake.plan_stamp(), moonwake.start_version(text, jsonb, text, boolean),
  moonwake.cancel_version(text), moonwake.pause_version(text, boolean), moonwake.drop_old_version(text) TO moonwake_run;
RESET ROLE;
