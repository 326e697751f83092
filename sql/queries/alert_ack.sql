SELECT moonwake.ack_alert($1::uuid, $2, $3)
