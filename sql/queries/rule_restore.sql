-- What a rule knows beside the states of its keys, and while it is rebuilt the position from which it speaks again.
SELECT moonwake.rule_restore($1), (SELECT r.live_from FROM moonwake.rules r WHERE r.name = $1) AS live_from
