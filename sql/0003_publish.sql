-- Appending: one event at a time, or a batch.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

-- What is wrong with an event, or NULL. STABLE like format(): declared IMMUTABLE it would not be inlined.
CREATE FUNCTION moonwake.event_problem(event_type text, aggregate_type text, aggregate_id text, data jsonb,
  metadata jsonb, schema_version int, source text, correlation_id text, actor_type text, actor_id text,
  severity text, impact text, occurred_at timestamptz, max_bytes int) RETURNS text
  LANGUAGE sql STABLE
  RETURN CASE
    WHEN coalesce(event_type, '') = '' THEN 'event_type: is missing'
    WHEN octet_length(event_type) > 200
      THEN format('event_type: %s bytes are too many (at most 200)', octet_length(event_type))
    WHEN event_type ~ '[[:cntrl:]*]' THEN 'event_type: must not hold control characters or *'
    WHEN coalesce(aggregate_type, '') = '' THEN 'aggregate_type: is missing'
    WHEN octet_length(aggregate_type) > 200
      THEN format('aggregate_type: %s bytes are too many (at most 200)', octet_length(aggregate_type))
    WHEN coalesce(aggregate_id, '') = '' THEN 'aggregate_id: is missing'
    WHEN octet_length(aggregate_id) > 500
      THEN format('aggregate_id: %s bytes are too many (at most 500)', octet_length(aggregate_id))
    WHEN schema_version < 1 THEN format('schema_version: %s is not positive', schema_version)
    WHEN octet_length(source) > 500
      THEN format('source: %s bytes are too many (at most 500)', octet_length(source))
    WHEN octet_length(correlation_id) > 500
      THEN format('correlation_id: %s bytes are too many (at most 500)', octet_length(correlation_id))
    WHEN octet_length(actor_type) > 50
      THEN format('actor_type: %s bytes are too many (at most 50)', octet_length(actor_type))
    WHEN octet_length(actor_id) > 500
      THEN format('actor_id: %s bytes are too many (at most 500)', octet_length(actor_id))
    WHEN octet_length(severity) > 50
      THEN format('severity: %s bytes are too many (at most 50)', octet_length(severity))
    WHEN octet_length(impact) > 50
      THEN format('impact: %s bytes are too many (at most 50)', octet_length(impact))
    WHEN NOT isfinite(occurred_at) THEN 'occurred_at: is not a finite time'
    WHEN jsonb_typeof(metadata) <> 'object'
      THEN format('metadata: is a JSON %s, not an object', jsonb_typeof(metadata))
    WHEN max_bytes > 0 AND octet_length(data::text) + octet_length(metadata::text) > max_bytes
      THEN format('data: %s bytes with metadata are too many (at most %s: settings.max_event_bytes)',
        octet_length(data::text) + octet_length(metadata::text), max_bytes)
  END;

-- What two publications of one event_id must have in common. No word of it depends on a session's settings.
CREATE FUNCTION moonwake.event_digest(event_type text, aggregate_type text, aggregate_id text, data jsonb,
  metadata jsonb, schema_version int, source text, correlation_id text, causation_id uuid, actor_type text,
  actor_id text, severity text, impact text, occurred_at timestamptz) RETURNS bytea
  LANGUAGE sql STABLE
  RETURN sha256(convert_to(ROW(event_type, aggregate_type, aggregate_id, data, metadata, schema_version, source,
    correlation_id, causation_id, actor_type, actor_id, severity, impact, extract(epoch FROM occurred_at))::text,
    'UTF8'));

CREATE FUNCTION moonwake.publish_event(
  event_type text,
  aggregate_type text,
  aggregate_id text,
  data jsonb DEFAULT '{}',
  metadata jsonb DEFAULT '{}',
  INOUT event_id uuid DEFAULT NULL,
  expected_version bigint DEFAULT NULL,
  schema_version int DEFAULT 1,
  source text DEFAULT NULL,
  correlation_id text DEFAULT NULL,
  causation_id uuid DEFAULT NULL,
  actor_type text DEFAULT NULL,
  actor_id text DEFAULT NULL,
  severity text DEFAULT NULL,
  impact text DEFAULT NULL,
  occurred_at timestamptz DEFAULT NULL,
  OUT id bigint,
  OUT version bigint,
  OUT appended boolean)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
