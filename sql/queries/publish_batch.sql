SELECT ordinal, id, event_id, version, appended FROM moonwake.publish_events($1::jsonb) ORDER BY ordinal
