-- The outbox: who delivers, what is claimed, what came of it, and what people ask for.
--
-- A row is delivered at least once, in the order of its lane. One daemon at a time delivers to a receiver: it holds the
-- receiver's advisory lock, so what a daemon that died was sending can be sent again at once.
--
-- SQLSTATE of our own: MW013 what was asked of a delivery or a receiver cannot be done; MW014 see outbox_begin().
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

INSERT INTO moonwake.settings (name, value, description) VALUES
  ('outbox_days', '30', 'days: so long deliveries that have ended are kept; 0: for ever');
ALTER TABLE moonwake.settings ADD CONSTRAINT outbox_days_is_a_number
  CHECK (name <> 'outbox_days' OR value ~ '^[0-9]{1,5}$');

SELECT count(moonwake.register_event_type(t.name, t.description, t.aggregate_type, t.severity)) FROM (VALUES
  ('delivery.failed', 'A delivery was given up after its last try', 'receiver', 'error'),
  ('receiver.disabled', 'A receiver answered that it is gone (410): nothing is sent there any more', 'receiver', 'error')
) AS t (name, description, aggregate_type, severity);

ALTER TABLE moonwake.outbox
  ADD COLUMN route text NOT NULL GENERATED ALWAYS AS
    (CASE WHEN kind IN ('sql', 'notify', 'publish') THEN '' ELSE coalesce(receiver, '') END) STORED,
  ADD COLUMN lane text NOT NULL GENERATED ALWAYS AS
    (CASE WHEN kind = 'alert' THEN 'alert ' || coalesce(receiver, '') || ' '
         || coalesce('group ' || group_key, rule || ' ' || coalesce(key_text, ''))
       WHEN mode = 'queued' THEN 'act ' || rule || ' ' || coalesce(key_text, '')
       ELSE id::text END) STORED,
  ADD COLUMN tries_before int NOT NULL DEFAULT 0,
  ADD COLUMN alone boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN moonwake.outbox.route IS 'The receiver whose turn it is; empty for what the database itself does';
COMMENT ON COLUMN moonwake.outbox.lane IS 'Of one lane, a row waits until those before it have ended';
COMMENT ON COLUMN moonwake.outbox.tries_before IS 'Tries that do not count any more, since somebody asked for another round';
COMMENT ON COLUMN moonwake.outbox.alone IS 'An Alertmanager refused the batch it was in: it is sent by itself, to find the culprit';
CREATE INDEX outbox_lane ON moonwake.outbox (lane, seq) WHERE state IN ('waiting', 'sending');
CREATE INDEX outbox_route ON moonwake.outbox (route, due_at) WHERE state IN ('waiting', 'sending');
CREATE INDEX outbox_ended ON moonwake.outbox (updated_at) WHERE state NOT IN ('waiting', 'sending');
CREATE INDEX alerts_ended ON moonwake.alerts (updated_at) WHERE state IN ('resolved', 'expired');

CREATE TABLE moonwake.receivers (
  name         text PRIMARY KEY,
  digest       text,
  daemon       text,
  pid          int,
  beat_at      timestamptz,
  disabled_at  timestamptz,
  disabled_why text,
  paused_until timestamptz,
  done_at      timestamptz,
  failed_at    timestamptz,
  error        text
);
COMMENT ON TABLE moonwake.receivers IS
  'Where deliveries go (an empty name: what the database itself does), which daemon sends them, and how that goes. '
  'Example: SELECT name, daemon, done_at, disabled_why, error FROM moonwake.receivers';
COMMENT ON COLUMN moonwake.receivers.digest IS 'Of its definition: a changed one is enabled again';
COMMENT ON COLUMN moonwake.receivers.disabled_at IS 'Since when nothing is sent there';
COMMENT ON COLUMN moonwake.receivers.paused_until IS 'It has too much to do, and is left alone so long';
COMMENT ON COLUMN moonwake.receivers.done_at IS 'When it last took something';


