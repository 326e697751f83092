SELECT moonwake.receiver_enable($1)
