SELECT moonwake.ensure_events_partitions(7)