DECLARE
  digest bytea;
  known event_ids;
  problem text;
  registry text;
  max_bytes int;
BEGIN
  data := coalesce(data, '{}');
  metadata := coalesce(metadata, '{}');
  schema_version := coalesce(schema_version, 1);
  SELECT max(s.value) FILTER (WHERE s.name = 'registry'), max(s.value) FILTER (WHERE s.name = 'max_event_bytes')
    INTO registry, max_bytes FROM settings s;
  -- A short look that most events pass; what does not is judged by event_problem, which takes longer to set up.
  IF (event_type <> '' AND octet_length(event_type) <= 200 AND event_type !~ '[[:cntrl:]*]'
    AND aggregate_type <> '' AND octet_length(aggregate_type) <= 200
    AND aggregate_id <> '' AND octet_length(aggregate_id) <= 500
    AND octet_length(concat(source, correlation_id, actor_type, actor_id, severity, impact)) <= 50
    AND schema_version > 0 AND occurred_at IS NULL AND jsonb_typeof(metadata) = 'object'
    AND octet_length(data::text) + octet_length(metadata::text) <= max_bytes) IS NOT TRUE
  THEN
    problem := event_problem(event_type, aggregate_type, aggregate_id, data, metadata, schema_version, source,
      correlation_id, actor_type, actor_id, severity, impact, occurred_at, max_bytes);
    IF problem IS NOT NULL THEN
      RAISE EXCEPTION 'publish_event: %', problem USING ERRCODE = 'MW004';
    END IF;
  END IF;
  IF registry = 'closed' AND NOT EXISTS (SELECT FROM event_types t WHERE t.name = event_type) THEN
    RAISE EXCEPTION 'publish_event: event_type: % is not registered', event_type
      USING ERRCODE = 'MW005', HINT = 'register_event_type() adds it; settings.registry = open takes any';
  END IF;
  IF to_regclass(events_partition_name(clock_timestamp() AT TIME ZONE 'UTC' + interval '2 days')) IS NULL THEN
    PERFORM top_up_partitions(); -- before any stream is locked: it may wait
  END IF;

  IF event_id IS NOT NULL THEN
    -- Lock the aggregate, then look: whoever appends the same event at this moment holds this lock.
    digest := event_digest(event_type, aggregate_type, aggregate_id, data, metadata, schema_version, source,
      correlation_id, causation_id, actor_type, actor_id, severity, impact, occurred_at);
    INSERT INTO streams AS s (aggregate_type, aggregate_id, version)
      VALUES (aggregate_type, aggregate_id, 0)
      ON CONFLICT ON CONSTRAINT streams_pkey DO UPDATE SET version = s.version WHERE false;
    SELECT * INTO known FROM event_ids i WHERE i.event_id = event_id;
    IF FOUND THEN
      IF known.digest <> digest THEN
        PERFORM refuse_reuse('publish_event', event_id, known.id);
      END IF;
      id := known.id;
      version := known.version;
      appended := false;
      RETURN;
    END IF;
  END IF;

  -- The stream's row is locked and its version known before the id is drawn and the clock is read: both come
  -- from a row of `s`. The lock on events, taken when the statement starts, is what readers wait for.
  WITH s AS (
    INSERT INTO streams AS s (aggregate_type, aggregate_id, version)
      VALUES (aggregate_type, aggregate_id, 1)
      ON CONFLICT ON CONSTRAINT streams_pkey DO UPDATE SET version = s.version + 1
      RETURNING s.version
  )
  INSERT INTO events AS e (id, "timestamp", occurred_at, version, event_id, causation_id, schema_version,
    event_type, aggregate_type, aggregate_id, correlation_id, source, actor_type, actor_id, severity, impact,
    data, metadata)
  SELECT nextval('events_id_seq'), t.now, coalesce(occurred_at, t.now), s.version,
    coalesce(event_id, gen_random_uuid()), causation_id, schema_version, event_type, aggregate_type,
    aggregate_id, correlation_id, source, actor_type, actor_id, severity, impact, data, metadata
  FROM s, LATERAL (
    SELECT greatest(clock_timestamp(), timestamptz 'epoch' + f.last_value * interval '1 microsecond') AS now
    FROM log_floor f WHERE s.version > 0
  ) t
  WHERE expected_version IS NULL OR s.version = expected_version + 1
  RETURNING e.id, e.version, e.event_id INTO id, version, event_id;
  IF NOT FOUND THEN
    PERFORM refuse_version('publish_event', aggregate_type, aggregate_id, expected_version,
      (SELECT s.version - 1 FROM streams s
        WHERE (s.aggregate_type, s.aggregate_id) = (aggregate_type, aggregate_id)));
  END IF;
  appended := true;

  IF digest IS NOT NULL THEN
    INSERT INTO event_ids (id, version, event_id, digest) VALUES (id, version, event_id, digest)
      ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN -- appended to another aggregate at this moment
      PERFORM refuse_reuse('publish_event', event_id, NULL);
    END IF;
  END IF;
