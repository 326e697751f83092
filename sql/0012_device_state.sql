-- The state of a device, computed in SQL.
--
-- It is what scripts/reducers/device.lua makes of the same events, from the log alone: an answer that does not depend
-- on any script having run, and the proof that the reducer is right.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

-- Most fields are what the last event that speaks of them says. A value that such an event leaves out is gone.
CREATE FUNCTION moonwake.device_fields(device_uuid text)
  RETURNS TABLE (field text, value jsonb)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT DISTINCT ON (f.field) f.field, f.value
  FROM events e CROSS JOIN LATERAL (VALUES
    ('name', e.event_type IN ('device.provisioned', 'device.renamed'), e.data -> 'name'),
    ('site', e.event_type IN ('device.provisioned', 'device.moved'), e.data -> 'site'),
    ('tags', e.event_type IN ('device.provisioned', 'device.tagged'), e.data -> 'tags'),
    ('os', e.event_type IN ('device.provisioned', 'device.updated'), e.data -> 'os'),
    ('model', e.event_type = 'device.provisioned', e.data -> 'model'),
    ('lifecycle', e.event_type IN ('device.provisioned', 'device.online', 'device.deprovisioned'),
      to_jsonb(CASE e.event_type WHEN 'device.provisioned' THEN 'provisioned' WHEN 'device.online' THEN 'active'
        ELSE 'retired' END)),
    ('online', e.event_type IN ('device.online', 'device.offline', 'device.deprovisioned'),
      to_jsonb(e.event_type = 'device.online')),
    ('last_seen', e.event_type IN ('device.online', 'device.heartbeat', 'device.metrics_reported'),
      to_jsonb(to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))),
    ('target', e.event_type IN ('target_state.created', 'target_state.updated', 'target_state.cleared'),
      CASE WHEN e.event_type <> 'target_state.cleared' THEN e.data -> 'new_state' END),
    ('target_version', e.event_type IN ('target_state.created', 'target_state.updated', 'target_state.cleared'),
      to_jsonb(e.version)),
    ('current', e.event_type IN ('current_state.updated', 'current_state.reported'), e.data -> 'new_state'),
    ('current_version', e.event_type IN ('current_state.updated', 'current_state.reported'), to_jsonb(e.version)),
    ('reconciliation', e.event_type IN ('reconciliation.started', 'reconciliation.completed', 'reconciliation.failed',
        'reconciliation.cancelled'),
      jsonb_build_object('result', CASE e.event_type WHEN 'reconciliation.started' THEN 'running'
        WHEN 'reconciliation.completed' THEN 'done' ELSE split_part(e.event_type, '.', 2) END)
      || CASE WHEN e.data ? 'app' THEN jsonb_build_object('app', e.data -> 'app') ELSE '{}' END
      || CASE WHEN e.data ? 'error' THEN jsonb_build_object('error', e.data -> 'error') ELSE '{}' END)
  ) AS f (field, says, value)
  WHERE e.aggregate_type = 'device' AND e.aggregate_id = device_uuid AND f.says
  ORDER BY f.field, e.version DESC
$$;
COMMENT ON FUNCTION moonwake.device_fields(text) IS
  'What the last event that speaks of it says about each field of a device; NULL where that event leaves it out. '
  'Part of rebuild_device_state. Example: SELECT * FROM moonwake.device_fields(''d-17'')';

CREATE FUNCTION moonwake.device_drift(target jsonb, current jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('app', app)
      || CASE WHEN want IS NULL THEN '{}' ELSE jsonb_build_object('want', want) END
      || CASE WHEN have IS NULL THEN '{}' ELSE jsonb_build_object('have', have) END
      ORDER BY app COLLATE "C"), '[]')
  FROM (SELECT app, target #> ARRAY['apps', app, 'image'] AS want, current #> ARRAY['apps', app, 'image'] AS have
    FROM (SELECT jsonb_object_keys(target -> 'apps') UNION SELECT jsonb_object_keys(current -> 'apps')) AS apps (app)) d
  WHERE want IS DISTINCT FROM have
$$;
COMMENT ON FUNCTION moonwake.device_drift(jsonb, jsonb) IS
  'The apps whose image is not what it should be, as in a device''s state: [{"app", "want", "have"}, …]. Example: '
  'SELECT moonwake.device_drift(''{"apps":{"agent":{"image":"a:2"}}}'', ''{"apps":{"agent":{"image":"a:1"}}}'')';

CREATE FUNCTION moonwake.rebuild_device_state(device_uuid text) RETURNS jsonb
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT jsonb_build_object('lifecycle', 'unknown', 'online', false)
      || coalesce(jsonb_object_agg(f.field, f.value) FILTER (WHERE f.value IS NOT NULL), '{}')
      || jsonb_build_object(
        'offlines', (SELECT count(*) FROM events e WHERE e.aggregate_type = 'device'
          AND e.aggregate_id = device_uuid AND e.event_type = 'device.offline'),
        'drift', device_drift((jsonb_agg(f.value) FILTER (WHERE f.field = 'target')) -> 0,
          (jsonb_agg(f.value) FILTER (WHERE f.field = 'current')) -> 0))
  FROM device_fields(device_uuid) f
  HAVING count(*) > 0
$$;
COMMENT ON FUNCTION moonwake.rebuild_device_state(text) IS
  'The state of a device, computed from its events alone: the same as the reducer `device` (scripts/reducers/device.lua) '
  'gives. NULL for a device without events. Example: SELECT moonwake.rebuild_device_state(''d-17'') -> ''drift''';

REVOKE ALL ON FUNCTION moonwake.device_fields(text), moonwake.device_drift(jsonb, jsonb),
  moonwake.rebuild_device_state(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.device_fields(text), moonwake.device_drift(jsonb, jsonb),
  moonwake.rebuild_device_state(text) TO moonwake_run, moonwake_read;
RESET ROLE;
