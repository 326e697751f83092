-- Run with the schema's own name, so that the database is called moonwake whatever --schema says.
CREATE DATABASE moonwake
