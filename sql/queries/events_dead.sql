-- The next of a consumer's dead letters that is to be tried again.
SELECT e.id, e.event_id, e.event_type, e.aggregate_type, e.aggregate_id, e.version, e.schema_version, e.data, e.metadata,
       e.source, e.correlation_id, e.causation_id, e.actor_type, e.actor_id, e.severity, e.impact,
       e.occurred_at, e."timestamp", e.occurrences
  FROM moonwake.events e
 WHERE e.id = (SELECT min(d.event_id) FROM moonwake.dead_letters d WHERE d.consumer = $1 AND d.retry_at IS NOT NULL)
