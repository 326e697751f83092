-- Versions of projections: built beside each other, compared, exchanged.
--
-- The table that readers know is partitioned and has one partition, a DEFAULT one: the leaf, in a schema of its own.
-- An exchange detaches one leaf and attaches another, so the table that grants, views, triggers and policies belong to
-- stays. The daemon writes to the leaf itself. A projection with sql = true has tables of its own and no versions.
DO $$
BEGIN
  EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', moonwake.own_schema() || '_versions');
  EXECUTE format('ALTER SCHEMA %I OWNER TO moonwake_owner', moonwake.own_schema() || '_versions');
END
$$;
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE FUNCTION moonwake.versions_schema() RETURNS name
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  RETURN (moonwake.own_schema() || '_versions')::name;
DO $$
BEGIN
  EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', moonwake.versions_schema());
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO moonwake_run', moonwake.versions_schema());
  EXECUTE format('COMMENT ON SCHEMA %I IS %L', moonwake.versions_schema(),
    'The rows of each version of each projection: what the projections'' tables have as their partition');
END
$$;

CREATE TABLE moonwake.script_sources (
  digest text PRIMARY KEY,
  path text NOT NULL,
  files jsonb NOT NULL,
  first_seen timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE moonwake.script_sources IS
  'Every text of a script that a daemon ran, with the modules and upcasters that it is made of: an old version can go on';

CREATE SEQUENCE moonwake.projection_builds;
CREATE TABLE moonwake.projection_versions (
  build        bigint PRIMARY KEY DEFAULT nextval('moonwake.projection_builds'),
  name         text NOT NULL,
  role         text NOT NULL CHECK (role IN ('live', 'next', 'old')),
  version      int NOT NULL,
  digest       text,
  spec         jsonb NOT NULL,
  leaf         text NOT NULL,
  promote      text NOT NULL DEFAULT 'auto' CHECK (promote IN ('auto', 'when_equal', 'manual')),
  asked        boolean NOT NULL DEFAULT false,
  state        text NOT NULL DEFAULT 'live'
               CHECK (state IN ('live', 'building', 'comparing', 'waiting', 'ready', 'refused', 'kept')),
  note         text,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  log_head     bigint NOT NULL DEFAULT moonwake.log_head(),
  head_seen    bigint NOT NULL DEFAULT moonwake.log_head(),
  caught_up_at timestamptz,
  waits_for    text[],
  promoted_at  timestamptz,
  difference   jsonb,
  CONSTRAINT one_of_each_role UNIQUE (name, role) DEFERRABLE INITIALLY IMMEDIATE
);
COMMENT ON TABLE moonwake.projection_versions IS
  'The versions of each projection: the live one, one that is being built (the consumer NAME:next), and the one before it '
  '(NAME:old)';
COMMENT ON COLUMN moonwake.projection_versions.digest IS 'Of its script, in script_sources. The live one''s is in event_cursors';
COMMENT ON COLUMN moonwake.projection_versions.leaf IS 'The name of the table with its rows';
COMMENT ON COLUMN moonwake.projection_versions.asked IS 'Begun by `rebuild`, not by a changed file';
COMMENT ON COLUMN moonwake.projection_versions.head_seen IS 'The log''s head when it was last looked at';
COMMENT ON COLUMN moonwake.projection_versions.waits_for IS
  'Transactions that were open when it was complete: their snapshots know less of it';
COMMENT ON COLUMN moonwake.projection_versions.difference IS 'To the version that was live then: see compare_versions()';

CREATE TABLE moonwake.declined_scripts (
  name text NOT NULL,
  digest text NOT NULL,
  version int,
  declined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, digest)
);
COMMENT ON TABLE moonwake.declined_scripts IS
  'Texts of projections that were rolled back or cancelled: they are not built again unless `rebuild` asks for it';
COMMENT ON COLUMN moonwake.declined_scripts.version IS 'Where it is given, any text of this version is declined';


CREATE FUNCTION moonwake.version_index_name(projection text, columns jsonb, build bigint) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN left(projection, 25) || ':' || left(translate(columns::text, '[]" ', ''), 25) || ':'
    || left(md5(projection || columns::text || build), 8);

