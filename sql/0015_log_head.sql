-- The log's head, read as nextval reads it. The sequence's row may show a number up to 32 ahead for as long as nextval
-- logs it: a position that went there would have passed events that did not exist yet.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE OR REPLACE FUNCTION moonwake.log_head() RETURNS bigint
  LANGUAGE sql VOLATILE
  RETURN coalesce(pg_sequence_last_value('moonwake.events_id_seq'), 0);
RESET ROLE;
