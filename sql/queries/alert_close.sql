SELECT moonwake.close_alert($1::uuid, $2, $3)
