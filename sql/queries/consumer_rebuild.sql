SELECT moonwake.rebuild_consumer($1)