-- Ringing -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.ring_outbox() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  PERFORM pg_notify('moonwake_outbox', '');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION moonwake.ring_outbox() IS 'Trigger: wakes who delivers';
CREATE TRIGGER rings AFTER INSERT ON moonwake.outbox FOR EACH STATEMENT EXECUTE FUNCTION moonwake.ring_outbox();


-- Bodies --------------------------------------------------------------------------------------------------------------

-- Names as Prometheus takes them; empty values are no labels to it.
CREATE FUNCTION moonwake.label_set(pairs jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT coalesce(jsonb_object_agg(regexp_replace(regexp_replace(p.key, '[^a-zA-Z0-9_]', '_', 'g'), '^([0-9])', '_\1'), p.value
      ORDER BY p.key COLLATE "C"), '{}')
    FROM jsonb_each_text(pairs) p WHERE p.value <> '' AND p.key <> ''
$$;
COMMENT ON FUNCTION moonwake.label_set(jsonb) IS 'Names and values as labels of Prometheus';

CREATE FUNCTION moonwake.alert_labels(alert moonwake.alerts, severity text) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT label_set(coalesce(nullif(alert.labels, 'null'), '{}') ||
    CASE jsonb_typeof(alert.key) WHEN 'object' THEN alert.key ELSE '{}' END ||
    jsonb_build_object('alertname', alert.rule, 'severity', severity))
$$;
COMMENT ON FUNCTION moonwake.alert_labels(moonwake.alerts, text) IS
  'What an alert is known by elsewhere: the rule as alertname, its severity, the rule''s labels, the parts of the key';

CREATE FUNCTION moonwake.alert_annotations(alert moonwake.alerts) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object('summary', alert.summary, 'description', alert.description,
    'runbook_url', alert.runbook, 'episode', alert.episode))
$$;
COMMENT ON FUNCTION moonwake.alert_annotations(moonwake.alerts) IS 'What is said about an alert elsewhere';

CREATE FUNCTION moonwake.posted_alert(alert moonwake.alerts, severity text, ends timestamptz) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT jsonb_build_object('labels', alert_labels(alert, severity), 'annotations', alert_annotations(alert),
    'startsAt', iso_time(coalesce(alert.fired_at, alert.started_at)),
    'endsAt', iso_time(greatest(ends, coalesce(alert.fired_at, alert.started_at))))
$$;
COMMENT ON FUNCTION moonwake.posted_alert(moonwake.alerts, text, timestamptz) IS
  'An alert as the API of Alertmanager takes it; it begins when it fired, however late that is told';

-- With another severity it is another alert to an Alertmanager, and the one before has to end.
CREATE FUNCTION moonwake.posted_alerts(payload jsonb, resend double precision) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT coalesce(jsonb_agg(p.post ORDER BY i.n, p.m), '[]')
    FROM jsonb_array_elements(payload -> 'alerts') WITH ORDINALITY AS i (item, n)
    JOIN alerts a ON a.episode = (i.item ->> 'episode')::uuid
    CROSS JOIN LATERAL (
      SELECT 1 AS m, posted_alert(a, i.item ->> 'from', clock_timestamp()) AS post
        WHERE i.item ->> 'transition' = 'firing' AND i.item ->> 'from' IN ('info', 'warning', 'error', 'critical')
      UNION ALL
      SELECT 2, posted_alert(a, i.item ->> 'severity', CASE i.item ->> 'transition'
        WHEN 'firing' THEN clock_timestamp() + 4 * resend * interval '1 second' ELSE coalesce(a.ended_at, clock_timestamp()) END)
    ) p
$$;
COMMENT ON FUNCTION moonwake.posted_alerts(jsonb, double precision) IS 'A row of the outbox as the API of Alertmanager takes it';

