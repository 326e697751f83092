-- Roles, schemas and settings.
--
-- Every object belongs to moonwake_owner, which nobody logs in as. What may be done is granted to three roles:
--   moonwake_run      the daemon's login
--   moonwake_publish  may append, and nothing else
--   moonwake_read     may look, and nothing else
-- Roles belong to the whole cluster, so they may be there already, made by another database's migration
-- or by an administrator.
--
-- SQLSTATEs of our own:
--   MW001 stale cursor             MW002 other version than expected   MW003 event_id used for other content
--   MW004 invalid event            MW005 unregistered event type       MW006 invalid projection
--   MW007 unknown consumer         MW008 not readable here and now     MW009 argument out of range
--   MW010 the log is append-only

DO $$
DECLARE
  role record;
BEGIN
  FOR role IN
    SELECT * FROM (VALUES
      ('moonwake_owner', 'NOLOGIN'),
      ('moonwake_run', 'LOGIN'),
      ('moonwake_publish', 'NOLOGIN'),
      ('moonwake_read', 'NOLOGIN')) AS r (name, login)
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r.name)
  LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I %s', role.name, role.login);
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database's migration was faster
      WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'roles: % does not exist and % may not create it', role.name, current_user
          USING ERRCODE = 'insufficient_privilege', HINT = format(
            'let a superuser run once: CREATE ROLE moonwake_owner; CREATE ROLE moonwake_run LOGIN; '
            'CREATE ROLE moonwake_publish; CREATE ROLE moonwake_read; '
            'GRANT moonwake_owner TO %I; GRANT pg_read_all_stats TO moonwake_run', current_user);
    END;
  END LOOP;

  IF NOT pg_has_role(current_user, 'moonwake_owner', 'MEMBER') THEN
    BEGIN
      EXECUTE format('GRANT moonwake_owner TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE EXCEPTION 'roles: % is no member of moonwake_owner', current_user
        USING ERRCODE = 'insufficient_privilege', HINT = format(
          'let a superuser run once: GRANT moonwake_owner TO %I', current_user);
    END;
  END IF;

  -- so that status can say who a reader waits for, and since when
  IF NOT pg_has_role('moonwake_run', 'pg_read_all_stats', 'MEMBER') THEN
    BEGIN
      GRANT pg_read_all_stats TO moonwake_run;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE NOTICE 'roles: % may not grant pg_read_all_stats to moonwake_run: status will not show '
        'since when a transaction blocks', current_user;
    END;
  END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS moonwake;
CREATE SCHEMA IF NOT EXISTS moonwake_tables;
ALTER SCHEMA moonwake OWNER TO moonwake_owner;
ALTER SCHEMA moonwake_tables OWNER TO moonwake_owner;
COMMENT ON SCHEMA moonwake IS 'An append-only event log and what is made of it';
COMMENT ON SCHEMA moonwake_tables IS 'The tables of projections that write SQL themselves (sql = true)';

SET LOCAL ROLE moonwake_owner;

REVOKE ALL ON SCHEMA moonwake, moonwake_tables FROM PUBLIC;
GRANT USAGE ON SCHEMA moonwake TO moonwake_run, moonwake_publish, moonwake_read;
GRANT USAGE ON SCHEMA moonwake_tables TO moonwake_run, moonwake_read;
ALTER DEFAULT PRIVILEGES IN SCHEMA moonwake_tables
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO moonwake_run;
ALTER DEFAULT PRIVILEGES IN SCHEMA moonwake_tables GRANT SELECT ON TABLES TO moonwake_read;
ALTER DEFAULT PRIVILEGES IN SCHEMA moonwake_tables GRANT USAGE ON SEQUENCES TO moonwake_run;

CREATE TABLE moonwake.settings (
  name text PRIMARY KEY,
  value text NOT NULL,
  description text NOT NULL DEFAULT '',
  CONSTRAINT registry_is_open_or_closed CHECK (name <> 'registry' OR value IN ('open', 'closed')),
  CONSTRAINT max_event_bytes_is_a_number CHECK (name <> 'max_event_bytes' OR value ~ '^[0-9]{1,9}$')
);
COMMENT ON TABLE moonwake.settings IS
  'What the database itself must know. Example: UPDATE moonwake.settings SET value = ''closed'' WHERE name = ''registry''';

INSERT INTO moonwake.settings (name, value, description) VALUES
  ('registry', 'open', 'open: any event type may be appended; closed: only those in event_types'),
  ('max_event_bytes', '1048576', 'largest data plus metadata of one event, in bytes of JSON text; 0: no limit');

GRANT SELECT ON moonwake.settings TO moonwake_run, moonwake_read;

RESET ROLE;
