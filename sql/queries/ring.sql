SELECT pg_notify('moonwake', '')
