-- Events that history_page found and left out: $1 their ids, within "timestamp" [$2, $3]; as many as fit into $4 bytes
-- of text, and at least one.
SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version, data, metadata,
       source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
       occurred_at, "timestamp", occurrences
  FROM (SELECT *, sum(octet_length(data::text) + octet_length(metadata::text)) OVER w AS bytes, row_number() OVER w AS n
          FROM (SELECT * FROM moonwake.events
                 WHERE id = ANY ($1::bigint[]) AND "timestamp" >= $2::timestamptz AND "timestamp" <= $3::timestamptz) page
        WINDOW w AS (ORDER BY id)) sized
 WHERE n = 1 OR bytes <= $4::bigint
 ORDER BY id
