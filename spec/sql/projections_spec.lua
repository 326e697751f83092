local pg = require "spec.support.pg"

local ID, KEY = "c0ffee00-0000-4000-8000-00000000000a", '[{"name": "device_uuid", "type": "text"}]'

describe("projection_ensure", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function sql(text, user)
    return server:psql(text, { db = db, user = user })
  end

  local function spec(more, name)
    return ('{"name": "%s", "version": 1, "form": "columns", "key": %s%s}'):format(name or "summary", KEY,
      more and ", " .. more or "")
  end

  local function call(definition, columns)
    return ("SELECT %s FROM moonwake.projection_ensure($moon$%s$moon$)"):format(columns or "*", definition)
  end

  --- table_name, created, rebuild, note
  local function ensure(definition)
    return sql(call(definition, "table_name, created, rebuild, note"), "moonwake_run")
  end

  local function statements(definition)
    local row = server:query(call(definition, "load_sql, upsert_sql, delete_sql"), { db = db, user = "moonwake_run" })[1]
    return { load = row[1], upsert = row[2], delete = row[3] }
  end

  --- Prepares a statement as the daemon's login does and runs it with one JSON text.
  local function run(statement, json)
    return sql(("PREPARE s (text) AS %s; EXECUTE s ($moon$%s$moon$)"):format(statement, json), "moonwake_run")
  end

  local COLUMNS = [["columns": [{"name": "crashes", "type": "bigint", "default": 0}, {"name": "online", "type": "boolean"},
    {"name": "last_seen", "type": "timestamptz"}, {"name": "tags", "type": "jsonb", "default": []},
    {"name": "load", "type": "double precision"}, {"name": "price", "type": "numeric", "default": 1.50},
    {"name": "day", "type": "date"}, {"name": "label", "type": "text", "default": "it's; \"new\" -- $1", "not_null": true},
    {"name": "owner", "type": "uuid"}, {"name": "small", "type": "smallint"}, {"name": "whole", "type": "int"}] ]]

  it("makes the table that was asked for", function()
    assert.equal("moonwake.summary|t|f|", ensure(spec(COLUMNS .. ', "indexes": ["last_seen", ["online", "crashes"]]')))

    assert.equal([[device_uuid text NOT NULL
crashes bigint DEFAULT '0'::bigint
online boolean
last_seen timestamp with time zone
tags jsonb DEFAULT '[]'::jsonb
load double precision
price numeric DEFAULT 1.50
day date
label text NOT NULL DEFAULT 'it''s; "new" -- $1'::text
owner uuid
small smallint
whole integer
position bigint NOT NULL
updated_at timestamp with time zone NOT NULL]], sql([[SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod),
      CASE WHEN attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(adbin, adrelid))
      FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
      WHERE attrelid = 'moonwake.summary'::regclass AND attnum > 0 ORDER BY attnum]]))
    assert.equal("(device_uuid)\n(last_seen)\n(online, crashes)", sql([[SELECT substring(indexdef FROM '\(.*\)$')
      FROM pg_indexes WHERE tablename = 'summary' ORDER BY 1]]))
    assert.equal("moonwake_owner|t|f|t", sql([[SELECT relowner::regrole, has_table_privilege('moonwake_read', oid, 'SELECT'),
      has_table_privilege('moonwake_read', oid, 'INSERT'), has_table_privilege('moonwake_run', oid, 'INSERT,UPDATE,DELETE')
      FROM pg_class WHERE oid = 'moonwake.summary'::regclass]]))
  end)

  it("does nothing the second time, whatever the order of the words", function()
    ensure(spec(COLUMNS))

    assert.equal("moonwake.summary|f|f|", ensure(spec(COLUMNS)))
    assert.equal("moonwake.summary|f|f|", ensure([[{"key": [{"type": "TEXT", "name": "device_uuid"}], "indexes": {}, ]]
      .. COLUMNS .. [[, "form": "columns", "version": 1, "name": "summary"}]]))
  end)

  it("writes, reads and deletes rows by its statements", function()
    local s = statements(spec(COLUMNS))

    run(s.upsert, ([[ [{"device_uuid": "d1", "crashes": 9007199254740993, "online": true, "last_seen": 1580702706.789012,
      "tags": {"b": [], "a": null}, "load": 0.1, "price": 12345678901234567890.10, "day": "2020-02-03", "label": "x",
      "owner": "%s", "small": -3, "whole": 4, "position": 17, "updated_at": 1580702706.789012},
      {"device_uuid": "d2", "crashes": null, "label": "y", "position": 18, "updated_at": "2020-02-03T04:05:06Z"}] ]]):format(ID))

    assert.same({
      { "0", '{"device_uuid":"d1","crashes":9007199254740993,"online":true,"last_seen":1580702706.789012,'
        .. '"tags":{"a": null, "b": []},"load":0.1,"price":12345678901234567890.10,"day":"2020-02-03","label":"x",'
        .. '"owner":"' .. ID .. '","small":-3,"whole":4}' },
      { "7", '{"device_uuid":"d2","crashes":null,"online":null,"last_seen":null,"tags":null,"load":null,"price":null,'
        .. '"day":null,"label":"y","owner":null,"small":null,"whole":null}' },
    }, server:query(("PREPARE s (text) AS %s ORDER BY 1; EXECUTE s ($moon$%s$moon$)"):format(s.load,
      '[{"n": 7, "device_uuid": "d2"}, {"n": 0, "device_uuid": "d1"}, {"n": 3, "device_uuid": "none"}]'), { db = db }))
    assert.equal("17|1580702706.789012\n18|1580702706.000000",
      sql("SELECT position, extract(epoch FROM updated_at) FROM moonwake.summary ORDER BY 1"))

    run(s.upsert, '[{"device_uuid": "d1", "crashes": 1, "label": "z", "position": 19, "updated_at": 1}]')
    assert.equal("1||z|19", sql("SELECT crashes, online, label, position FROM moonwake.summary WHERE device_uuid = 'd1'"))

    run(s.delete, '[{"n": 0, "device_uuid": "d1"}, {"n": 1, "device_uuid": "none"}]')
    assert.equal("d2", sql("SELECT device_uuid FROM moonwake.summary"))
  end)

  it("gives back the states that it was given, for a document", function()
    local s = statements([[{"name": "state", "version": 1, "form": "document", "key": [{"name": "key", "type": "text"}]}]])
    local state = [[{"a": [], "b": {}, "c": null, "d": 12345678901234567890.10, "é": "\"\\\n"}]]

    run(s.upsert, ('[{"key": "k", "state": %s, "position": 1, "updated_at": 1}]'):format(state))

    assert.equal("0|" .. state, run(s.load, '[{"n": 0, "key": "k"}]'))
    run(s.delete, '[{"n": 0, "key": "k"}]')
    assert.equal("", run(s.load, '[{"n": 0, "key": "k"}]'))
  end)

  it("takes a key of several columns and types", function()
    local definition = [[{"name": "by_day", "version": 1, "form": "columns", "columns": [{"name": "n2", "type": "integer"}],
      "key": [{"name": "day", "type": "date"}, {"name": "user", "type": "bigint"}, {"name": "at", "type": "timestamptz"}]}]]
    local s = statements(definition)
    local key = '"day": "2020-02-03", "user": 7, "at": 1580702706.5'

    run(s.upsert, ('[{%s, "n2": 5, "position": 1, "updated_at": 1}]'):format(key))

    assert.equal('4|{"day":"2020-02-03","user":7,"at":1580702706.500000,"n2":5}', run(s.load, ('[{"n": 4, %s}]'):format(key)))
    run(s.delete, ('[{"n": 0, %s}]'):format(key))
    assert.equal("0", sql("SELECT count(*) FROM moonwake.by_day"))
  end)

  it("finds rows by the primary key, however many there are", function()
    local s = statements(spec())
    sql("INSERT INTO moonwake.summary SELECT i::text, 1, now() FROM generate_series(1, 50000) i; ANALYZE moonwake.summary")

    for _, statement in ipairs { s.load, s.delete } do
      local plan = sql(("SET plan_cache_mode = force_generic_plan; PREPARE s (text) AS %s; EXPLAIN EXECUTE s ('[]')"):format(
        statement), "moonwake_run")
      assert.matches("Nested Loop", plan)
      assert.matches("Index [%a ]*Scan using \"summary:key:", plan)
    end
  end)

  it("refuses a value that its column cannot hold", function()
    local s = statements(spec(COLUMNS))

    local ok, err = pcall(run, s.upsert, '[{"device_uuid": "d", "crashes": "many", "label": "x", "position": 1, "updated_at": 1}]')

    assert.is_false(ok)
    assert.matches('invalid input syntax for type bigint: "many"', err)
  end)

  it("adds columns and indexes to a table with rows, and drops an index", function()
    ensure(spec '"indexes": [["position"]]')
    run(statements(spec()).upsert, '[{"device_uuid": "d", "position": 1, "updated_at": 1}]')

    assert.equal("moonwake.summary|f|f|column 'crashes' was added, column 'note' was added, index [\"crashes\"] was added",
      ensure(spec [=["columns": [{"name": "crashes", "type": "bigint", "default": 7, "not_null": true},
        {"name": "note", "type": "text"}], "indexes": [["crashes"]]]=]))

    assert.equal("7|", sql("SELECT crashes, note FROM moonwake.summary"))
    assert.equal("(crashes)\n(device_uuid)",
      sql([[SELECT substring(indexdef FROM '\(.*\)$') FROM pg_indexes WHERE tablename = 'summary' ORDER BY 1]]))
  end)

  describe("when a definition asks for other tables", function()
    local BASE = [["columns": [{"name": "a", "type": "bigint", "default": 0}, {"name": "b", "type": "text"}] ]]

    for what, change in pairs {
      ["version 1 became 2"] = '{"name": "summary", "version": 2, "form": "columns", "key": ' .. KEY .. ", " .. BASE .. "}",
      ["form columns became document"] = '{"name": "summary", "version": 1, "form": "document", "key": ' .. KEY .. "}",
      ["the key changed"] = '{"name": "summary", "version": 1, "form": "columns", "key": [{"name": "x", "type": "text"}], ' .. BASE .. "}",
      ["column 'b' was removed"] = spec '"columns": [{"name": "a", "type": "bigint", "default": 0}]',
      ["column 'a' was changed"] = spec '"columns": [{"name": "a", "type": "text", "default": 0}, {"name": "b", "type": "text"}]',
      ["column 'a' was changed, column 'b' was removed"] = spec '"columns": [{"name": "a", "type": "bigint", "default": 1}]',
      ["a NOT NULL column without a default was added"] = spec([["columns": [{"name": "a", "type": "bigint", "default": 0},
        {"name": "b", "type": "text"}, {"name": "c", "type": "text", "not_null": true}] ]]),
    } do
      it("says why and changes nothing until it is reset: " .. what, function()
        ensure(spec(BASE))
        run(statements(spec(BASE)).upsert, '[{"device_uuid": "d", "a": 5, "position": 1, "updated_at": 1}]')

        assert.equal("moonwake.summary|f|t|" .. what, ensure(change))
        assert.equal("moonwake.summary|f|t|" .. what, ensure(change))
        assert.equal("d|5|", sql("SELECT device_uuid, a, b FROM moonwake.summary"))

        sql("SELECT moonwake.projection_reset('summary')", "moonwake_run")
        assert.equal("0", sql("SELECT count(*) FROM moonwake.summary"))
        assert.equal("moonwake.summary|f|f|", ensure(change))
      end)
    end

    it("forgets it when the definition is put back", function()
      ensure(spec(BASE))
      ensure(spec())

      assert.equal("moonwake.summary|f|f|", ensure(spec(BASE)))
      sql("SELECT moonwake.projection_reset('summary')", "moonwake_run")
      assert.equal("3", sql("SELECT count(*) FROM information_schema.columns WHERE table_name = 'summary' AND column_name IN ('a', 'b', 'position')"))
    end)

    it("resets in one transaction, so that readers never see no table", function()
      ensure(spec(BASE))
      local resetting = server:session { db = db, user = "moonwake_run" }
      finally(function() resetting:close() end)
      resetting:run("BEGIN; SELECT moonwake.projection_reset('summary'); ROLLBACK")

      assert.equal("0", sql("SELECT count(*) FROM moonwake.summary"))
    end)
  end)

  it("makes one table when two daemons start at once", function()
    local first, second = server:session { db = db, user = "moonwake_run" }, server:session { db = db, user = "moonwake_run" }
    finally(function() first:close() second:close() end)
    assert.equal("t", first:run("BEGIN; " .. call(spec(), "created")))
    second:send(call(spec(), "created"))

    first:run("COMMIT")

    assert.equal("f", second:read())
  end)

  it("refuses names that are not its own to take", function()
    for _, name in ipairs { "events", "streams", "settings", "seals", "state_projections", "event_cursors", "dead_letters",
      "outbox", "migrations", "events_id_seq", "events_pkey", "event_input", "events_20310304", "snapshots" } do
      local state, message = server:failure(call(spec(nil, name)), { db = db })
      assert.equal("MW006", state, name)
      assert.matches("projection '" .. name .. "': the table moonwake." .. name .. " is not its own", message)
    end
  end)

  it("refuses definitions that are wrong or hostile, and names the place", function()
    local cases = {
      { spec(nil, "Summary"), 'projection: "Summary" is not a name' },
      { spec(nil, "x\\\"; DROP TABLE moonwake.events; --"), "is not a name" },
      { spec(nil, ("x"):rep(64)), "is not a name" },
      { spec(nil, ""), "is not a name" },
      { "{}", "projection: nothing is not a name" },
      { '{"name": "a", "version": 0, "form": "columns"}', "projection 'a': version: is not a positive whole number" },
      { '{"name": "a", "version": 1, "form": "table"}', "projection 'a': form: is not columns, document or sql" },
      { '{"name": "a", "version": 1, "form": "document"}', "projection 'a': key: has no column" },
      { '{"name": "a", "version": 1, "form": "document", "key": [{"name": "k", "type": "jsonb"}]}', "jsonb is no type for a key" },
      { '{"name": "a", "version": 1, "form": "document", "key": [{"name": "n", "type": "text"}]}', "column 'n': this name is taken" },
      { spec '"columns": [{"name": "a; DROP TABLE x", "type": "text"}]', "column: \"a; DROP TABLE x\" is not a name" },
      { spec '"columns": [{"name": "a", "type": "text; DROP TABLE x"}]', "column 'a': text; DROP TABLE x is no type for a column" },
      { spec '"columns": [{"name": "a", "type": "serial"}]', "serial is no type" },
      { spec '"columns": [{"name": "position", "type": "bigint"}]', "column 'position': this name is taken" },
      { spec '"columns": [{"name": "xmin", "type": "bigint"}]', "column 'xmin': this name is taken" },
      { spec '"columns": [{"name": "device_uuid", "type": "text"}]', "a name occurs twice" },
      { spec '"columns": [{"name": "a", "type": "bigint", "default": "none"}]', "column 'a': the default \"none\" is no bigint" },
      { spec '"columns": [{"name": "a", "type": "bigint", "default": "1); DROP TABLE x"}]', "is no bigint" },
      { spec '"columns": [{"name": "a", "type": "timestamptz", "default": "now"}]', "is no timestamptz" },
      { spec '"indexes": [["nothing"]]', "indexes: %[\"nothing\"%] does not name columns of it" },
      { spec '"indexes": [[]]', "does not name columns" },
    }
    for _, case in ipairs(cases) do
      local state, message = server:failure(call(case[1]), { db = db, user = "moonwake_run" })
      assert.equal("MW006", state, case[1])
      assert.matches(case[2], message)
    end
    assert.equal("MW006", (server:failure("SELECT moonwake.projection_reset('nothing')", { db = db })))
  end)

  it("lets columns be called what SQL calls other things", function()
    local definition = spec [=["columns": [{"name": "select", "type": "text"}, {"name": "table", "type": "bigint"},
      {"name": "t", "type": "text"}, {"name": "k", "type": "text"}, {"name": "r", "type": "text"}, {"name": "s", "type": "text"},
      {"name": "n", "type": "text"}, {"name": "state", "type": "text"}, {"name": "excluded", "type": "text"}],
      "indexes": [["select", "table"]]]=]
    local s = statements(definition)

    run(s.upsert, [[ [{"device_uuid": "d", "select": "1", "table": 2, "t": "3", "k": "4", "r": "5", "s": "6", "n": "7", "state": "8",
      "excluded": "9", "position": 1, "updated_at": 1}] ]])
    run(s.upsert, [[ [{"device_uuid": "d", "select": "x", "table": 2, "t": "3", "k": "4", "r": "5", "s": "6", "n": "7", "state": "8",
      "excluded": "9", "position": 1, "updated_at": 1}] ]])

    assert.equal('0|{"device_uuid":"d","select":"x","table":2,"t":"3","k":"4","r":"5","s":"6","n":"7","state":"8","excluded":"9"}',
      run(s.load, '[{"n": 0, "device_uuid": "d"}]'))
  end)

  it("takes as many columns as a wide table has", function()
    local columns = {}
    for i = 1, 300 do
      columns[i] = ('{"name": "c%d", "type": "integer", "default": %d}'):format(i, i)
    end
    local s = statements(spec('"columns": [' .. table.concat(columns, ",") .. "]"))

    run(s.upsert, '[{"device_uuid": "d", "c300": 5, "position": 1, "updated_at": 1}]')

    assert.matches('"c300":5}$', run(s.load, '[{"n": 0, "device_uuid": "d"}]'))
  end)

  describe("with sql = true", function()
    local function tables(list, version)
      local parts = {}
      for name, body in pairs(list) do
        parts[#parts + 1] = ('{"name": "%s", "body": "%s"}'):format(name, body)
      end
      table.sort(parts)
      return ('{"name": "orders", "version": %d, "form": "sql", "tables": [%s]}'):format(version or 1, table.concat(parts, ","))
    end

    it("makes its tables in a schema of their own, to be written by the daemon and read by readers", function()
      local definition = tables { orders_by_day = "day date primary key, cents bigint NOT NULL DEFAULT 0, CHECK (cents >= 0)",
        seen = "id bigint GENERATED BY DEFAULT AS IDENTITY, word text DEFAULT 'a;b)'" }

      assert.equal("|t|f|", ensure(definition))
      assert.equal("|||", sql(call(definition, "table_name, load_sql, upsert_sql, delete_sql"), "moonwake_run"))
      sql("INSERT INTO moonwake_tables.orders_by_day (day) VALUES ('2020-01-01'); INSERT INTO moonwake_tables.seen DEFAULT VALUES",
        "moonwake_run")
      assert.equal("moonwake_owner|t|f", sql([[SELECT relowner::regrole, has_table_privilege('moonwake_read', oid, 'SELECT'),
        has_table_privilege('moonwake_read', oid, 'INSERT') FROM pg_class WHERE oid = 'moonwake_tables.seen'::regclass]]))
    end)

    it("adds a table, and asks for a rebuild when one was changed or removed", function()
      ensure(tables { a = "x int" })

      assert.equal("|f|f|table 'b' was added", ensure(tables { a = "x int", b = "x int" }))
      assert.equal("|f|t|table 'a' was changed, table 'b' was removed", ensure(tables { a = "x int, y int" }))
      sql("SELECT moonwake.projection_reset('orders')", "moonwake_run")
      assert.equal("a", sql("SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'moonwake_tables'::regnamespace AND relkind = 'r'"))
    end)

    it("refuses another projection's table and bodies that PostgreSQL refuses, with its words", function()
      ensure(tables { a = "x int" })

      local state, message = server:failure(call('{"name": "thief", "version": 1, "form": "sql", "tables": [{"name": "a", "body": "x int"}]}'),
        { db = db })
      assert.equal("MW006", state)
      assert.matches("projection 'thief': table 'a': relation \"a\" already exists", message)
      state, message = server:failure(call('{"name": "other", "version": 1, "form": "sql", "tables": [{"name": "b", "body": "x money_bag"}]}'),
        { db = db })
      assert.equal("MW006", state)
      assert.matches("table 'b': type \"money_bag\" does not exist", message)
    end)

    it("evaluates nothing of a body with the rights of the tables' owner", function()
      sql([[CREATE SCHEMA playground; GRANT ALL ON SCHEMA playground TO moonwake_run]])
      local evil = [[CREATE FUNCTION %s.who() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
        IF current_user = 'moonwake_owner' THEN RAISE 'ran as the owner'; END IF; RETURN current_user; END $$;]]
      local function refused(prepare, body)
        local state, message = server:failure(prepare .. call(tables { spy = body }), { db = db, user = "moonwake_run" })
        assert.equal("MW006", state)
        return message
      end

      for _, body in ipairs { "w text GENERATED ALWAYS AS (playground.who()) STORED", "w int, CHECK (playground . who() <> 'x')",
        "w text DEFAULT pg_temp.who()", "w int, EXCLUDE USING btree ((playground.who()) WITH OPERATOR(playground.=))" } do
        assert.matches("must not name anything with a schema", refused("", body))
      end
      assert.matches("this session has temporary types", refused(evil:format("pg_temp")
        .. "CREATE DOMAIN pg_temp.trap AS int CHECK (pg_temp.who() <> 'x');", "w trap GENERATED ALWAYS AS (1::trap) STORED"))
      assert.equal("|t|f|", ensure(tables { spy = "x numeric(4, 2) DEFAULT 1.5, y int GENERATED ALWAYS AS (length('a.b')) STORED" }))
    end)
  end)
end)
