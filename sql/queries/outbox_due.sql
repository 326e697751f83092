-- Milliseconds until something of these receivers is due again, NULL where nothing waits; and receivers that rules name but
-- nobody has defined.
SELECT (SELECT ceil(extract(epoch FROM min(greatest(o.due_at, r.paused_until)) - clock_timestamp()) * 1000)::bigint
          FROM moonwake.outbox o JOIN moonwake.receivers r ON r.name = o.route
         WHERE o.route = ANY ($1::text[]) AND o.state = 'waiting' AND r.disabled_at IS NULL
           AND greatest(o.due_at, r.paused_until) > clock_timestamp()),
       (SELECT string_agg(DISTINCT o.route, ', ') FROM moonwake.outbox o
         WHERE o.state = 'waiting' AND o.route <> ALL ($2::text[]))