CREATE FUNCTION moonwake.column_list(columns jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT string_agg(format('%I', c), ', ' ORDER BY n) FROM jsonb_array_elements_text(columns) WITH ORDINALITY u (c, n) $$;

-- An empty leaf, on its own. Returns its name.
CREATE FUNCTION moonwake.create_leaf(spec jsonb, build bigint) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  leaf text := format('%s_%s', left(spec ->> 'name', 50), build);
  target text := format('%I.%I', versions_schema(), leaf);
  wanted jsonb;
BEGIN
  EXECUTE format('CREATE TABLE %s (%s, CONSTRAINT %I PRIMARY KEY (%s)) WITH (fillfactor = 70)', target,
    (SELECT string_agg(c.definition, ', ' ORDER BY c.n) FROM projection_columns(spec) c),
    version_index_name(spec ->> 'name', '["key"]', build),
    (SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.n) FROM projection_columns(spec) c WHERE c.is_key));
  FOR wanted IN SELECT jsonb_array_elements(spec -> 'indexes') LOOP
    EXECUTE format('CREATE INDEX %I ON %s (%s)', version_index_name(spec ->> 'name', wanted, build), target,
      column_list(wanted));
  END LOOP;
  EXECUTE format('COMMENT ON TABLE %s IS %L', target, format('projection %s, version %s, build %s',
    spec ->> 'name', spec ->> 'version', build));
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO moonwake_run', target);
  RETURN leaf;
END
$$;

