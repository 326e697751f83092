-- A page of few, large events: as many as fit into $5 bytes of text, and at least one.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version, data, metadata,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM (SELECT *, sum(octet_length(data::text) + octet_length(metadata::text)) OVER w AS bytes, row_number() OVER w AS n
          FROM (SELECT * FROM moonwake.events
                 WHERE id > $1::bigint AND id <= $2::bigint AND "timestamp" >= $3::timestamptz
                 ORDER BY id LIMIT $4::bigint) page
        WINDOW w AS (ORDER BY id)) sized
 WHERE n = 1 OR bytes <= $5::bigint
 ORDER BY id
