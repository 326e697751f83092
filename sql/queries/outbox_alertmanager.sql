SELECT $1, body FROM moonwake.alertmanager_alerts($1, $2::float8) AS body
