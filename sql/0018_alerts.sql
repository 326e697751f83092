-- Alerts: what rules raise becomes events, rows of alerts and of the outbox, all in the transaction of the rules.
--
-- What every raise() runs is PL/pgSQL, where a session plans a statement once.
-- Locks are taken in one order everywhere: rules, alerts (by episode), streams (publish_events sorts them), the outbox.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

-- One thing that a rule did, read. `machine` is the rule's name for an episode, `by` a person who did it in its stead.
CREATE TYPE moonwake.effect AS (
  ordinal int, kind text, rule text, transition text, machine uuid, event_id uuid, key jsonb, key_text text,
  fingerprint text, at timestamptz, position bigint, cause uuid, correlation text, severity text, "from" text,
  reason text, summary text, description text, runbook text, labels jsonb, subject jsonb, since timestamptz,
  signal boolean, depth int, muted text, muted_until timestamptz, notify jsonb, "group" jsonb, inhibits jsonb,
  type text, aggregate_type text, aggregate_id text, data jsonb, act text, receiver text, mode text, max int, by text);
COMMENT ON TYPE moonwake.effect IS 'One thing that a rule did, as read from the JSON that raise() takes';

CREATE FUNCTION moonwake.object_or_empty(value jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE
  RETURN CASE WHEN jsonb_typeof(value) = 'object' THEN value ELSE '{}' END; -- Lua's empty table may come as []
COMMENT ON FUNCTION moonwake.object_or_empty(jsonb) IS 'A JSON object; anything else as an empty one';

-- A key that was forgotten can begin again with something that is told late, before its last end. The log has its episodes
-- one after the other all the same, however they came to be raised together.
CREATE FUNCTION moonwake.read_effects(effects jsonb) RETURNS moonwake.effect[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN (
    SELECT coalesce(array_agg(ROW(x.ordinal, x.kind, x.rule, x.transition, x.episode, coalesce(x.event_id, x.id),
      object_or_empty(x.key), x.key_text, x.fingerprint, us_time(x.at), coalesce(x.position, 0), x.cause, x.correlation, x.severity,
      x."from", x.reason, x.summary, x.description, x.runbook, object_or_empty(x.labels), x.subject,
      us_time(coalesce(x.since, x.at)), coalesce(x.signal, false), coalesce(x.depth, 0), x.muted, us_time(x.muted_until),
      word_list(x.notify), CASE WHEN jsonb_typeof(x."group") = 'object' THEN x."group" END,
      CASE WHEN jsonb_typeof(x.inhibits) = 'object' THEN x.inhibits END, x.type, x.aggregate_type, x.aggregate_id, x.data,
      x.act, x."to", x.mode, x.max, NULL)::effect ORDER BY x.ordinal), '{}')
    FROM (
      SELECT w.*, row_number() OVER (ORDER BY w.place, w.rule COLLATE "C", w.n) AS ordinal
      FROM (
        SELECT r.*, u.n, max(r.at) OVER (PARTITION BY r.rule, r.key_text ORDER BY u.n) AS place
        FROM jsonb_array_elements(effects) WITH ORDINALITY u (e, n), jsonb_to_record(u.e) AS r (kind text, rule text,
          transition text, episode uuid, event_id uuid, id uuid, key jsonb, key_text text, fingerprint text, at bigint,
          position bigint, cause uuid, correlation text, severity text, "from" text, reason text, summary text, description text,
          runbook text, labels jsonb, subject jsonb, since bigint, signal boolean, depth int, muted text, muted_until bigint,
          notify jsonb, "group" jsonb, inhibits jsonb, type text, aggregate_type text, aggregate_id text, data jsonb, act text,
          "to" text, mode text, max int)
        WHERE u.e ->> 'kind' IN ('alert', 'event', 'act')) w) x
  );
END
$$;
COMMENT ON FUNCTION moonwake.read_effects(jsonb) IS
  'Reads what rules did, in the order of time, then of the rules'' names; what one key did stays in its own order';


-- Mutes ---------------------------------------------------------------------------------------------------------------

-- One that is none matches nothing: silence() and whoever checks a rule refuses it earlier.
CREATE FUNCTION moonwake.regex_matches(value text, regex text) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RETURN value ~ ('^(?:' || regex || ')$');
EXCEPTION WHEN invalid_regular_expression THEN
  RETURN false;
END
$$;
COMMENT ON FUNCTION moonwake.regex_matches(text, text) IS 'Whether a whole word is what a regular expression says';

CREATE FUNCTION moonwake.text_matches(value text, pattern text) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  IF pattern LIKE '!%' THEN
    RETURN ((length(pattern) - length(ltrim(pattern, '!'))) % 2 = 0) = text_matches(value, ltrim(pattern, '!'));
  ELSIF pattern LIKE '~%' THEN
    RETURN regex_matches(coalesce(value, ''), substr(pattern, 2));
  ELSIF strpos(pattern, '*') > 0 THEN
    RETURN coalesce(value, '') LIKE type_pattern(pattern);
  END IF;
  RETURN coalesce(value, '') = pattern;
END
$$;
COMMENT ON FUNCTION moonwake.text_matches(text, text) IS
  'Whether a word, or none, is what a pattern says: the same word, one with * for any characters, ~regex for the whole '
  'word, or !pattern for any other';

CREATE FUNCTION moonwake.alert_word(name text, rule text, severity text, labels jsonb, key jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN CASE name WHEN 'rule' THEN rule WHEN 'severity' THEN severity ELSE coalesce(labels ->> name, key ->> name) END;
COMMENT ON FUNCTION moonwake.alert_word(text, text, text, jsonb, jsonb) IS
  'What matchers and groups see of an alert: rule, severity, a label, or a part of its key';

CREATE FUNCTION moonwake.matchers_match(matchers jsonb, rule text, severity text, labels jsonb, key jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT NOT EXISTS (SELECT FROM jsonb_each(object_or_empty(matchers)) m
    WHERE NOT EXISTS (SELECT FROM jsonb_array_elements_text(word_list(m.value)) p (pattern)
      WHERE text_matches(alert_word(m.key, rule, severity, labels, matchers_match.key), p.pattern)))
$$;
COMMENT ON FUNCTION moonwake.matchers_match(jsonb, text, text, jsonb, jsonb) IS
  'Whether an alert is what all matchers say: {"name": "pattern" or a list of which one must match}';

CREATE FUNCTION moonwake.silence_words(s moonwake.silences) RETURNS text
  LANGUAGE sql STABLE
  RETURN format('silence %s%s', s.id, ': ' || nullif(s.reason, ''));
COMMENT ON FUNCTION moonwake.silence_words(moonwake.silences) IS 'A silence as the reason of a mute';

CREATE FUNCTION moonwake.inhibition_words(i moonwake.alerts) RETURNS text
  LANGUAGE sql STABLE
  RETURN format('inhibited by %s (%s)', i.rule, left(i.episode::text, 8));
COMMENT ON FUNCTION moonwake.inhibition_words(moonwake.alerts) IS 'An alert as the reason of a mute';

-- Who has neither of two names the same has not the same place: what a label is missing from is never equal.
CREATE FUNCTION moonwake.mute_reason(a moonwake.alerts, at timestamptz, now timestamptz) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN (
    SELECT coalesce(
      (SELECT inhibition_words(i) FROM alerts i
        WHERE i.inhibits IS NOT NULL AND coalesce(i.ended_at, 'infinity') > at AND i.fired_at <= at AND i.episode <> a.episode
          AND (i.rule <> a.rule OR i.inhibits -> 'match' ? 'rule')
          AND matchers_match(i.inhibits -> 'match', a.rule, a.severity, a.labels, a.key)
          AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(word_list(i.inhibits -> 'equal')) q (name)
            WHERE (alert_word(q.name, i.rule, i.severity, i.labels, i.key)
              = alert_word(q.name, a.rule, a.severity, a.labels, a.key)) IS NOT TRUE)
        ORDER BY i.fired_at, i.episode LIMIT 1),
      (SELECT silence_words(s) FROM silences s
        WHERE s.ended_at IS NULL AND s.starts_at <= now AND s.ends_at > now
          AND matchers_match(s.matchers, a.rule, a.severity, a.labels, a.key)
        ORDER BY s.id LIMIT 1))
  );
END
$$;
COMMENT ON FUNCTION moonwake.mute_reason(moonwake.alerts, timestamptz, timestamptz) IS
  'Why nobody is to be told of an alert as it was at a time by the log''s clock: another one that fired then, or a silence '
  'that holds now; NULL for no reason';


-- To the log ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.derived_id(VARIADIC words text[]) RETURNS uuid
  LANGUAGE sql IMMUTABLE
  RETURN md5(array_to_string(words, ':'))::uuid;
COMMENT ON FUNCTION moonwake.derived_id(text[]) IS 'An id that is the same whenever it is made from the same words';

CREATE FUNCTION moonwake.alert_data(a moonwake.alerts, e moonwake.effect, reason text, more jsonb DEFAULT '{}') RETURNS jsonb
  LANGUAGE sql STABLE
  RETURN jsonb_build_object('rule', a.rule, 'episode', a.episode, 'key', a.key, 'labels', coalesce(e.labels, a.labels),
    'severity', coalesce(e.severity, a.severity), 'from', e."from", 'reason', reason, 'summary', coalesce(e.summary, a.summary),
    'subject', coalesce(e.subject, a.subject), 'since', moonwake.iso_time(coalesce(e.since, a.started_at)),
    'signal', a.signal) || more;
COMMENT ON FUNCTION moonwake.alert_data(moonwake.alerts, moonwake.effect, text, jsonb) IS 'The data of an alert''s event';

CREATE FUNCTION moonwake.alert_event(a moonwake.alerts, e moonwake.effect, type text, id uuid, reason text,
  more jsonb DEFAULT '{}') RETURNS jsonb
  LANGUAGE sql STABLE
  RETURN jsonb_build_object('event_id', id, 'event_type', type, 'aggregate_type', 'alert', 'aggregate_id', a.episode,
    'data', moonwake.alert_data(a, e, reason, more),
    'metadata', jsonb_build_object('moonwake', jsonb_build_object('depth', coalesce(e.depth, a.depth))),
    'occurred_at', moonwake.iso_time(e.at), 'source', 'moonwake',
    'actor_type', CASE WHEN e.by IS NULL THEN 'rule' ELSE 'user' END,
    'actor_id', coalesce(e.by, a.rule), 'severity', coalesce(e.severity, a.severity),
    'causation_id', e.cause, 'correlation_id', coalesce(e.correlation, a.correlation));
COMMENT ON FUNCTION moonwake.alert_event(moonwake.alerts, moonwake.effect, text, uuid, text, jsonb) IS
  'An event of an alert, as publish_events takes it';

-- A rule that knows an alert by another name than people means theirs.
CREATE FUNCTION moonwake.fact_event(e moonwake.effect, episode uuid, type text, aggregate_type text, aggregate_id text,
  data jsonb) RETURNS jsonb
  LANGUAGE sql STABLE
  RETURN jsonb_build_object('event_id', e.event_id, 'event_type', type, 'aggregate_type', coalesce(aggregate_type, 'rule'),
    'aggregate_id', CASE aggregate_id WHEN e.machine::text THEN coalesce(episode, e.machine)::text
      ELSE coalesce(aggregate_id, e.rule) END,
    'data', coalesce(data, '{}'),
    'metadata', jsonb_build_object('moonwake', jsonb_build_object('depth', e.depth)), 'occurred_at', moonwake.iso_time(e.at),
    'source', 'moonwake', 'actor_type', 'rule', 'actor_id', e.rule, 'causation_id', e.cause, 'correlation_id', e.correlation);
COMMENT ON FUNCTION moonwake.fact_event(moonwake.effect, uuid, text, text, text, jsonb) IS
  'An event that a rule emits or publishes, as publish_events takes it';

-- What the log does not take is no reason for a rule to stand still: it stays in the outbox, to be looked at and tried again.
CREATE FUNCTION moonwake.publish_or_keep(events jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  todo jsonb := events;
  bad int;
  problem text;
BEGIN
  WHILE jsonb_array_length(todo) > 0 LOOP
    BEGIN
      PERFORM count(*) FROM publish_events(todo);
      RETURN;
    EXCEPTION WHEN SQLSTATE 'MW003' OR SQLSTATE 'MW004' OR SQLSTATE 'MW005' THEN
      problem := SQLERRM;
      bad := substring(problem FROM 'publish_events: event (\d+):')::int - 1;
      IF bad IS NULL THEN
        RAISE;
      END IF;
    END;
    INSERT INTO outbox (id, kind, rule, payload, at, state, note)
      SELECT (todo -> bad ->> 'event_id')::uuid, 'publish', coalesce(todo -> bad ->> 'actor_id', ''), todo -> bad,
        (todo -> bad ->> 'occurred_at')::timestamptz, 'failed', problem
      ON CONFLICT (id) DO NOTHING;
    todo := todo - bad;
  END LOOP;
END
$$;
COMMENT ON FUNCTION moonwake.publish_or_keep(jsonb) IS
  'Appends events; those that the log refuses are kept in the outbox as failed (kind publish, payload: the event)';


-- To the outbox -------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.alert_item(a moonwake.alerts, e moonwake.effect) RETURNS jsonb
  LANGUAGE sql STABLE
  RETURN jsonb_build_object('event_id', e.event_id, 'transition', e.transition, 'episode', a.episode, 'rule', a.rule,
    'key', a.key, 'fingerprint', a.fingerprint, 'labels', coalesce(e.labels, a.labels),
    'severity', coalesce(e.severity, a.severity), 'from', e."from", 'reason', e.reason,
    'summary', coalesce(e.summary, a.summary), 'description', coalesce(e.description, a.description),
    'runbook', coalesce(e.runbook, a.runbook), 'subject', coalesce(e.subject, a.subject), 'signal', a.signal,
    'at', moonwake.iso_time(e.at), 'started_at', moonwake.iso_time(a.started_at), 'fired_at', moonwake.iso_time(a.fired_at),
    'ended_at', CASE WHEN e.transition IN ('resolved', 'expired') OR a.signal THEN moonwake.iso_time(e.at) END,
    'cause', a.cause, 'correlation_id', a.correlation);
COMMENT ON FUNCTION moonwake.alert_item(moonwake.alerts, moonwake.effect) IS 'What a receiver is told of an alert';

-- A duration of a group, which is given in microseconds.
CREATE FUNCTION moonwake.group_span(spec jsonb, name text) RETURNS interval
  LANGUAGE sql IMMUTABLE
  RETURN coalesce((spec ->> name)::numeric::bigint, 0) * interval '1 microsecond';
COMMENT ON FUNCTION moonwake.group_span(jsonb, text) IS 'A duration of a group: wait or interval';

CREATE FUNCTION moonwake.group_values(a moonwake.alerts, spec jsonb) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN spec IS NOT NULL THEN coalesce((
    SELECT jsonb_object_agg(b.name, alert_word(b.name, a.rule, a.severity, a.labels, a.key))
    FROM jsonb_array_elements_text(word_list(spec -> 'by')) b (name)), '{}') END
$$;
COMMENT ON FUNCTION moonwake.group_values(moonwake.alerts, jsonb) IS 'What the alerts of a group have in common: {name: value}';

-- Rows that were stale or cancelled when they were new are revived under their id.
CREATE FUNCTION moonwake.tell_receivers(notices moonwake.effect[], now timestamptz, stale_before timestamptz) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  single int;
  grouped int;
BEGIN
  INSERT INTO outbox AS o (id, receiver, kind, rule, episode, transition, key_text, payload, at, due_at, state)
    SELECT derived_id(e.event_id::text, r.name), r.name, 'alert', a.rule, a.episode, e.transition, a.key_text,
      jsonb_build_object('alerts', jsonb_build_array(alert_item(a, e)), 'group', NULL), e.at, now,
      CASE WHEN e.transition = 'firing' AND e.at < stale_before THEN 'stale' ELSE 'waiting' END
    FROM unnest(notices) e JOIN alerts a ON a.machine = e.machine, jsonb_array_elements_text(a.notify) r (name)
    WHERE a."group" IS NULL OR e.transition = 'firing' AND e.at < stale_before
    ORDER BY e.ordinal, r.name
    ON CONFLICT (id) DO UPDATE SET state = 'waiting', due_at = excluded.due_at, payload = excluded.payload,
      note = NULL, updated_at = clock_timestamp() WHERE o.state IN ('stale', 'cancelled') AND excluded.state = 'waiting';
  GET DIAGNOSTICS single = ROW_COUNT;
  INSERT INTO outbox AS o (id, receiver, kind, rule, episode, transition, key_text, group_key, payload, at, due_at)
    SELECT derived_id('group', g.first::text, g.receiver), g.receiver, 'alert', g.rule, NULL, NULL, NULL, g.common::text,
      jsonb_build_object('alerts', g.items, 'group', g.common), g.at,
      greatest(now + g.wait, g.interval + (SELECT max(o.due_at) FROM outbox o
        WHERE o.receiver = g.receiver AND o.group_key = g.common::text AND o.state <> 'cancelled'))
    FROM (SELECT r.name AS receiver, v.common, jsonb_agg(alert_item(a, e) ORDER BY e.ordinal) AS items,
        (array_agg(e.event_id ORDER BY e.ordinal))[1] AS first, (array_agg(a.rule ORDER BY e.ordinal))[1] AS rule,
        min(e.at) AS at,
        min(group_span(a."group", 'wait')) AS wait, min(group_span(a."group", 'interval')) AS interval
      FROM unnest(notices) e JOIN alerts a ON a.machine = e.machine, jsonb_array_elements_text(a.notify) r (name),
        group_values(a, a."group") v (common)
      WHERE a."group" IS NOT NULL AND NOT (e.transition = 'firing' AND e.at < stale_before)
      GROUP BY r.name, v.common) g
    ORDER BY g.receiver, g.common::text
    ON CONFLICT (receiver, group_key) WHERE state = 'waiting' AND tries = 0 AND group_key IS NOT NULL
      DO UPDATE SET payload = jsonb_set(o.payload, '{alerts}', (o.payload -> 'alerts') || (excluded.payload -> 'alerts')),
        updated_at = clock_timestamp();
  GET DIAGNOSTICS grouped = ROW_COUNT;
  RETURN single + grouped;
END
$$;
COMMENT ON FUNCTION moonwake.tell_receivers(moonwake.effect[], timestamptz, timestamptz) IS
  'Fills the outbox with what an alert''s receivers are to be told; what began before stale_before is only recorded. Alerts '
  'of a group come into the one row of their receiver and group that waits, which is due at first + wait, and not before the '
  'one before it + interval';

CREATE FUNCTION moonwake.act(e moonwake.effect, muted text, stale boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  mode text := coalesce(e.mode, 'single');
  running int;
  known uuid := (SELECT a.episode FROM alerts a WHERE a.machine = e.machine);
  problem text := 'muted: ' || muted;
BEGIN
  IF problem IS NULL AND NOT stale THEN
    IF e.act = 'publish' THEN
      RETURN; -- it is an event, and in the log
    END IF;
    -- those of one firing are one run
    SELECT count(DISTINCT (o.episode, o.at)) INTO running FROM outbox o WHERE o.rule = e.rule AND o.key_text = e.key_text
      AND o.kind <> 'alert' AND o.state IN ('waiting', 'sending') AND (o.episode, o.at) IS DISTINCT FROM (known, e.at);
    IF mode = 'restart' THEN
      UPDATE outbox o SET state = 'cancelled', note = 'restart: a later one takes its place', updated_at = clock_timestamp()
        WHERE o.rule = e.rule AND o.key_text = e.key_text AND o.kind <> 'alert' AND o.state IN ('waiting', 'sending')
          AND (o.episode, o.at) IS DISTINCT FROM (known, e.at);
    ELSIF running >= (CASE mode WHEN 'single' THEN 1 ELSE coalesce(e.max, 10) END) THEN
      problem := CASE mode WHEN 'single' THEN 'single: the one before is still under way'
        ELSE format('%s: %s are under way', mode, running) END;
    END IF;
  END IF;
  INSERT INTO outbox (id, kind, receiver, rule, episode, key_text, mode, payload, at, state, note)
    VALUES (e.event_id, e.act, e.receiver, e.rule, known, e.key_text, mode, coalesce(e.data, '{}'), e.at,
      CASE WHEN problem IS NOT NULL THEN 'cancelled' WHEN stale THEN 'stale' ELSE 'waiting' END, problem)
    ON CONFLICT (id) DO NOTHING;
END
$$;
COMMENT ON FUNCTION moonwake.act(moonwake.effect, text, boolean) IS
  'Puts an action into the outbox, as its mode allows while earlier ones of its rule and key are under way';


-- Raising -------------------------------------------------------------------------------------------------------------

-- The rows as these transitions leave them, but for who is told.
CREATE FUNCTION moonwake.keep_alerts(todo moonwake.effect[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  INSERT INTO alerts AS a (episode, machine, rule, key, key_text, fingerprint, state, severity, summary, description,
      runbook, labels, subject, signal, started_at, fired_at, changed_at, ended_at, reason, closed_by, notify, "group",
      inhibits, cause, correlation, event_id, position, depth, transitions)
    SELECT DISTINCT ON (e.machine) e.machine, e.machine, e.rule, e.key, coalesce(e.key_text, ''), e.fingerprint,
      CASE WHEN e.transition = 'firing' AND e.signal THEN 'resolved' ELSE e.transition END, e.severity, e.summary, e.description,
      e.runbook, e.labels, e.subject, e.signal, first_value(e.since) OVER same,
      min(e.at) FILTER (WHERE e.transition = 'firing') OVER same, e.at,
      CASE WHEN e.transition IN ('resolved', 'expired') OR e.signal THEN e.at END, e.reason, e.by, e.notify, e."group",
      e.inhibits,
      first_value(e.cause) OVER same, first_value(e.correlation) OVER same, e.event_id, e.position, e.depth, count(*) OVER same
    FROM unnest(todo) e WHERE e.kind = 'alert'
    WINDOW same AS (PARTITION BY e.machine ORDER BY e.ordinal ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ORDER BY e.machine, e.ordinal DESC
    ON CONFLICT (machine) DO UPDATE SET state = excluded.state, severity = coalesce(excluded.severity, a.severity),
      summary = coalesce(excluded.summary, a.summary), description = coalesce(excluded.description, a.description),
      runbook = coalesce(excluded.runbook, a.runbook), labels = excluded.labels, subject = coalesce(excluded.subject, a.subject),
      fired_at = coalesce(a.fired_at, excluded.fired_at), changed_at = excluded.changed_at, ended_at = excluded.ended_at,
      reason = excluded.reason, closed_by = excluded.closed_by,
      notify = CASE WHEN excluded.state IN ('pending', 'firing') THEN excluded.notify ELSE a.notify END,
      "group" = CASE WHEN excluded.state IN ('pending', 'firing') THEN excluded."group" ELSE a."group" END,
      inhibits = coalesce(excluded.inhibits, a.inhibits), event_id = excluded.event_id,
      position = greatest(excluded.position, a.position), depth = excluded.depth,
      transitions = a.transitions + excluded.transitions, updated_at = clock_timestamp();
END
$$;
COMMENT ON FUNCTION moonwake.keep_alerts(moonwake.effect[]) IS 'Writes the rows of alerts as some transitions leave them';

-- By ordinal: why nobody is told that it fires, and for what follows a firing at its instant, for what reason.
CREATE FUNCTION moonwake.mutes_of(todo moonwake.effect[], now timestamptz) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN (
    WITH fires AS MATERIALIZED (
      SELECT e.ordinal, e.machine, e.at, coalesce(e.muted, mute_reason(a, e.at, now)) AS reason
      FROM unnest(todo) e JOIN alerts a ON a.machine = e.machine WHERE e.kind = 'alert' AND e.transition = 'firing'
    )
    SELECT array_agg(coalesce(e.muted, CASE e.kind WHEN 'alert' THEN f.reason WHEN 'act' THEN (
        SELECT b.reason FROM fires b WHERE b.machine = e.machine AND b.at = e.at ORDER BY b.ordinal DESC LIMIT 1) END)
      ORDER BY e.ordinal)
    FROM unnest(todo) e LEFT JOIN fires f ON f.ordinal = e.ordinal
  );
END
$$;
COMMENT ON FUNCTION moonwake.mutes_of(moonwake.effect[], timestamptz) IS 'For each effect the reason why it is muted, or NULL';

CREATE FUNCTION moonwake.effect_events(todo moonwake.effect[], mutes text[], stale_before timestamptz) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(v.event ORDER BY v.ordinal, v.n), '[]') FROM (
      SELECT e.ordinal, 1 AS n, alert_event(a, e, 'alert.' || e.transition, e.event_id, e.reason) AS event
      FROM unnest(todo) e JOIN alerts a ON a.machine = e.machine WHERE e.kind = 'alert'
      UNION ALL
      SELECT m.ordinal, 2, alert_event(m.a, m.e, 'alert.muted', derived_id(m.event_id::text, 'muted'), m.reason)
      FROM (SELECT e, a, e.ordinal, e.event_id, mutes[e.ordinal] AS reason,
          coalesce(lag(mutes[e.ordinal]) OVER (PARTITION BY e.machine ORDER BY e.ordinal), a.muted) AS before
        FROM unnest(todo) e JOIN alerts a ON a.machine = e.machine WHERE e.kind = 'alert' AND e.transition = 'firing') m
      WHERE m.reason IS NOT NULL AND m.before IS DISTINCT FROM m.reason
      UNION ALL
      SELECT e.ordinal, 1, fact_event(e, a.episode, e.type, e.aggregate_type, e.aggregate_id, e.data)
      FROM unnest(todo) e LEFT JOIN alerts a ON a.machine = e.machine WHERE e.kind = 'event'
      UNION ALL
      SELECT e.ordinal, 1, fact_event(e, a.episode, e.data ->> 'type', e.data ->> 'aggregate_type',
        e.data ->> 'aggregate_id', e.data -> 'data')
      FROM unnest(todo) e LEFT JOIN alerts a ON a.machine = e.machine
      WHERE e.kind = 'act' AND e.act = 'publish' AND mutes[e.ordinal] IS NULL AND e.at >= stale_before
    ) v
  );
END
$$;
COMMENT ON FUNCTION moonwake.effect_events(moonwake.effect[], text[], timestamptz) IS
  'The events that some effects append to the log, as publish_events takes them';

-- Those who were told that it fires are told of its end, muted or not: what they opened would stay open.
CREATE FUNCTION moonwake.notices_of(todo moonwake.effect[], mutes text[], stale_before timestamptz) RETURNS moonwake.effect[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  RETURN (
    SELECT coalesce(array_agg(t.e ORDER BY t.ordinal) FILTER (WHERE t.fires AND t.reason IS NULL OR NOT t.fires AND t.told), '{}')
    FROM (SELECT e, e.ordinal, e.transition = 'firing' AS fires, mutes[e.ordinal] AS reason,
        a.notified_at IS NOT NULL OR bool_or(e.transition = 'firing' AND mutes[e.ordinal] IS NULL AND e.at >= stale_before)
          OVER (PARTITION BY e.machine ORDER BY e.ordinal) AS told
      FROM unnest(todo) e JOIN alerts a ON a.machine = e.machine WHERE e.kind = 'alert' AND e.transition <> 'pending') t
  );
END
$$;
COMMENT ON FUNCTION moonwake.notices_of(moonwake.effect[], text[], timestamptz) IS 'The transitions of which receivers are told';

CREATE FUNCTION moonwake.note_told(todo moonwake.effect[], mutes text[], now timestamptz, stale_before timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  UPDATE alerts a SET muted = l.reason, own_mute = l.muted, muted_until = l.muted_until,
      muted_at = CASE WHEN l.reason IS NOT NULL THEN coalesce(CASE WHEN a.muted IS NOT NULL THEN a.muted_at END, l.at) END,
      untold = a.state = 'firing' AND a.notify <> '[]' AND (l.reason IS NOT NULL OR l.at < stale_before),
      notified_at = CASE WHEN l.told AND a.notify <> '[]' THEN now ELSE a.notified_at END
    FROM (SELECT DISTINCT ON (e.machine) e.machine, e.at, e.muted, e.muted_until, mutes[e.ordinal] AS reason,
        bool_or(mutes[e.ordinal] IS NULL AND e.at >= stale_before) OVER (PARTITION BY e.machine) AS told
      FROM unnest(todo) e WHERE e.kind = 'alert' AND e.transition = 'firing' ORDER BY e.machine, e.ordinal DESC) l
    WHERE a.machine = l.machine;
END
$$;
COMMENT ON FUNCTION moonwake.note_told(moonwake.effect[], text[], timestamptz, timestamptz) IS
  'Notes at the alerts that fire whether they are muted, and whether their receivers are told';

CREATE FUNCTION moonwake.raise_effects(effects moonwake.effect[]) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
DECLARE
  now timestamptz := clock_timestamp();
  stale_before timestamptz := now - stale_after();
  todo effect[];
  mutes text[];
BEGIN
  PERFORM FROM alerts a WHERE a.machine IN (SELECT e.machine FROM unnest(effects) e) ORDER BY a.episode FOR UPDATE;
  -- An end of what has ended already, by a person or because its rule changed, is no news.
  SELECT array_agg(e ORDER BY e.ordinal) INTO todo FROM unnest(effects) e LEFT JOIN alerts a ON a.machine = e.machine
    WHERE e.kind <> 'alert' OR e.transition = 'firing' OR a.ended_at IS NULL
      OR EXISTS (SELECT FROM unnest(effects) f WHERE f.machine = e.machine AND f.kind = 'alert' AND f.transition = 'firing'
        AND f.ordinal < e.ordinal);
  IF todo IS NULL THEN
    RETURN 0;
  END IF;
  FOR i IN 1 .. cardinality(todo) LOOP
    todo[i].ordinal := i;
  END LOOP;
  PERFORM keep_alerts(todo);
  mutes := mutes_of(todo, now);
  PERFORM publish_or_keep(effect_events(todo, mutes, stale_before));
  PERFORM tell_receivers(notices_of(todo, mutes, stale_before), now, stale_before);
  PERFORM note_told(todo, mutes, now, stale_before);
  PERFORM act(e, mutes[e.ordinal], e.at < stale_before) FROM unnest(todo) e WHERE e.kind = 'act' ORDER BY e.ordinal;
  RETURN cardinality(todo);
END
$$;
COMMENT ON FUNCTION moonwake.raise_effects(moonwake.effect[]) IS
  'Does what some effects say that were not done before: events, alerts, mutes, the outbox; returns how many were news';

-- An episode that ends by other means than its rule's.
CREATE FUNCTION moonwake.end_alerts(episodes uuid[], reason text, by text DEFAULT NULL) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  ends effect[];
BEGIN
  SELECT array_agg(jsonb_populate_record(NULL::effect, jsonb_build_object('ordinal', e.n, 'kind', 'alert', 'rule', a.rule,
      'transition', 'resolved', 'machine', a.machine, 'event_id', gen_random_uuid(), 'key', a.key, 'key_text', a.key_text,
      'at', greatest(clock_timestamp(), a.changed_at), 'since', a.started_at, 'position', a.position,
      'from', CASE WHEN a.state = 'pending' THEN 'pending' END, 'reason', $2, 'labels', a.labels, 'signal', false,
      'depth', a.depth, 'notify', a.notify, 'by', $3)) ORDER BY e.n) INTO ends
    FROM unnest(episodes) WITH ORDINALITY e (episode, n) JOIN alerts a ON a.episode = e.episode;
  RETURN CASE WHEN ends IS NULL THEN 0 ELSE raise_effects(ends) END;
END
$$;
COMMENT ON FUNCTION moonwake.end_alerts(uuid[], text, text) IS 'Resolves alerts that their rule still holds open, for a reason';


-- Rebuilding ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.finish_rebuild(rule text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  news effect[];
BEGIN
  UPDATE rules r SET live_from = NULL WHERE r.name = $1 AND r.live_from IS NOT NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM FROM alerts a WHERE a.rule = $1 AND a.state IN ('pending', 'firing') ORDER BY a.episode FOR UPDATE;
  -- What is open in the rebuild too goes on under its new id, which an episode that ended under an earlier body may have.
  UPDATE alerts a SET machine = gen_random_uuid()
    FROM alerts_rebuilt b JOIN alerts o ON o.rule = b.rule AND o.key_text = b.key_text
    WHERE b.rule = $1 AND o.state IN ('pending', 'firing') AND a.machine = b.machine AND a.episode <> o.episode;
  UPDATE alerts a SET machine = b.machine FROM alerts_rebuilt b
    WHERE b.rule = $1 AND a.rule = $1 AND a.key_text = b.key_text AND a.state IN ('pending', 'firing');
  PERFORM end_alerts(ARRAY(SELECT a.episode FROM alerts a WHERE a.rule = $1 AND a.state IN ('pending', 'firing')
    AND NOT EXISTS (SELECT FROM alerts_rebuilt b WHERE b.machine = a.machine)), 'rule-changed');
  -- What is open in the rebuild alone is news, and what has another severity by now; what a person closed is neither.
  SELECT array_agg(e ORDER BY e.at, b.key_text COLLATE "C", e.ordinal) INTO news
    FROM alerts_rebuilt b LEFT JOIN alerts a ON a.machine = b.machine,
      jsonb_populate_recordset(NULL::effect, b.effects) e
    WHERE b.rule = $1 AND a.closed_by IS NULL AND (a.machine IS NULL OR a.ended_at IS NOT NULL
      OR e.event_id::text = b.effects -> -1 ->> 'event_id' AND e.transition = 'firing'
        AND (a.state, a.severity) IS DISTINCT FROM ('firing', e.severity));
  DELETE FROM alerts_rebuilt b WHERE b.rule = $1;
  FOR i IN 1 .. coalesce(cardinality(news), 0) LOOP
    news[i].ordinal := i;
    IF EXISTS (SELECT FROM event_ids k WHERE k.event_id = news[i].event_id) THEN -- an earlier life of it said so
      news[i].event_id := derived_id(news[i].event_id::text, 'again',
        (SELECT a.transitions::text FROM alerts a WHERE a.machine = news[i].machine));
    END IF;
  END LOOP;
  IF news IS NOT NULL THEN
    PERFORM raise_effects(news);
  END IF;
  RETURN true;
END
$$;
COMMENT ON FUNCTION moonwake.finish_rebuild(text) IS
  'A rule that was sent back has come to where it stood: alerts that still hold go on, those that do not are resolved with the '
  'reason rule-changed, those that are new fire. False where it was not being rebuilt. '
  'Example: SELECT moonwake.finish_rebuild(''crash_loop'')';

CREATE FUNCTION moonwake.finish_rebuilds() RETURNS int
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT count(*) FILTER (WHERE finish_rebuild(r.name))::int FROM (
    SELECT r.name FROM rules r JOIN event_cursors c ON c.consumer = r.name LEFT JOIN consumer_groups g USING (group_id)
    WHERE r.live_from <= coalesce(g.position, c.position) ORDER BY r.name) r
$$;
COMMENT ON FUNCTION moonwake.finish_rebuilds() IS 'finish_rebuild() for the rules that have come to where they stood; returns how many';

-- Keeps what a rule finds on its way back to where it stood, and returns the rest.
CREATE FUNCTION moonwake.divert_rebuilt(todo moonwake.effect[]) RETURNS moonwake.effect[]
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  way record;
  rest effect[] := todo;
BEGIN
  FOR way IN SELECT r.name, r.live_from FROM rules r WHERE r.live_from IS NOT NULL
    AND r.name IN (SELECT e.rule FROM unnest(todo) e) ORDER BY r.name
  LOOP
    INSERT INTO alerts_rebuilt AS b (machine, rule, key_text, effects)
      SELECT e.machine, e.rule, e.key_text, jsonb_agg(to_jsonb(e) ORDER BY e.ordinal) FROM unnest(todo) e
      WHERE e.rule = way.name AND e.position <= way.live_from AND e.kind = 'alert' AND NOT e.signal
      GROUP BY e.machine, e.rule, e.key_text
      ON CONFLICT (machine) DO UPDATE SET effects = b.effects || excluded.effects;
    DELETE FROM alerts_rebuilt b USING unnest(todo) e WHERE b.machine = e.machine AND e.rule = way.name
      AND e.position <= way.live_from AND e.kind = 'alert' AND e.transition IN ('resolved', 'expired');
    IF EXISTS (SELECT FROM unnest(todo) e WHERE e.rule = way.name AND e.position > way.live_from) THEN
      PERFORM finish_rebuild(way.name);
    END IF;
    rest := ARRAY(SELECT e FROM unnest(rest) e WHERE e.rule <> way.name OR e.position > way.live_from ORDER BY e.ordinal);
  END LOOP;
  RETURN rest;
END
$$;
COMMENT ON FUNCTION moonwake.divert_rebuilt(moonwake.effect[]) IS
  'Takes out of some effects what rules that are being rebuilt found before where they stood';

CREATE FUNCTION moonwake.raise(effects jsonb) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
DECLARE
  todo effect[];
BEGIN
  PERFORM set_rule_parts(p.rule, p.parts) FROM (SELECT e ->> 'rule' AS rule, json_agg(e ORDER BY n) AS parts
    FROM jsonb_array_elements(effects) WITH ORDINALITY u (e, n) WHERE e ->> 'kind' = 'part' GROUP BY 1) p;
  todo := divert_rebuilt(read_effects(effects));
  SELECT array_agg(e ORDER BY e.ordinal) INTO todo FROM unnest(todo) e
    WHERE NOT EXISTS (SELECT FROM event_ids i WHERE i.event_id = e.event_id)
      AND (e.kind <> 'act' OR NOT EXISTS (SELECT FROM outbox o WHERE o.id = e.event_id));
  RETURN CASE WHEN todo IS NULL THEN 0 ELSE raise_effects(todo) END;
END
$$;
COMMENT ON FUNCTION moonwake.raise(jsonb) IS
  'What rules did in a transaction, as their handlers say it: [{"kind": "part" | "alert" | "event" | "act", "rule", …}]. Call it '
  'once, last. What was raised before is left out. Returns how many effects were news';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.raise(jsonb), moonwake.finish_rebuild(text), moonwake.finish_rebuilds() TO moonwake_run;
RESET ROLE;