CREATE FUNCTION moonwake.common_members(objects jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM (
    SELECT m.key, m.value FROM jsonb_array_elements(objects) o CROSS JOIN jsonb_each(o) m
    GROUP BY 1, 2 HAVING count(*) = jsonb_array_length(objects)) c
$$;
COMMENT ON FUNCTION moonwake.common_members(jsonb) IS 'What all objects of an array have in common';

-- Alertmanager's own webhook, version 4.
CREATE FUNCTION moonwake.alertmanager_body(o moonwake.outbox) RETURNS json
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH each AS (
    SELECT i.n, i.item ->> 'transition' = 'firing' AS fires, a.fingerprint, alert_labels(a, i.item ->> 'severity') AS labels,
        alert_annotations(a) AS annotations, iso_time(coalesce(a.fired_at, a.started_at)) AS starts, a.ended_at
      FROM jsonb_array_elements(o.payload -> 'alerts') WITH ORDINALITY AS i (item, n)
      JOIN alerts a ON a.episode = (i.item ->> 'episode')::uuid)
  SELECT json_build_object('version', '4', 'groupKey', o.lane, 'truncatedAlerts', 0,
    'status', CASE WHEN bool_or(e.fires) THEN 'firing' ELSE 'resolved' END, 'receiver', o.receiver,
    'groupLabels', label_set(coalesce(nullif(o.payload -> 'group', 'null'), '{}')),
    'commonLabels', common_members(jsonb_agg(e.labels)), 'commonAnnotations', common_members(jsonb_agg(e.annotations)),
    'externalURL', '',
    'alerts', json_agg(json_build_object('status', CASE WHEN e.fires THEN 'firing' ELSE 'resolved' END, 'labels', e.labels,
      'annotations', e.annotations, 'startsAt', e.starts,
      'endsAt', CASE WHEN e.fires THEN '0001-01-01T00:00:00Z' ELSE iso_time(coalesce(e.ended_at, o.at)) END,
      'generatorURL', '', 'fingerprint', e.fingerprint) ORDER BY e.n))
  FROM each e
$$;
COMMENT ON FUNCTION moonwake.alertmanager_body(moonwake.outbox) IS 'A row of the outbox as Alertmanager would post it to a webhook';

CREATE FUNCTION moonwake.bare_body(o moonwake.outbox) RETURNS json
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN o.kind <> 'alert' THEN o.payload::json
    WHEN jsonb_typeof(o.payload -> 'group') = 'object' OR jsonb_array_length(o.payload -> 'alerts') <> 1
      THEN json_build_object('group', o.payload -> 'group', 'alerts', o.payload -> 'alerts')
    ELSE (o.payload -> 'alerts' -> 0)::json END
$$;
COMMENT ON FUNCTION moonwake.bare_body(moonwake.outbox) IS
  'What a row of the outbox says: the alert, {"group", "alerts"} of a group, the data of an action';

CREATE FUNCTION moonwake.standard_body(o moonwake.outbox) RETURNS json
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN o.kind = 'alert' THEN json_build_object(
      'type', CASE WHEN jsonb_typeof(o.payload -> 'group') = 'object' OR jsonb_array_length(o.payload -> 'alerts') <> 1
        THEN 'alert.group' ELSE 'alert.' || (o.payload #>> '{alerts,0,transition}') END,
      'timestamp', iso_time(o.at), 'sent_at', iso_time(clock_timestamp()), 'data', bare_body(o))
    ELSE json_build_object('type', 'action.' || o.rule, 'timestamp', iso_time(o.at), 'sent_at', iso_time(clock_timestamp()),
      'rule', o.rule, 'episode', o.episode, 'key', o.key_text::json, 'data', o.payload) END
$$;
COMMENT ON FUNCTION moonwake.standard_body(moonwake.outbox) IS 'A row of the outbox as the payload of Standard Webhooks';

CREATE FUNCTION moonwake.outbox_body(o moonwake.outbox, format text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN format = 'raw' THEN bare_body(o) WHEN format = 'alertmanager' AND o.kind = 'alert' THEN alertmanager_body(o)
    ELSE standard_body(o) END::text
$$;
COMMENT ON FUNCTION moonwake.outbox_body(moonwake.outbox, text) IS 'What is sent for a row of the outbox, in a receiver''s format';


-- Who delivers --------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.outbox_hold(receivers jsonb, daemon text, pid int) RETURNS SETOF moonwake.receivers
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
BEGIN
  UPDATE outbox_tries t SET error = 'the daemon ended before it was known what came of it'
    FROM outbox o JOIN jsonb_to_recordset(receivers) AS q (name text) ON o.route = q.name
    WHERE o.state = 'sending' AND t.outbox_id = o.id AND t.try = o.tries AND t.took IS NULL;
  UPDATE outbox o SET state = 'waiting', due_at = clock_timestamp(), updated_at = clock_timestamp()
    FROM jsonb_to_recordset(receivers) AS q (name text) WHERE o.state = 'sending' AND o.route = q.name;
  INSERT INTO receivers AS r (name, digest, pid)
    SELECT q.name, q.digest, outbox_hold.pid FROM jsonb_to_recordset(outbox_hold.receivers) AS q (name text, digest text) ORDER BY 1
    ON CONFLICT (name) DO UPDATE SET pid = excluded.pid;
  PERFORM outbox_beat(receivers, pid);
  RETURN QUERY
    UPDATE receivers r SET daemon = outbox_hold.daemon FROM jsonb_to_recordset(outbox_hold.receivers) AS q (name text)
      WHERE r.name = q.name RETURNING r.*;
END
$$;
COMMENT ON FUNCTION moonwake.outbox_hold(jsonb, text, int) IS
  'Whose locks were just got: [{"name", "digest"}]. What was being sent to them when their daemon ended waits again';

-- A receiver whose definition changed may be another one: it is enabled again.
CREATE FUNCTION moonwake.outbox_beat(receivers jsonb, pid int) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  UPDATE receivers r SET beat_at = clock_timestamp(), digest = q.digest,
      disabled_at = CASE WHEN r.digest = q.digest THEN r.disabled_at END,
      disabled_why = CASE WHEN r.digest = q.digest THEN r.disabled_why END,
      paused_until = CASE WHEN r.digest = q.digest THEN r.paused_until END
    FROM jsonb_to_recordset($1) AS q (name text, digest text) WHERE r.name = q.name AND r.pid = $2
$$;
COMMENT ON FUNCTION moonwake.outbox_beat(jsonb, int) IS 'Shows that a daemon lives and delivers: [{"name", "digest"}]';

CREATE FUNCTION moonwake.outbox_leave(names text[], pid int) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$ UPDATE receivers r SET daemon = NULL, pid = NULL WHERE r.name = ANY ($1) AND r.pid = $2 $$;
COMMENT ON FUNCTION moonwake.outbox_leave(text[], int) IS 'A daemon gives receivers up';


-- Claiming ------------------------------------------------------------------------------------------------------------

-- Rows of a route that may be sent now, first come, first served.
CREATE FUNCTION moonwake.outbox_take(route text, room int) RETURNS SETOF moonwake.outbox
  LANGUAGE sql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH due AS (
    SELECT o.id FROM outbox o
      WHERE o.state = 'waiting' AND o.route = $1 AND o.due_at <= clock_timestamp() AND NOT EXISTS (
        SELECT FROM outbox b WHERE b.lane = o.lane AND b.seq < o.seq AND b.state IN ('waiting', 'sending'))
      ORDER BY o.seq LIMIT $2 FOR UPDATE SKIP LOCKED),
  taken AS (
    UPDATE outbox o SET state = 'sending', tries = o.tries + 1, updated_at = clock_timestamp()
      FROM due WHERE o.id = due.id RETURNING o.*),
  noted AS (INSERT INTO outbox_tries (outbox_id, try) SELECT t.id, t.tries FROM taken t)
  SELECT t.* FROM taken t ORDER BY t.seq
$$;
COMMENT ON FUNCTION moonwake.outbox_take(text, int) IS 'Takes rows of the outbox to be sent, and notes the try';

-- What became true since it was written: its receiver does not want old news, or cannot take it, or it was muted.
CREATE FUNCTION moonwake.outbox_sort_out(receiver text, receives text, stale_after double precision) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  UPDATE outbox o SET state = 'stale', note = 'older than the receiver''s stale_after when it was to be sent',
      updated_at = clock_timestamp()
    WHERE $3 > 0 AND o.route = $1 AND o.state = 'waiting' AND o.tries = 0 AND o.due_at <= clock_timestamp()
      AND o.at < clock_timestamp() - $3 * interval '1 second';
  WITH muted AS MATERIALIZED ( -- alerts are locked before the outbox, as everywhere
    SELECT a.episode, a.muted, o.id FROM outbox o JOIN alerts a ON a.episode = o.episode
      WHERE o.route = $1 AND o.state = 'waiting' AND o.tries = 0 AND o.kind = 'alert' AND o.transition = 'firing' AND o.group_key IS NULL
        AND o.due_at <= clock_timestamp() AND a.state = 'firing' AND a.muted IS NOT NULL
      FOR UPDATE OF a SKIP LOCKED),
  untold AS (
    UPDATE alerts a SET untold = true, notified_at = CASE WHEN EXISTS (SELECT FROM outbox o WHERE o.episode = a.episode
        AND o.kind = 'alert' AND o.transition = 'firing' AND o.state IN ('sending', 'done', 'failed')) THEN a.notified_at END
      FROM muted m WHERE a.episode = m.episode)
  UPDATE outbox o SET state = 'cancelled', note = 'muted: ' || m.muted, updated_at = clock_timestamp()
    FROM muted m WHERE o.id = m.id AND o.state = 'waiting';
  UPDATE outbox o SET state = 'failed', note = 'an Alertmanager takes alerts, and no actions', updated_at = clock_timestamp()
    WHERE $2 = 'alertmanager' AND o.route = $1 AND o.state = 'waiting' AND o.kind <> 'alert';
$$;
COMMENT ON FUNCTION moonwake.outbox_sort_out(text, text, double precision) IS 'Ends what a receiver is not to be told, or cannot be';

CREATE FUNCTION moonwake.outbox_claim(receivers jsonb)
  RETURNS TABLE (ids uuid[], receiver text, kind text, try int, body text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  r record;
BEGIN
  FOR r IN
    SELECT q.* FROM jsonb_to_recordset(receivers) AS q (name text, receives text, format text, room int,
        stale_after double precision, resend double precision)
      JOIN receivers k USING (name)
      WHERE q.room > 0 AND k.disabled_at IS NULL AND (k.paused_until <= clock_timestamp()) IS NOT FALSE
        AND EXISTS (SELECT FROM outbox o WHERE o.route = q.name AND o.state = 'waiting' AND o.due_at <= clock_timestamp())
      ORDER BY q.name
  LOOP
    PERFORM outbox_sort_out(r.name, r.receives, r.stale_after);
    IF r.receives = 'alertmanager' THEN
      RETURN QUERY
        SELECT array_agg(DISTINCT p.id), r.name, 'alert'::text, max(p.tries - p.tries_before),
            coalesce(jsonb_agg(e.post ORDER BY p.seq, e.n) FILTER (WHERE e.post IS NOT NULL), '[]')::text
          FROM (SELECT t.*, posted_alerts(t.payload, r.resend) AS posts FROM outbox_take(r.name, r.room) t) p
          LEFT JOIN LATERAL jsonb_array_elements(p.posts) WITH ORDINALITY AS e (post, n) ON true
          GROUP BY CASE WHEN p.alone THEN p.id END;
    ELSE
      RETURN QUERY
        SELECT ARRAY[t.id], r.name, t.kind, t.tries - t.tries_before,
            CASE WHEN r.receives = 'database' THEN t.payload::text ELSE outbox_body(t, r.format) END
          FROM outbox_take(r.name, r.room) t;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION moonwake.outbox_claim(jsonb) IS
  'What is to be sent now to receivers that the caller holds: [{"name", "receives", "format", "room", "stale_after", "resend"}]. '
  'Several ids: one body for all of them';


-- What came of it -----------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.tell_of_receiver(event_type text, receiver text, said jsonb) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT count(*) FROM publish_event(event_type => $1, aggregate_type => 'receiver', aggregate_id => coalesce(nullif($2, ''), 'database'),
    data => $3, source => 'moonwake', severity => 'error')
$$;
COMMENT ON FUNCTION moonwake.tell_of_receiver(text, text, jsonb) IS 'Appends an event about a receiver: rules may look after it';

CREATE FUNCTION moonwake.outbox_record(ids uuid[], outcome text, status int, error text, took double precision,
  delay double precision, pause double precision, gone boolean) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
DECLARE
  now timestamptz := clock_timestamp();
  to_whom text;
  o record;
BEGIN
  UPDATE outbox_tries t SET status = outbox_record.status, error = nullif(outbox_record.error, ''),
      took = outbox_record.took * interval '1 second'
    FROM outbox b WHERE b.id = ANY (ids) AND t.outbox_id = b.id AND t.try = b.tries;
  FOR o IN
    UPDATE outbox b SET updated_at = now,
        state = CASE outcome WHEN 'done' THEN 'done' WHEN 'failed' THEN 'failed' ELSE 'waiting' END,
        due_at = CASE outcome WHEN 'retry' THEN now + delay * interval '1 second' ELSE b.due_at END,
        alone = b.alone OR outcome = 'alone',
        tries_before = CASE WHEN outcome = 'alone' THEN b.tries_before + 1 ELSE b.tries_before END,
        note = CASE WHEN outcome = 'done' THEN NULL ELSE nullif(outbox_record.error, '') END
      WHERE b.id = ANY (ids) AND b.state = 'sending' RETURNING b.*
  LOOP
    IF outcome = 'failed' THEN
      PERFORM tell_of_receiver('delivery.failed', o.route, jsonb_build_object('delivery', o.id, 'kind', o.kind, 'rule', o.rule,
        'episode', o.episode, 'tries', o.tries, 'error', o.note));
    END IF;
  END LOOP;
  SELECT b.route INTO to_whom FROM outbox b WHERE b.id = ids[1];
  UPDATE receivers r SET
      done_at = CASE WHEN outcome = 'done' THEN now ELSE r.done_at END,
      failed_at = CASE WHEN outcome = 'done' THEN r.failed_at ELSE now END,
      error = CASE WHEN outcome = 'done' THEN NULL ELSE nullif(outbox_record.error, '') END,
      paused_until = CASE WHEN outcome = 'done' THEN NULL WHEN pause > 0 THEN now + pause * interval '1 second' ELSE r.paused_until END,
      disabled_at = CASE WHEN gone THEN coalesce(r.disabled_at, now) ELSE r.disabled_at END,
      disabled_why = CASE WHEN gone THEN coalesce(r.disabled_why, 'it answered 410: gone') ELSE r.disabled_why END
    WHERE r.name = to_whom AND outcome <> 'cancelled';
  IF gone THEN
    PERFORM tell_of_receiver('receiver.disabled', to_whom, jsonb_build_object('delivery', ids[1], 'error', error));
  END IF;
END
$$;
COMMENT ON FUNCTION moonwake.outbox_record(uuid[], text, int, text, double precision, double precision, double precision, boolean) IS
  'Writes down what came of a try: done, retry (after so many seconds), failed, alone (each by itself, at once), cancelled (stopped)';

-- The statement of a daemon that died may still be at work: whoever tries again waits for its end, and sees what came of it.
CREATE FUNCTION moonwake.outbox_begin(id uuid) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(own_schema() || ' outbox ' || $1, 0));
  IF NOT EXISTS (SELECT FROM outbox o WHERE o.id = $1 AND o.state = 'sending') THEN
    RAISE EXCEPTION 'outbox: delivery % is not to be done any more', $1 USING ERRCODE = 'MW014';
  END IF;
END
$$;
COMMENT ON FUNCTION moonwake.outbox_begin(uuid) IS
  'In one transaction with an action and its record: the action is done once. MW014: it is done, or not to be done, already';

-- In one transaction with the record: this is done exactly once.
CREATE FUNCTION moonwake.outbox_act(id uuid) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
DECLARE
  o outbox;
  a alerts;
BEGIN
  SELECT * INTO o FROM outbox b WHERE b.id = id AND b.state = 'sending' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF o.kind = 'notify' THEN
    PERFORM pg_notify(o.receiver, CASE jsonb_typeof(o.payload) WHEN 'null' THEN '' WHEN 'string' THEN o.payload #>> '{}'
      ELSE o.payload::text END);
  ELSE
    SELECT * INTO a FROM alerts b WHERE b.episode = o.episode;
    PERFORM count(*) FROM publish_events(jsonb_build_array(CASE WHEN o.payload ? 'event_type' THEN o.payload
      ELSE jsonb_build_object('event_id', o.id, 'event_type', o.payload -> 'type',
        'aggregate_type', coalesce(o.payload ->> 'aggregate_type', 'rule'), 'aggregate_id', coalesce(o.payload ->> 'aggregate_id', o.rule),
        'data', coalesce(o.payload -> 'data', '{}'), 'metadata', jsonb_build_object('moonwake', jsonb_build_object('depth', coalesce(a.depth, 0))),
        'occurred_at', iso_time(o.at), 'source', 'moonwake', 'actor_type', 'rule', 'actor_id', o.rule,
        'causation_id', a.cause, 'correlation_id', a.correlation) END));
  END IF;
  PERFORM outbox_record(ARRAY[id], 'done', NULL, NULL, extract(epoch FROM clock_timestamp() - statement_timestamp())::float8, 0, 0, false);
END
$$;
COMMENT ON FUNCTION moonwake.outbox_act(uuid) IS 'Does what the database itself can do: pg_notify and publish_event, with the record of it';


-- An Alertmanager is told again and again -------------------------------------------------------------------------------

CREATE FUNCTION moonwake.alertmanager_alerts(receiver text, resend double precision) RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH news AS (
    SELECT a AS alert, clock_timestamp() + 4 * $2 * interval '1 second' AS ends, a.fired_at FROM alerts a
      WHERE a.state = 'firing' AND a.muted IS NULL AND NOT a.signal AND a.notified_at IS NOT NULL AND a.notify ? $1
    UNION ALL
    SELECT a, a.ended_at, a.fired_at FROM alerts a
      WHERE a.state IN ('resolved', 'expired') AND a.updated_at > clock_timestamp() - interval '15 minutes' AND NOT a.signal
        AND a.fired_at IS NOT NULL AND a.notified_at IS NOT NULL AND a.notify ? $1
        AND NOT EXISTS (SELECT FROM alerts b WHERE b.rule = a.rule AND b.key_text = a.key_text AND b.state = 'firing')),
  numbered AS (SELECT n.*, row_number() OVER (ORDER BY n.fired_at, (n.alert).episode) - 1 AS place FROM news n)
  SELECT jsonb_agg(posted_alert(n.alert, (n.alert).severity, n.ends) ORDER BY n.place)::text FROM numbered n GROUP BY n.place / 256
$$;
COMMENT ON FUNCTION moonwake.alertmanager_alerts(text, double precision) IS
  'All that was told to fire and is not muted, and what ended in the last 15 minutes, in bodies of at most 256 alerts';


-- What people ask for -------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.outbox_retry(id uuid, receiver text) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
DECLARE
  state text;
  count bigint;
BEGIN
  IF id IS NOT NULL THEN
    SELECT o.state INTO state FROM outbox o WHERE o.id = id;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'outbox: there is no delivery %', id USING ERRCODE = 'MW013', HINT = '`moonwake outbox list` shows them';
    ELSIF state IN ('done', 'sending') THEN
      RAISE EXCEPTION 'outbox: delivery % is %', id, CASE state WHEN 'done' THEN 'done already' ELSE 'on its way' END
        USING ERRCODE = 'MW013';
    END IF;
  END IF;
  UPDATE outbox o SET state = 'waiting', tries_before = o.tries, due_at = clock_timestamp(), note = NULL, updated_at = clock_timestamp(),
      group_key = CASE WHEN o.tries > 0 THEN o.group_key END -- one that was never tried would collect beside another one
    WHERE CASE WHEN id IS NOT NULL THEN o.id = id ELSE o.state = 'failed' AND (receiver IS NULL OR o.receiver = receiver) END;
  GET DIAGNOSTICS count = ROW_COUNT;
  PERFORM pg_notify('moonwake_outbox', '');
  RETURN count;
END
$$;
COMMENT ON FUNCTION moonwake.outbox_retry(uuid, text) IS
  'Another round of tries for a delivery, or for all that failed (of a receiver); returns how many. '
  'Example: SELECT moonwake.outbox_retry(NULL, ''ops'')';

CREATE FUNCTION moonwake.outbox_cancel(id uuid) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
BEGIN
  UPDATE outbox o SET state = 'cancelled', note = 'cancelled by hand', updated_at = clock_timestamp()
    WHERE o.id = id AND o.state IN ('waiting', 'sending', 'failed', 'stale');
  IF NOT FOUND THEN
    RAISE EXCEPTION 'outbox: % is no delivery that waits', id USING ERRCODE = 'MW013', HINT = '`moonwake outbox list` shows them';
  END IF;
  PERFORM pg_notify('moonwake_outbox', '');
END
$$;
COMMENT ON FUNCTION moonwake.outbox_cancel(uuid) IS 'Ends a delivery; one on its way may arrive all the same';

CREATE FUNCTION moonwake.receiver_enable(name text) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_variable
BEGIN
  UPDATE receivers r SET disabled_at = NULL, disabled_why = NULL, paused_until = NULL WHERE r.name = name;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'receiver ''%'': nothing was ever delivered to it', name USING ERRCODE = 'MW013';
  END IF;
  PERFORM pg_notify('moonwake_outbox', '');
  RETURN (SELECT count(*) FROM outbox o WHERE o.route = name AND o.state = 'waiting');
END
$$;
COMMENT ON FUNCTION moonwake.receiver_enable(text) IS
  'Lets deliveries go to a receiver again that answered 410, or is paused; returns how many wait. Example: SELECT moonwake.receiver_enable(''ops'')';

CREATE FUNCTION moonwake.outbox_tidy() RETURNS bigint
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  WITH gone AS (
    DELETE FROM outbox o WHERE o.id IN (
      SELECT e.id FROM outbox e, settings s WHERE s.name = 'outbox_days' AND s.value::int > 0
        AND e.state IN ('done', 'stale', 'cancelled') AND e.updated_at < clock_timestamp() - s.value::int * interval '1 day'
        ORDER BY e.updated_at LIMIT 10000) RETURNING 1)
  SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION moonwake.outbox_tidy() IS 'Deletes deliveries that ended long ago (settings.outbox_days); failed ones stay; returns how many';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.receivers TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.outbox_hold(jsonb, text, int), moonwake.outbox_beat(jsonb, int),
  moonwake.outbox_leave(text[], int), moonwake.outbox_claim(jsonb),
  moonwake.outbox_record(uuid[], text, int, text, double precision, double precision, double precision, boolean),
  moonwake.outbox_begin(uuid), moonwake.outbox_act(uuid), moonwake.alertmanager_alerts(text, double precision), moonwake.outbox_retry(uuid, text),
  moonwake.outbox_cancel(uuid), moonwake.receiver_enable(text), moonwake.outbox_tidy() TO moonwake_run;
RESET ROLE;
