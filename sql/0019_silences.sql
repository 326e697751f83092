-- Silences and what people do about alerts; mutes that end.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE FUNCTION moonwake.refuse_alert(problem text, hint text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION '%', problem USING ERRCODE = 'MW012', HINT = hint;
END
$$;
COMMENT ON FUNCTION moonwake.refuse_alert(text, text) IS 'Raises MW012: what was asked of an alert or a silence cannot be done';

-- Who says so: the database knows the login, a command knows the person.
CREATE FUNCTION moonwake.person(name text) RETURNS text
  LANGUAGE sql STABLE
  RETURN coalesce(nullif(left(name, 200), ''), session_user::text);
COMMENT ON FUNCTION moonwake.person(text) IS 'The person who was named, or the session''s login';

CREATE FUNCTION moonwake.key_label(key jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT CASE WHEN jsonb_typeof(key) <> 'object' THEN key #>> '{}' ELSE (
    SELECT string_agg(CASE count WHEN 1 THEN '' ELSE k.key || '=' END || k.value, ' ' ORDER BY k.key COLLATE "C")
    FROM (SELECT e.key, coalesce(e.value, '') AS value, count(*) OVER () AS count FROM jsonb_each_text(key) e) k) END
$$;
COMMENT ON FUNCTION moonwake.key_label(jsonb) IS 'An alert''s key for people: d-1, or device=d-1 site=north';

-- An alert's event that no rule raised.
CREATE FUNCTION moonwake.alert_word_event(a moonwake.alerts, type text, at timestamptz, by text, reason text,
  more jsonb) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT alert_event(a, jsonb_populate_record(NULL::effect, jsonb_build_object('at', greatest(at, a.changed_at), 'by', by,
    'depth', a.depth, 'cause', a.event_id)), type, gen_random_uuid(), reason, more)
$$;
COMMENT ON FUNCTION moonwake.alert_word_event(moonwake.alerts, text, timestamptz, text, text, jsonb) IS
  'An event of an alert that a person or the end of a mute makes, as publish_events takes it';

CREATE FUNCTION moonwake.locked_alert(episode uuid) RETURNS moonwake.alerts
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  a alerts;
BEGIN
  SELECT * INTO a FROM alerts x WHERE x.episode = $1 FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM refuse_alert(format('alert %s: there is none', $1), '`moonwake alerts --all` lists them');
  ELSIF a.ended_at IS NOT NULL THEN
    PERFORM refuse_alert(format('alert %s: it was %s at %s', $1, a.state, iso_time(a.ended_at)), 'there is nothing left to do');
  END IF;
  RETURN a;
END
$$;
COMMENT ON FUNCTION moonwake.locked_alert(uuid) IS 'An alert that has not ended, locked; or MW012';

CREATE FUNCTION moonwake.ack_alert(episode uuid, by text DEFAULT NULL, note text DEFAULT NULL) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
DECLARE
  a alerts := locked_alert(episode);
  who text := person(by);
  now timestamptz := clock_timestamp();
BEGIN
  IF (a.acked_by, coalesce(a.ack_note, '')) = (who, coalesce(note, '')) THEN
    RETURN false;
  END IF;
  UPDATE alerts x SET acked_by = who, acked_at = now, ack_note = nullif(note, ''), updated_at = now WHERE x.episode = a.episode;
  PERFORM count(*) FROM publish_events(jsonb_build_array(alert_word_event(a, 'alert.acked', now, who, NULL,
    jsonb_build_object('by', who, 'note', nullif(note, '')))));
  RETURN true;
END
$$;
COMMENT ON FUNCTION moonwake.ack_alert(uuid, text, text) IS
  'Somebody takes care of an alert: it goes on firing, and rules that wait for alert.acked know. False where the same was said '
  'before. Example: SELECT moonwake.ack_alert(''0a1b2c3d-…'', ''ada'', ''on it'')';

CREATE FUNCTION moonwake.close_alert(episode uuid, by text DEFAULT NULL, reason text DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  a alerts := locked_alert(episode);
BEGIN
  PERFORM end_alerts(ARRAY[a.episode], coalesce(nullif($3, ''), 'closed by ' || person($2)), person($2));
END
$$;
COMMENT ON FUNCTION moonwake.close_alert(uuid, text, text) IS
  'Resolves an alert by hand. Its rule goes on as it was: it fires again when its severity changes, or when it cleared and '
  'comes back. Example: SELECT moonwake.close_alert(''0a1b2c3d-…'', ''ada'', ''a test'')';


-- Silences ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.check_matchers(matchers jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  m record;
BEGIN
  IF jsonb_typeof(matchers) IS DISTINCT FROM 'object' OR matchers = '{}' THEN
    PERFORM refuse_alert('silence: has no matchers', 'name what is meant: {"rule": "crash_loop", "site": "north*"}');
  END IF;
  FOR m IN SELECT e.key AS name, p.pattern FROM jsonb_each(matchers) e
    LEFT JOIN LATERAL jsonb_array_elements_text(word_list(e.value)) p (pattern) ON true
  LOOP
    IF m.pattern IS NULL THEN
      PERFORM refuse_alert(format('silence: %s: has no value', m.name), 'a text, or a list of texts');
    ELSIF m.pattern ~ '^!*~' THEN
      BEGIN
        PERFORM '' ~ ('^(?:' || regexp_replace(m.pattern, '^!*~', '') || ')$'); -- as text_matches() asks
      EXCEPTION WHEN invalid_regular_expression THEN
        PERFORM refuse_alert(format('silence: %s: %s is no regular expression', m.name, m.pattern), SQLERRM);
      END;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION moonwake.check_matchers(jsonb) IS 'Refuses matchers that match nothing or everything by mistake';

-- What fires already is muted too; what was about to be told of it is not told now. A minute long: what was being raised
-- when a silence was made knew nothing of it, and was not there to be muted.
CREATE FUNCTION moonwake.apply_silences(now timestamptz) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  begun bigint[] := ARRAY(SELECT s.id FROM silences s
    WHERE (s.applied_at IS NULL OR s.applied_at > now - interval '1 minute')
      AND s.ended_at IS NULL AND s.starts_at <= now AND s.ends_at > now);
  hit alerts[];
BEGIN
  IF begun = '{}' THEN
    RETURN 0;
  END IF;
  UPDATE silences s SET applied_at = now WHERE s.id = ANY (begun) AND s.applied_at IS NULL;
  hit := ARRAY(SELECT a FROM alerts a WHERE a.state = 'firing' AND a.muted IS NULL
    AND EXISTS (SELECT FROM silences s WHERE s.id = ANY (begun) AND (s.applied_at = now OR a.updated_at > s.applied_at - interval '1 minute')
      AND matchers_match(s.matchers, a.rule, a.severity, a.labels, a.key))
    ORDER BY a.episode FOR UPDATE);
  UPDATE alerts a SET muted = mute_reason(a, a.changed_at, now), muted_at = now, updated_at = now
    FROM unnest(hit) h WHERE a.episode = h.episode;
  PERFORM publish_or_keep(coalesce(
      jsonb_agg(alert_word_event(a, 'alert.muted', now, NULL, a.muted, '{}') ORDER BY a.episode), '[]'))
    FROM alerts a JOIN unnest(hit) h ON h.episode = a.episode;
  WITH withheld AS (
    UPDATE outbox o SET state = 'cancelled', note = 'muted: ' || a.muted, updated_at = now
      FROM alerts a, unnest(hit) h WHERE h.episode = a.episode AND o.episode = a.episode AND o.kind = 'alert'
        AND o.transition = 'firing' AND o.state = 'waiting' AND o.tries = 0
      RETURNING o.episode
  )
  UPDATE alerts a SET untold = true, notified_at = CASE WHEN EXISTS (SELECT FROM outbox o WHERE o.episode = a.episode
      AND o.kind = 'alert' AND o.transition = 'firing' AND o.state IN ('sending', 'done', 'failed')) THEN a.notified_at END
    FROM withheld w WHERE a.episode = w.episode;
  RETURN cardinality(hit);
END
$$;
COMMENT ON FUNCTION moonwake.apply_silences(timestamptz) IS 'Mutes what fires already when a silence begins; returns how many alerts';

CREATE FUNCTION moonwake.silence_event(s moonwake.silences, type text, at timestamptz, by text) RETURNS jsonb
  LANGUAGE sql STABLE
  RETURN jsonb_build_object('event_type', type, 'aggregate_type', 'silence', 'aggregate_id', s.id::text,
    'data', jsonb_build_object('id', s.id, 'matchers', s.matchers, 'starts_at', moonwake.iso_time(s.starts_at),
      'ends_at', moonwake.iso_time(s.ends_at), 'reason', s.reason, 'by', by),
    'occurred_at', moonwake.iso_time(at), 'source', 'moonwake', 'actor_type', 'user', 'actor_id', by);
COMMENT ON FUNCTION moonwake.silence_event(moonwake.silences, text, timestamptz, text) IS 'An event of a silence, as publish_events takes it';

CREATE FUNCTION moonwake.silence(matchers jsonb, ends_at timestamptz, reason text DEFAULT '', by text DEFAULT NULL,
  starts_at timestamptz DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  now timestamptz := clock_timestamp();
  made silences;
BEGIN
  PERFORM check_matchers(matchers);
  IF ($2 > greatest(now, coalesce($5, now)) AND isfinite($2) AND isfinite(coalesce($5, now))) IS NOT TRUE THEN
    PERFORM refuse_alert('silence: its end is not after its beginning and now', 'a silence ends at a time that is given');
  END IF;
  INSERT INTO silences (matchers, starts_at, ends_at, reason, created_by)
    VALUES ($1, coalesce($5, now), $2, coalesce($3, ''), person($4)) RETURNING * INTO made;
  PERFORM apply_silences(now);
  PERFORM count(*) FROM publish_events(jsonb_build_array(silence_event(made, 'alert.silenced', now, made.created_by)));
  RETURN made.id;
END
$$;
COMMENT ON FUNCTION moonwake.silence(jsonb, timestamptz, text, text, timestamptz) IS
  'Tells nobody of the alerts that match until a time, what fires already included; returns the silence''s id. '
  'Example: SELECT moonwake.silence(''{"rule": "crash_loop", "site": "north*"}'', now() + interval ''2 hours'', ''new switch'', ''ada'')';

CREATE FUNCTION moonwake.unsilence(id bigint, by text DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  now timestamptz := clock_timestamp();
  there silences;
BEGIN
  UPDATE silences s SET ended_at = now, ended_by = person($2) WHERE s.id = $1 AND s.ended_at IS NULL AND s.ends_at > now
    RETURNING * INTO there;
  IF there.id IS NULL THEN
    SELECT * INTO there FROM silences s WHERE s.id = $1;
    PERFORM refuse_alert(format('silence %s: %s', $1, CASE WHEN there.id IS NULL THEN 'there is none'
      ELSE 'it ended at ' || iso_time(coalesce(there.ended_at, there.ends_at)) END), '`moonwake alerts silences` lists them');
  END IF;
  PERFORM unmute_alerts(now);
  PERFORM count(*) FROM publish_events(jsonb_build_array(silence_event(there, 'alert.unsilenced', now, there.ended_by)));
END
$$;
COMMENT ON FUNCTION moonwake.unsilence(bigint, text) IS
  'Ends a silence before its time; of what still fires its receivers are told. Example: SELECT moonwake.unsilence(7, ''ada'')';


-- Mutes that end ------------------------------------------------------------------------------------------------------

-- A rule that is far behind the log may be about to say that it is over.
CREATE FUNCTION moonwake.rule_is_current(rule text, now timestamptz) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT NOT EXISTS (SELECT FROM rules r WHERE r.name = $1 AND r.live_from IS NOT NULL)
    AND coalesce((SELECT e."timestamp" FROM event_cursors c LEFT JOIN consumer_groups g USING (group_id), LATERAL (
      SELECT e."timestamp" FROM events e WHERE e.id > coalesce(g.position, c.position) ORDER BY e.id LIMIT 1) e
    WHERE c.consumer = $1 AND c.state = 'running') > now - interval '1 minute', true)
$$;
COMMENT ON FUNCTION moonwake.rule_is_current(text, timestamptz) IS
  'Whether a rule has read the log but for the last minute, or reads it no more; one that is being rebuilt is not current';

CREATE FUNCTION moonwake.limit_left(rule text, now timestamptz) RETURNS numeric
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT coalesce((SELECT (r.spec ->> 'max_alerts')::numeric FROM rules r WHERE r.name = $1), 600)
    - (SELECT count(*) FROM alerts a WHERE a.rule = $1 AND a.state = 'firing' AND a.notified_at > now - interval '1 minute')
$$;
COMMENT ON FUNCTION moonwake.limit_left(text, timestamptz) IS 'Of how many more alerts of a rule may be told in this minute';

-- The rule's own reason holds until its time, or until the rule says otherwise; the limit while it is reached. This is asked
-- every second: of what somebody else mutes still nothing is asked, nor of a rule that is behind the log.
CREATE FUNCTION moonwake.review_mutes(now timestamptz) RETURNS TABLE (episode uuid, reason text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH held (reason) AS (
    SELECT silence_words(s) FROM silences s WHERE s.ended_at IS NULL AND s.starts_at <= now AND s.ends_at > now
    UNION SELECT inhibition_words(i) FROM alerts i
      WHERE i.inhibits IS NOT NULL AND coalesce(i.ended_at, 'infinity') > now AND i.fired_at <= now),
  current (rule) AS (
    SELECT t.rule FROM (SELECT DISTINCT a.rule FROM alerts a WHERE a.state = 'firing' AND a.untold AND a.muted IS NULL) t
    WHERE rule_is_current(t.rule, now)),
  asked AS MATERIALIZED (
    SELECT a FROM alerts a WHERE a.state = 'firing' AND (a.untold OR a.muted IS NOT NULL)
      AND CASE WHEN a.own_mute IS NOT NULL THEN a.own_mute <> 'limit' AND a.muted_until <= now
        WHEN a.muted IS NULL THEN a.rule IN (SELECT c.rule FROM current c)
        ELSE a.muted NOT IN (SELECT h.reason FROM held h) END),
  reached AS MATERIALIZED (
    SELECT t.rule, greatest(limit_left(t.rule, now), 0) AS room FROM (
      SELECT DISTINCT a.rule FROM alerts a WHERE a.state = 'firing' AND (a.untold OR a.muted IS NOT NULL) AND a.own_mute = 'limit') t)
  SELECT (q.a).episode, m.reason FROM asked q, mute_reason(q.a, now, now) m (reason)
    WHERE m.reason IS DISTINCT FROM (q.a).muted OR m.reason IS NULL
  UNION ALL
  SELECT l.episode, NULL FROM reached r CROSS JOIN LATERAL (
    SELECT (o.a).episode FROM (SELECT a FROM alerts a WHERE a.rule = r.rule AND a.state = 'firing'
        AND (a.untold OR a.muted IS NOT NULL) AND a.own_mute = 'limit' ORDER BY a.fired_at, a.episode OFFSET 0) o
      WHERE mute_reason(o.a, now, now) IS NULL LIMIT r.room) l
$$;
COMMENT ON FUNCTION moonwake.review_mutes(timestamptz) IS
  'The alerts that fire untold or muted and for which another reason holds now, or none';

CREATE FUNCTION moonwake.unmute_alerts(now timestamptz DEFAULT NULL) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp SET jit = off
  AS $$
#variable_conflict use_column
DECLARE
  instant timestamptz := coalesce($1, clock_timestamp());
  seen alerts[];
  free alerts[];
  due alerts[];
  notices effect[];
  told int := 0;
BEGIN
  PERFORM finish_rebuilds();
  PERFORM apply_silences(instant);
  seen := ARRAY(SELECT a FROM alerts a
    WHERE a.episode = ANY (ARRAY(SELECT r.episode FROM review_mutes(instant) r)) AND a.state = 'firing'
    ORDER BY a.episode FOR UPDATE SKIP LOCKED);
  UPDATE alerts a SET muted = r.reason, muted_at = CASE WHEN r.reason IS NOT NULL THEN a.muted_at END, own_mute = NULL,
      muted_until = NULL, updated_at = instant
    FROM unnest(seen) f, mute_reason(f, instant, instant) r (reason)
    WHERE a.episode = f.episode AND a.muted IS DISTINCT FROM r.reason;
  free := ARRAY(SELECT f FROM unnest(seen) f JOIN alerts a ON a.episode = f.episode WHERE a.muted IS NULL ORDER BY f.episode);
  PERFORM publish_or_keep(coalesce(
      jsonb_agg(alert_word_event(f, 'alert.unmuted', instant, NULL, f.muted, '{}') ORDER BY f.episode), '[]'))
    FROM unnest(free) f WHERE f.muted IS NOT NULL;
  due := ARRAY(SELECT f FROM unnest(free) f WHERE f.untold AND rule_is_current(f.rule, instant) ORDER BY f.episode);
  SELECT array_agg(jsonb_populate_record(NULL::effect, jsonb_build_object('ordinal', n, 'kind', 'alert', 'rule', f.rule,
      'transition', 'firing', 'machine', f.machine, 'event_id', f.event_id, 'at', f.changed_at)) ORDER BY n) INTO notices
    FROM (SELECT f.*, row_number() OVER (ORDER BY f.changed_at, f.rule COLLATE "C", f.episode) AS n FROM unnest(due) f) f;
  IF notices IS NOT NULL THEN
    told := tell_receivers(notices, instant, '-infinity');
    UPDATE alerts a SET untold = false, notified_at = instant FROM unnest(due) d WHERE a.episode = d.episode;
  END IF;
  RETURN told;
END
$$;
COMMENT ON FUNCTION moonwake.unmute_alerts(timestamptz) IS
  'What has to be done now and then: silences that begin, mutes that have ended, and news that were stale while their rule was '
  'behind. Of what still fires its receivers are told, once; returns how many rows of the outbox that made. '
  'Example: SELECT moonwake.unmute_alerts()';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.ack_alert(uuid, text, text), moonwake.close_alert(uuid, text, text),
  moonwake.silence(jsonb, timestamptz, text, text, timestamptz), moonwake.unsilence(bigint, text) TO moonwake_run, moonwake_publish;
GRANT EXECUTE ON FUNCTION moonwake.unmute_alerts(timestamptz) TO moonwake_run;
GRANT EXECUTE ON FUNCTION moonwake.key_label(jsonb), moonwake.object_or_empty(jsonb), moonwake.text_matches(text, text),
  moonwake.regex_matches(text, text), moonwake.alert_word(text, text, text, jsonb, jsonb), moonwake.matchers_match(jsonb, text, text, jsonb, jsonb)
  TO moonwake_run, moonwake_read;
RESET ROLE;
