local pg = require "spec.support.pg"

local ID = "c0ffee00-0000-4000-8000-00000000000%d"

describe("publish_events", function()
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

  --- An element: its aggregate's id and more keys as JSON text.
  local function event(id, more)
    return ('{"event_type": "a", "aggregate_type": "b", "aggregate_id": "%s"%s}'):format(id, more and ", " .. more or "")
  end

  local function given(n)
    return ('"event_id": "%s"'):format(ID:format(n))
  end

  local function batch(events, columns)
    return ("SELECT %s FROM moonwake.publish_events($moon$[%s]$moon$)"):format(
      columns or "ordinal, id, version, appended", table.concat(events, ","))
  end

  it("answers one row per event, in the order of the input, with consecutive versions", function()
    assert.equal("1|1|1|t\n2|2|1|t\n3|3|2|t\n4|4|1|t\n5|5|3|t",
      sql(batch { event "z", event "y", event "z", event "x", event "z" }))
    assert.equal("1|6|4|t\n2|7|2|t", sql(batch { event "z", event "y" }))
  end)

  it("keeps every field that it was given", function()
    sql(batch { ([==[{"event_type": "order.paid", "aggregate_type": "order", "aggregate_id": 77, "data": [1.50, {}, []],
      "metadata": {"m": null}, %s, "expected_version": 0, "schema_version": 4, "source": "shop",
      "correlation_id": "corr", "causation_id": "c0ffee00-0000-4000-8000-000000000009", "actor_type": "user",
      "actor_id": 12345678901234567890, "severity": "info", "impact": "low",
      "occurred_at": "2020-02-03T04:05:06.789012+01:00"}]==]):format(given(1)) })

    assert.equal("1|" .. ID:format(1) .. '|order.paid|order|77|1|4|[1.50, {}, []]|{"m": null}|shop|corr|'
      .. "c0ffee00-0000-4000-8000-000000000009|user|12345678901234567890|info|low|1580699106.789012", sql(
        [[SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, schema_version, data, metadata, source,
          correlation_id, causation_id, actor_type, actor_id, severity, impact, extract(epoch FROM occurred_at)
          FROM moonwake.events]]))
  end)

  it("reads a time without a zone as UTC and a number as seconds, whatever the session's zone", function()
    sql("SET timezone = 'Asia/Tokyo'; " .. batch {
      event("1", '"occurred_at": "2020-02-03 04:05:06"'), event("2", '"occurred_at": 1580702706.000001'),
      event("3", '"occurred_at": null') })

    assert.equal("1580702706.000000\n1580702706.000001\nt", sql([[SELECT CASE aggregate_id WHEN '3'
      THEN (occurred_at = "timestamp")::text ELSE extract(epoch FROM occurred_at)::text END FROM moonwake.events ORDER BY id]])
      :gsub("true", "t"))
  end)

  it("takes an empty batch and one of explicit nulls", function()
    assert.equal("", sql(batch {}))
    assert.equal("1|1|1|t", sql(batch { event("c", '"data": null, "metadata": null, "event_id": null, "expected_version": null, '
      .. '"schema_version": null, "source": null, "causation_id": null, "actor_id": null') }))
    assert.equal("{}|{}", sql("SELECT data, metadata FROM moonwake.events"))
  end)

  it("takes the same events again without appending, also beside new ones", function()
    local one, two = event("x", given(1)), event("y", given(2) .. ', "data": {"n": 1}')
    sql(batch { one, two })

    assert.equal("1|1|1|f\n2|2|1|f", sql(batch { one, two }))
    assert.equal("1|3|2|t\n2|2|1|f\n3|4|2|t\n4|1|1|f", sql(batch { event "x", two, event("y", given(3)), one }))
    assert.equal("4", sql("SELECT count(*) FROM moonwake.events"))
    assert.equal("x|2\ny|2", sql("SELECT aggregate_id, version FROM moonwake.streams ORDER BY 1"))
  end)

  it("folds an event that the batch holds twice", function()
    assert.equal("1|1|1|t\n2|1|1|f\n3|2|2|t\n4|1|1|f",
      sql(batch { event("x", given(1)), event("x", given(1)), event "x", event("x", given(1)) }))
    assert.equal("2|2", sql("SELECT count(*), max(version) FROM moonwake.events"))
  end)

  it("knows what publish_event appended, and the other way round", function()
    sql(("SELECT moonwake.publish_event('a', 'b', 'x', event_id => '%s', occurred_at => '2020-01-01 00:00:00+00')"):format(
      ID:format(1)))

    assert.equal("1|1|1|f", sql(batch { event("x", given(1) .. ', "occurred_at": "2020-01-01T00:00:00Z"') }))
    sql(batch { event("x", given(2)) })
    assert.equal("f", sql(("SELECT appended FROM moonwake.publish_event('a', 'b', 'x', event_id => '%s')"):format(ID:format(2))))
  end)

  it("refuses an event_id for other content, in the log or in the batch, and names the event", function()
    sql(batch { event("x", given(1)) })

    local state, message = server:failure(batch { event "x", event("x", given(1) .. ', "data": 1') }, { db = db })
    assert.equal("MW003", state)
    assert.matches("publish_events: event 2: event_id: .* names another event already: id 1", message)
    state, message = server:failure(batch { event("x", given(2)), event("y", given(2)) }, { db = db })
    assert.equal("MW003", state)
    assert.matches("publish_events: event 2: ", message)
    assert.equal("1", sql("SELECT count(*) FROM moonwake.events"))
  end)

  it("compares an expected version with the one before its event, also within the batch", function()
    assert.equal("1|1|1|t\n2|2|2|t", sql(batch { event("x", '"expected_version": 0'), event("x", '"expected_version": 1') }))

    local state, message = server:failure(batch { event "x", event("x", '"expected_version": 2') }, { db = db })
    assert.equal("MW002", state)
    assert.matches("event 2: expected_version: b x has version 3, not 2", message)
    assert.equal("2", sql("SELECT version FROM moonwake.streams"))
  end)

  it("appends once when two batches do the same at the same moment", function()
    local first, second = server:session { db = db }, server:session { db = db }
    finally(function() first:close() second:close() end)
    local one, two = event("x", given(1)), event("y", given(2))
    first:run("BEGIN; " .. batch { two, one })
    second:send(batch { one, event "x", two })

    first:run("COMMIT")

    assert.equal("1|2|1|f\n2|3|2|t\n3|1|1|f", second:read())
  end)

  it("refuses an event_id that another batch is giving to another aggregate", function()
    local first, second = server:session { db = db }, server:session { db = db, verbosity = "verbose" }
    finally(function() first:close() second:close() end)
    first:run("BEGIN; " .. batch { event("x", given(1)) })
    second:send(batch { event "z", event("y", given(1)) })

    first:run("COMMIT")

    assert.matches("MW003: publish_events: event 2: ", second:read())
    assert.equal("x|1", sql("SELECT aggregate_id, version FROM moonwake.streams"))
  end)

  it("never deadlocks with other batches, whatever order they name their aggregates in", function()
    local sessions = {}
    for i = 1, 6 do
      sessions[i] = server:session { db = db }
      sessions[i]:send(([[DO $$ BEGIN PERFORM setseed(0.%d); FOR i IN 1 .. 60 LOOP
        PERFORM moonwake.publish_events((SELECT jsonb_agg(jsonb_build_object('event_type', 'a', 'aggregate_type', 'b',
          'aggregate_id', n) || CASE WHEN i %% 3 = 0 THEN jsonb_build_object('event_id', gen_random_uuid()) ELSE '{}' END
          ORDER BY random()) FROM generate_series(1, 12) n WHERE random() < 0.7));
        COMMIT; END LOOP; END $$]]):format(i))
    end

    for _, session in ipairs(sessions) do
      assert.equal("", session:read(90))
      session:close()
    end
    assert.equal("0", sql([[SELECT count(*) FROM (SELECT version, row_number() OVER (PARTITION BY aggregate_id ORDER BY id) AS n
      FROM moonwake.events) e WHERE version <> n]]))
  end)

  it("names the first event that is wrong, and what is wrong with it", function()
    local cases = {
      { '"text"', "event 2: is a JSON string, not an object" },
      { '{"type": "a"}', "event 2: unknown field 'type' %(did you mean 'event_type'%?%)" },
      { event("x", '"occured_at": 1'), "event 2: unknown field 'occured_at' %(did you mean 'occurred_at'%?%)" },
      { event("x", '"metdata": {}'), "unknown field 'metdata' %(did you mean 'metadata'%?%)" },
      { "{}", "event 2: event_type: is missing" },
      { '{"event_type": "a", "aggregate_type": "b"}', "event 2: aggregate_id: is missing" },
      { '{"event_type": ["a"], "aggregate_type": "b", "aggregate_id": "c"}', "event_type: is a JSON array, not a string" },
      { event("x", '"metadata": 7'), "metadata: is a JSON number, not an object" },
      { event("x", '"event_id": "4711"'), 'event_id: "4711" is not a uuid' },
      { event("x", '"causation_id": 4711'), "causation_id: 4711 is not a uuid" },
      { event("x", '"expected_version": -1'), "expected_version: %-1 is not a whole number" },
      { event("x", '"expected_version": "1"'), 'expected_version: "1" is not a whole number' },
      { event("x", '"schema_version": 1.5'), "schema_version: 1.5 is not a whole number" },
      { event("x", '"occurred_at": "now"'), 'occurred_at: "now" is neither an ISO 8601 time nor seconds since 1970' },
      { event("x", '"occurred_at": true'), "occurred_at: true is neither" },
      { event("x", '"occurred_at": "2020-13-45"'), 'occurred_at: "2020%-13%-45" is not a time' },
      { event("x", '"occurred_at": 1e300'), "occurred_at: 1000+%.* is not a time" },
      { event(("x"):rep(501)), "aggregate_id: 501 bytes are too many" },
      { event("x", '"source": true'), "source: is a JSON boolean, not a string" },
    }
    for _, case in ipairs(cases) do
      local state, message = server:failure(batch { event "fine", case[1], "7" }, { db = db })
      assert.equal("MW004", state, case[1])
      assert.matches(case[2], message)
    end
    assert.equal("MW004", (server:failure("SELECT moonwake.publish_events('{}')", { db = db })))
    assert.equal("MW004", (server:failure("SELECT moonwake.publish_events(NULL)", { db = db })))
    assert.equal("0|0", sql("SELECT (SELECT count(*) FROM moonwake.events), (SELECT count(*) FROM moonwake.streams)"))
  end)

  it("takes ten thousand events in one call in a time that grows with their number, not its square", function()
    local took = sql([[
      CREATE TABLE batch AS SELECT jsonb_agg(jsonb_build_object('event_type', 'a', 'aggregate_type', 'b', 'aggregate_id',
        i % 4000, 'data', jsonb_build_object('text', repeat('x', 400)), 'event_id', md5(i::text)::uuid)) AS events
        FROM generate_series(1, 10000) i;
      SELECT clock_timestamp() AS start \gset
      SELECT count(*) FROM batch, moonwake.publish_events(events);
      SELECT extract(epoch FROM clock_timestamp() - :'start')]])

    assert.equal("10000", took:match("^(%d+)\n"))
    assert.is_true(tonumber(took:match("\n([%d.]+)$")) < 10, took)
    assert.equal("10000|10000|3", sql("SELECT count(*), max(id), max(version) FROM moonwake.events"))
  end)
end)
