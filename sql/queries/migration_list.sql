SELECT number, name, checksum FROM moonwake.migrations ORDER BY number
