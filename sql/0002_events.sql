-- The log: events, partitioned by UTC day; the aggregates' versions; the ids that publishers gave.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

-- CACHE 1: with more, a session would draw numbers now and use them later, below a settled frontier
CREATE SEQUENCE moonwake.events_id_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE moonwake.events_id_seq IS
  'The position of an event in the log. Drawn inside the INSERT and nowhere else; never setval() it';

-- A sequence because an old snapshot does not hide its value.
CREATE SEQUENCE moonwake.log_floor AS bigint MINVALUE 0 START 0 CACHE 1;
COMMENT ON SEQUENCE moonwake.log_floor IS
  'No event appended from now on has a timestamp below this (microseconds since 1970-01-01 UTC); see raise_floor';

CREATE FUNCTION moonwake.append_time() RETURNS timestamptz
  LANGUAGE sql VOLATILE
  RETURN (SELECT greatest(clock_timestamp(), timestamptz 'epoch' + f.last_value * interval '1 microsecond')
    FROM moonwake.log_floor f);
COMMENT ON FUNCTION moonwake.append_time() IS
  'The "timestamp" of an event that is appended now: the server''s clock, but never below the floor';

CREATE TABLE moonwake.events (
  id bigint NOT NULL DEFAULT nextval('events_id_seq'),
  "timestamp" timestamptz NOT NULL DEFAULT moonwake.append_time(),
  occurred_at timestamptz NOT NULL,
  version bigint NOT NULL,
  event_id uuid NOT NULL DEFAULT gen_random_uuid(),
  causation_id uuid,
  schema_version int NOT NULL DEFAULT 1,
  occurrences int NOT NULL DEFAULT 1,
  event_type text NOT NULL,
  aggregate_type text NOT NULL,
  aggregate_id text NOT NULL,
  correlation_id text,
  source text,
  actor_type text,
  actor_id text,
  severity text,
  impact text,
  data jsonb NOT NULL DEFAULT '{}',
  metadata jsonb NOT NULL DEFAULT '{}',
  -- The one check: each costs every append its set-up. "timestamp" needs none, infinity lies in no partition.
  CONSTRAINT occurred_at_is_finite CHECK (isfinite(occurred_at)),
  -- in this order it is the index by id as well: a partition is found by id alone
  CONSTRAINT events_pkey PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");

-- Four indexes are what an append pays for; each serves one question that is asked all day.
CREATE INDEX events_aggregate ON moonwake.events (aggregate_type, aggregate_id, version);
CREATE INDEX events_type ON moonwake.events (event_type, id);
CREATE INDEX events_correlation ON moonwake.events (correlation_id) WHERE correlation_id IS NOT NULL;

COMMENT ON TABLE moonwake.events IS
  'The append-only log, partitioned by UTC day of "timestamp". Written by publish_event and publish_events only. '
  'Read it by id and only up to a settled frontier: see read_events';
COMMENT ON COLUMN moonwake.events.id IS 'Position in the log; ascends, with holes; per aggregate it agrees with version';
COMMENT ON COLUMN moonwake.events."timestamp" IS 'When it was appended: this server''s word';
COMMENT ON COLUMN moonwake.events.occurred_at IS 'When it happened: the producer''s word; by default the timestamp';
COMMENT ON COLUMN moonwake.events.version IS '1, 2, 3 ... within (aggregate_type, aggregate_id)';
COMMENT ON COLUMN moonwake.events.event_id IS 'The publisher''s name for it, which makes appending idempotent; ours if none was given';
COMMENT ON COLUMN moonwake.events.correlation_id IS 'Shared by all events of one business transaction; see get_event_chain';
COMMENT ON COLUMN moonwake.events.causation_id IS 'The event_id of the event that caused this one';
COMMENT ON COLUMN moonwake.events.schema_version IS 'Which shape of data this event_type had then';
COMMENT ON COLUMN moonwake.events.occurrences IS '1, or how many equal events this row stands for';

-- One row for each aggregate. An append locks it before it draws an id, which is what makes the order of ids agree
-- with the order of versions. Half-full pages keep its updates on their page, clear of the index.
CREATE TABLE moonwake.streams (
  version bigint NOT NULL,
  aggregate_type text NOT NULL,
  aggregate_id text NOT NULL,
  CONSTRAINT streams_pkey PRIMARY KEY (aggregate_type, aggregate_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE moonwake.streams IS 'The aggregates and their version: the number of events that each has';

-- One row for each event whose id the publisher gave: idempotency costs one small index and not a look-up in a
-- hundred partitions.
CREATE TABLE moonwake.event_ids (
  id bigint NOT NULL,
  version bigint NOT NULL,
  event_id uuid CONSTRAINT event_ids_pkey PRIMARY KEY,
  digest bytea NOT NULL
);
COMMENT ON TABLE moonwake.event_ids IS
  'The event_ids that publishers gave, the event that each names, and sha256 of what was published';

CREATE TABLE moonwake.event_types (
  name text PRIMARY KEY CHECK (name <> '' AND octet_length(name) <= 200 AND position('*' IN name) = 0),
  description text NOT NULL DEFAULT '',
  aggregate_type text,
  severity text,
  registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE moonwake.event_types IS
  'The registry of event types. While settings.registry is closed, only these may be appended. See register_event_type';


-- Advisory locks of ours are pairs (the oid of events as an int, one of these numbers):
--   1 the doorbell: shared = a publisher that rings, exclusive = an awake daemon
--   2 making partitions
--   3 raising the floor
--   4 creating and changing the tables of projections
--   5 sealing

CREATE FUNCTION moonwake.bell_key() RETURNS int
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN 'events'::regclass::oid::bigint::bit(32)::int; -- an oid above 2^31 wraps
END
$$;
COMMENT ON FUNCTION moonwake.bell_key() IS
  'First half of our advisory lock keys; the second is 1 (doorbell), 2 (partitions), 3 (floor), 4 (projections) or 5 (seals)';

CREATE FUNCTION moonwake.own_schema() RETURNS name
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$ SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = 'events'::regclass $$;
COMMENT ON FUNCTION moonwake.own_schema() IS 'The schema that all this lies in: moonwake unless another was chosen';

CREATE FUNCTION moonwake.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION '%: the log is append-only, % is refused', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'MW010', HINT = 'append an event that corrects the earlier one';
END
$$;

-- A row trigger, because it is cloned to every partition; a statement trigger does not see a DELETE on a leaf.
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON moonwake.events
  FOR EACH ROW EXECUTE FUNCTION moonwake.refuse_change();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON moonwake.events
  FOR EACH STATEMENT EXECUTE FUNCTION moonwake.refuse_change();

-- Rings only while nobody is awake: NOTIFY takes a database-wide lock through the flush of the WAL. A daemon that is
-- awake holds the exclusive lock or queues for it; either makes the try fail.
CREATE FUNCTION moonwake.ring_bell() RETURNS trigger
  LANGUAGE plpgsql
  AS $$
BEGIN
  IF current_setting('moonwake.ring', true) = 'off' THEN
    RETURN NULL; -- the transaction will be prepared, which NOTIFY forbids
  END IF;
  IF pg_catalog.pg_try_advisory_xact_lock_shared(TG_RELID::bigint::bit(32)::int, 1) THEN
    PERFORM pg_catalog.pg_notify('moonwake', '');
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER events_bell AFTER INSERT ON moonwake.events
  FOR EACH STATEMENT EXECUTE FUNCTION moonwake.ring_bell();


-- STABLE like to_char: what is declared IMMUTABLE around it would not be inlined.
CREATE FUNCTION moonwake.events_partition_name(day timestamp) RETURNS text
  LANGUAGE sql STABLE RETURN 'events_' || to_char(day, 'YYYYMMDD');
COMMENT ON FUNCTION moonwake.events_partition_name(timestamp) IS 'events_20250131 for 2025-01-31';

-- Attached (SHARE UPDATE EXCLUSIVE) and not created as PARTITION OF (ACCESS EXCLUSIVE on events, which would stop
-- every publisher). The table is new and empty, so ATTACH has no rows to check.
CREATE FUNCTION moonwake.create_events_partition(day date) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  leaf text := events_partition_name(day);
  schema name := own_schema();
BEGIN
  IF day IS NULL OR NOT isfinite(day) OR day NOT BETWEEN date '1970-01-01' AND date '9999-12-30' THEN
    RAISE EXCEPTION 'create_events_partition: % is not a day between 1970-01-01 and 9999-12-30', day
      USING ERRCODE = 'MW009';
  END IF;
  PERFORM pg_advisory_xact_lock(bell_key(), 2);
  IF to_regclass(leaf) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I.%I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS '
    'INCLUDING STORAGE INCLUDING COMPRESSION)', schema, leaf);
  EXECUTE format('CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON %I.%I '
    'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', schema, leaf);
  EXECUTE format('GRANT SELECT ON %I.%I TO moonwake_run, moonwake_read', schema, leaf);
  EXECUTE format('ALTER TABLE events ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)', schema, leaf,
    to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
  RETURN true;
END
$$;
COMMENT ON FUNCTION moonwake.create_events_partition(date) IS
  'Makes the partition for one UTC day; false if it is there. Publishers go on meanwhile. '
  'Example: SELECT moonwake.create_events_partition(''2025-01-31'')';

CREATE FUNCTION moonwake.ensure_events_partitions(days_ahead int DEFAULT 7) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  today date := (append_time() AT TIME ZONE 'UTC')::date;
  made int := 0;
BEGIN
  IF days_ahead IS NULL OR days_ahead NOT BETWEEN 0 AND 366 THEN
    RAISE EXCEPTION 'ensure_events_partitions: % days ahead are not between 0 and 366', days_ahead
      USING ERRCODE = 'MW009';
  END IF;
  FOR i IN 0 .. days_ahead LOOP
    made := made + create_events_partition(today + i)::int;
  END LOOP;
  RETURN made;
END
$$;
COMMENT ON FUNCTION moonwake.ensure_events_partitions(int) IS
  'Makes the partitions of today and of the days ahead that are missing; returns how many it made';

-- What a publisher does that finds fewer than two days ahead. It only tries, so that publishers do not queue behind
-- one another; it waits only when today's or tomorrow's partition is missing, because then an append could fail.
CREATE FUNCTION moonwake.top_up_partitions() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  today date := (append_time() AT TIME ZONE 'UTC')::date;
  urgent boolean := to_regclass(events_partition_name(today)) IS NULL
    OR to_regclass(events_partition_name(today + 1)) IS NULL;
BEGIN
  IF urgent THEN
    PERFORM pg_advisory_xact_lock(bell_key(), 2);
  ELSIF NOT pg_try_advisory_xact_lock(bell_key(), 2) THEN
    RETURN;
  ELSE
    BEGIN
      -- what ATTACH will ask for; DETACH CONCURRENTLY may hold it, and waits for publishers
      LOCK TABLE ONLY events IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
      RETURN;
    END;
  END IF;
  PERFORM ensure_events_partitions();
END
$$;


CREATE FUNCTION moonwake.raise_floor("to" timestamptz DEFAULT clock_timestamp()) RETURNS timestamptz
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  wanted bigint;
  floor bigint;
BEGIN
  -- a floor far ahead would stamp every later event with it
  IF "to" IS NULL OR NOT isfinite("to") OR "to" > append_time() + interval '1 day' THEN
    RAISE EXCEPTION 'raise_floor: % is not a time up to a day from now', "to" USING ERRCODE = 'MW009';
  END IF;
  wanted := extract(epoch FROM "to") * 1000000;
  SELECT last_value INTO floor FROM log_floor;
  IF wanted > floor THEN
    PERFORM pg_advisory_xact_lock(bell_key(), 3);
    SELECT last_value INTO floor FROM log_floor; -- another may have raised it meanwhile
    IF wanted > floor THEN
      floor := setval('log_floor', wanted);
    END IF;
  END IF;
  RETURN timestamptz 'epoch' + floor * interval '1 microsecond';
END
$$;
COMMENT ON FUNCTION moonwake.raise_floor(timestamptz) IS
  'Raises the least "timestamp" that an event can still get, never lowers it, and returns where it stands. Call it '
  'in a transaction of its own; when the appends under way then have ended, no row below it can appear any more';
COMMENT ON FUNCTION moonwake.refuse_change() IS 'Trigger: raises MW010, what is in the log stays as it is';
COMMENT ON FUNCTION moonwake.ring_bell() IS 'Trigger: NOTIFY moonwake, but only while no daemon is awake';
COMMENT ON FUNCTION moonwake.top_up_partitions() IS 'What a publisher does that finds fewer than two days of partitions ahead';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.events, moonwake.streams, moonwake.event_ids, moonwake.event_types TO moonwake_run, moonwake_read;
GRANT SELECT ON SEQUENCE moonwake.events_id_seq, moonwake.log_floor TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.bell_key(), moonwake.own_schema(), moonwake.events_partition_name(timestamp)
  TO moonwake_run, moonwake_publish, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.append_time() TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.create_events_partition(date), moonwake.ensure_events_partitions(int),
  moonwake.raise_floor(timestamptz) TO moonwake_run;

SELECT count(moonwake.create_events_partition((clock_timestamp() AT TIME ZONE 'UTC')::date + i))
  FROM generate_series(-30, 7) AS i;

RESET ROLE;
