-- Promotion: when a version that was built may take the live one's place, in what they differ, and the exchange.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

-- Approval ------------------------------------------------------------------------------------------------------------

-- Whoever looks with a snapshot from before a version was complete would find less in it than in the live one.
CREATE FUNCTION moonwake.open_transactions() RETURNS text[]
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT coalesce(array_agg(l.virtualtransaction), '{}') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid <> pg_backend_pid()
    AND a.datname = current_database() AND a.usesysid IS NOT NULL -- autovacuum reads for nobody
$$;

-- In words, who of these transactions is still open, or NULL.
CREATE FUNCTION moonwake.still_open(transactions text[]) RETURNS text
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT string_agg(format('pid %s%s', a.pid, coalesce(' (' || nullif(a.usename, '') || ')', '')), ', ' ORDER BY a.pid)
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.virtualtransaction = ANY (transactions)
$$;

-- Differences ---------------------------------------------------------------------------------------------------------
-- Rows are compared by primary key in all columns but position and updated_at, a page of keys at a time, so that no
-- snapshot is held for long. A page counts where both versions stand at the same position in its snapshot.

-- As JSON text, so that null stays apart from nothing, and not longer than people read.
CREATE FUNCTION moonwake.brief_value(value jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN CASE WHEN length(value::text) > 500 THEN left(value::text, 499) || '…' ELSE value::text END;

CREATE FUNCTION moonwake.different_fields(live jsonb, next jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT coalesce(jsonb_object_agg(coalesce(l.key, n.key), jsonb_strip_nulls(jsonb_build_object(
    'live', CASE WHEN l.key IS NOT NULL THEN brief_value(l.value) END,
    'next', CASE WHEN n.key IS NOT NULL THEN brief_value(n.value) END))), '{}')
  FROM jsonb_each(CASE WHEN live IS NULL OR jsonb_typeof(live) = 'object' THEN live ELSE jsonb_build_object('state', live) END) l
  FULL JOIN jsonb_each(CASE WHEN next IS NULL OR jsonb_typeof(next) = 'object' THEN next ELSE jsonb_build_object('state', next) END) n
    ON n.key = l.key
  WHERE l.value IS DISTINCT FROM n.value
$$;

-- The words of the statement that compares two versions; NULL in all where they have no rows in common.
CREATE FUNCTION moonwake.comparison(live moonwake.projection_versions, next moonwake.projection_versions,
  OUT sources text, OUT keys text, OUT key_object text, OUT differs text, OUT live_fields text, OUT next_fields text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  IF live.spec -> 'key' <> next.spec -> 'key' OR live.spec ->> 'form' <> next.spec ->> 'form' THEN
    RETURN;
  END IF;
  SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.n),
    format('jsonb_build_object(%s)', string_agg(format('%L, %I', c.name, c.name), ', ' ORDER BY c.n))
    INTO keys, key_object FROM projection_columns(live.spec) c WHERE c.is_key;
  SELECT coalesce(string_agg(CASE WHEN l.type = n.type THEN format('"L".%1$I IS DISTINCT FROM "N".%1$I', l.name)
      ELSE format('"L".%1$I::text IS DISTINCT FROM "N".%1$I::text', l.name) END, ' OR '), 'false') INTO differs
    FROM projection_columns(live.spec) l JOIN projection_columns(next.spec) n ON n.name = l.name
    WHERE NOT l.is_key AND l.name NOT IN ('position', 'updated_at');
  sources := format('(SELECT * FROM %1$I.%2$I t WHERE %%1$s) "L" FULL JOIN (SELECT * FROM %1$I.%3$I t WHERE %%1$s) "N" USING (%4$s)',
    versions_schema(), live.leaf, next.leaf, keys);
  live_fields := CASE live.spec ->> 'form' WHEN 'document' THEN '"L".state' ELSE format('CASE WHEN "L".position IS NOT NULL '
    'THEN to_jsonb("L") - ''{position,updated_at}''::text[] - %L::text[] END', '{' || keys || '}') END;
  next_fields := replace(live_fields, '"L"', '"N"');
END
$$;

-- (a, b) > ('x'::text, 3::bigint)
CREATE FUNCTION moonwake.key_bound(spec jsonb, comparison text, key jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN key IS NULL THEN 'true' ELSE format('(%s) %s (%s)', string_agg(format('t.%I', c.name), ', ' ORDER BY c.n),
    comparison, string_agg(format('%L::%s', key ->> c.name, c.type), ', ' ORDER BY c.n)) END
  FROM projection_columns(spec) c WHERE c.is_key
$$;

CREATE FUNCTION moonwake.compare_page(name text, size int DEFAULT 5000) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET timezone = 'UTC'
  AS $$
DECLARE
  building projection_versions := version_of(name, 'next');
  live projection_versions := version_of(name, 'live');
  so_far jsonb := coalesce(building.difference, new_difference(live.spec, building.spec));
  words record;
  page record;
  last jsonb;
  bounds text;
BEGIN
  IF (so_far -> 'done')::boolean THEN
    UPDATE projection_versions v SET difference = so_far WHERE v.build = building.build;
    RETURN true;
  END IF;
  SELECT * INTO words FROM comparison(live, building);
  bounds := key_bound(live.spec, '>', so_far -> 'after');
  EXECUTE format('SELECT to_jsonb(b) FROM ((SELECT %1$s FROM %2$I.%3$I t WHERE %5$s ORDER BY %1$s OFFSET %6$s LIMIT 1) UNION ALL '
    '(SELECT %1$s FROM %2$I.%4$I t WHERE %5$s ORDER BY %1$s OFFSET %6$s LIMIT 1)) b ORDER BY %1$s LIMIT 1',
    words.keys, versions_schema(), live.leaf, building.leaf, bounds, size - 1) INTO last;
  bounds := concat_ws(' AND ', bounds, CASE WHEN last IS NOT NULL THEN key_bound(live.spec, '<=', last) END);
  -- no column's name has a capital
  EXECUTE format('SELECT "P".live, "P".next, count("Event") AS rows, count(*) FILTER (WHERE "Change" = ''added'') AS added, '
    'count(*) FILTER (WHERE "Change" = ''removed'') AS removed, count(*) FILTER (WHERE "Change" = ''changed'') AS changed, '
    'coalesce(jsonb_agg(jsonb_build_object(''change'', "Change", ''key'', "Key", ''fields'', different_fields("Live", "Next"), '
    '  ''event'', "Event")) FILTER (WHERE "Nth" <= %8$s AND "Change" IS NOT NULL), ''[]'') AS samples '
    'FROM (SELECT (SELECT c.position FROM consumers c WHERE c.consumer = %6$L) AS live, '
    '  (SELECT c.position FROM consumers c WHERE c.consumer = %7$L) AS next) "P" LEFT JOIN '
    '(SELECT *, row_number() OVER (PARTITION BY "Change" ORDER BY %1$s) AS "Nth" FROM (SELECT %1$s, %2$s AS "Key", '
    '  CASE WHEN "L".position IS NULL THEN ''added'' WHEN "N".position IS NULL THEN ''removed'' WHEN %3$s THEN ''changed'' END '
    '  AS "Change", %4$s AS "Live", %5$s AS "Next", coalesce("N".position, "L".position) AS "Event" FROM %9$s) "D") "R" ON true '
    'GROUP BY 1, 2',
    words.keys, words.key_object, words.differs, words.live_fields, words.next_fields, building.name, building.name || ':next',
    greatest(0, 10 - jsonb_array_length(so_far -> 'samples')), format(words.sources, bounds)) INTO page;
  IF page.live IS DISTINCT FROM page.next THEN
    so_far := so_far || jsonb_build_object('apart', (so_far ->> 'apart')::int + 1);
    IF (so_far ->> 'apart')::int > 100 THEN
      so_far := so_far || jsonb_build_object('done', true, 'note', format(
        'the versions do not stand at one position: the live one at event %s, this one at %s', page.live, page.next));
    END IF;
  ELSE
    so_far := add_page(so_far, to_jsonb(page), last);
  END IF;
  UPDATE projection_versions v SET difference = so_far WHERE v.build = building.build;
  RETURN (so_far -> 'done')::boolean;
END
$$;

CREATE FUNCTION moonwake.compare_again(name text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  UPDATE projection_versions v SET difference = NULL WHERE v.build = (version_of($1, 'next')).build;
END
$$;
COMMENT ON FUNCTION moonwake.compare_again(text) IS 'Forgets what compare_page() found';

CREATE FUNCTION moonwake.new_difference(old jsonb, new jsonb) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT jsonb_build_object('done', false, 'complete', false, 'equal', false, 'pages', 0, 'apart', 0, 'rows', 0, 'added', 0,
      'removed', 0, 'changed', 0, 'samples', '[]'::jsonb,
      'columns_added', coalesce(jsonb_agg(n.name ORDER BY n.n) FILTER (WHERE o.name IS NULL), '[]'),
      'columns_removed', coalesce(jsonb_agg(o.name ORDER BY o.n) FILTER (WHERE n.name IS NULL), '[]'))
    || CASE WHEN old -> 'key' <> new -> 'key' OR old ->> 'form' <> new ->> 'form'
      THEN '{"done": true, "note": "the key or the form changed: rows cannot be compared"}' ELSE '{}'::jsonb END
  FROM projection_columns(old) o FULL JOIN projection_columns(new) n ON n.name = o.name
$$;

CREATE FUNCTION moonwake.add_page(so_far jsonb, page jsonb, last jsonb) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH counts AS (
    SELECT jsonb_object_agg(w, (so_far ->> w)::bigint + (page ->> w)::bigint) AS c
      FROM unnest(ARRAY['rows', 'added', 'removed', 'changed']) w)
  SELECT so_far || c || jsonb_build_object('pages', (so_far ->> 'pages')::int + 1, 'after', last, 'position', page -> 'live',
    'done', last IS NULL, 'complete', last IS NULL,
    'equal', last IS NULL AND c ->> 'added' = '0' AND c ->> 'removed' = '0' AND c ->> 'changed' = '0'
      AND so_far -> 'columns_added' = '[]' AND so_far -> 'columns_removed' = '[]',
    'samples', so_far -> 'samples' || (SELECT coalesce(jsonb_agg(s || jsonb_build_object('event', (
        SELECT jsonb_build_object('id', e.id, 'type', e.event_type, 'timestamp', e."timestamp")
        FROM events e WHERE e.id = (s ->> 'event')::bigint))), '[]')
      FROM (SELECT s FROM jsonb_array_elements(page -> 'samples') s LIMIT 10 - jsonb_array_length(so_far -> 'samples')) s))
  FROM counts
$$;

-- Small enough to be done while nothing moves: for a promotion that depends on it.
CREATE FUNCTION moonwake.versions_differ(live moonwake.projection_versions, next moonwake.projection_versions) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  words record;
  found_one boolean;
BEGIN
  SELECT * INTO words FROM comparison(live, next);
  EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE "L".position IS NULL OR "N".position IS NULL OR %s)',
    format(words.sources, 'true'), words.differs) INTO found_one;
  RETURN coalesce(found_one, true);
END
$$;

-- Auto and manual want an answer soon, when_equal a complete one.
CREATE FUNCTION moonwake.compared_enough(building moonwake.projection_versions) RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN coalesce((building.difference -> 'done')::boolean
    OR building.promote <> 'when_equal' AND (building.difference ->> 'pages')::int >= 20, false);


-- Steps ---------------------------------------------------------------------------------------------------------------

-- Looks how far the version that is being built is, does the next thing, and says what it is at.
CREATE FUNCTION moonwake.step_version(name text) RETURNS TABLE (state text, note text, build bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  building projection_versions := version_of(name, 'next');
  mine consumers;
  live consumers;
  blockers text;
BEGIN
  SELECT * INTO mine FROM consumers c WHERE c.consumer = building.name || ':next';
  SELECT * INTO live FROM consumers c WHERE c.consumer = building.name;
  build := building.build;
  IF mine.consumer IS NULL OR mine.state <> 'running' OR live.position - mine.position > 10000
    OR mine.position < building.head_seen AND mine.position IS DISTINCT FROM live.position THEN
    state := 'building';
    building.caught_up_at := NULL;
    building.waits_for := NULL;
  ELSIF building.caught_up_at IS NULL THEN
    state := 'comparing';
    building.caught_up_at := clock_timestamp();
    building.waits_for := open_transactions();
    UPDATE projection_versions v SET difference = NULL WHERE v.build = building.build;
  ELSIF NOT compared_enough(building) THEN
    state := 'comparing';
    PERFORM compare_page(building.name);
  ELSE
    blockers := still_open(building.waits_for);
    IF blockers IS NOT NULL THEN
      state := 'waiting';
      note := 'it waits for transactions that began before it was complete: ' || blockers;
    ELSIF building.promote = 'manual' THEN
      state := 'ready';
      note := format('it waits for approval (`moonwake rebuild %s --promote`)', building.name);
    ELSIF building.promote = 'when_equal' AND NOT (building.difference -> 'equal')::boolean THEN
      state := 'ready';
      note := format('it is not equal to the live version and waits for approval (`moonwake rebuild %s --promote`)', building.name);
    ELSE
      state := 'go';
    END IF;
  END IF;
  UPDATE projection_versions v SET state = CASE step_version.state WHEN 'go' THEN 'waiting' ELSE step_version.state END,
      note = step_version.note, head_seen = log_head(), caught_up_at = building.caught_up_at, waits_for = building.waits_for
    WHERE v.build = building.build AND v.state <> 'refused';
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION moonwake.step_version(text) IS
  'One step of the version that is being built: building, comparing, waiting (for transactions), ready (for approval), or '
  'go: promote_version() may be called. Example: SELECT * FROM moonwake.step_version(''device_summary'')';

-- Both versions stand still from here to the end of the transaction.
CREATE FUNCTION moonwake.hold_consumers(consumers text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  -- Groups before cursors, as a daemon's commit locks them; and once more, should they have been claimed in between.
  FOR i IN 1 .. 2 LOOP
    PERFORM dissolve_groups(ARRAY(
      SELECT c.group_id FROM event_cursors c WHERE c.consumer = ANY (consumers) AND c.group_id IS NOT NULL));
    PERFORM 1 FROM event_cursors c WHERE c.consumer = ANY (consumers) ORDER BY c.consumer FOR UPDATE;
  END LOOP;
END
$$;

CREATE FUNCTION moonwake.run_cursor(consumer text) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  UPDATE event_cursors c SET state = 'running', error = NULL, error_trace = NULL, error_event = NULL, error_at = NULL, note = NULL
   WHERE c.consumer = $1
$$;

CREATE FUNCTION moonwake.promote_version(name text, now boolean DEFAULT false, if_equal boolean DEFAULT false) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET lock_timeout = '200ms'
  AS $$
DECLARE
  building projection_versions := version_of(name, 'next');
  live projection_versions := version_of(name, 'live');
  mine event_cursors;
  other event_cursors;
  blockers text := still_open(building.waits_for);
BEGIN
  PERFORM hold_consumers(ARRAY[live.name, live.name || ':next']);
  SELECT * INTO mine FROM event_cursors c WHERE c.consumer = live.name || ':next';
  SELECT * INTO other FROM event_cursors c WHERE c.consumer = live.name;
  IF building.caught_up_at IS NULL OR coalesce(mine.position, 0) < coalesce(other.position, 0) THEN
    PERFORM refuse_version(format('projection ''%s'': the next version stands at event %s, the live one at %s', live.name,
      coalesce(mine.position, 0), coalesce(other.position, 0)), 'wait until it has caught up');
  ELSIF blockers IS NOT NULL AND NOT now THEN
    PERFORM refuse_version(format('projection ''%s'': transactions are open that began before the next version was complete: %s',
      live.name, blockers), 'wait for them, or say --now');
  ELSIF if_equal AND (mine.position <> other.position OR versions_differ(live, building)) THEN
    PERFORM refuse_version(format('projection ''%s'': the next version is not equal to the live one', live.name), 'approve it');
  END IF;

  PERFORM drop_version(v.build) FROM projection_versions v WHERE v.name = live.name AND v.role = 'old';
  PERFORM exchange_leaf(live.name, live.leaf, live.spec, building.leaf, building.spec);
  PERFORM rename_consumer(live.name, live.name || ':old');
  PERFORM rename_consumer(live.name || ':next', live.name);
  PERFORM run_cursor(live.name);
  UPDATE event_cursors c SET state = 'paused' WHERE c.consumer = live.name || ':old';
  UPDATE projection_versions v SET role = 'old', state = 'kept', digest = other.digest, note = NULL WHERE v.build = live.build;
  UPDATE projection_versions v SET role = 'live', state = 'live', note = NULL, waits_for = NULL, promoted_at = clock_timestamp()
    WHERE v.build = building.build;
  PERFORM pg_notify('moonwake', '');
  RETURN building.build;
END
$$;
COMMENT ON FUNCTION moonwake.promote_version(text, boolean, boolean) IS
  'Puts the version that was built into the live one''s place, which is kept for roll_back_version(). MW011: not yet. A lock '
  'that readers hold is waited for so briefly that none of them queues: repeat it on 55P03. '
  'Example: SELECT moonwake.promote_version(''device_summary'')';

CREATE FUNCTION moonwake.roll_back_version(name text) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET lock_timeout = '200ms'
  AS $$
DECLARE
  kept projection_versions := version_of(name, 'old');
  live projection_versions := version_of(name, 'live');
  mine event_cursors;
BEGIN
  PERFORM hold_consumers(ARRAY[live.name, live.name || ':old']);
  SELECT * INTO mine FROM event_cursors c WHERE c.consumer = live.name;
  PERFORM exchange_leaf(live.name, live.leaf, live.spec, kept.leaf, kept.spec);
  PERFORM rename_consumer(live.name, live.name || ':back');
  PERFORM rename_consumer(live.name || ':old', live.name);
  PERFORM rename_consumer(live.name || ':back', live.name || ':old');
  PERFORM run_cursor(live.name);
  UPDATE event_cursors c SET state = 'paused' WHERE c.consumer = live.name || ':old';
  UPDATE projection_versions v
    SET role = CASE v.build WHEN kept.build THEN 'live' ELSE 'old' END,
      state = CASE v.build WHEN kept.build THEN 'live' ELSE 'kept' END, note = NULL,
      digest = CASE v.build WHEN kept.build THEN v.digest ELSE mine.digest END
    WHERE v.build IN (kept.build, live.build);
  -- By its version too: what it is made of may change, an upcaster for one, and it is not to come back for that.
  DELETE FROM declined_scripts d WHERE d.name = kept.name AND (d.digest = kept.digest OR d.version = kept.version);
  IF live.version <> kept.version THEN
    INSERT INTO declined_scripts (name, digest, version) VALUES (live.name, mine.digest, live.version)
      ON CONFLICT ON CONSTRAINT declined_scripts_pkey DO UPDATE SET version = excluded.version;
  ELSE
    INSERT INTO declined_scripts (name, digest) VALUES (live.name, mine.digest) ON CONFLICT DO NOTHING;
  END IF;
  PERFORM pg_notify('moonwake', '');
  RETURN kept.build;
END
$$;
COMMENT ON FUNCTION moonwake.roll_back_version(text) IS
  'Exchanges the live version for the one before, which goes on where it stood, by its own text; done again it undoes that. '
  'Repeat it on 55P03. Example: SELECT moonwake.roll_back_version(''device_summary'')';

CREATE FUNCTION moonwake.version_note(build bigint, note text) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$ UPDATE projection_versions v SET state = 'refused', note = $2 WHERE v.build = $1 AND v.role = 'next' $$;
COMMENT ON FUNCTION moonwake.version_note(bigint, text) IS 'Says why a version could not be promoted';

COMMENT ON FUNCTION moonwake.open_transactions() IS 'The transactions of this database that are open now';
COMMENT ON FUNCTION moonwake.still_open(text[]) IS 'Who of these transactions is still open, in words, or NULL';
COMMENT ON FUNCTION moonwake.different_fields(jsonb, jsonb) IS 'The members in which two objects differ: {name: {"live", "next"}}, as JSON texts';
COMMENT ON FUNCTION moonwake.brief_value(jsonb) IS 'A value as JSON text of at most 500 characters';
COMMENT ON FUNCTION moonwake.comparison(moonwake.projection_versions, moonwake.projection_versions) IS 'The parts of the statement that compares two versions';
COMMENT ON FUNCTION moonwake.key_bound(jsonb, text, jsonb) IS 'A condition that compares a row''s key with another';
COMMENT ON FUNCTION moonwake.compare_page(text, int) IS
  'Compares so many rows more of the version that is being built with the live one; true when all are compared';
COMMENT ON FUNCTION moonwake.new_difference(jsonb, jsonb) IS 'A difference of which nothing is known but the columns';
COMMENT ON FUNCTION moonwake.add_page(jsonb, jsonb, jsonb) IS 'A difference with the counts and samples of one page more';
COMMENT ON FUNCTION moonwake.versions_differ(moonwake.projection_versions, moonwake.projection_versions) IS 'Whether any row differs';
COMMENT ON FUNCTION moonwake.compared_enough(moonwake.projection_versions) IS 'Whether its promotion needs no more comparing';
COMMENT ON FUNCTION moonwake.hold_consumers(text[]) IS 'Stops consumers until the end of the transaction';
COMMENT ON FUNCTION moonwake.run_cursor(text) IS 'Lets a consumer go on, whatever it stopped for';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.step_version(text), moonwake.compare_page(text, int), moonwake.compare_again(text),
  moonwake.promote_version(text, boolean, boolean), moonwake.roll_back_version(text), moonwake.version_note(bigint, text)
  TO moonwake_run;
GRANT EXECUTE ON FUNCTION moonwake.still_open(text[]) TO moonwake_run, moonwake_read;
RESET ROLE;
