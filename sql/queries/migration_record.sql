INSERT INTO moonwake.migrations (number, name, checksum) VALUES ($1, $2, $3)