END
$$;

CREATE FUNCTION moonwake.refuse_reuse(caller text, event_id uuid, first bigint) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION '%: event_id: % names another event%', caller, event_id, coalesce(' already: id ' || first, '')
    USING ERRCODE = 'MW003', HINT = 'the same event_id may only be published again with the same content';
END
$$;

CREATE FUNCTION moonwake.refuse_version(caller text, aggregate_type text, aggregate_id text, expected bigint,
  actual bigint) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION '%: expected_version: % % has version %, not %', caller, aggregate_type, aggregate_id, actual, expected
    USING ERRCODE = 'MW002', HINT = 'read the aggregate again and decide anew';
END
$$;

-- One element of a batch, read. `given`: the publisher named it.
CREATE TYPE moonwake.event_input AS (
  ordinal int, event_type text, aggregate_type text, aggregate_id text, data jsonb, metadata jsonb, event_id uuid,
  given boolean, expected_version bigint, schema_version int, source text, correlation_id text, causation_id uuid,
  actor_type text, actor_id text, severity text, impact text, occurred_at timestamptz, digest bytea);

CREATE FUNCTION moonwake.event_keys() RETURNS text[]
  LANGUAGE sql IMMUTABLE
  RETURN ARRAY['event_type', 'aggregate_type', 'aggregate_id', 'data', 'metadata', 'event_id', 'expected_version',
    'schema_version', 'source', 'correlation_id', 'causation_id', 'actor_type', 'actor_id', 'severity', 'impact',
    'occurred_at'];

CREATE FUNCTION moonwake.edit_distance(a text, b text) RETURNS int
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$
DECLARE
  above int[] := ARRAY(SELECT generate_series(0, length(b)));
  here int[];
BEGIN
  FOR i IN 1 .. length(a) LOOP
    here := ARRAY[i];
    FOR j IN 1 .. length(b) LOOP
      here[j + 1] := least(above[j + 1] + 1, here[j] + 1,
        above[j] + (substr(a, i, 1) <> substr(b, j, 1))::int);
    END LOOP;
    above := here;
  END LOOP;
  RETURN above[length(b) + 1];
END
$$;

-- The known word that somebody probably meant: the nearest by edits, or one that ends with theirs (type, id).
CREATE FUNCTION moonwake.nearest_word(word text, known text[]) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN (SELECT k FROM unnest(known) WITH ORDINALITY AS u (k, n)
    ORDER BY CASE WHEN k LIKE '%\_' || lower(word) THEN 1
      ELSE moonwake.edit_distance(lower(left(word, 40)), k) END, n LIMIT 1);

