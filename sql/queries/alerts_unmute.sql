SELECT moonwake.unmute_alerts()
