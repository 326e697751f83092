-- Consumers: who reads the log, how far each has come, and what it refused.
--
-- Consumers of one daemon that stand at one position form a group: one page, one transaction, one row that
-- moves. The group's row is the fence: advance_cursor() comes first in every transaction of a consumer and
-- raises MW001 unless group, epoch and old position are what the daemon believes. A group is never
-- taken over, it is dissolved: its members keep its position, and whoever claims them makes a new group, so
-- that nothing a former owner still sends can find its row.

CREATE SEQUENCE moonwake.consumer_epochs;

CREATE TABLE moonwake.consumer_groups (
  group_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  position     bigint NOT NULL,
  epoch        bigint NOT NULL DEFAULT nextval('moonwake.consumer_epochs'),
  daemon       text NOT NULL,
  pid          integer NOT NULL,
  heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  advanced_at  timestamptz
) WITH (fillfactor = 50);

CREATE TABLE moonwake.event_cursors (
  consumer    text PRIMARY KEY,
  kind        text NOT NULL,
  version     integer NOT NULL,
  digest      text NOT NULL,
  state       text NOT NULL DEFAULT 'running'
              CHECK (state IN ('running', 'parked', 'quarantined', 'paused')),
  group_id    bigint REFERENCES moonwake.consumer_groups,
  position    bigint NOT NULL DEFAULT 0,
  error       text,
  error_trace text,
  error_event bigint,
  error_at    timestamptz,
  note        text,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE INDEX event_cursors_group ON moonwake.event_cursors (group_id);

CREATE TABLE moonwake.dead_letters (
  consumer  text NOT NULL,
  event_id  bigint NOT NULL,
  key       text NOT NULL,
  parked    boolean NOT NULL,
  error     text,
  trace     text,
  at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  tries     integer NOT NULL DEFAULT 1,
  retry_at  timestamptz,
  PRIMARY KEY (consumer, event_id, key)
);
CREATE INDEX dead_letters_retry ON moonwake.dead_letters (consumer) WHERE retry_at IS NOT NULL;

CREATE VIEW moonwake.consumers AS
  SELECT c.consumer, c.kind, c.version, c.state, coalesce(g.position, c.position) AS position,
         c.group_id, g.epoch, g.daemon, g.pid, g.heartbeat_at, g.advanced_at,
         c.error, c.error_trace, c.error_event, c.error_at, c.note, c.digest,
         (SELECT count(DISTINCT d.event_id) FROM moonwake.dead_letters d WHERE d.consumer = c.consumer AND d.parked) AS parked,
         (SELECT count(DISTINCT d.event_id) FROM moonwake.dead_letters d WHERE d.consumer = c.consumer AND NOT d.parked) AS skipped
    FROM moonwake.event_cursors c LEFT JOIN moonwake.consumer_groups g USING (group_id);

-- Raises rather than matching no row: the COMMIT that follows it in the pipeline must not happen.
CREATE FUNCTION moonwake.advance_cursor(group_id bigint, epoch bigint, old_position bigint, new_position bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
#variable_conflict use_column
BEGIN
  UPDATE consumer_groups g
     SET position = new_position, advanced_at = clock_timestamp(), heartbeat_at = clock_timestamp()
   WHERE g.group_id = advance_cursor.group_id AND g.epoch = advance_cursor.epoch
     AND g.position = old_position AND new_position >= old_position;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'group % at epoch % no longer stands at position %',
      advance_cursor.group_id, advance_cursor.epoch, old_position
      USING ERRCODE = 'MW001', HINT = 'another daemon owns its consumers now, or they are being rebuilt';
  END IF;
END $$;

-- Gives the members of some groups their position back and removes the groups.
CREATE FUNCTION moonwake.dissolve_groups(groups bigint[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
BEGIN
  -- The groups' rows are locked first, as advance_cursor() locks them: both then wait for each other in turn.
  PERFORM 1 FROM consumer_groups g WHERE g.group_id = ANY (groups) ORDER BY g.group_id FOR UPDATE;
  UPDATE event_cursors c SET position = g.position, group_id = NULL
    FROM consumer_groups g WHERE g.group_id = c.group_id AND g.group_id = ANY (groups);
  DELETE FROM consumer_groups g WHERE g.group_id = ANY (groups);
END $$;

CREATE FUNCTION moonwake.claim_list(claims jsonb)
RETURNS TABLE (consumer text, kind text, version integer, digest text, solo boolean, retry boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM jsonb_to_recordset(claims)
    AS x(consumer text, kind text, version integer, digest text, solo boolean, retry boolean)
$$;

-- claims: [{"consumer":…,"kind":…,"version":…,"digest":…,"solo":bool,"retry":bool}, …]. The caller holds the advisory
-- lock of each. `solo` keeps a consumer in a group of its own; `retry` lets a parked one try again.
CREATE FUNCTION moonwake.claim_consumers(claims jsonb, daemon text, pid integer)
RETURNS TABLE (consumer text, state text, group_id bigint, epoch bigint, "position" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
#variable_conflict use_column
DECLARE
  place record;
  made  bigint;
BEGIN
  INSERT INTO event_cursors (consumer, kind, version, digest)
    SELECT q.consumer, q.kind, q.version, q.digest FROM claim_list(claims) q
    ORDER BY 1 ON CONFLICT DO NOTHING;
  PERFORM dissolve_groups(ARRAY(
    SELECT DISTINCT c.group_id FROM event_cursors c JOIN claim_list(claims) q USING (consumer)
     WHERE c.group_id IS NOT NULL));
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

-- A consumer leaves its group, in the transaction in which the group moves on.
CREATE FUNCTION moonwake.leave_group(consumer text, group_id bigint, "position" bigint, state text,
  error text, trace text, event_id bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
  UPDATE event_cursors c
     SET group_id = NULL, position = $3, state = $4, error = $5, error_trace = $6, error_event = $7,
         error_at = clock_timestamp()
   WHERE c.consumer = $1 AND c.group_id = $2
$$;

CREATE FUNCTION moonwake.quarantine_consumer(consumer text, event_id bigint, error text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
  SELECT dissolve_groups(ARRAY(SELECT c.group_id FROM event_cursors c WHERE c.consumer = $1 AND c.group_id IS NOT NULL));
  UPDATE event_cursors c
     SET state = 'quarantined', error = $3, error_trace = NULL, error_event = $2, error_at = clock_timestamp()
   WHERE c.consumer = $1
$$;

-- Returns the groups that are no longer the caller's.
CREATE FUNCTION moonwake.heartbeat(groups bigint[], epochs bigint[])
RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
  WITH mine AS (SELECT * FROM unnest(groups, epochs) AS m(group_id, epoch)),
       beat AS (
         UPDATE consumer_groups g SET heartbeat_at = clock_timestamp()
           FROM mine m WHERE g.group_id = m.group_id AND g.epoch = m.epoch
         RETURNING g.group_id)
  SELECT m.group_id FROM mine m WHERE m.group_id NOT IN (SELECT b.group_id FROM beat b)
$$;

-- Fences the owners of these consumers that gave no sign of life for so long; the caller then ends their sessions,
-- which hold the advisory locks.
CREATE FUNCTION moonwake.take_over(consumers text[], silence interval)
RETURNS SETOF integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
DECLARE
  silent record;
BEGIN
  FOR silent IN
    SELECT DISTINCT g.group_id, g.pid FROM consumer_groups g JOIN event_cursors c USING (group_id)
     WHERE c.consumer = ANY (consumers) AND g.heartbeat_at < clock_timestamp() - silence
     ORDER BY 1
  LOOP
    PERFORM dissolve_groups(ARRAY[silent.group_id]);
    RETURN NEXT silent.pid;
  END LOOP;
END $$;

-- From the log's start again: the projection's table is made anew, the cursor goes back, whoever owns it is fenced.
CREATE FUNCTION moonwake.rebuild_consumer(consumer text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM event_cursors c WHERE c.consumer = rebuild_consumer.consumer;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'consumer ''%'' has never been started', consumer USING ERRCODE = 'MW007';
  END IF;
  PERFORM dissolve_groups(ARRAY(
    SELECT c.group_id FROM event_cursors c WHERE c.consumer = rebuild_consumer.consumer AND c.group_id IS NOT NULL));
  UPDATE event_cursors c
     SET position = 0, state = 'running', error = NULL, error_trace = NULL, error_event = NULL, error_at = NULL
   WHERE c.consumer = rebuild_consumer.consumer;
  DELETE FROM dead_letters d WHERE d.consumer = rebuild_consumer.consumer;
  PERFORM projection_reset(consumer) FROM state_projections p WHERE p.name = rebuild_consumer.consumer;
  PERFORM pg_notify('moonwake', '');
END $$;

-- A dropped letter's key may be free again: the owner has to read the parked keys anew, so its group is dissolved.
CREATE FUNCTION moonwake.drop_dead_letter(consumer text, event_id bigint)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  PERFORM dissolve_groups(ARRAY(SELECT c.group_id FROM event_cursors c WHERE c.consumer = $1 AND c.group_id IS NOT NULL));
  DELETE FROM dead_letters d WHERE d.consumer = $1 AND d.event_id = $2;
  GET DIAGNOSTICS n = ROW_COUNT;
  PERFORM pg_notify('moonwake', '');
  RETURN n;
END $$;

-- letters: [{"event_id":…,"key":…,"parked":bool,"error":…,"trace":…}, …]
CREATE FUNCTION moonwake.add_dead_letters(consumer text, letters json)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
  INSERT INTO dead_letters AS d (consumer, event_id, key, parked, error, trace)
    SELECT $1, x.event_id, x.key, x.parked, x.error, x.trace
      FROM json_to_recordset(letters) AS x(event_id bigint, key text, parked boolean, error text, trace text)
  ON CONFLICT (consumer, event_id, key) DO UPDATE
    SET parked = excluded.parked, error = excluded.error, trace = excluded.trace,
        tries = d.tries + 1, retry_at = NULL
$$;

COMMENT ON TABLE moonwake.consumer_groups IS
  'Consumers of one daemon at one position: they move in one transaction. position: the last event id that was scanned.';
COMMENT ON TABLE moonwake.event_cursors IS
  'One row per consumer. position counts only while group_id is NULL; the view consumers has the one that holds.';
COMMENT ON TABLE moonwake.dead_letters IS
  'Events that a consumer refused (error) or that wait behind one of the same key (parked, without error).';
COMMENT ON VIEW moonwake.consumers IS 'Every consumer with its position, owner, error and count of dead letters.';
COMMENT ON FUNCTION moonwake.advance_cursor IS
  'First statement of every consumer''s transaction: moves the group or raises MW001.';
COMMENT ON FUNCTION moonwake.dissolve_groups IS 'Gives members their position back and removes the groups.';
COMMENT ON FUNCTION moonwake.claim_list IS 'The claims of claim_consumers() as rows.';
COMMENT ON FUNCTION moonwake.claim_consumers IS
  'Makes new groups, by position, for consumers whose advisory lock the caller holds.';
COMMENT ON FUNCTION moonwake.leave_group IS 'Takes a consumer out of its group, with a position and state of its own.';
COMMENT ON FUNCTION moonwake.quarantine_consumer IS 'Parks a consumer whose script hung the daemon, until its file changes.';
COMMENT ON FUNCTION moonwake.heartbeat IS 'Shows life; returns the groups that are no longer the caller''s.';
COMMENT ON FUNCTION moonwake.take_over IS
  'Dissolves the groups of owners that have been silent for so long; returns their sessions'' pids.';
COMMENT ON FUNCTION moonwake.rebuild_consumer IS
  'Starts a consumer again at the log''s beginning. Example: SELECT moonwake.rebuild_consumer(''device_state'')';
COMMENT ON FUNCTION moonwake.drop_dead_letter IS
  'Removes the letters of one event, which the consumer will then never see; returns how many there were.';
COMMENT ON FUNCTION moonwake.add_dead_letters IS 'Records refused events; a letter that is there counts another try.';

ALTER TABLE moonwake.consumer_groups OWNER TO moonwake_owner;
ALTER TABLE moonwake.event_cursors OWNER TO moonwake_owner;
ALTER TABLE moonwake.dead_letters OWNER TO moonwake_owner;
ALTER VIEW moonwake.consumers OWNER TO moonwake_owner;
ALTER SEQUENCE moonwake.consumer_epochs OWNER TO moonwake_owner;
GRANT SELECT ON moonwake.consumer_groups, moonwake.event_cursors, moonwake.dead_letters, moonwake.consumers
  TO moonwake_run, moonwake_read;
GRANT UPDATE (retry_at), DELETE ON moonwake.dead_letters TO moonwake_run;
GRANT UPDATE (note) ON moonwake.event_cursors TO moonwake_run;

DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('moonwake.event_cursors'))
      AND p.proname IN ('advance_cursor', 'dissolve_groups', 'claim_list', 'claim_consumers', 'leave_group', 'quarantine_consumer',
        'heartbeat', 'take_over', 'rebuild_consumer', 'drop_dead_letter', 'add_dead_letters')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO moonwake_owner', f);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO moonwake_run', f);
  END LOOP;
END $$;
