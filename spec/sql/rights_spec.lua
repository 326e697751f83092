local pg = require "spec.support.pg"

local PUBLISH = "SELECT * FROM moonwake.publish_event('a', 'b', 'c')"
local ROLES = { "moonwake_run", "moonwake_publish", "moonwake_read" }

describe("rights", function()
  local server = pg.shared()
  local db

  setup(function()
    db = server:fresh()
    server:psql("ALTER ROLE moonwake_publish LOGIN; ALTER ROLE moonwake_read LOGIN; ALTER ROLE moonwake_owner LOGIN")
    server:psql(PUBLISH, { db = db })
  end)
  teardown(function()
    server:psql("ALTER ROLE moonwake_publish NOLOGIN; ALTER ROLE moonwake_read NOLOGIN; ALTER ROLE moonwake_owner NOLOGIN")
  end)

  local function may(role, sql)
    local out, err = server:psql(sql, { db = db, user = role, fail_ok = true })
    if not out then
      assert.matches("permission denied", err)
    end
    return out ~= nil
  end

  local function who_may(sql)
    local list = {}
    for _, role in ipairs(ROLES) do
      list[#list + 1] = may(role, sql) and role or nil
    end
    return table.concat(list, " ")
  end

  local function leaf()
    return "moonwake." .. server:psql("SELECT 'events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
  end

  it("to append belong to publishers and the daemon", function()
    assert.equal("moonwake_run moonwake_publish", who_may(PUBLISH))
    assert.equal("moonwake_run moonwake_publish", who_may(
      [[SELECT * FROM moonwake.publish_events('[{"event_type": "a", "aggregate_type": "b", "aggregate_id": "c"}]')]]))
  end)

  it("to read belong to readers and the daemon", function()
    for _, sql in ipairs {
      "SELECT * FROM moonwake.events", "SELECT * FROM " .. leaf(), "SELECT * FROM moonwake.streams",
      "SELECT * FROM moonwake.event_ids", "SELECT * FROM moonwake.event_types", "SELECT * FROM moonwake.settings",
      "SELECT * FROM moonwake.state_projections", "SELECT * FROM moonwake.seals",
      "SELECT * FROM moonwake.read_events(0)", "SELECT * FROM moonwake.get_aggregate_events('b', 'c')",
      "SELECT * FROM moonwake.get_event_chain('x')", "SELECT * FROM moonwake.get_event_stats()",
      "SELECT moonwake.log_head()", "SELECT * FROM moonwake.log_writers()", "SELECT * FROM moonwake.verify_seals()",
    } do
      assert.equal("moonwake_run moonwake_read", who_may(sql), sql)
    end
  end)

  it("to keep house belong to the daemon", function()
    for _, sql in ipairs {
      "SELECT moonwake.raise_floor()", "SELECT moonwake.ensure_events_partitions()",
      "SELECT moonwake.create_events_partition('2001-01-01')", "SELECT moonwake.seal_events(0)",
      "SELECT moonwake.register_event_type('x.y')",
      [[SELECT moonwake.projection_ensure('{"name": "mine", "version": 1, "form": "document",
        "key": [{"name": "key", "type": "text"}]}')]], "SELECT moonwake.projection_reset('mine')",
    } do
      assert.equal("moonwake_run", who_may(sql), sql)
    end
  end)

  it("to write past the functions belong to nobody", function()
    local day = leaf()
    for _, sql in ipairs {
      "INSERT INTO moonwake.events (occurred_at, version, event_type, aggregate_type, aggregate_id) VALUES (now(), 1, 'a', 'b', 'c')",
      ("INSERT INTO %s (occurred_at, version, event_type, aggregate_type, aggregate_id) VALUES (now(), 1, 'a', 'b', 'c')"):format(day),
      "UPDATE moonwake.events SET data = '{}'", "DELETE FROM moonwake.events", "TRUNCATE moonwake.events",
      "UPDATE " .. day .. " SET data = '{}'", "DELETE FROM " .. day, "TRUNCATE " .. day, "DROP TABLE " .. day,
      "ALTER TABLE moonwake.events DISABLE TRIGGER ALL",
      "UPDATE moonwake.streams SET version = 9", "DELETE FROM moonwake.event_ids", "DELETE FROM moonwake.seals",
      "INSERT INTO moonwake.event_types (name) VALUES ('x')", "UPDATE moonwake.settings SET value = 'closed'",
      "UPDATE moonwake.state_projections SET version = 2",
      "SELECT nextval('moonwake.events_id_seq')", "SELECT setval('moonwake.events_id_seq', 1)",
      "SELECT setval('moonwake.log_floor', 1)", "CREATE TABLE moonwake.mine2 (x int)",
      "CREATE TABLE moonwake_tables.mine2 (x int)", "SELECT moonwake.split_batch('{}', '{}')",
      "SELECT moonwake.create_sql_table('x', '{}')", "SELECT moonwake.top_up_partitions()",
    } do
      local out, err
      for _, role in ipairs(ROLES) do
        out, err = server:psql(sql, { db = db, user = role, fail_ok = true })
        assert.is_nil(out, role .. ": " .. sql)
        assert.truthy(err:find("permission denied", 1, true) or err:find("must be owner", 1, true), role .. ": " .. err)
      end
    end
  end)

  it("do not let even the owner alter the log", function()
    local day = leaf()
    for _, sql in ipairs {
      "UPDATE moonwake.events SET data = '{}'", "DELETE FROM moonwake.events", "TRUNCATE moonwake.events",
      "UPDATE " .. day .. " SET data = '{}'", "DELETE FROM " .. day, "TRUNCATE " .. day,
    } do
      local state, message = server:failure(sql, { db = db, user = "moonwake_owner" })
      assert.equal("MW010", state, sql)
      assert.matches("the log is append%-only, %u+ is refused", message)
    end
  end)

  it("are not fooled by temporary tables and functions of a publisher", function()
    local before = server:psql("SELECT version FROM moonwake.streams WHERE aggregate_id = 'c'", { db = db })

    local out = server:psql([[
      CREATE TEMP TABLE streams (aggregate_type text, aggregate_id text, version bigint,
        CONSTRAINT streams_pkey PRIMARY KEY (aggregate_type, aggregate_id));
      CREATE TEMP TABLE events (LIKE pg_class);
      CREATE TEMP TABLE event_ids (id bigint, version bigint, event_id uuid PRIMARY KEY, digest bytea);
      CREATE TEMP TABLE settings (name text, value text);
      CREATE TEMP TABLE log_floor (last_value bigint);
      CREATE TEMP SEQUENCE events_id_seq START 4711;
      CREATE FUNCTION pg_temp.event_problem(text, text, text, jsonb, jsonb, int, text, text, text, text, text, text,
        timestamptz, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'fooled'; END $$;
      CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2001-01-01' $$;
      SET search_path = pg_temp, moonwake, pg_catalog;
      SELECT version FROM moonwake.publish_event('a', 'b', 'c', event_id => '00000000-0000-4000-8000-00000000000c');
      SELECT count(*) FROM pg_temp.streams;
      SELECT last_value FROM pg_temp.events_id_seq]], { db = db, user = "moonwake_publish" })

    assert.equal(("%d\n0\n4711"):format(before + 1), out)
    assert.equal("t", server:psql(
      [[SELECT "timestamp" > now() - interval '1 minute' FROM moonwake.events ORDER BY id DESC LIMIT 1]], { db = db }))
  end)

  it("do not let a body of a table break out of its parentheses", function()
    for _, body in ipairs {
      "x int); DROP TABLE moonwake.events; --", "x int) INHERITS (moonwake.events", "x text DEFAULT E'\\'' , y int",
      "x int, y text DEFAULT 'a", "x int /* ", "x int -- ", "x int DEFAULT $$1$$", "", "   ",
      "LIKE moonwake.events", "id bigint REFERENCES moonwake.streams", "x int))", ") AS SELECT (1",
    } do
      local state, message = server:failure(("SELECT moonwake.projection_ensure(%s)"):format(
        "jsonb_build_object('name', 'h', 'version', 1, 'form', 'sql', 'tables', jsonb_build_array(jsonb_build_object("
        .. "'name', 'h', 'body', $moon$" .. body .. "$moon$)))"), { db = db, user = "moonwake_run" })
      assert.equal("MW006", state, body)
      assert.matches("projection 'h': table 'h'", message)
    end
  end)
end)
