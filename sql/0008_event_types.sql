-- The event types of a device fleet, which the worked examples use.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE FUNCTION moonwake.register_event_type(name text, description text DEFAULT '', aggregate_type text DEFAULT NULL,
  severity text DEFAULT NULL) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  INSERT INTO event_types (name, description, aggregate_type, severity) VALUES ($1, coalesce($2, ''), $3, $4)
    ON CONFLICT (name) DO UPDATE SET description = excluded.description,
      aggregate_type = excluded.aggregate_type, severity = excluded.severity
$$;
COMMENT ON FUNCTION moonwake.register_event_type(text, text, text, text) IS
  'Adds an event type to the registry, or describes it anew. aggregate_type and severity say what is usual; they bind '
  'nobody. Example: SELECT moonwake.register_event_type(''order.paid'', ''The money has arrived'', ''order'')';
REVOKE ALL ON FUNCTION moonwake.register_event_type(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION moonwake.register_event_type(text, text, text, text) TO moonwake_run;

SELECT count(moonwake.register_event_type(t.name, t.description, t.aggregate_type, t.severity)) FROM (VALUES
  ('device.provisioned', 'A device was registered in the fleet', 'device', 'info'),
  ('device.deprovisioned', 'A device was taken out of the fleet', 'device', 'info'),
  ('device.online', 'A device connected', 'device', 'info'),
  ('device.offline', 'A device''s connection ended', 'device', 'warning'),
  ('device.heartbeat', 'A device said that it lives, with its vital signs', 'device', 'debug'),
  ('device.renamed', 'A device got another name', 'device', 'info'),
  ('device.tagged', 'A device''s tags changed', 'device', 'info'),
  ('device.moved', 'A device came to another site or fleet', 'device', 'info'),
  ('device.rebooted', 'A device started anew', 'device', 'warning'),
  ('device.updated', 'A device''s operating system or agent was updated', 'device', 'info'),
  ('device.update_failed', 'An update of the operating system or agent failed', 'device', 'error'),
  ('device.metrics_reported', 'A device measured its CPU, memory, storage, temperature', 'device', 'debug'),
  ('device.key_rotated', 'A device''s key was exchanged', 'device', 'info'),
  ('target_state.created', 'A device was told for the first time what it should run', 'device', 'info'),
  ('target_state.updated', 'What a device should run has changed', 'device', 'info'),
  ('target_state.applied', 'A device runs what it should run', 'device', 'info'),
  ('target_state.rejected', 'A device cannot run what it should run', 'device', 'error'),
  ('target_state.cleared', 'A device should run nothing', 'device', 'info'),
  ('current_state.updated', 'What a device runs has changed', 'device', 'info'),
  ('current_state.reported', 'A device reported everything that it runs', 'device', 'debug'),
  ('current_state.drifted', 'A device runs something else than it should', 'device', 'warning'),
  ('reconciliation.started', 'A device began to make its state what it should be', 'device', 'info'),
  ('reconciliation.step_completed', 'One step of a reconciliation is done', 'device', 'debug'),
  ('reconciliation.completed', 'A device''s state is what it should be', 'device', 'info'),
  ('reconciliation.failed', 'A device could not make its state what it should be', 'device', 'error'),
  ('reconciliation.cancelled', 'A reconciliation was given up for a newer target', 'device', 'info'),
  ('container.created', 'A container was made', 'container', 'info'),
  ('container.started', 'A container runs', 'container', 'info'),
  ('container.stopped', 'A container was stopped on purpose', 'container', 'info'),
  ('container.crashed', 'A container ended by itself with an error', 'container', 'error'),
  ('container.restarted', 'A container was started again', 'container', 'warning'),
  ('container.removed', 'A container was deleted', 'container', 'info'),
  ('container.updated', 'A container was replaced by one of another image or configuration', 'container', 'info'),
  ('container.unhealthy', 'A container''s health check fails', 'container', 'warning'),
  ('container.healthy', 'A container''s health check succeeds again', 'container', 'info'),
  ('container.out_of_memory', 'A container was killed for its use of memory', 'container', 'error'),
  ('image.pull_started', 'A device began to download an image', 'image', 'info'),
  ('image.pulled', 'A device has downloaded an image', 'image', 'info'),
  ('image.pull_failed', 'A device could not download an image', 'image', 'error'),
  ('image.removed', 'A device deleted an image', 'image', 'info')
) AS t (name, description, aggregate_type, severity);
RESET ROLE;
