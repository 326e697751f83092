-- The rules that have no file among $1 (names) and that no daemon shows life for: whoever finds them gives their names
-- to rule_retire.
SELECT r.name FROM moonwake.rules r WHERE r.retired_at IS NULL AND r.name <> ALL ($1::text[])
  AND NOT EXISTS (SELECT FROM moonwake.consumers c
    WHERE c.consumer = r.name AND c.heartbeat_at > clock_timestamp() - interval '10 s') ORDER BY r.name
