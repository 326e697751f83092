SELECT r.name FROM moonwake.rules r UNION SELECT DISTINCT a.rule FROM moonwake.alerts a
