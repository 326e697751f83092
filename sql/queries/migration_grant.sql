-- Every role that may use the schema may see whether it is current.
GRANT SELECT ON moonwake.migrations TO PUBLIC
