-- Read models: which there are, and the tables and statements that their definitions ask for.
SET LOCAL ROLE moonwake_owner;
SET LOCAL search_path = pg_catalog, moonwake, pg_temp;

CREATE TABLE moonwake.state_projections (
  name text PRIMARY KEY,
  version int NOT NULL,
  form text NOT NULL CHECK (form IN ('columns', 'document', 'sql')),
  spec jsonb NOT NULL,
  pending jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE moonwake.state_projections IS 'The projections that have tables here, as projection_ensure made them';
COMMENT ON COLUMN moonwake.state_projections.spec IS 'What the tables are now';
COMMENT ON COLUMN moonwake.state_projections.pending IS 'What projection_reset will make of them, where the definition has changed';


CREATE FUNCTION moonwake.epoch_or_iso(value text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN value ~ '^-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?$'
    THEN timestamptz 'epoch' + round(value::numeric * 1000000)::double precision * interval '1 microsecond'
    ELSE value::timestamptz END;
COMMENT ON FUNCTION moonwake.epoch_or_iso(text) IS 'A time from seconds since 1970-01-01 UTC, or from ISO 8601';

CREATE FUNCTION moonwake.refuse_projection(problem text, hint text DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $$
BEGIN
  RAISE EXCEPTION '%', problem USING ERRCODE = 'MW006',
    HINT = coalesce(hint, 'correct the definition');
END
$$;

CREATE FUNCTION moonwake.json_list(value jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE
  RETURN CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE '[]' END; -- Lua's empty table may come as {}

CREATE FUNCTION moonwake.column_type(word text) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN CASE lower(word)
    WHEN 'bool' THEN 'boolean' WHEN 'int2' THEN 'smallint' WHEN 'int' THEN 'integer' WHEN 'int4' THEN 'integer'
    WHEN 'int8' THEN 'bigint' WHEN 'float8' THEN 'double precision' WHEN 'decimal' THEN 'numeric'
    WHEN 'timestamp with time zone' THEN 'timestamptz'
    ELSE CASE WHEN lower(word) IN ('boolean', 'smallint', 'integer', 'bigint', 'double precision', 'numeric',
      'text', 'uuid', 'date', 'timestamptz', 'jsonb') THEN lower(word) END
  END;
COMMENT ON FUNCTION moonwake.column_type(text) IS 'The type that a projection''s column may have by this word, or NULL';

-- The default of a column as SQL, or NULL. The value went through the type, so it is a constant.
CREATE FUNCTION moonwake.column_default(type text, value jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp SET timezone = 'UTC'
  AS $$
DECLARE
  word text := CASE WHEN type = 'jsonb' THEN value::text ELSE value #>> '{}' END;
BEGIN
  IF value IS NULL OR value = 'null' THEN
    RETURN NULL;
  END IF;
  IF type IN ('date', 'timestamptz') AND word !~ '^-?[0-9]' THEN
    RAISE invalid_datetime_format; -- 'now' would be another value on every rebuild
  END IF;
  IF type = 'timestamptz' THEN
    word := to_char(epoch_or_iso(word) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00');
  ELSE
    EXECUTE format('SELECT %L::%s::text', word, type) INTO word;
  END IF;
  RETURN format('%L::%s', word, type);
END
$$;

CREATE FUNCTION moonwake.check_name(what text, name jsonb) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
BEGIN
  IF coalesce(jsonb_typeof(name), '') <> 'string' OR name #>> '{}' !~ '^[a-z][a-z0-9_]*$'
    OR octet_length(name #>> '{}') > 63 THEN
    PERFORM refuse_projection(format('%s: %s is not a name', what, coalesce(left(name::text, 100), 'nothing')),
      'names are lower case letters, digits and _, begin with a letter and have at most 63');
  END IF;
  RETURN name #>> '{}';
END
$$;

-- The one column that a definition asks for, checked: {name, type, default?, not_null?}.
CREATE FUNCTION moonwake.check_column(projection text, wanted jsonb, is_key boolean) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  name text := check_name(format('projection ''%s'': column', projection), wanted -> 'name');
  what text := format('projection ''%s'': column ''%s''', projection, name);
  type text := column_type(wanted ->> 'type');
BEGIN
  IF name IN ('position', 'updated_at', 'tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid')
    OR is_key AND name IN ('n', 'state') THEN
    PERFORM refuse_projection(what || ': this name is taken', 'choose another name');
  END IF;
  IF type IS NULL OR is_key AND type IN ('jsonb', 'double precision') THEN
    PERFORM refuse_projection(format('%s: %s is no type for a %s', what, left(wanted ->> 'type', 100),
      CASE WHEN is_key THEN 'key' ELSE 'column' END),
      'one of boolean, smallint, integer, bigint, numeric, text, uuid, date, timestamptz'
      || CASE WHEN is_key THEN '' ELSE ', double precision, jsonb' END);
  END IF;
  IF is_key THEN
    RETURN jsonb_build_object('name', name, 'type', type);
  END IF;
  BEGIN
    PERFORM column_default(type, wanted -> 'default');
  EXCEPTION WHEN data_exception THEN
    PERFORM refuse_projection(format('%s: the default %s is no %s', what, left((wanted -> 'default')::text, 100), type));
  END;
  RETURN jsonb_strip_nulls(jsonb_build_object('name', name, 'type', type, 'default', wanted -> 'default',
    'not_null', nullif(coalesce((wanted -> 'not_null') = 'true', false), false)));
END
$$;

-- A table's body of a projection that writes SQL itself: column definitions and table constraints. It is put between
-- parentheses, so it must not be able to leave them. PostgreSQL evaluates what is immutable in it already when the
-- table is made, with the owner's rights: so it may name nothing with a schema, which leaves it pg_catalog.
CREATE FUNCTION moonwake.check_body(what text, body text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  bare text := regexp_replace(body, '''[^'']*''|"[^"]*"', '_', 'g');
  depth int := 0;
  letter text;
BEGIN
  IF coalesce(btrim(body), '') = '' THEN
    PERFORM refuse_projection(what || ': has no columns', 'write them as in CREATE TABLE (...)');
  END IF;
  IF strpos(body, '\') > 0 OR bare ~ '[;''"$]|--|/\*' THEN
    PERFORM refuse_projection(what || ': must not hold ; $ \ comments or an open quote',
      'only column definitions and table constraints');
  END IF;
  IF regexp_replace(bare, '[0-9]\.[0-9]', '_', 'g') ~ '\.' THEN
    PERFORM refuse_projection(what || ': must not name anything with a schema', 'use PostgreSQL''s own types and functions');
  END IF;
  IF EXISTS (SELECT FROM pg_type WHERE typnamespace = pg_my_temp_schema() AND typtype IN ('d', 'r')) THEN
    PERFORM refuse_projection(what || ': this session has temporary types', 'use another session');
  END IF;
  IF bare ~* '\m(references|like)\M' THEN
    PERFORM refuse_projection(what || ': must not hold REFERENCES or LIKE',
      'a read model depends on the log alone');
  END IF;
  FOREACH letter IN ARRAY regexp_split_to_array(bare, '') LOOP
    depth := depth + (letter = '(')::int - (letter = ')')::int;
    EXIT WHEN depth < 0;
  END LOOP;
  IF depth <> 0 THEN
    PERFORM refuse_projection(what || ': the parentheses do not match');
  END IF;
END
$$;

-- The definition in one form, everything in it checked.
CREATE FUNCTION moonwake.check_projection(spec jsonb) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  name text := check_name('projection', spec -> 'name');
  what text := format('projection ''%s''', name);
  form text := spec ->> 'form';
  keys jsonb := '[]';
  columns jsonb := '[]';
  indexes jsonb := '[]';
  tables jsonb := '[]';
  known text[];
  wanted jsonb;
BEGIN
  IF coalesce(spec ->> 'version', '') !~ '^[1-9][0-9]{0,8}$' THEN
    PERFORM refuse_projection(what || ': version: is not a positive whole number');
  END IF;
  IF form IS NULL OR form NOT IN ('columns', 'document', 'sql') THEN
    PERFORM refuse_projection(what || ': form: is not columns, document or sql');
  END IF;
  IF form = 'sql' THEN
    FOR wanted IN SELECT jsonb_array_elements(json_list(spec -> 'tables')) LOOP
      PERFORM check_name(what || ': table', wanted -> 'name');
      PERFORM check_body(format('%s: table ''%s''', what, wanted ->> 'name'), wanted ->> 'body');
      tables := tables || jsonb_build_object('name', wanted -> 'name', 'body', wanted -> 'body');
    END LOOP;
    RETURN jsonb_build_object('name', name, 'version', (spec ->> 'version')::int, 'form', form, 'tables', tables);
  END IF;

  FOR wanted IN SELECT jsonb_array_elements(json_list(spec -> 'key')) LOOP
    keys := keys || check_column(name, wanted, true);
  END LOOP;
  IF jsonb_array_length(keys) NOT BETWEEN 1 AND 16 THEN
    PERFORM refuse_projection(what || ': key: has no column, or more than 16');
  END IF;
  IF form = 'columns' THEN
    FOR wanted IN SELECT jsonb_array_elements(json_list(spec -> 'columns')) LOOP
      columns := columns || check_column(name, wanted, false);
    END LOOP;
  END IF;
  known := ARRAY(SELECT c ->> 'name' FROM jsonb_array_elements(keys || columns) c);
  IF cardinality(known) > 1000 OR cardinality(known) <> (SELECT count(DISTINCT k) FROM unnest(known) k) THEN
    PERFORM refuse_projection(what || ': columns: a name occurs twice, or there are more than 1000');
  END IF;
  FOR wanted IN SELECT jsonb_array_elements(json_list(spec -> 'indexes')) LOOP
    IF jsonb_typeof(wanted) = 'string' THEN
      wanted := jsonb_build_array(wanted);
    END IF;
    IF jsonb_typeof(wanted) <> 'array' OR jsonb_array_length(wanted) NOT BETWEEN 1 AND 32
      OR NOT known || ARRAY['position', 'updated_at'] @> ARRAY(SELECT jsonb_array_elements_text(wanted)) THEN
      PERFORM refuse_projection(format('%s: indexes: %s does not name columns of it', what, left(wanted::text, 200)));
    END IF;
    indexes := indexes || jsonb_build_array(wanted);
  END LOOP;
  RETURN jsonb_build_object('name', name, 'version', (spec ->> 'version')::int, 'form', form, 'key', keys,
    'columns', columns, 'indexes', indexes);
END
$$;


-- The columns of a projection's table in order; `value` reads one back, `input` is its type in a JSON record.
CREATE FUNCTION moonwake.projection_columns(spec jsonb)
  RETURNS TABLE (n bigint, name text, type text, is_key boolean, definition text, value text, input text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
  SELECT c.n, c.c ->> 'name', c.c ->> 'type', c.is_key,
    format('%I %s%s%s', c.c ->> 'name', c.c ->> 'type',
      CASE WHEN c.is_key OR (c.c -> 'not_null') = 'true' THEN ' NOT NULL' ELSE '' END,
      coalesce(' DEFAULT ' || column_default(c.c ->> 'type', c.c -> 'default'), '')),
    CASE c.c ->> 'type' WHEN 'timestamptz' THEN format('extract(epoch FROM t.%I)', c.c ->> 'name')
      ELSE format('t.%I', c.c ->> 'name') END,
    CASE c.c ->> 'type' WHEN 'timestamptz' THEN 'text' ELSE c.c ->> 'type' END
  FROM (
    SELECT c, true AS is_key, n FROM jsonb_array_elements(spec -> 'key') WITH ORDINALITY k (c, n)
    UNION ALL
    SELECT c, false, 100 + n FROM jsonb_array_elements(spec -> 'columns') WITH ORDINALITY k (c, n)
    UNION ALL
    SELECT '{"name": "state", "type": "jsonb", "not_null": true}', false, 2000 WHERE spec ->> 'form' = 'document'
    UNION ALL
    SELECT '{"name": "position", "type": "bigint", "not_null": true}', false, 2001
    UNION ALL
    SELECT '{"name": "updated_at", "type": "timestamptz", "not_null": true}', false, 2002
  ) c
$$;

CREATE FUNCTION moonwake.projection_statements(spec jsonb, OUT load_sql text, OUT upsert_sql text, OUT delete_sql text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  target text := format('%I.%I', own_schema(), spec ->> 'name');
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
COMMENT ON FUNCTION moonwake.projection_statements(jsonb) IS
  'What the daemon runs on a projection''s table, each with one JSON text parameter: load_sql and delete_sql take '
  '[{"n": 0, key columns}], load_sql answers (n, state as JSON text); upsert_sql takes whole rows';


-- ':' occurs in no name that a definition can have, so an index never stands in the way of a table
CREATE FUNCTION moonwake.projection_index_name(projection text, columns jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN left(projection, 25) || ':' || left(translate(columns::text, '[]" ', ''), 25) || ':'
    || left(md5(projection || columns::text), 8);

CREATE FUNCTION moonwake.create_projection_tables(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  target text := format('%I.%I', own_schema(), spec ->> 'name');
  wanted jsonb;
BEGIN
  IF spec ->> 'form' = 'sql' THEN
    FOR wanted IN SELECT jsonb_array_elements(spec -> 'tables') LOOP
      PERFORM create_sql_table(spec ->> 'name', wanted);
    END LOOP;
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_class WHERE relnamespace = own_schema()::text::regnamespace AND relname = spec ->> 'name')
    OR EXISTS (SELECT FROM pg_type WHERE typnamespace = own_schema()::text::regnamespace AND typname = spec ->> 'name')
    OR spec ->> 'name' ~ '^events_[0-9]+$' OR spec ->> 'name' IN ('event_cursors', 'consumer_groups', 'snapshots',
      'alerts', 'timers', 'outbox', 'dead_letters', 'seals', 'migrations') THEN
    PERFORM refuse_projection(format('projection ''%s'': the table %s is not its own', spec ->> 'name', target),
      'give the projection another name');
  END IF;
  EXECUTE format('CREATE TABLE %s (%s, CONSTRAINT %I PRIMARY KEY (%s)) WITH (fillfactor = 70)', target,
    (SELECT string_agg(c.definition, ', ' ORDER BY c.n) FROM projection_columns(spec) c),
    projection_index_name(spec ->> 'name', '["key"]'),
    (SELECT string_agg(format('%I', c.name), ', ' ORDER BY c.n) FROM projection_columns(spec) c WHERE c.is_key));
  EXECUTE format('COMMENT ON TABLE %s IS %L', target, format('projection %s, version %s',
    spec ->> 'name', spec ->> 'version'));
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO moonwake_run', target);
  EXECUTE format('GRANT SELECT ON %s TO moonwake_read', target);
  PERFORM create_projection_indexes(spec ->> 'name', spec -> 'indexes');
END
$$;

CREATE FUNCTION moonwake.create_projection_indexes(projection text, indexes jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  wanted jsonb;
BEGIN
  FOR wanted IN SELECT jsonb_array_elements(indexes) LOOP
    EXECUTE format('CREATE INDEX %I ON %I.%I (%s)',
      projection_index_name(projection, wanted), own_schema(), projection,
      (SELECT string_agg(format('%I', c), ', ' ORDER BY n)
        FROM jsonb_array_elements_text(wanted) WITH ORDINALITY u (c, n)));
  END LOOP;
END
$$;

-- The table is empty: defaults, checks and generated columns are evaluated later, with the rights of whoever inserts,
-- but for what check_body has seen to.
CREATE FUNCTION moonwake.create_sql_table(projection text, wanted jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake_tables, pg_temp
  AS $$
BEGIN
  EXECUTE format('CREATE TABLE moonwake_tables.%I (%s)', wanted ->> 'name', wanted ->> 'body');
  EXECUTE format('COMMENT ON TABLE moonwake_tables.%I IS %L', wanted ->> 'name', 'projection ' || projection);
EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_table_definition OR data_exception THEN
  RAISE EXCEPTION 'projection ''%'': table ''%'': %', projection, wanted ->> 'name', SQLERRM
    USING ERRCODE = 'MW006', HINT = 'correct the body of the table, or choose another name';
END
$$;

-- Why the tables of `old` cannot become those of `new` in place, or NULL.
CREATE FUNCTION moonwake.projection_difference(old jsonb, new jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN CASE
    WHEN old -> 'version' <> new -> 'version'
      THEN format('version %s became %s', old ->> 'version', new ->> 'version')
    WHEN old -> 'form' <> new -> 'form' THEN format('form %s became %s', old ->> 'form', new ->> 'form')
    WHEN old -> 'key' <> new -> 'key' THEN 'the key changed'
    ELSE (SELECT string_agg(format('%s ''%s'' was %s', CASE new ->> 'form' WHEN 'sql' THEN 'table' ELSE 'column' END,
        o ->> 'name', CASE WHEN n IS NULL THEN 'removed' ELSE 'changed' END), ', ')
      FROM jsonb_array_elements(coalesce(old -> 'columns', old -> 'tables')) o
      LEFT JOIN jsonb_array_elements(coalesce(new -> 'columns', new -> 'tables')) n
        ON n -> 'name' = o -> 'name'
      WHERE n IS DISTINCT FROM o)
  END;

-- Adds what is new: columns, indexes, tables. Returns what it did, or NULL.
CREATE FUNCTION moonwake.extend_projection(old jsonb, new jsonb) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  target text := format('%I.%I', own_schema(), new ->> 'name');
  done text[] := '{}';
  wanted jsonb;
  col record;
BEGIN
  IF new ->> 'form' = 'sql' THEN
    FOR wanted IN SELECT n FROM jsonb_array_elements(new -> 'tables') n WHERE NOT old -> 'tables' @> jsonb_build_array(n)
    LOOP
      PERFORM create_sql_table(new ->> 'name', wanted);
      done := done || format('table ''%s'' was added', wanted ->> 'name');
    END LOOP;
    RETURN nullif(array_to_string(done, ', '), '');
  END IF;
  FOR col IN SELECT c.* FROM projection_columns(new) c
    WHERE NOT EXISTS (SELECT FROM projection_columns(old) o WHERE o.name = c.name) ORDER BY c.n
  LOOP
    EXECUTE format('ALTER TABLE %s ADD COLUMN %s', target, col.definition);
    done := done || format('column ''%s'' was added', col.name);
  END LOOP;
  FOR wanted IN SELECT o FROM jsonb_array_elements(old -> 'indexes') o WHERE NOT new -> 'indexes' @> jsonb_build_array(o)
  LOOP
    EXECUTE format('DROP INDEX IF EXISTS %I.%I', own_schema(), projection_index_name(new ->> 'name', wanted));
    done := done || format('index %s was dropped', wanted);
  END LOOP;
  FOR wanted IN SELECT n FROM jsonb_array_elements(new -> 'indexes') n WHERE NOT old -> 'indexes' @> jsonb_build_array(n)
  LOOP
    PERFORM create_projection_indexes(new ->> 'name', jsonb_build_array(wanted));
    done := done || format('index %s was added', wanted);
  END LOOP;
  RETURN nullif(array_to_string(done, ', '), '');
END
$$;

CREATE FUNCTION moonwake.drop_projection_tables(spec jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  wanted jsonb;
BEGIN
  IF spec ->> 'form' = 'sql' THEN
    FOR wanted IN SELECT jsonb_array_elements(spec -> 'tables') LOOP
      EXECUTE format('DROP TABLE IF EXISTS moonwake_tables.%I', wanted ->> 'name');
    END LOOP;
  ELSE
    EXECUTE format('DROP TABLE IF EXISTS %I.%I', own_schema(), spec ->> 'name');
  END IF;
END
$$;

CREATE FUNCTION moonwake.projection_ensure(spec jsonb)
  RETURNS TABLE (table_name text, load_sql text, upsert_sql text, delete_sql text, created boolean, rebuild boolean,
    note text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
#variable_conflict use_column
DECLARE
  wanted jsonb := check_projection(spec);
  there state_projections;
BEGIN
  created := false;
  rebuild := false;
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM state_projections p WHERE p.name = wanted ->> 'name';
  IF there.name IS NULL THEN
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
  SELECT s.* INTO load_sql, upsert_sql, delete_sql FROM projection_statements(wanted) s;
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

CREATE FUNCTION moonwake.projection_reset(name text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, moonwake, pg_temp
  AS $$
DECLARE
  there state_projections;
  wanted jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(bell_key(), 4);
  SELECT * INTO there FROM state_projections p WHERE p.name = projection_reset.name;
  IF NOT FOUND THEN
    PERFORM refuse_projection(format('projection ''%s'': there is none', left(projection_reset.name, 100)));
  END IF;
  wanted := coalesce(there.pending, there.spec);
  PERFORM drop_projection_tables(there.spec);
  PERFORM create_projection_tables(wanted);
  UPDATE state_projections p SET version = (wanted ->> 'version')::int, form = wanted ->> 'form', spec = wanted,
    pending = NULL, updated_at = clock_timestamp() WHERE p.name = there.name;
END
$$;
COMMENT ON FUNCTION moonwake.projection_reset(text) IS
  'Drops a projection''s tables and makes them anew, empty, as its last definition says. Rewind its cursor in the same '
  'transaction. Example: SELECT moonwake.projection_reset(''device_summary'')';
COMMENT ON FUNCTION moonwake.refuse_projection(text, text) IS 'Raises MW006: the definition is not valid';
COMMENT ON FUNCTION moonwake.json_list(jsonb) IS 'The array, or an empty one for anything else';
COMMENT ON FUNCTION moonwake.column_default(text, jsonb) IS 'The default of a column as an SQL constant, or NULL';
COMMENT ON FUNCTION moonwake.check_name(text, jsonb) IS 'The name as text, or MW006';
COMMENT ON FUNCTION moonwake.check_column(text, jsonb, boolean) IS 'A column''s definition in one form, or MW006';
COMMENT ON FUNCTION moonwake.check_body(text, text) IS 'MW006 for a table''s body that could leave its parentheses';
COMMENT ON FUNCTION moonwake.check_projection(jsonb) IS 'A definition in one form, or MW006';
COMMENT ON FUNCTION moonwake.projection_columns(jsonb) IS 'The columns of a projection''s table in order';
COMMENT ON FUNCTION moonwake.projection_index_name(text, jsonb) IS 'The name of a projection''s index over some columns';
COMMENT ON FUNCTION moonwake.create_projection_tables(jsonb) IS 'Makes a projection''s tables';
COMMENT ON FUNCTION moonwake.create_projection_indexes(text, jsonb) IS 'Makes indexes of a projection''s table';
COMMENT ON FUNCTION moonwake.create_sql_table(text, jsonb) IS 'Makes one table of a projection that writes SQL itself';
COMMENT ON FUNCTION moonwake.projection_difference(jsonb, jsonb) IS
  'Why the tables of one definition cannot become those of another in place, or NULL';
COMMENT ON FUNCTION moonwake.extend_projection(jsonb, jsonb) IS 'Adds new columns, indexes and tables; returns what it did';
COMMENT ON FUNCTION moonwake.drop_projection_tables(jsonb) IS 'Drops a projection''s tables';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA moonwake FROM PUBLIC;
GRANT SELECT ON moonwake.state_projections TO moonwake_run, moonwake_read;
GRANT EXECUTE ON FUNCTION moonwake.projection_ensure(jsonb), moonwake.projection_reset(text),
  moonwake.epoch_or_iso(text) TO moonwake_run;
RESET ROLE;
