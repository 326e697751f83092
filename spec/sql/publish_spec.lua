local pg = require "spec.support.pg"

local ID = "c0ffee00-0000-4000-8000-000000000001"

describe("publish_event", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function sql(text)
    return server:psql(text, { db = db })
  end

  local function publish(arguments, columns)
    return ("SELECT %s FROM moonwake.publish_event(%s)"):format(columns or "id, version, appended", arguments)
  end

  it("keeps every field that it was given", function()
    sql(publish([['order.paid', 'order', 'o-7', '{"cents": 12}', '{"tenant": {"id": 3}}', ']] .. ID .. [[', 0, 4, 'shop',
      'corr', 'c0ffee00-0000-4000-8000-000000000002', 'user', 'u-1', 'info', 'low', '2020-02-03 04:05:06.789012+00']]))

    assert.same({ { "1", ID, "order.paid", "order", "o-7", "1", "4", '{"cents": 12}', '{"tenant": {"id": 3}}', "shop",
      "corr", "c0ffee00-0000-4000-8000-000000000002", "user", "u-1", "info", "low", "1580702706.789012", "t", "1" } },
      server:query([[SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version, data,
        metadata, source, correlation_id, causation_id, actor_type, actor_id, severity, impact,
        extract(epoch FROM occurred_at), "timestamp" > now() - interval '1 minute', occurrences FROM moonwake.events]],
        { db = db }))
  end)

  it("counts versions per aggregate, and aggregates of two types apart", function()
    assert.equal("1|1|t\n2|2|t\n3|1|t\n4|1|t", sql(table.concat({ publish "'a', 'b', 'x'", publish "'a', 'b', 'x'",
      publish "'a', 'b', 'y'", publish "'a', 'c', 'x'" }, ";")))
  end)

  it("takes NULL for what may be left out", function()
    assert.equal("{}|{}|1", sql(publish("'a', 'b', 'c', NULL, NULL, schema_version => NULL") .. [[;
      SELECT data, metadata, schema_version FROM moonwake.events]]):match("\n(.*)"))
  end)

  describe("with an expected version", function()
    it("appends when it is the aggregate's, 0 for a new one", function()
      assert.equal("1|1|t\n2|2|t", sql(publish("'a', 'b', 'c', expected_version => 0") .. ";"
        .. publish("'a', 'b', 'c', expected_version => 1")))
    end)

    it("raises MW002 with both versions when it is not, and draws no id", function()
      sql(publish "'a', 'b', 'c'")

      local state, message = server:failure(publish("'a', 'b', 'c', expected_version => 7"), { db = db })
      assert.equal("MW002", state)
      assert.matches("b c has version 1, not 7", message)
      assert.matches("b new has version 0, not 2",
        select(2, server:failure(publish("'a', 'b', 'new', expected_version => 2"), { db = db })))
      assert.equal("2|2|t", sql(publish "'a', 'b', 'c'"))
    end)

    it("lets exactly one of many win", function()
      local sessions, won = {}, 0
      for i = 1, 8 do
        sessions[i] = server:session { db = db, verbosity = "verbose" }
        sessions[i]:send(publish("'a', 'b', 'c', expected_version => 0", "version"))
      end
      for _, session in ipairs(sessions) do
        local answer = session:read()
        won = won + (answer == "1" and 1 or 0)
        assert.truthy(answer == "1" or answer:find("MW002: publish_event: expected_version: b c has version 1, not 0", 1, true))
        session:close()
      end

      assert.equal(1, won)
      assert.equal("1", sql("SELECT count(*) FROM moonwake.events"))
    end)
  end)

  describe("with an event_id", function()
    local same = publish(("'a', 'b', 'c', '{\"n\": 1}', event_id => '%s'"):format(ID))

    it("returns the first event and appends nothing when it comes again", function()
      sql(same)
      sql(publish "'a', 'b', 'c'")

      assert.equal("1|1|f", sql(same))
      assert.equal("2|2", sql("SELECT count(*), max(version) FROM moonwake.events"))
      assert.equal("2", sql("SELECT version FROM moonwake.streams"))
    end)

    it("returns it although the expected version has passed", function()
      local first = publish(("'a', 'b', 'c', event_id => '%s', expected_version => 0"):format(ID))

      assert.equal("1|1|t\n1|1|f", sql(first .. ";" .. first))
    end)

    it("raises MW003 for any other content", function()
      sql(same)

      for _, other in ipairs {
        "'a2', 'b', 'c', '{\"n\": 1}'", "'a', 'b2', 'c', '{\"n\": 1}'", "'a', 'b', 'c2', '{\"n\": 1}'", "'a', 'b', 'c', '{\"n\": 2}'",
        "'a', 'b', 'c', '{\"n\": 1}', '{\"m\": 1}'", "'a', 'b', 'c', '{\"n\": 1}', source => 's'",
        "'a', 'b', 'c', '{\"n\": 1}', occurred_at => '2020-01-01'", "'a', 'b', 'c', '{\"n\": 1}', schema_version => 2",
        "'a', 'b', 'c', '{\"n\": 1}', correlation_id => 's'", "'a', 'b', 'c', '{\"n\": 1}', actor_id => 's'",
      } do
        local state, message = server:failure(publish(other .. (", event_id => '%s'"):format(ID)), { db = db })
        assert.equal("MW003", state, other)
        assert.matches("names another event already: id 1", message)
      end
    end)

    it("knows the content again in a session with other settings", function()
      local moment = publish(("'a', 'b', 'c', '{\"n\": 1.50}', event_id => '%s', occurred_at => '2020-01-01 00:00:00+00'"):format(ID))
      sql(moment)

      assert.equal("1|1|f", sql("SET timezone = 'Asia/Kolkata'; SET datestyle = 'German'; SET extra_float_digits = 0; "
        .. "SET bytea_output = 'escape'; " .. moment))
    end)

    it("appends once when two do at the same moment: the other waits and returns it", function()
      local first, second = server:session { db = db }, server:session { db = db }
      finally(function() first:close() second:close() end)
      assert.equal("1|1|t", first:run("BEGIN; " .. same))
      second:send(same)
      pg.sleep(0.2)
      assert.is_true(second:busy())

      first:run("COMMIT")

      assert.equal("1|1|f", second:read())
    end)

    it("appends after all when the first of two rolls back", function()
      local first, second = server:session { db = db }, server:session { db = db }
      finally(function() first:close() second:close() end)
      first:run("BEGIN; " .. same)
      second:send(same)

      first:run("ROLLBACK")

      assert.matches("^%d+|1|t$", second:read())
    end)

    it("refuses it for another aggregate at the same moment", function()
      local first, second = server:session { db = db }, server:session { db = db, verbosity = "verbose" }
      finally(function() first:close() second:close() end)
      first:run("BEGIN; " .. same)
      second:send(publish(("'a', 'b', 'elsewhere', event_id => '%s'"):format(ID)))

      first:run("COMMIT")

      assert.matches("MW003", second:read())
      assert.equal("c|1", sql("SELECT aggregate_id, version FROM moonwake.streams"))
    end)
  end)

  it("agrees in the order of ids and versions under concurrent publishers", function()
    local sessions = {}
    for i = 1, 6 do
      sessions[i] = server:session { db = db }
      sessions[i]:send(([[DO $$ BEGIN PERFORM setseed(0.%d); FOR i IN 1 .. 150 LOOP
        PERFORM moonwake.publish_event('a', 'b', (random() * 3)::int::text);
        IF random() < 0.3 THEN ROLLBACK; ELSE COMMIT; END IF; END LOOP; END $$]]):format(i))
    end
    for _, session in ipairs(sessions) do
      assert.equal("", session:read(60))
      session:close()
    end

    assert.equal("0", sql([[SELECT count(*) FROM (SELECT version, row_number() OVER (PARTITION BY aggregate_id ORDER BY id) AS n
      FROM moonwake.events) e WHERE version <> n]]))
    assert.equal("t", sql([[SELECT bool_and(s.version = (SELECT count(*) FROM moonwake.events e
      WHERE e.aggregate_id = s.aggregate_id)) FROM moonwake.streams s]]))
  end)

  it("names the field that is wrong", function()
    local cases = {
      { "NULL, 'b', 'c'", "event_type: is missing" },
      { "'', 'b', 'c'", "event_type: is missing" },
      { "repeat('x', 9000), 'b', 'c'", "event_type: 9000 bytes are too many %(at most 200%)" },
      { "'container.*', 'b', 'c'", "event_type: must not hold control characters or %*" },
      { "E'a\\nb', 'b', 'c'", "event_type: must not hold control characters" },
      { "'a', '', 'c'", "aggregate_type: is missing" },
      { "'a', repeat('é', 101), 'c'", "aggregate_type: 202 bytes are too many" },
      { "'a', 'b', NULL", "aggregate_id: is missing" },
      { "'a', 'b', repeat('x', 501)", "aggregate_id: 501 bytes are too many" },
      { "'a', 'b', 'c', '{}', '[]'", "metadata: is a JSON array, not an object" },
      { "'a', 'b', 'c', schema_version => 0", "schema_version: 0 is not positive" },
      { "'a', 'b', 'c', source => repeat('x', 501)", "source: 501 bytes are too many" },
      { "'a', 'b', 'c', correlation_id => repeat('x', 501)", "correlation_id: 501 bytes are too many" },
      { "'a', 'b', 'c', actor_type => repeat('x', 51)", "actor_type: 51 bytes are too many" },
      { "'a', 'b', 'c', actor_id => repeat('x', 501)", "actor_id: 501 bytes are too many" },
      { "'a', 'b', 'c', severity => repeat('x', 51)", "severity: 51 bytes are too many" },
      { "'a', 'b', 'c', impact => repeat('x', 51)", "impact: 51 bytes are too many" },
      { "'a', 'b', 'c', occurred_at => 'infinity'", "occurred_at: is not a finite time" },
      { "'a', 'b', 'c', to_jsonb(repeat('x', 1048576))", "data: 1048580 bytes with metadata are too many %(at most 1048576" },
    }
    for _, case in ipairs(cases) do
      local state, message = server:failure(publish(case[1]), { db = db })
      assert.equal("MW004", state, case[1])
      assert.matches(case[2], message)
    end
    assert.equal("0", sql("SELECT count(*) FROM moonwake.events"))
  end)

  it("takes what is exactly as long as it may be", function()
    assert.equal("1|1|t", sql(publish([[repeat('a', 200), repeat('b', 200), repeat('c', 500), to_jsonb(repeat('x', 1048572)),
      source => repeat('s', 500), correlation_id => repeat('s', 500), actor_type => repeat('s', 50),
      actor_id => repeat('s', 500), severity => repeat('s', 50), impact => repeat('s', 50)]])))
  end)

  it("takes events of any size when the limit is 0", function()
    sql("UPDATE moonwake.settings SET value = '0' WHERE name = 'max_event_bytes'")

    assert.equal("1|1|t", sql(publish("'a', 'b', 'c', to_jsonb(repeat('x', 3000000))")))
  end)

  it("refuses an unregistered type with MW005 while the registry is closed", function()
    sql("UPDATE moonwake.settings SET value = 'closed' WHERE name = 'registry'")

    local state, message = server:failure(publish "'order.paid', 'b', 'c'", { db = db })
    assert.equal("MW005", state)
    assert.matches("event_type: order.paid is not registered", message)
    assert.equal("MW005", (server:failure([[SELECT moonwake.publish_events('[{"event_type": "order.paid",
      "aggregate_type": "b", "aggregate_id": "c"}]')]], { db = db })))
    assert.matches("|1|t$", sql(publish "'device.online', 'device', 'd'"))

    server:psql("SELECT moonwake.register_event_type('order.paid')", { db = db, user = "moonwake_run" })
    assert.matches("|1|t$", sql(publish "'order.paid', 'b', 'c'"))
  end)
end)
