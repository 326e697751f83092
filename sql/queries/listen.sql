LISTEN "moonwake"
