-- Rules: what they know (states, timers), what they say (alerts), and what waits to be told (the outbox).
--
-- A rule is a consumer whose handler has a clock. What it did in a batch comes as a JSON array of effects to raise(), the
-- last statement before COMMIT: alert events and emitted events go to the log, alerts and the outbox follow in the same
-- transaction. Every effect carries an id that is derived from what made it, so that doing it again changes nothing.
--
-- SQLSTATE of our own: MW012 what was asked of an alert or a silence cannot be done.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

INSERT INTO moonwake.settings (name, value, description) VALUES
  ('stale_after', '3600', 'seconds: news of rules that is older when it is known is recorded, but neither told nor acted upon');
ALTER TABLE moonwake.settings ADD CONSTRAINT stale_after_is_a_number
  CHECK (name <> 'stale_after' OR value ~ '^[0-9]{1,9}$');

CREATE TABLE moonwake.rules (
  name           text PRIMARY KEY,
  body           text NOT NULL,
  digest         text NOT NULL,
  spec           jsonb NOT NULL,
  first_position bigint NOT NULL,
  live_from      bigint,
  retired_at     timestamptz,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE moonwake.rules IS 'The rules that ran here, as rule_ensure was last told them';
COMMENT ON COLUMN moonwake.rules.body IS 'A digest of what the rule does: with another one its states mean nothing';
COMMENT ON COLUMN moonwake.rules.digest IS 'Of the whole script, texts and labels included';
COMMENT ON COLUMN moonwake.rules.first_position IS 'Where it began: it is never rebuilt from before that';
COMMENT ON COLUMN moonwake.rules.live_from IS 'While it is rebuilt: what it finds up to this position is kept in alerts_rebuilt';
COMMENT ON COLUMN moonwake.rules.retired_at IS 'Since when its file is gone';

-- Rows change with every event of their key: the room keeps those updates on their page.
CREATE TABLE moonwake.rule_states (
  position   bigint,
  updated_at timestamptz,
  rule       text NOT NULL,
  part       text NOT NULL DEFAULT '',
  key        text NOT NULL,
  state      jsonb NOT NULL,
  CONSTRAINT rule_states_pkey PRIMARY KEY (rule, part, key)
) WITH (fillfactor = 70);
COMMENT ON TABLE moonwake.rule_states IS
  'What rules know. Example: SELECT key, state FROM moonwake.rule_states WHERE rule = ''crash_loop'' AND part = ''''';
COMMENT ON COLUMN moonwake.rule_states.part IS
  'Empty: the state of a key; ''ref NAME'': a row of a projection that the rule reads; ''memory'': what belongs to no key';

CREATE TABLE moonwake.timers (
  due  timestamptz NOT NULL,
  rule text NOT NULL,
  key  text NOT NULL,
  name text NOT NULL,
  CONSTRAINT timers_pkey PRIMARY KEY (rule, key)
) WITH (fillfactor = 70);
COMMENT ON TABLE moonwake.timers IS 'When each key of a rule acts by itself next, by the log''s clock, and why';

CREATE TABLE moonwake.alerts (
  episode     uuid PRIMARY KEY,
  machine     uuid NOT NULL CONSTRAINT alerts_machine UNIQUE,
  rule        text NOT NULL,
  key         jsonb NOT NULL,
  key_text    text NOT NULL,
  fingerprint text,
  state       text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved', 'expired')),
  severity    text,
  summary     text,
  description text,
  runbook     text,
  labels      jsonb NOT NULL DEFAULT '{}',
  subject     jsonb,
  signal      boolean NOT NULL DEFAULT false,
  started_at  timestamptz NOT NULL,
  fired_at    timestamptz,
  changed_at  timestamptz NOT NULL,
  ended_at    timestamptz,
  reason      text,
  closed_by   text,
  muted       text,
  muted_at    timestamptz,
  own_mute    text,
  muted_until timestamptz,
  untold      boolean NOT NULL DEFAULT false,
  notified_at timestamptz,
  acked_by    text,
  acked_at    timestamptz,
  ack_note    text,
  notify      jsonb NOT NULL DEFAULT '[]',
  "group"     jsonb,
  inhibits    jsonb,
  cause       uuid,
  correlation text,
  event_id    uuid NOT NULL,
  position    bigint,
  depth       int NOT NULL DEFAULT 0,
  transitions int NOT NULL DEFAULT 0,
  updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX alerts_open ON moonwake.alerts (rule, key_text) WHERE state IN ('pending', 'firing');
CREATE INDEX alerts_started ON moonwake.alerts (started_at);
CREATE INDEX alerts_of_rule ON moonwake.alerts (rule, started_at);
CREATE INDEX alerts_waiting ON moonwake.alerts (rule) WHERE state = 'firing' AND (untold OR muted IS NOT NULL);
CREATE INDEX alerts_inhibiting ON moonwake.alerts ((coalesce(ended_at, 'infinity'))) WHERE inhibits IS NOT NULL;
COMMENT ON TABLE moonwake.alerts IS
  'The episodes of all rules, ended ones too. Example: SELECT rule, key, severity, summary FROM moonwake.alerts WHERE state = ''firing''';
COMMENT ON COLUMN moonwake.alerts.episode IS 'Its name for people and receivers: the aggregate_id of its events';
COMMENT ON COLUMN moonwake.alerts.machine IS 'The rule''s name for it: another one after a rebuild in which it still held';
COMMENT ON COLUMN moonwake.alerts.changed_at IS 'Of its last transition, by the log''s clock';
COMMENT ON COLUMN moonwake.alerts.event_id IS 'Of the event of its last transition';
COMMENT ON COLUMN moonwake.alerts.muted IS 'Why nobody is told of it, if so';
COMMENT ON COLUMN moonwake.alerts.own_mute IS 'The reason of the rule itself: a calendar, flapping, the limit';
COMMENT ON COLUMN moonwake.alerts.untold IS 'Its receivers do not know yet that it fires, or how severe it is';
COMMENT ON COLUMN moonwake.alerts.notified_at IS 'When its receivers were last to be told that it fires: they will be told of its end';

CREATE TABLE moonwake.alerts_rebuilt (
  machine  uuid PRIMARY KEY,
  rule     text NOT NULL,
  key_text text NOT NULL,
  effects  jsonb NOT NULL
);
CREATE INDEX alerts_rebuilt_rule ON moonwake.alerts_rebuilt (rule);
COMMENT ON TABLE moonwake.alerts_rebuilt IS 'What is open as a rule that is being rebuilt sees it: see finish_rebuild';

CREATE TABLE moonwake.silences (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  matchers   jsonb NOT NULL,
  starts_at  timestamptz NOT NULL,
  ends_at    timestamptz NOT NULL,
  reason     text NOT NULL DEFAULT '',
  created_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  applied_at timestamptz,
  ended_at   timestamptz,
  ended_by   text,
  CONSTRAINT ends_after_it_starts CHECK (ends_at > starts_at)
);
COMMENT ON TABLE moonwake.silences IS 'What people do not want to hear of for a while';
COMMENT ON COLUMN moonwake.silences.matchers IS
  '{"name": "value" or list}; a name is rule, severity, a label or a part of the key; a value is exact, has *, is ~regex, or !not';
COMMENT ON COLUMN moonwake.silences.applied_at IS 'When what was firing already was muted by it';

CREATE TABLE moonwake.outbox (
  id         uuid PRIMARY KEY,
  seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  kind       text NOT NULL CHECK (kind IN ('alert', 'webhook', 'command', 'sql', 'notify', 'publish')),
  receiver   text,
  rule       text NOT NULL,
  episode    uuid,
  transition text,
  key_text   text,
  mode       text,
  group_key  text,
  payload    jsonb NOT NULL,
  at         timestamptz NOT NULL,
  due_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  state      text NOT NULL DEFAULT 'waiting'
             CHECK (state IN ('waiting', 'sending', 'done', 'failed', 'stale', 'cancelled')),
  tries      int NOT NULL DEFAULT 0,
  note       text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX outbox_due ON moonwake.outbox (due_at) WHERE state = 'waiting';
CREATE INDEX outbox_episode ON moonwake.outbox (episode);
CREATE INDEX outbox_running ON moonwake.outbox (rule, key_text) WHERE kind <> 'alert' AND state IN ('waiting', 'sending');
CREATE UNIQUE INDEX outbox_collecting ON moonwake.outbox (receiver, group_key)
  WHERE state = 'waiting' AND tries = 0 AND group_key IS NOT NULL;
CREATE INDEX outbox_group ON moonwake.outbox (receiver, group_key, due_at) WHERE group_key IS NOT NULL;
COMMENT ON TABLE moonwake.outbox IS
  'What is to be told or done outside, in the order of seq. Its id is the same however often it is tried: receivers may '
  'recognise it. payload of an alert: {"alerts": [alert_item()…], "group": {name: value} or null}; of an action: its data';
COMMENT ON COLUMN moonwake.outbox.at IS 'When that happened which is told, by the log''s clock';
COMMENT ON COLUMN moonwake.outbox.mode IS 'Of an action; queued: not before the earlier ones of its rule and key have ended';
COMMENT ON COLUMN moonwake.outbox.group_key IS 'Until it is first tried, more alerts of its receiver and group come into it';

CREATE TABLE moonwake.outbox_tries (
  outbox_id uuid NOT NULL REFERENCES moonwake.outbox ON DELETE CASCADE,
  try       int NOT NULL,
  at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  status    int,
  error     text,
  took      interval,
  PRIMARY KEY (outbox_id, try)
);
COMMENT ON TABLE moonwake.outbox_tries IS 'Every try to deliver a row of the outbox, and what came of it';

SELECT count(moonwake.register_event_type(t.name, t.description, t.aggregate_type, t.severity)) FROM (VALUES
  ('alert.pending', 'A rule''s condition holds, but not yet for long enough', 'alert', 'info'),
  ('alert.firing', 'A rule''s condition holds, or holds with another severity', 'alert', 'warning'),
  ('alert.resolved', 'A rule''s condition no longer holds', 'alert', 'info'),
  ('alert.expired', 'What an alert was about is gone', 'alert', 'info'),
  ('alert.muted', 'An alert fires, but nobody is told, for a reason', 'alert', 'info'),
  ('alert.unmuted', 'The reason not to tell of an alert has ended', 'alert', 'info'),
  ('alert.acked', 'Somebody takes care of an alert', 'alert', 'info'),
  ('alert.silenced', 'Somebody does not want to hear of some alerts for a while', 'silence', 'info'),
  ('alert.unsilenced', 'A silence was ended before its time', 'silence', 'info')
) AS t (name, description, aggregate_type, severity);


-- Words ---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.us_time(us bigint) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN timestamptz 'epoch' + us * interval '1 microsecond';
COMMENT ON FUNCTION moonwake.us_time(bigint) IS 'A time from microseconds since 1970-01-01 UTC';

CREATE FUNCTION moonwake.iso_time(at timestamptz) RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
COMMENT ON FUNCTION moonwake.iso_time(timestamptz) IS 'A time as ISO 8601 with microseconds, in UTC';

-- A word or a list of words, as a list.
CREATE FUNCTION moonwake.word_list(value jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE
  RETURN CASE jsonb_typeof(value) WHEN 'array' THEN value WHEN 'string' THEN jsonb_build_array(value)
    WHEN 'number' THEN jsonb_build_array(value) WHEN 'boolean' THEN jsonb_build_array(value) ELSE '[]' END;
COMMENT ON FUNCTION moonwake.word_list(jsonb) IS 'A word or a list of words as a list; nothing as an empty one';

CREATE FUNCTION moonwake.stale_after() RETURNS interval
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$ SELECT coalesce(max(s.value)::int, 3600) * interval '1 second' FROM settings s WHERE s.name = 'stale_after' $$;
COMMENT ON FUNCTION moonwake.stale_after() IS 'The setting of that name';


-- States and timers ---------------------------------------------------------------------------------------------------

CREATE FUNCTION moonwake.set_timers(rule text, timers json) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  DELETE FROM timers t USING json_to_recordset($2) AS x (key text, due bigint)
    WHERE x.due IS NULL AND t.rule = $1 AND t.key = x.key;
  INSERT INTO timers AS t (rule, key, due, name)
    SELECT $1, x.key, us_time(x.due), coalesce(x.name, '')
      FROM json_to_recordset($2) AS x (key text, due bigint, name text) WHERE x.due IS NOT NULL
    ON CONFLICT ON CONSTRAINT timers_pkey DO UPDATE SET due = excluded.due, name = excluded.name;
$$;
COMMENT ON FUNCTION moonwake.set_timers(text, json) IS
  'Keeps the earliest timer of each key: [{"key", "due": microseconds since 1970 or null for none, "name"}]. '
  'Example: SELECT moonwake.set_timers(''silent_device'', ''[{"key": "\"d-1\"", "due": 1767225600000000, "name": "i.absent"}]'')';

CREATE FUNCTION moonwake.set_rule_parts(rule text, parts json) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  DELETE FROM rule_states s USING json_to_recordset($2) AS x (part text, key text, state jsonb)
    WHERE nullif(x.state, 'null') IS NULL AND (s.rule, s.part, s.key) = ($1, x.part, coalesce(x.key, ''));
  INSERT INTO rule_states AS s (rule, part, key, state, position, updated_at)
    SELECT DISTINCT ON (x.part, x.key) $1, x.part, coalesce(x.key, ''), x.state, x.position, clock_timestamp()
      FROM ROWS FROM (json_to_recordset($2) AS (part text, key text, state jsonb, position bigint)) WITH ORDINALITY
        AS x (part, key, state, position, n)
      WHERE nullif(x.state, 'null') IS NOT NULL ORDER BY x.part, x.key, x.n DESC
    ON CONFLICT ON CONSTRAINT rule_states_pkey DO UPDATE
      SET state = excluded.state, position = excluded.position, updated_at = excluded.updated_at;
$$;
COMMENT ON FUNCTION moonwake.set_rule_parts(text, json) IS
  'Keeps what a rule knows beside the states of its keys: [{"part": "ref NAME" or "memory", "key", "state": null for none}]';

CREATE FUNCTION moonwake.rule_restore(rule text) RETURNS jsonb
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM rule_states s WHERE s.rule = $1) OR EXISTS (SELECT FROM timers t WHERE t.rule = $1) THEN
    jsonb_build_object(
      'timers', (SELECT coalesce(jsonb_agg(jsonb_build_object('key', t.key,
          'due', (extract(epoch FROM t.due) * 1000000)::bigint, 'name', t.name) ORDER BY t.due, t.key COLLATE "C"), '[]')
        FROM timers t WHERE t.rule = $1),
      'memory', (SELECT s.state FROM rule_states s WHERE s.rule = $1 AND s.part = 'memory' AND s.key = ''),
      'refs', (SELECT coalesce(jsonb_object_agg(p.name, p.rows), '{}') FROM (
        SELECT substr(s.part, 5) AS name,
          jsonb_agg(jsonb_build_object('key', s.key, 'state', s.state) ORDER BY s.key COLLATE "C") AS rows
        FROM rule_states s WHERE s.rule = $1 AND s.part LIKE 'ref %' GROUP BY s.part) p))
    END
$$;
COMMENT ON FUNCTION moonwake.rule_restore(text) IS
  'What a rule knows beside the states of its keys: {"timers": [{"key", "due", "name"}], "memory", "refs": {name: [{"key", '
  '"state"}]}}; NULL where nothing is kept. Example: SELECT moonwake.rule_restore(''crash_loop'')';


-- What a rule is, and what becomes of it when its file changes ---------------------------------------------------------

CREATE FUNCTION moonwake.refuse_taken_name() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  IF EXISTS (SELECT FROM rules r WHERE r.name = NEW.name) THEN
    PERFORM refuse_projection(format('%s ''%s'': a rule had this name', TG_ARGV[0], NEW.name),
      'give it another name: a cursor would go on where that one stood');
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION moonwake.refuse_taken_name() IS 'Trigger: names of rules are not given to projections and reducers';
CREATE TRIGGER name_is_no_rule BEFORE INSERT ON moonwake.reducers
  FOR EACH ROW EXECUTE FUNCTION moonwake.refuse_taken_name('reducer');
CREATE TRIGGER name_is_no_rule BEFORE INSERT ON moonwake.state_projections
  FOR EACH ROW EXECUTE FUNCTION moonwake.refuse_taken_name('projection');

-- The index by id finds it: ids ascend with the timestamps, near enough, and a day has a partition of its own.
CREATE FUNCTION moonwake.position_before(at timestamptz) RETURNS bigint
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT coalesce((SELECT e.id - 1 FROM events e WHERE e."timestamp" >= at ORDER BY e.id LIMIT 1), log_head())
$$;
COMMENT ON FUNCTION moonwake.position_before(timestamptz) IS 'The position before the first event that was appended at or after a time';

CREATE FUNCTION moonwake.first_position(since jsonb) RETURNS bigint
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT CASE WHEN jsonb_typeof(since) = 'number'
      THEN position_before(clock_timestamp() - (since #>> '{}')::numeric::bigint * interval '1 microsecond')
    WHEN since = '"now"' THEN log_head() ELSE 0 END
$$;
COMMENT ON FUNCTION moonwake.first_position(jsonb) IS
  'Where a rule that never ran begins: "start", "now", or so many microseconds ago';

CREATE FUNCTION moonwake.forget_rule(name text) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  DELETE FROM rule_states s WHERE s.rule = $1;
  DELETE FROM timers t WHERE t.rule = $1;
  DELETE FROM alerts_rebuilt b WHERE b.rule = $1;
  DELETE FROM dead_letters d WHERE d.consumer = $1;
$$;
COMMENT ON FUNCTION moonwake.forget_rule(text) IS 'Deletes what a rule knows';

-- Sends a rule back to find out again what it must know. What it says on the way is history already: until it is where it
-- stood, raise() only keeps it.
CREATE FUNCTION moonwake.begin_rebuild(name text, back_to bigint) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  stood bigint;
BEGIN
  PERFORM dissolve_groups(ARRAY(SELECT c.group_id FROM event_cursors c WHERE c.consumer = $1 AND c.group_id IS NOT NULL));
  SELECT greatest(c.position, r.live_from) INTO stood FROM event_cursors c JOIN rules r ON r.name = c.consumer
    WHERE c.consumer = $1;
  UPDATE event_cursors c
     SET position = least(back_to, stood), state = 'running',
         error = NULL, error_trace = NULL, error_event = NULL, error_at = NULL
   WHERE c.consumer = $1;
  PERFORM forget_rule($1);
  PERFORM deliveries_reset($1);
  UPDATE rules r SET live_from = stood WHERE r.name = $1;
  IF stood <= back_to THEN
    PERFORM finish_rebuild($1);
  END IF;
END
$$;
COMMENT ON FUNCTION moonwake.begin_rebuild(text, bigint) IS
  'Forgets what a rule knows and sends it back to a position; from where it stood on it speaks again';

CREATE FUNCTION moonwake.rule_statements(name text, OUT load_sql text, OUT upsert_sql text, OUT delete_sql text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT format('SELECT k.n, t.state::text AS state FROM json_to_recordset($1::json) AS k (n int, key text) '
      'JOIN %1$I.rule_states t ON t.rule = %2$L AND t.part = %3$L AND t.key = k.key', own_schema(), name, ''),
    format('INSERT INTO %1$I.rule_states AS t (rule, part, key, position, updated_at, state) '
      'SELECT %2$L, %3$L, r.key, r.position, %1$I.epoch_or_iso(r.updated_at), r.state FROM json_to_recordset($1::json) '
      'AS r (key text, position bigint, updated_at text, state jsonb) ON CONFLICT (rule, part, key) DO UPDATE '
      'SET position = excluded.position, updated_at = excluded.updated_at, state = excluded.state', own_schema(), name, ''),
    format('DELETE FROM %1$I.rule_states t USING json_to_recordset($1::json) AS k (n int, key text) '
      'WHERE t.rule = %2$L AND t.part = %3$L AND t.key = k.key', own_schema(), name, '')
$$;
COMMENT ON FUNCTION moonwake.rule_statements(text) IS 'What the daemon runs on a rule''s states: see rule_ensure';

-- The position from which a rule sees all that its present state depends on.
CREATE FUNCTION moonwake.horizon_position(name text, horizon bigint) RETURNS bigint
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT greatest(r.first_position, CASE WHEN horizon IS NULL THEN 0 ELSE position_before(
      (SELECT e."timestamp" FROM events e WHERE e.id <= coalesce(g.position, c.position) ORDER BY e.id DESC LIMIT 1)
      - horizon * interval '1 microsecond') END)
  FROM rules r JOIN event_cursors c ON c.consumer = r.name LEFT JOIN consumer_groups g USING (group_id) WHERE r.name = $1
$$;
COMMENT ON FUNCTION moonwake.horizon_position(text, bigint) IS
  'The position so many microseconds before the last event that a rule has read, but not before it began; all history for NULL';

CREATE FUNCTION moonwake.change_rule(there moonwake.rules, spec jsonb) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  how text := CASE WHEN there.retired_at IS NOT NULL THEN 'rebuild' ELSE coalesce(spec ->> 'on_change', 'rebuild') END;
  back_to bigint;
BEGIN
  IF how = 'keep' THEN
    RETURN 'the rule changed: it goes on with what it knows (on_change = "keep")';
  ELSIF how = 'restart' THEN
    PERFORM forget_rule(there.name);
    UPDATE rules r SET live_from = NULL WHERE r.name = there.name;
    PERFORM end_alerts(ARRAY(SELECT a.episode FROM alerts a WHERE a.rule = there.name AND a.state IN ('pending', 'firing')),
      'rule-changed');
    RETURN 'the rule changed: it begins anew where it stands (on_change = "restart")';
  END IF;
  back_to := horizon_position(there.name, (spec ->> 'horizon')::numeric::bigint);
  PERFORM begin_rebuild(there.name, back_to);
  RETURN format('%s: it reads again what follows event %s, and speaks from where it stood',
    CASE WHEN there.retired_at IS NULL THEN 'the rule changed' ELSE 'the rule is back' END, back_to);
END
$$;
COMMENT ON FUNCTION moonwake.change_rule(moonwake.rules, jsonb) IS 'Does what on_change says; returns that in words';

CREATE FUNCTION moonwake.check_rule(spec jsonb, digest text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  name text := spec ->> 'name';
BEGIN
  IF coalesce(name, '') !~ '^[a-z][a-z0-9_]*$' OR octet_length(name) > 63 THEN
    PERFORM refuse_projection(format('rule: %L is not a name', left(name, 100)),
      'names are lower case letters, digits and _, begin with a letter and have at most 63');
  ELSIF coalesce(spec ->> 'body', '') = '' OR coalesce(digest, '') = '' THEN
    PERFORM refuse_projection(format('rule ''%s'': has no body or no digest', name));
  ELSIF coalesce(spec ->> 'on_change', 'rebuild') NOT IN ('rebuild', 'keep', 'restart') THEN
    PERFORM refuse_projection(format('rule ''%s'': on_change = %L', name, left(spec ->> 'on_change', 40)),
      'it is "rebuild", "keep" or "restart"');
  ELSIF EXISTS (SELECT FROM state_projections p WHERE p.name = check_rule.spec ->> 'name')
    OR EXISTS (SELECT FROM reducers r WHERE r.name = check_rule.spec ->> 'name') THEN
    PERFORM refuse_projection(format('rule ''%s'': a projection or a reducer had this name', name),
      'give it another name: a cursor would go on where that one stood');
  END IF;
END
$$;
COMMENT ON FUNCTION moonwake.check_rule(jsonb, text) IS 'Refuses a definition of a rule that cannot be kept';

-- The caller holds the consumer's advisory lock: nobody else runs the rule meanwhile.
CREATE FUNCTION moonwake.rule_ensure(spec jsonb, digest text)
  RETURNS TABLE (table_name text, load_sql text, upsert_sql text, delete_sql text, created boolean, rebuild boolean, note text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  wanted text := spec ->> 'name';
  there rules;
BEGIN
  PERFORM check_rule(spec, digest);
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM rules r WHERE r.name = wanted FOR UPDATE;
  created := NOT FOUND;
  rebuild := false; -- what has to be done is done here
  IF created THEN
    INSERT INTO rules (name, body, digest, spec, first_position)
      VALUES (wanted, spec ->> 'body', rule_ensure.digest, rule_ensure.spec, first_position(spec -> 'since'))
      RETURNING * INTO there;
    INSERT INTO event_cursors AS c (consumer, kind, version, digest, position)
      VALUES (wanted, 'rule', 1, rule_ensure.digest, there.first_position)
      ON CONFLICT (consumer) DO UPDATE SET position = excluded.position;
  ELSE
    UPDATE rules r SET body = rule_ensure.spec ->> 'body', digest = rule_ensure.digest, spec = rule_ensure.spec,
        retired_at = NULL, updated_at = clock_timestamp()
      WHERE r.name = wanted
        AND ((r.digest, r.spec) IS DISTINCT FROM (rule_ensure.digest, rule_ensure.spec) OR r.retired_at IS NOT NULL);
    IF there.body <> spec ->> 'body' OR there.retired_at IS NOT NULL THEN
      note := change_rule(there, spec);
    END IF;
  END IF;
  table_name := format('%I.rule_states', own_schema());
  SELECT s.* INTO load_sql, upsert_sql, delete_sql FROM rule_statements(wanted) s;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION moonwake.rule_ensure(jsonb, text) IS
  'Registers a rule ({"name", "body", "on_change", "since", "horizon", …}, and the digest of its script), does what on_change '
  'says where its body is another one, and returns the statements to run on its states, as projection_ensure does: load_sql and '
  'delete_sql take [{"n": 0, "key"}], load_sql answers (n, state as JSON text); upsert_sql takes [{"key", "position", '
  '"updated_at", "state"}]. Example: SELECT * FROM moonwake.rule_ensure(''{"name": "crash_loop", "body": "9f86d0"}'', ''60303a'')';

CREATE FUNCTION moonwake.rule_retire(name text) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  UPDATE rules r SET retired_at = clock_timestamp(), live_from = NULL WHERE r.name = $1 AND r.retired_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM dissolve_groups(ARRAY(SELECT c.group_id FROM event_cursors c WHERE c.consumer = $1 AND c.group_id IS NOT NULL));
  PERFORM forget_rule($1);
  PERFORM end_alerts(ARRAY(SELECT a.episode FROM alerts a WHERE a.rule = $1 AND a.state IN ('pending', 'firing')),
    'rule-removed');
  RETURN true;
END
$$;
COMMENT ON FUNCTION moonwake.rule_retire(text) IS
  'A rule''s file is gone: what it knows goes, its open alerts are resolved with the reason rule-removed; false where it '
  'was retired already. Example: SELECT moonwake.rule_retire(''crash_loop'')';

-- A rule's rebuild keeps what people were told.
CREATE OR REPLACE FUNCTION moonwake.rebuild_consumer(consumer text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4); -- before groups and cursors, as whoever plans or promotes
  IF EXISTS (SELECT FROM rules r WHERE r.name = rebuild_consumer.consumer) THEN
    PERFORM begin_rebuild(r.name, r.first_position) FROM rules r WHERE r.name = rebuild_consumer.consumer FOR UPDATE;
    PERFORM pg_notify('moonwake', '');
    RETURN;
  END IF;
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

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.rules, moonwake.rule_states, moonwake.timers, moonwake.alerts, moonwake.alerts_rebuilt, moonwake.silences,
  moonwake.outbox, moonwake.outbox_tries TO moonwake_run, moonwake_read;
GRANT INSERT, UPDATE, DELETE ON moonwake.rule_states TO moonwake_run;
GRANT EXECUTE ON FUNCTION moonwake.us_time(bigint), moonwake.iso_time(timestamptz), moonwake.word_list(jsonb),
  moonwake.stale_after(), moonwake.position_before(timestamptz) TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.rule_ensure(jsonb, text), moonwake.rule_restore(text), moonwake.rule_retire(text),
  moonwake.set_timers(text, json), moonwake.set_rule_parts(text, json) TO moonwake_run;
RESET ROLE;