-- The table that readers know, still without a partition.
CREATE FUNCTION moonwake.create_parent(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  target text := format('%I.%I', own_schema(), spec ->> 'name');
BEGIN
  EXECUTE format('CREATE TABLE %s (%s, CONSTRAINT %I PRIMARY KEY (%s)) PARTITION BY LIST (%I)', target,
    (SELECT string_agg(c.definition, ', ' ORDER BY c.n) FROM projection_columns(spec) c),
    projection_index_name(spec ->> 'name', '["key"]'),
    (SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.n) FROM projection_columns(spec) c WHERE c.is_key),
    spec #>> '{key,0,name}');
  EXECUTE format('COMMENT ON TABLE %s IS %L', target, format('projection %s, version %s',
    spec ->> 'name', spec ->> 'version'));
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO moonwake_run', target);
  EXECUTE format('GRANT SELECT ON %s TO moonwake_read', target);
  PERFORM create_projection_indexes(spec ->> 'name', spec -> 'indexes');
END
$$;

CREATE FUNCTION moonwake.attach_leaf(name text, leaf text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I DEFAULT', own_schema(), name, versions_schema(), leaf);
END
$$;

CREATE OR REPLACE FUNCTION moonwake.create_projection_tables(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  projection text := spec ->> 'name';
  wanted jsonb;
  made bigint;
  made_leaf text;
BEGIN
  IF spec ->> 'form' = 'sql' THEN
    FOR wanted IN SELECT jsonb_array_elements(spec -> 'tables') LOOP
      PERFORM create_sql_table(projection, wanted);
    END LOOP;
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_class WHERE relnamespace = own_schema()::text::regnamespace AND relname = projection)
    OR EXISTS (SELECT FROM pg_type WHERE typnamespace = own_schema()::text::regnamespace AND typname = projection)
    OR projection ~ '^events_[0-9]+$' OR projection IN ('alerts', 'timers', 'outbox', 'migrations') THEN
    PERFORM refuse_projection(format('projection ''%s'': the table %I.%I is not its own', projection, own_schema(), projection),
      'give the projection another name');
  END IF;
  made := nextval('projection_builds');
  made_leaf := create_leaf(spec, made);
  PERFORM create_parent(spec);
  PERFORM attach_leaf(projection, made_leaf);
  INSERT INTO projection_versions (build, name, role, version, spec, leaf)
    VALUES (made, projection, 'live', (spec ->> 'version')::int, spec, made_leaf);
END
$$;

CREATE OR REPLACE FUNCTION moonwake.drop_projection_tables(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  wanted jsonb;
BEGIN
  IF spec ->> 'form' = 'sql' THEN
    FOR wanted IN SELECT jsonb_array_elements(spec -> 'tables') LOOP
      EXECUTE format('DROP TABLE IF EXISTS moonwake_tables.%I', wanted ->> 'name');
    END LOOP;
    RETURN;
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I.%I', own_schema(), spec ->> 'name');
  PERFORM drop_version(v.build) FROM projection_versions v WHERE v.name = spec ->> 'name';
END
$$;


-- Indexes and constraints that the table has and a leaf lacks: ATTACH would build them while readers wait. Those of
-- columns that the leaf does not have go with the columns.
CREATE FUNCTION moonwake.complete_leaf(name text, leaf text, unwanted text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  parent oid := format('%I.%I', own_schema(), name)::regclass;
  target text := format('%I.%I', versions_schema(), leaf);
  item record;
BEGIN
  FOR item IN
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', target, c.conname, pg_get_constraintdef(c.oid)) AS command
      FROM pg_constraint c WHERE c.conrelid = parent AND c.contype IN ('c', 'u') AND NOT EXISTS (
        SELECT FROM pg_constraint l WHERE l.conrelid = target::regclass AND l.contype = c.contype
          AND pg_get_constraintdef(l.oid) = pg_get_constraintdef(c.oid))
    UNION ALL
    SELECT format('CREATE %sINDEX ON %s %s', CASE WHEN i.unique THEN 'UNIQUE ' END, target, i.body)
      FROM table_indexes(parent) i WHERE i.name <> ALL (unwanted) AND NOT i.constrains
        AND NOT EXISTS (SELECT FROM table_indexes(target::regclass) l WHERE (l.body, l.unique) = (i.body, i.unique))
  LOOP
    BEGIN
      EXECUTE item.command;
    EXCEPTION WHEN undefined_column THEN
      NULL;
    END;
  END LOOP;
END
$$;

-- `body` is what CREATE INDEX says behind the table's name.
CREATE FUNCTION moonwake.table_indexes(tab oid) RETURNS TABLE (name text, "unique" boolean, constrains boolean, body text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT c.relname, i.indisunique, EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid),
    substr(d.def, length(format('CREATE %sINDEX %I ON %s%s ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, c.relname,
      CASE WHEN c.relkind = 'I' THEN 'ONLY ' END, tab::regclass)) + 1)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid, pg_get_indexdef(c.oid) AS d (def)
  WHERE i.indrelid = tab
$$;

CREATE FUNCTION moonwake.grants_of(tab oid) RETURNS SETOF text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, tab::regclass,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
  FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = tab AND a.grantee <> c.relowner
$$;

-- What else than its own parts depends on a table, or on one column of it: views, rules, triggers, policies.
CREATE FUNCTION moonwake.dependents(tab oid, "column" int DEFAULT NULL) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
  SELECT string_agg(DISTINCT CASE WHEN r.oid IS NOT NULL THEN format('the view %s', r.ev_class::regclass)
      ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END, ', ')
  FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = tab AND ("column" IS NULL OR d.refobjsubid = "column")
    AND (r.oid IS NOT NULL OR d.classid IN ('pg_policy'::regclass, 'pg_trigger'::regclass)
      OR d.classid = 'pg_class'::regclass AND d.deptype = 'n')
$$;

-- Gives the table, which has no partition at this moment, the columns, key and indexes of another definition.
CREATE FUNCTION moonwake.shape_parent(old jsonb, new jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  name text := new ->> 'name';
  target text := format('%I.%I', own_schema(), name);
  col record;
  wanted jsonb;
BEGIN
  IF old -> 'key' -> 0 <> new -> 'key' -> 0 THEN
    PERFORM replace_parent(new);
    RETURN;
  END IF;
  IF old -> 'key' <> new -> 'key' THEN
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target, projection_index_name(name, '["key"]'));
  END IF;
  FOR wanted IN SELECT o FROM jsonb_array_elements(old -> 'indexes') o WHERE NOT new -> 'indexes' @> jsonb_build_array(o) LOOP
    EXECUTE format('DROP INDEX IF EXISTS %I.%I', own_schema(), projection_index_name(name, wanted));
  END LOOP;
  FOR col IN
    SELECT coalesce(n.name, o.name) AS name, o.name IS NULL AS added, n.name IS NULL AS gone, o.type <> n.type AS recast,
      o.definition IS DISTINCT FROM n.definition AS changed, n.*, a.attnum
    FROM projection_columns(new) n FULL JOIN projection_columns(old) o ON o.name = n.name
    LEFT JOIN pg_attribute a ON a.attrelid = target::regclass AND a.attname = o.name ORDER BY n.n
  LOOP
    IF (col.gone OR col.recast) AND dependents(target::regclass, col.attnum) IS NOT NULL THEN
      PERFORM refuse_projection(format('projection ''%s'': %s needs the column ''%s'', %s', name,
        dependents(target::regclass, col.attnum), col.name, CASE WHEN col.gone
          THEN format('which version %s does not have', new ->> 'version')
          ELSE format('which is %s in version %s', col.type, new ->> 'version') END),
        'change it first, or keep the column');
    END IF;
    IF col.added THEN
      EXECUTE format('ALTER TABLE %s ADD COLUMN %s', target, col.definition);
    ELSIF col.gone THEN
      EXECUTE format('ALTER TABLE %s DROP COLUMN %I', target, col.name);
    ELSIF col.changed THEN
      PERFORM change_column(target, col.name, col.type, col.recast, new);
    END IF;
  END LOOP;
  IF old -> 'key' <> new -> 'key' THEN
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (%s)', target, projection_index_name(name, '["key"]'),
      (SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.n) FROM projection_columns(new) c WHERE c.is_key));
  END IF;
  FOR wanted IN SELECT n FROM jsonb_array_elements(new -> 'indexes') n WHERE NOT old -> 'indexes' @> jsonb_build_array(n) LOOP
    PERFORM create_projection_indexes(name, jsonb_build_array(wanted));
  END LOOP;
  EXECUTE format('COMMENT ON TABLE %s IS %L', target, format('projection %s, version %s', name, new ->> 'version'));
END
$$;

CREATE FUNCTION moonwake.change_column(target text, name text, type text, recast boolean, spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  wanted jsonb := (SELECT c FROM jsonb_array_elements(spec -> 'columns') c WHERE c ->> 'name' = change_column.name);
  value text := column_default(type, wanted -> 'default');
  is_key boolean := spec -> 'key' @> jsonb_build_array(jsonb_build_object('name', name));
BEGIN
  EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', target, name);
  IF recast THEN
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I TYPE %s USING NULL', target, name, type); -- there are no rows
  END IF;
  IF value IS NOT NULL THEN
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', target, name, value);
  END IF;
  EXECUTE format('ALTER TABLE %s ALTER COLUMN %I %s NOT NULL', target, name,
    CASE WHEN is_key OR coalesce((wanted -> 'not_null') = 'true', false) THEN 'SET' ELSE 'DROP' END);
END
$$;

-- A table cannot be partitioned by another column: where the first column of the key changes, it is made anew, with its
-- grants and indexes. What else depends on it cannot be kept.
CREATE FUNCTION moonwake.replace_parent(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  target text := format('%I.%I', own_schema(), spec ->> 'name');
  commands text[];
  command text;
BEGIN
  IF dependents(target::regclass) IS NOT NULL THEN
    PERFORM refuse_projection(format('projection ''%s'': the key''s first column changes, so the table has to be made '
      'anew, and %s depends on it', spec ->> 'name', dependents(target::regclass)), 'drop it, and make it again afterwards');
  END IF;
  commands := ARRAY(
    SELECT * FROM grants_of(target::regclass)
    UNION ALL
    SELECT format('CREATE %sINDEX %I ON %s %s', CASE WHEN i.unique THEN 'UNIQUE ' END, i.name, target, i.body)
      FROM table_indexes(target::regclass) i WHERE NOT i.constrains AND strpos(i.name, ':') = 0);
  EXECUTE format('DROP TABLE %s', target);
  PERFORM create_parent(spec);
  FOREACH command IN ARRAY commands LOOP
    BEGIN
      EXECUTE command;
    EXCEPTION WHEN undefined_column OR feature_not_supported THEN
      NULL; -- an index on a column that is gone
    END;
  END LOOP;
END
$$;

-- One leaf for another: readers see the one or the other.
CREATE FUNCTION moonwake.exchange_leaf(name text, old_leaf text, old_spec jsonb, leaf text, spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  PERFORM complete_leaf(name, leaf, ARRAY(
    SELECT projection_index_name(name, o) FROM jsonb_array_elements(old_spec -> 'indexes') o));
  EXECUTE format('ALTER TABLE %I.%I DETACH PARTITION %I.%I', own_schema(), name, versions_schema(), old_leaf);
  PERFORM shape_parent(old_spec, spec);
  PERFORM attach_leaf(name, leaf);
  UPDATE state_projections p SET version = ($5 ->> 'version')::int, form = $5 ->> 'form', spec = $5, pending = NULL,
    updated_at = clock_timestamp() WHERE p.name = $1;
END
$$;


-- The daemon writes to the leaf: no row has to find its way there.
DROP FUNCTION moonwake.projection_statements(jsonb);
CREATE FUNCTION moonwake.projection_statements(spec jsonb, leaf text,
  OUT load_sql text, OUT upsert_sql text, OUT delete_sql text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  target text := quote_ident(versions_schema()) || '.' || quote_ident(leaf);
  keys text;     -- the key's columns
  names text;    -- all columns
  state text;    -- one row as JSON
  asked text;    -- the record of a key that is asked for
  record text;   -- the record of a whole row
  match text;    -- t is what k asks for
  given text;    -- the values of record r
  changes text;
BEGIN
  IF spec ->> 'form' = 'sql' THEN
    RETURN;
  END IF;
  SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.n) FILTER (WHERE c.is_key),
    string_agg(format('%I', c.name), ', ' ORDER BY c.n),
    'n int, ' || string_agg(format('%I %s', c.name, c.input), ', ' ORDER BY c.n) FILTER (WHERE c.is_key),
    string_agg(format('%I %s', c.name, c.input), ', ' ORDER BY c.n),
    string_agg(CASE c.type WHEN 'timestamptz' THEN format('t.%I = %I.epoch_or_iso(k.%I)', c.name, own_schema(), c.name)
      ELSE format('t.%I = k.%I', c.name, c.name) END, ' AND ' ORDER BY c.n) FILTER (WHERE c.is_key),
    string_agg(CASE c.type WHEN 'timestamptz' THEN format('%I.epoch_or_iso(r.%I)', own_schema(), c.name)
      ELSE format('r.%I', c.name) END, ', ' ORDER BY c.n),
    string_agg(format('%I = excluded.%I', c.name, c.name), ', ' ORDER BY c.n) FILTER (WHERE NOT c.is_key)
    INTO keys, names, asked, record, match, given, changes
    FROM projection_columns(spec) c;
  -- json_build_object would take at most 50 columns
  state := CASE WHEN spec ->> 'form' = 'document' THEN 't.state::text' ELSE (
    SELECT format('(SELECT row_to_json("S")::text FROM (SELECT %s) "S")', -- no column's name has a capital
      string_agg(format('%s AS %I', c.value, c.name), ', ' ORDER BY c.n))
    FROM projection_columns(spec) c WHERE c.name NOT IN ('position', 'updated_at')) END;
  load_sql := format('SELECT k.n, %s AS state FROM json_to_recordset($1::json) AS k (%s) JOIN %s t ON %s',
    state, asked, target, match);
  upsert_sql := format('INSERT INTO %s AS t (%s) SELECT %s FROM json_to_recordset($1::json) AS r (%s) '
    'ON CONFLICT (%s) DO UPDATE SET %s', target, names, given, record, keys, changes);
  delete_sql := format('DELETE FROM %s t USING json_to_recordset($1::json) AS k (%s) WHERE %s', target, asked, match);
END
$$;

DROP FUNCTION moonwake.projection_ensure(jsonb);
CREATE FUNCTION moonwake.projection_ensure(spec jsonb)
  RETURNS TABLE (table_name text, load_sql text, upsert_sql text, delete_sql text, created boolean, rebuild boolean,
    note text, build bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  wanted jsonb := check_projection(spec);
  there state_projections;
  live_leaf text;
BEGIN
  created := false;
  rebuild := false;
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM state_projections p WHERE p.name = wanted ->> 'name';
  IF there.name IS NULL THEN
    IF EXISTS (SELECT FROM reducers r WHERE r.name = wanted ->> 'name') THEN
      PERFORM refuse_projection(format('projection ''%s'': a reducer had this name', wanted ->> 'name'),
        'give it another name: a cursor would go on where that one stood');
    END IF;
    PERFORM create_projection_tables(wanted);
    INSERT INTO state_projections (name, version, form, spec)
      VALUES (wanted ->> 'name', (wanted ->> 'version')::int, wanted ->> 'form', wanted);
    created := true;
  ELSIF there.spec <> wanted THEN
    note := projection_difference(there.spec, wanted);
    IF note IS NULL THEN
      BEGIN
        note := extend_projection(there.spec, wanted);
        UPDATE state_projections SET spec = wanted, pending = NULL, updated_at = clock_timestamp()
          WHERE name = there.name;
        UPDATE projection_versions SET spec = wanted WHERE name = there.name AND role = 'live';
      EXCEPTION WHEN not_null_violation THEN
        note := 'a NOT NULL column without a default was added';
        rebuild := true;
      END;
    ELSE
      rebuild := true;
    END IF;
    IF rebuild THEN
      UPDATE state_projections SET pending = wanted WHERE name = there.name AND pending IS DISTINCT FROM wanted;
    END IF;
  ELSIF there.pending IS NOT NULL THEN
    UPDATE state_projections SET pending = NULL WHERE name = there.name; -- the definition was put back
  END IF;
  SELECT v.build, v.leaf INTO build, live_leaf FROM projection_versions v
    WHERE v.name = wanted ->> 'name' AND v.role = 'live';
  SELECT s.* INTO load_sql, upsert_sql, delete_sql FROM projection_statements(wanted, live_leaf) s;
  table_name := CASE WHEN wanted ->> 'form' <> 'sql' THEN format('%I.%I', own_schema(), wanted ->> 'name') END;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION moonwake.projection_ensure(jsonb) IS
  'Makes a projection''s table what its definition says, and returns the statements to run on it. What can be added is '
  'added; anything else returns rebuild = true with the reason in note, and changes nothing until projection_reset. '
  'Example: SELECT * FROM moonwake.projection_ensure(''{"name": "device_summary", "version": 1, "form": "columns", '
  '"key": [{"name": "device_uuid", "type": "text"}], "columns": [{"name": "crashes", "type": "bigint", "default": 0}], '
  '"indexes": [["crashes"]]}'')';

-- In place: readers see an empty table that fills again.
CREATE OR REPLACE FUNCTION moonwake.projection_reset(name text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  there state_projections;
  live projection_versions;
  wanted jsonb;
  made bigint := nextval('projection_builds');
  made_leaf text;
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM state_projections p WHERE p.name = projection_reset.name;
  IF NOT FOUND THEN
    PERFORM refuse_projection(format('projection ''%s'': there is none', left(projection_reset.name, 100)));
  END IF;
  wanted := coalesce(there.pending, there.spec);
  SELECT * INTO live FROM projection_versions v WHERE v.name = there.name AND v.role = 'live';
  IF FOUND AND wanted ->> 'form' <> 'sql' THEN
    made_leaf := create_leaf(wanted, made);
    PERFORM exchange_leaf(there.name, live.leaf, live.spec, made_leaf, wanted);
    PERFORM drop_version(live.build);
    INSERT INTO projection_versions (build, name, role, version, spec, leaf)
      VALUES (made, there.name, 'live', (wanted ->> 'version')::int, wanted, made_leaf);
    RETURN;
  END IF;
  PERFORM drop_projection_tables(there.spec);
  PERFORM create_projection_tables(wanted);
  UPDATE state_projections p SET version = (wanted ->> 'version')::int, form = wanted ->> 'form', spec = wanted,
    pending = NULL, updated_at = clock_timestamp() WHERE p.name = there.name;
END
$$;


-- The tables that are there already get the new form. Views on them are made again in place, by whoever migrates, so
-- that they keep their grants and what depends on them.
CREATE FUNCTION moonwake.convert_projection(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  name text := spec ->> 'name';
  made bigint := nextval('projection_builds');
  leaf text := format('%s_%s', left(name, 50), made);
BEGIN
  EXECUTE format('ALTER TABLE %I.%I SET SCHEMA %I', own_schema(), name, versions_schema());
  EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', versions_schema(), name, leaf);
  PERFORM create_parent(spec);
  PERFORM attach_leaf(name, leaf);
  INSERT INTO projection_versions (build, name, role, version, spec, leaf)
    VALUES (made, name, 'live', (spec ->> 'version')::int, spec, leaf);
END
$$;
RESET ROLE;
DO $$
DECLARE
  there record;
  tab oid;
  commands text[];
  command text;
BEGIN
  FOR there IN SELECT p.name, p.spec FROM state_projections p WHERE p.form <> 'sql' ORDER BY p.name LOOP
    tab := format('%I.%I', own_schema(), there.name)::regclass;
    IF EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class
        WHERE d.refobjid = tab AND d.classid = 'pg_rewrite'::regclass AND c.relkind <> 'v')
      OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = tab)
      OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = tab AND NOT t.tgisinternal) THEN
      RAISE EXCEPTION 'projection ''%'': % depends on its table, which becomes a partitioned one', there.name,
        dependents(tab) USING HINT = 'drop it, migrate, and make it again';
    END IF;
    commands := ARRAY(
      SELECT format('CREATE %sINDEX %I ON %I.%I %s', CASE WHEN i.unique THEN 'UNIQUE ' END, i.name, own_schema(),
          there.name, i.body)
        FROM table_indexes(tab) i WHERE NOT i.constrains AND strpos(i.name, ':') = 0
      UNION ALL SELECT * FROM grants_of(tab)
      UNION ALL
      SELECT format('CREATE OR REPLACE VIEW %s%s AS %s', c.oid::regclass,
          coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', ''), pg_get_viewdef(c.oid))
        FROM pg_class c WHERE c.oid IN (SELECT r.ev_class FROM pg_rewrite r JOIN pg_depend d
          ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid WHERE d.refobjid = tab));
    SET LOCAL ROLE moonwake_owner;
    PERFORM convert_projection(there.spec);
    RESET ROLE;
    FOREACH command IN ARRAY commands LOOP
      EXECUTE command;
    END LOOP;
  END LOOP;
END
$$;
SET LOCAL ROLE moonwake_owner;
DROP FUNCTION moonwake.convert_projection(jsonb);

COMMENT ON FUNCTION moonwake.versions_schema() IS 'The schema of the leaves: moonwake_versions';
COMMENT ON FUNCTION moonwake.version_index_name(text, jsonb, bigint) IS 'The name of a leaf''s index over some columns';
COMMENT ON FUNCTION moonwake.column_list(jsonb) IS 'Names of columns as SQL';
COMMENT ON FUNCTION moonwake.create_leaf(jsonb, bigint) IS 'Makes the empty table of one version; returns its name';
COMMENT ON FUNCTION moonwake.create_parent(jsonb) IS 'Makes the partitioned table that readers know';
COMMENT ON FUNCTION moonwake.attach_leaf(text, text) IS 'Makes a leaf the one partition of a projection''s table';
COMMENT ON FUNCTION moonwake.complete_leaf(text, text, text[]) IS
  'Makes the indexes and constraints that a projection''s table has and a leaf lacks';
COMMENT ON FUNCTION moonwake.table_indexes(oid) IS 'The indexes of a table, with what CREATE INDEX says behind its name';
COMMENT ON FUNCTION moonwake.grants_of(oid) IS 'The GRANT commands that give a table''s rights again';
COMMENT ON FUNCTION moonwake.dependents(oid, int) IS 'What depends on a table, or on a column of it, in words, or NULL';
COMMENT ON FUNCTION moonwake.shape_parent(jsonb, jsonb) IS
  'Makes a projection''s table, without a partition, what another definition says';
COMMENT ON FUNCTION moonwake.change_column(text, text, text, boolean, jsonb) IS 'Gives a column another type, default or NOT NULL';
COMMENT ON FUNCTION moonwake.replace_parent(jsonb) IS 'Makes a projection''s table anew, with its grants and indexes';
COMMENT ON FUNCTION moonwake.exchange_leaf(text, text, jsonb, text, jsonb) IS 'Puts one leaf into the place of another';
COMMENT ON FUNCTION moonwake.projection_statements(jsonb, text) IS
  'What the daemon runs on a projection''s leaf, each with one JSON text parameter: load_sql and delete_sql take '
  '[{"n": 0, key columns}], load_sql answers (n, state as JSON text); upsert_sql takes whole rows';
COMMENT ON FUNCTION moonwake.projection_reset(text) IS
  'Gives a projection''s table an empty leaf, as its last definition says. Rewind its cursor in the same transaction. '
  'Example: SELECT moonwake.projection_reset(''device_summary'')';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.projection_versions, moonwake.script_sources, moonwake.declined_scripts TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.projection_ensure(jsonb) TO moonwake_run;
RESET ROLE;