CREATE FUNCTION moonwake.refuse_element(ordinal bigint, problem text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION 'publish_events: event %: %', ordinal, problem USING ERRCODE = 'MW004';
END
$$;

-- What is wrong with the shape of an element, or NULL: after this every cast succeeds, but for the time's.
CREATE FUNCTION moonwake.element_problem(e jsonb) RETURNS text
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  field record;
BEGIN
  IF jsonb_typeof(e) <> 'object' THEN
    RETURN format('is a JSON %s, not an object', jsonb_typeof(e));
  END IF;
  FOR field IN SELECT key, value, value #>> '{}' AS word, jsonb_typeof(value) AS form FROM jsonb_each(e) LOOP
    IF field.key <> ALL (event_keys()) THEN
      RETURN format('unknown field %L (did you mean %L?)', field.key, nearest_word(field.key, event_keys()));
    ELSIF field.form = 'null' OR field.key = 'data' THEN
      NULL;
    ELSIF field.key = 'metadata' THEN
      IF field.form <> 'object' THEN
        RETURN format('metadata: is a JSON %s, not an object', field.form);
      END IF;
    ELSIF field.key IN ('event_id', 'causation_id') THEN
      IF field.form <> 'string'
        OR field.word !~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' THEN
        RETURN format('%s: %s is not a uuid', field.key, left(field.value::text, 60));
      END IF;
    ELSIF field.key IN ('expected_version', 'schema_version') THEN
      IF field.form <> 'number' OR field.word !~ '^[0-9]{1,9}$' THEN
        RETURN format('%s: %s is not a whole number', field.key, left(field.value::text, 60));
      END IF;
    ELSIF field.key = 'occurred_at' THEN
      IF field.form NOT IN ('string', 'number') OR field.form = 'string' AND field.word !~ '^[0-9]{4,}-' THEN
        RETURN format('occurred_at: %s is neither an ISO 8601 time nor seconds since 1970',
          left(field.value::text, 60));
      END IF;
    ELSIF field.form NOT IN ('string', 'number') THEN
      RETURN format('%s: is a JSON %s, not a string', field.key, field.form);
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;

-- True when every field has the form that it usually has; what is unusual is looked at by element_problem.
CREATE FUNCTION moonwake.element_is_plain(e jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE
  RETURN jsonb_typeof(e) = 'object'
    AND jsonb_typeof(e -> 'event_type') = 'string'
    AND jsonb_typeof(e -> 'aggregate_type') = 'string'
    AND jsonb_typeof(e -> 'aggregate_id') = 'string'
    AND coalesce(jsonb_typeof(e -> 'metadata'), 'object') = 'object'
    AND coalesce(jsonb_typeof(e -> 'source'), 'string') = 'string'
    AND coalesce(jsonb_typeof(e -> 'correlation_id'), 'string') = 'string'
    AND coalesce(jsonb_typeof(e -> 'occurred_at'), 'number') IN ('number', 'string')
    AND coalesce(e ->> 'occurred_at' ~ '^[0-9]{4,}-' OR jsonb_typeof(e -> 'occurred_at') = 'number', true)
    AND coalesce(e ->> 'event_id' ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$', true)
    AND e - ARRAY['event_type', 'aggregate_type', 'aggregate_id', 'data', 'metadata', 'event_id', 'source',
      'correlation_id', 'occurred_at'] = '{}';

CREATE FUNCTION moonwake.element_time(value jsonb) RETURNS timestamptz
  LANGUAGE sql STABLE
  RETURN CASE jsonb_typeof(value)
    WHEN 'number' THEN timestamptz 'epoch' + (value #>> '{}')::numeric::double precision * interval '1 second'
    ELSE (value #>> '{}')::timestamptz
  END;

CREATE FUNCTION moonwake.batch_before(events jsonb, ordinal bigint) RETURNS jsonb
  LANGUAGE sql IMMUTABLE
  RETURN (SELECT coalesce(jsonb_agg(u.e ORDER BY u.n), '[]')
    FROM jsonb_array_elements(events) WITH ORDINALITY u (e, n) WHERE u.n < ordinal);

-- Reads a batch or refuses it, naming the first event that is wrong.
CREATE FUNCTION moonwake.read_batch(events jsonb) RETURNS event_input[]
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp SET timezone = 'UTC'
  AS $$
DECLARE
  inputs event_input[];
  bad record;
  registry text;
  max_bytes int;
  at timestamptz;
BEGIN
  IF coalesce(jsonb_typeof(events), 'null') <> 'array' THEN
    RAISE EXCEPTION 'publish_events: the batch is a JSON %, not an array', coalesce(jsonb_typeof(events), 'null')
      USING ERRCODE = 'MW004';
  END IF;
  SELECT u.ordinal, p.problem INTO bad
    FROM jsonb_array_elements(events) WITH ORDINALITY u (e, ordinal), LATERAL element_problem(u.e) p (problem)
    WHERE NOT element_is_plain(u.e) AND p.problem IS NOT NULL
    ORDER BY u.ordinal LIMIT 1;
  IF FOUND THEN
    PERFORM read_batch(batch_before(events, bad.ordinal)); -- an earlier one may be wrong in another way
    PERFORM refuse_element(bad.ordinal, bad.problem);
  END IF;

  BEGIN
    SELECT array_agg(ROW(p.*, CASE WHEN p.given THEN event_digest(p.event_type, p.aggregate_type, p.aggregate_id,
        p.data, p.metadata, p.schema_version, p.source, p.correlation_id, p.causation_id, p.actor_type, p.actor_id,
        p.severity, p.impact, p.occurred_at) END)::event_input ORDER BY p.ordinal) INTO inputs
      FROM (
        SELECT u.ordinal, e ->> 'event_type' AS event_type, e ->> 'aggregate_type' AS aggregate_type,
          e ->> 'aggregate_id' AS aggregate_id, coalesce(nullif(e -> 'data', 'null'), '{}') AS data,
          coalesce(nullif(e -> 'metadata', 'null'), '{}') AS metadata,
          coalesce((e ->> 'event_id')::uuid, gen_random_uuid()) AS event_id, e ->> 'event_id' IS NOT NULL AS given,
          (e ->> 'expected_version')::bigint AS expected_version,
          coalesce((e ->> 'schema_version')::int, 1) AS schema_version, e ->> 'source' AS source,
          e ->> 'correlation_id' AS correlation_id, (e ->> 'causation_id')::uuid AS causation_id,
          e ->> 'actor_type' AS actor_type, e ->> 'actor_id' AS actor_id, e ->> 'severity' AS severity,
          e ->> 'impact' AS impact, element_time(nullif(e -> 'occurred_at', 'null')) AS occurred_at
        FROM jsonb_array_elements(events) WITH ORDINALITY u (e, ordinal) OFFSET 0
      ) p;
  EXCEPTION WHEN data_exception THEN
    FOR bad IN SELECT e -> 'occurred_at' AS word, u.ordinal
      FROM jsonb_array_elements(events) WITH ORDINALITY u (e, ordinal)
      WHERE jsonb_typeof(e -> 'occurred_at') <> 'null' ORDER BY u.ordinal
    LOOP
      BEGIN
        at := element_time(bad.word);
      EXCEPTION WHEN data_exception THEN
        PERFORM read_batch(batch_before(events, bad.ordinal));
        PERFORM refuse_element(bad.ordinal,
          format('occurred_at: %s is not a time', left(bad.word::text, 60)));
      END;
    END LOOP;
    RAISE;
  END;

  SELECT max(s.value) FILTER (WHERE s.name = 'registry'), max(s.value) FILTER (WHERE s.name = 'max_event_bytes')
    INTO registry, max_bytes FROM settings s;
  SELECT i.ordinal, p.problem INTO bad
    FROM unnest(inputs) i, LATERAL (SELECT event_problem(i.event_type, i.aggregate_type, i.aggregate_id, i.data,
      i.metadata, i.schema_version, i.source, i.correlation_id, i.actor_type, i.actor_id, i.severity, i.impact,
      i.occurred_at, max_bytes)) p (problem)
    WHERE p.problem IS NOT NULL ORDER BY i.ordinal LIMIT 1;
  IF FOUND THEN
    PERFORM refuse_element(bad.ordinal, bad.problem);
  END IF;
  IF registry = 'closed' THEN
    SELECT i.ordinal, i.event_type INTO bad FROM unnest(inputs) i
      WHERE NOT EXISTS (SELECT FROM event_types t WHERE t.name = i.event_type) ORDER BY i.ordinal LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'publish_events: event %: event_type: % is not registered', bad.ordinal, bad.event_type
        USING ERRCODE = 'MW005', HINT = 'register_event_type() adds it; settings.registry = open takes any';
    END IF;
  END IF;
  RETURN inputs;
END
$$;

-- Takes out of `todo` what is in the log already, and what repeats an earlier element; refuses an event_id that names
-- other content.
CREATE FUNCTION moonwake.split_batch(INOUT todo event_input[], INOUT seen event_input[])
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  fresh event_input[];
  again event_input[];
  reused_at int;
BEGIN
  SELECT array_agg(t.i ORDER BY (t.i).ordinal) FILTER (WHERE t.known IS NULL AND t.turn = 1),
    array_agg(t.i) FILTER (WHERE t.known IS NOT NULL OR t.turn > 1),
    min((t.i).ordinal) FILTER (WHERE (t.i).digest <> t.known_digest)
    INTO fresh, again, reused_at
    FROM (
      SELECT i, k.id AS known,
        coalesce(k.digest, first_value(i.digest) OVER same) AS known_digest,
        CASE WHEN i.given THEN row_number() OVER same ELSE 1 END AS turn
      FROM unnest(todo) i LEFT JOIN event_ids k ON i.given AND k.event_id = i.event_id
      WINDOW same AS (PARTITION BY i.event_id ORDER BY i.ordinal)
    ) t;
  IF reused_at IS NOT NULL THEN
    PERFORM refuse_reuse(format('publish_events: event %s', reused_at), i.event_id, k.id)
      FROM unnest(todo) i LEFT JOIN event_ids k ON k.event_id = i.event_id WHERE i.ordinal = reused_at;
  END IF;
  todo := coalesce(fresh, '{}');
  seen := seen || coalesce(again, '{}');
END
$$;

CREATE FUNCTION moonwake.publish_events(events jsonb)
  RETURNS TABLE (ordinal int, id bigint, event_id uuid, version bigint, appended boolean)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
#variable_conflict use_column
DECLARE
  todo event_input[] := read_batch(events); -- to be appended, in order
  seen event_input[] := '{}';               -- in the log already
  any_given boolean;
  any_expected boolean;
  ids bigint[];
  versions bigint[];
  counted bigint;
  bad record;
BEGIN
  IF to_regclass(events_partition_name(clock_timestamp() AT TIME ZONE 'UTC' + interval '2 days')) IS NULL THEN
    PERFORM top_up_partitions();
  END IF;
  SELECT coalesce(bool_or(i.given), false), coalesce(bool_or(i.expected_version IS NOT NULL), false)
    INTO any_given, any_expected FROM unnest(todo) i;
  IF any_given THEN
    SELECT * INTO todo, seen FROM split_batch(todo, seen);
  END IF;
  IF any_given OR any_expected THEN
    -- In sorted order, so that batches never deadlock with each other. Then look again: whoever appended the
    -- same events at this moment held these locks.
    INSERT INTO streams AS s (aggregate_type, aggregate_id, version)
      SELECT DISTINCT i.aggregate_type COLLATE "C", i.aggregate_id COLLATE "C", 0 FROM unnest(todo) i ORDER BY 1, 2
      ON CONFLICT ON CONSTRAINT streams_pkey DO UPDATE SET version = s.version WHERE false;
    IF any_given THEN
      SELECT * INTO todo, seen FROM split_batch(todo, seen);
    END IF;
  END IF;
  IF any_expected THEN
    SELECT * INTO bad FROM (
      SELECT i.ordinal, i.aggregate_type, i.aggregate_id, i.expected_version AS expected, s.version
        + row_number() OVER (PARTITION BY i.aggregate_type, i.aggregate_id ORDER BY i.ordinal) - 1 AS actual
      FROM unnest(todo) i JOIN streams s
        ON (s.aggregate_type, s.aggregate_id) = (i.aggregate_type, i.aggregate_id)) t
      WHERE t.expected <> t.actual ORDER BY t.ordinal LIMIT 1;
    IF FOUND THEN
      PERFORM refuse_version(format('publish_events: event %s', bad.ordinal), bad.aggregate_type,
        bad.aggregate_id, bad.expected, bad.actual);
    END IF;
  END IF;

  INSERT INTO streams AS s (aggregate_type, aggregate_id, version)
    SELECT i.aggregate_type COLLATE "C", i.aggregate_id COLLATE "C", count(*) FROM unnest(todo) i
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT ON CONSTRAINT streams_pkey DO UPDATE SET version = s.version + excluded.version;

  -- Ids are drawn in the order of the input, so ids in ascending order are the input's order.
  WITH numbered AS (
    SELECT i.*, s.version - count(*) OVER (PARTITION BY i.aggregate_type, i.aggregate_id)
      + row_number() OVER (PARTITION BY i.aggregate_type, i.aggregate_id ORDER BY i.ordinal) AS version
    FROM unnest(todo) i JOIN streams s
      ON (s.aggregate_type, s.aggregate_id) = (i.aggregate_type, i.aggregate_id)
  ), appended AS (
    INSERT INTO events AS e (id, "timestamp", occurred_at, version, event_id, causation_id, schema_version,
      event_type, aggregate_type, aggregate_id, correlation_id, source, actor_type, actor_id, severity, impact,
      data, metadata)
    SELECT nextval('events_id_seq'), t.now, coalesce(t.occurred_at, t.now), t.version, t.event_id,
      t.causation_id, t.schema_version, t.event_type, t.aggregate_type, t.aggregate_id, t.correlation_id,
      t.source, t.actor_type, t.actor_id, t.severity, t.impact, t.data, t.metadata
    FROM (SELECT greatest(clock_timestamp(), floor.time) AS now, n.*
      FROM (SELECT * FROM numbered ORDER BY ordinal) n, (SELECT append_time() AS time) floor) t
    RETURNING e.id, e.version
  )
  SELECT array_agg(a.id ORDER BY a.id), array_agg(a.version ORDER BY a.id) INTO ids, versions FROM appended a;

  IF any_given THEN
    INSERT INTO event_ids (id, version, event_id, digest)
      SELECT n.id, n.version, i.event_id, i.digest
      FROM ROWS FROM (unnest(todo), unnest(ids), unnest(versions)) AS i (ordinal, event_type, aggregate_type,
        aggregate_id, data, metadata, event_id, given, expected_version, schema_version, source,
        correlation_id, causation_id, actor_type, actor_id, severity, impact, occurred_at, digest, id, version)
      CROSS JOIN LATERAL (SELECT i.id, i.version) n WHERE i.given
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS counted = ROW_COUNT;
    IF counted < (SELECT count(*) FROM unnest(todo) i WHERE i.given) THEN
      -- appended to another aggregate at this moment
      SELECT i.ordinal, i.event_id, k.id INTO bad FROM unnest(todo) i JOIN event_ids k ON k.event_id = i.event_id
        WHERE i.given AND k.id <> ALL (ids) ORDER BY i.ordinal LIMIT 1;
      PERFORM refuse_reuse(format('publish_events: event %s', bad.ordinal), bad.event_id, bad.id);
    END IF;
  END IF;

  RETURN QUERY
    SELECT i.ordinal, i.id, i.event_id, i.version, true
    FROM ROWS FROM (unnest(todo), unnest(ids), unnest(versions)) AS i (ordinal, event_type, aggregate_type,
      aggregate_id, data, metadata, event_id, given, expected_version, schema_version, source,
      correlation_id, causation_id, actor_type, actor_id, severity, impact, occurred_at, digest, id, version)
    UNION ALL
    SELECT i.ordinal, k.id, i.event_id, k.version, false
    FROM unnest(seen) i JOIN event_ids k ON k.event_id = i.event_id
    ORDER BY 1;
END
$$;

COMMENT ON FUNCTION moonwake.publish_event IS
  'Appends one event and returns its event_id, id and version. expected_version: the aggregate''s version before it, 0 for '
  'a new one; MW002 if it is another. event_id: the same one again with the same content returns the first event with '
  'appended = false, with other content raises MW003. A transaction that will be prepared says SET LOCAL moonwake.ring = off. '
  'Example: SELECT * FROM moonwake.publish_event(''order.paid'', ''order'', ''o-7'', ''{"cents": 1200}'', expected_version => 3)';
COMMENT ON FUNCTION moonwake.publish_events IS
  'Appends a JSON array of events, all or none, and returns a row for each in the order of the input (ordinal from 1). Each '
  'is an object with the parameters of publish_event as keys; occurred_at is ISO 8601 (UTC unless it says otherwise) or '
  'seconds since 1970. Several events of one aggregate get consecutive versions. '
  'Example: SELECT * FROM moonwake.publish_events(''[{"event_type": "order.paid", "aggregate_type": "order", "aggregate_id": "o-7"}]'')';
COMMENT ON FUNCTION moonwake.event_problem IS 'What is wrong with an event, as text, or NULL';
COMMENT ON FUNCTION moonwake.event_digest IS 'sha256 of what two publications of one event_id must have in common';
COMMENT ON FUNCTION moonwake.refuse_reuse IS 'Raises MW003: the event_id names an event with other content';
COMMENT ON FUNCTION moonwake.refuse_version IS 'Raises MW002: the aggregate has another version than expected';
COMMENT ON FUNCTION moonwake.refuse_element IS 'Raises MW004 for one event of a batch (ordinal from 1)';
COMMENT ON TYPE moonwake.event_input IS 'One event of a batch, as read from its JSON';
COMMENT ON FUNCTION moonwake.event_keys IS 'The keys that an event of a batch may have';
COMMENT ON FUNCTION moonwake.edit_distance IS 'Levenshtein''s distance of two short words';
COMMENT ON FUNCTION moonwake.nearest_word IS 'The known word that was probably meant: event_type for type, occurred_at for occured_at';
COMMENT ON FUNCTION moonwake.element_problem IS 'What is wrong with the shape of a batch''s element, as text, or NULL';
COMMENT ON FUNCTION moonwake.element_is_plain IS 'True when a batch''s element has the usual form and needs no closer look';
COMMENT ON FUNCTION moonwake.element_time IS 'A time from a JSON number (seconds since 1970) or string (ISO 8601)';
COMMENT ON FUNCTION moonwake.batch_before IS 'The elements of a batch before an ordinal';
COMMENT ON FUNCTION moonwake.read_batch IS 'Reads the JSON of a batch, or refuses it and names the first event that is wrong';
COMMENT ON FUNCTION moonwake.split_batch IS 'Moves what is in the log already, or repeats an earlier element, from todo to seen';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.publish_event, moonwake.publish_events TO moonwake_run, moonwake_publish;
RESET ROLE;
