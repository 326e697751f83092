-- Reading: the log's head and its writers, events in order for applications, and answers about aggregates and chains.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE FUNCTION moonwake.log_head() RETURNS bigint
  LANGUAGE sql VOLATILE
  RETURN (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM moonwake.events_id_seq s);
COMMENT ON FUNCTION moonwake.log_head() IS
  'The last id that was drawn, 0 before the first. Rows up to it may still be uncommitted: see log_writers';

-- An append holds RowExclusiveLock on events from before it draws an id to its end; a prepared transaction goes on
-- holding it, without a pid. A lock is given up only after its transaction is visible as ended; one that a savepoint
-- took with it is given up with what was appended under it.
CREATE FUNCTION moonwake.log_writers()
  RETURNS TABLE (virtualtransaction text, pid int, application text, age interval, gid text)
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH held AS MATERIALIZED (
    SELECT * FROM pg_locks l WHERE l.granted
      AND (l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' OR l.locktype = 'transactionid' AND l.pid IS NULL)
  ), writers AS (
    SELECT DISTINCT l.virtualtransaction, l.pid
    FROM held l
    WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.relation IN (SELECT 'events'::regclass::oid
        UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass)
  )
  SELECT w.virtualtransaction, w.pid, a.application_name, clock_timestamp() - coalesce(a.xact_start, p.prepared), p.gid
  FROM writers w
  LEFT JOIN pg_stat_activity a ON a.pid = w.pid
  LEFT JOIN (
    SELECT x.virtualtransaction, p.prepared, p.gid
    FROM held x JOIN pg_prepared_xacts p ON x.locktype = 'transactionid' AND p.transaction = x.transactionid
  ) p ON p.virtualtransaction = w.virtualtransaction AND w.pid IS NULL
$$;
COMMENT ON FUNCTION moonwake.log_writers() IS
  'The transactions that may have appended and have not ended, prepared ones (gid) included. When all that were there '
  'after log_head() was read have ended, every row up to that head is visible to a new snapshot or will never be';

CREATE FUNCTION moonwake.type_pattern(glob text) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN replace(replace(replace(replace(glob, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%');
COMMENT ON FUNCTION moonwake.type_pattern(text) IS 'container.* as a LIKE pattern';

-- The event types that really occur and match one of the globs: one index descent for each type and partition.
CREATE FUNCTION moonwake.types_in_log(globs text[]) RETURNS text[]
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH RECURSIVE walk AS (
    (SELECT e.event_type FROM events e ORDER BY e.event_type LIMIT 1)
    UNION ALL
    SELECT (SELECT e.event_type FROM events e WHERE e.event_type > w.event_type ORDER BY e.event_type LIMIT 1)
    FROM walk w WHERE w.event_type IS NOT NULL
  )
  SELECT coalesce(array_agg(w.event_type), '{}') FROM walk w
  WHERE w.event_type LIKE ANY (ARRAY(SELECT type_pattern(g) FROM unnest(globs) g))
$$;
COMMENT ON FUNCTION moonwake.types_in_log(text[]) IS 'The event types in the log that match one of the globs';

-- Waits until everything up to the head is settled, and returns the head; or returns after_id plus the run of ids
-- without a gap that follows it, which needs no settling: nothing can appear where something is.
CREATE FUNCTION moonwake.settled_head(after_id bigint, wait_ms int, max int) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  highest bigint;
  head bigint;
  writers text[];
  own boolean;
  deadline timestamptz := clock_timestamp() + wait_ms * interval '1 millisecond';
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION 'read_events: needs READ COMMITTED, not %', current_setting('transaction_isolation')
      USING ERRCODE = 'MW008', HINT = 'each step must see what was committed before it: begin another transaction';
  END IF;
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'read_events: this server is a standby' USING ERRCODE = 'MW008',
      HINT = 'a standby does not know the writers'' locks: read from the primary';
  END IF;
  IF (SELECT seqcache FROM pg_sequence WHERE seqrelid = 'events_id_seq'::regclass) <> 1 THEN
    RAISE EXCEPTION 'read_events: events_id_seq has a CACHE' USING ERRCODE = 'MW008',
      HINT = 'ALTER SEQUENCE events_id_seq CACHE 1, then end all sessions that append';
  END IF;
  SELECT max(e.id) INTO highest FROM events e;
  head := log_head();
  IF head < coalesce(highest, 0) THEN
    RAISE EXCEPTION 'read_events: events_id_seq stands at %, below id % that exists', head, highest
      USING ERRCODE = 'MW008', HINT = 'somebody set it back: SELECT setval(''events_id_seq'', max(id)) FROM events';
  END IF;
  IF after_id > head THEN
    RAISE EXCEPTION 'read_events: after_id % is above %, the last id drawn', after_id, head
      USING ERRCODE = 'MW008', HINT = 'the log was restored or truncated since that position was read';
  END IF;
  SELECT array_agg(w.virtualtransaction), bool_or(w.pid = pg_backend_pid()) INTO writers, own FROM log_writers() w;
  IF own THEN
    RAISE EXCEPTION 'read_events: this transaction has appended' USING ERRCODE = 'MW008',
      HINT = 'it cannot wait for itself: commit first';
  END IF;
  WHILE writers IS NOT NULL AND head > after_id LOOP
    IF clock_timestamp() >= deadline THEN
      RETURN (SELECT coalesce(max(r.id), after_id) FROM (
        SELECT e.id, row_number() OVER (ORDER BY e.id) AS n
        FROM (SELECT e.id FROM events e WHERE e.id > after_id ORDER BY e.id LIMIT settled_head.max) e) r
        WHERE r.id = after_id + r.n);
    END IF;
    PERFORM pg_sleep(0.002);
    -- some servers give a transaction this name when it is prepared: it may be one of those we wait for
    SELECT array_agg(w.virtualtransaction) INTO writers FROM log_writers() w
      WHERE w.virtualtransaction = ANY (writers) OR w.virtualtransaction LIKE '-1/%';
  END LOOP;
  RETURN head;
END
$$;

CREATE FUNCTION moonwake.read_events(after_id bigint, types text[] DEFAULT NULL, max int DEFAULT 1000,
  wait_ms int DEFAULT 100)
  RETURNS TABLE (scanned_to bigint, id bigint, event_id uuid, event_type text, aggregate_type text,
    aggregate_id text, version bigint, schema_version int, data jsonb, metadata jsonb, source text,
    correlation_id text, causation_id uuid, actor_type text, actor_id text, severity text, impact text,
    occurred_at timestamptz, "timestamp" timestamptz, occurrences int)
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
#variable_conflict use_column
DECLARE
  head bigint;
  upto bigint;
  patterns text[] := ARRAY(SELECT type_pattern(t) FROM unnest(types) t);
  exact text[];
  page events[];
  last int;
BEGIN
  IF after_id IS NULL OR after_id < 0 OR max IS NULL OR max NOT BETWEEN 1 AND 100000
    OR coalesce(wait_ms, -1) NOT BETWEEN 0 AND 60000 THEN
    RAISE EXCEPTION 'read_events: after_id %, max %, wait_ms % do not make sense', after_id, max, wait_ms
      USING ERRCODE = 'MW009', HINT = 'after_id from 0, max from 1 to 100000, wait_ms from 0 to 60000';
  END IF;
  head := settled_head(after_id, wait_ms, max);
  IF types IS NULL OR '*' = ANY (types) THEN
    page := ARRAY(SELECT e FROM events e WHERE e.id > after_id AND e.id <= head ORDER BY e.id LIMIT max);
    upto := head;
  ELSE
    -- First a stretch of the log by id: enough when live, and when the types are frequent.
    upto := least(head, after_id + 10 * greatest(max, 1000));
    page := ARRAY(SELECT e FROM events e WHERE e.id > after_id AND e.id <= upto
      AND e.event_type LIKE ANY (patterns) ORDER BY e.id LIMIT max);
    IF cardinality(page) < max AND upto < head THEN
      -- They are rare: the index by type has the rest, type by type.
      exact := types_in_log(types);
      page := page || ARRAY(SELECT r FROM unnest(exact) t (name), LATERAL (SELECT e FROM events e
        WHERE e.event_type = t.name AND e.id > upto AND e.id <= head ORDER BY e.id LIMIT max) r (r)
        ORDER BY (r).id LIMIT max - cardinality(page));
      upto := head;
    END IF;
  END IF;

  last := cardinality(page);
  IF last = max THEN
    upto := page[last].id; -- there may be more
  END IF;
  IF last = 0 THEN
    scanned_to := upto;
    RETURN NEXT;
    RETURN;
  END IF;
  RETURN QUERY SELECT CASE WHEN e.n = last THEN upto ELSE e.id END, e.id, e.event_id, e.event_type,
      e.aggregate_type, e.aggregate_id, e.version, e.schema_version, e.data, e.metadata, e.source,
      e.correlation_id, e.causation_id, e.actor_type, e.actor_id, e.severity, e.impact, e.occurred_at,
      e."timestamp", e.occurrences
    FROM unnest(page) WITH ORDINALITY AS e (id, "timestamp", occurred_at, version, event_id, causation_id,
      schema_version, occurrences, event_type, aggregate_type, aggregate_id, correlation_id, source,
      actor_type, actor_id, severity, impact, data, metadata, n);
END
$$;
COMMENT ON FUNCTION moonwake.read_events(bigint, text[], int, int) IS
  'The next events after a position, in id order, settled ones only: reading on from the last row''s scanned_to never '
  'misses and never repeats one. types: exact names or globs (container.*), NULL for all; max: rows; wait_ms: how long '
  'to wait for appends under way. There is always at least one row: if nothing matched, its id is NULL. Keep '
  'scanned_to of a row once you have handled the row: '
  'position := 0; loop: for row in SELECT * FROM moonwake.read_events(position, ARRAY[''container.*'']) '
  '{ if row.id is not null then handle(row); position := row.scanned_to }; if it did not move then sleep. '
  'Call it in READ COMMITTED, outside of a transaction that appended';


CREATE FUNCTION moonwake.get_aggregate_events(type text, id text, since_id bigint DEFAULT 0)
  RETURNS SETOF moonwake.events
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT e.* FROM events e WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.id > $3 ORDER BY e.version
$$;
COMMENT ON FUNCTION moonwake.get_aggregate_events(text, text, bigint) IS
  'The events of one aggregate in version order, after since_id. '
  'Example: SELECT version, event_type, data FROM moonwake.get_aggregate_events(''device'', ''d-17'')';

CREATE FUNCTION moonwake.get_event_chain(correlation text)
  RETURNS TABLE (depth int, id bigint, event_id uuid, event_type text, aggregate_type text,
    aggregate_id text, version bigint, schema_version int, data jsonb, metadata jsonb, source text,
    correlation_id text, causation_id uuid, actor_type text, actor_id text, severity text, impact text,
    occurred_at timestamptz, "timestamp" timestamptz, occurrences int)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH RECURSIVE chain AS MATERIALIZED (
    SELECT e.* FROM events e WHERE e.correlation_id = $1
  ), named AS MATERIALIZED (
    SELECT DISTINCT ON (c.event_id) c.event_id, c.id FROM chain c ORDER BY c.event_id, c.id
  ), link AS MATERIALIZED (
    -- a cause is in the log before its effect; what claims otherwise (itself, a circle) stands by itself
    SELECT c.id, n.id AS cause FROM chain c LEFT JOIN named n ON n.event_id = c.causation_id AND n.id < c.id
  ), tree AS (
    SELECT l.id, 0 AS depth, ARRAY[l.id] AS path FROM link l WHERE l.cause IS NULL
    UNION ALL
    SELECT l.id, t.depth + 1, t.path || l.id FROM tree t JOIN link l ON l.cause = t.id
  )
  SELECT t.depth, c.id, c.event_id, c.event_type, c.aggregate_type, c.aggregate_id, c.version, c.schema_version,
    c.data, c.metadata, c.source, c.correlation_id, c.causation_id, c.actor_type, c.actor_id, c.severity,
    c.impact, c.occurred_at, c."timestamp", c.occurrences
  FROM tree t JOIN chain c ON c.id = t.id ORDER BY t.path
$$;
COMMENT ON FUNCTION moonwake.get_event_chain(text) IS
  'All events of one correlation_id as a tree: each after its cause (causation_id), with its depth; siblings by id. '
  'Example: SELECT repeat(''  '', depth) || event_type FROM moonwake.get_event_chain(''order-7'')';

CREATE FUNCTION moonwake.get_event_chain(correlation uuid)
  RETURNS TABLE (depth int, id bigint, event_id uuid, event_type text, aggregate_type text,
    aggregate_id text, version bigint, schema_version int, data jsonb, metadata jsonb, source text,
    correlation_id text, causation_id uuid, actor_type text, actor_id text, severity text, impact text,
    occurred_at timestamptz, "timestamp" timestamptz, occurrences int)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT * FROM get_event_chain($1::text)
$$;
COMMENT ON FUNCTION moonwake.get_event_chain(uuid) IS 'get_event_chain for a correlation_id that is a uuid in lower case';

CREATE FUNCTION moonwake.get_event_stats(days int DEFAULT 7)
  RETURNS TABLE (since timestamptz, until timestamptz, total_events bigint, aggregates bigint, event_types bigint,
    first_id bigint, last_id bigint, first_at timestamptz, last_at timestamptz, by_type jsonb, by_day jsonb)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
#variable_conflict use_column
DECLARE
  from_time timestamptz := now() - days * interval '24 hours';
BEGIN
  IF days IS NULL OR days NOT BETWEEN 1 AND 36500 THEN
    RAISE EXCEPTION 'get_event_stats: % days are not between 1 and 36500', days USING ERRCODE = 'MW009';
  END IF;
  RETURN QUERY
    WITH part AS MATERIALIZED (
      SELECT e.event_type, e.aggregate_type, e.aggregate_id, (e."timestamp" AT TIME ZONE 'UTC')::date AS day,
        count(*) AS n, min(e.id) AS first_id, max(e.id) AS last_id, min(e."timestamp") AS first_at,
        max(e."timestamp") AS last_at
      FROM events e WHERE e."timestamp" >= from_time GROUP BY 1, 2, 3, 4
    )
    SELECT from_time, now(), coalesce(sum(p.n), 0)::bigint,
      (SELECT count(*) FROM (SELECT DISTINCT p.aggregate_type, p.aggregate_id FROM part p) a),
      count(DISTINCT p.event_type), min(p.first_id), max(p.last_id), min(p.first_at), max(p.last_at),
      (SELECT coalesce(jsonb_object_agg(t.event_type, t.n), '{}')
        FROM (SELECT p.event_type, sum(p.n) AS n FROM part p GROUP BY 1) t),
      (SELECT coalesce(jsonb_object_agg(to_char(t.day, 'YYYY-MM-DD'), t.n), '{}')
        FROM (SELECT p.day, sum(p.n) AS n FROM part p GROUP BY 1) t)
    FROM part p;
END
$$;
COMMENT ON FUNCTION moonwake.get_event_stats(int) IS
  'One row about the events that were appended in the last days (of 24 hours): how many, of how many aggregates and '
  'types, the first and the last of them, and counts by type and by UTC day. '
  'Example: SELECT total_events, by_type FROM moonwake.get_event_stats(1)';
COMMENT ON FUNCTION moonwake.settled_head(bigint, int, int) IS
  'How far read_events may go: the head once all that were appending have ended (waited for up to wait_ms milliseconds), '
  'or the end of the run of ids without a gap after after_id';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.log_head(), moonwake.log_writers(), moonwake.type_pattern(text),
  moonwake.types_in_log(text[]), moonwake.settled_head(bigint, int, int),
  moonwake.read_events(bigint, text[], int, int), moonwake.get_aggregate_events(text, text, bigint),
  moonwake.get_event_chain(text), moonwake.get_event_chain(uuid), moonwake.get_event_stats(int)
  TO moonwake_run, moonwake_read;
RESET ROLE;
