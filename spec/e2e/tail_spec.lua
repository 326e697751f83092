local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

describe("tail", function()
  local server = pg.shared()
  local dsn, name

  before_each(function()
    dsn, name = moonwake.database(server)
  end)

  after_each(files.clean)

  local function publish(n, event_type)
    server:psql(("SELECT moonwake.publish_event('%s', 'x', i::text, jsonb_build_object('n', i)) "
      .. "FROM generate_series(1, %d) i"):format(event_type or "a.b", n), { db = name })
  end

  local function ids(text)
    local list = {}
    for id in text:gmatch('[^\n]*{"id" : (%d+)[^\n]*\n') do
      list[#list + 1] = tonumber(id)
    end
    return list
  end

  local function numbers(from, to)
    local list = {}
    for i = from, to do
      list[#list + 1] = i
    end
    return list
  end

  it("prints the last ten events and ends with --no-follow", function()
    publish(25)

    local out = moonwake.must({ "tail", "--no-follow", "--json" }, { db = dsn })

    assert.same(numbers(16, 25), ids(out))
  end)

  it("prints as many as asked for, of the types asked for", function()
    publish(5, "a.b")
    publish(5, "c.d")
    publish(5, "a.c")

    local function tail(...)
      return ids(moonwake.must({ "tail", "--no-follow", "--json", ... }, { db = dsn }))
    end

    assert.same(numbers(14, 15), tail("-n", "2"))
    assert.same(numbers(6, 10), tail("--types", "c.d"))
    assert.same({ 4, 5, 11, 12, 13, 14, 15 }, tail("--types", "a.*", "-n7"))
    assert.same({ 4, 5, 6, 7, 8, 9, 10 }, tail("--types", "c.d,a.b", "-n", "7"))
    assert.same({}, tail("--types", "none.such"))
  end)

  it("begins at an event, at the start, or now", function()
    publish(12)

    local function tail(from)
      return ids(moonwake.must({ "tail", "--no-follow", "--json", "--from", from }, { db = dsn }))
    end

    assert.same(numbers(1, 12), tail("start"))
    assert.same(numbers(9, 12), tail("9"))
    assert.same({}, tail("now"))
  end)

  it("refuses another beginning", function()
    local r = moonwake.run({ "tail", "--from", "yesterday" }, { db = dsn })

    assert.equal(2, r.code)
    assert.matches("^moonwake: tail: %-%-from takes an event's id, `start` or `now`, not 'yesterday'", r.err)
  end)

  it("prints more than a page, each event once", function()
    publish(1234)

    assert.same(numbers(1, 1234), ids(moonwake.must({ "tail", "--no-follow", "--json", "--from", "start" }, { db = dsn })))
  end)

  it("writes whole events as JSON", function()
    server:psql([[SELECT moonwake.publish_event('a.b', 'x', 'y', '{"a":[],"n":12345678901234567890.10}', '{"m":null}',
      source => 's', occurred_at => '2020-01-02T03:04:05.678901Z')]], { db = name })

    local line = moonwake.must({ "tail", "--no-follow", "--json" }, { db = dsn })

    assert.equal("t", server:psql(("SELECT j->>'event_type' = 'a.b' AND j->>'aggregate_id' = 'y' AND j->>'version' = '1' "
      .. "AND j->'data' = '{\"a\":[],\"n\":12345678901234567890.10}' AND j->'metadata' = '{\"m\":null}' "
      .. "AND j->>'source' = 's' AND (j->>'occurred_at')::timestamptz = '2020-01-02T03:04:05.678901Z' "
      .. "FROM (SELECT '%s'::jsonb) AS t (j)"):format(line), { db = name }))
  end)

  it("shows new events at once, and ends cleanly on a signal", function()
    publish(1)
    local process = moonwake.spawn({ "tail", "--json" }, { db = dsn })
    process:expect('"id" : 1,')

    publish(3)
    process:expect('"id" : 4,', "out", 5)
    process:signal("TERM")

    assert.equal(0, process:wait(5))
    assert.same(numbers(1, 4), ids(process:out()))
    assert.equal("", process:err())
  end)

  it("holds later events back while an earlier one may still come", function()
    publish(1)
    local process = moonwake.spawn({ "tail", "--json" }, { db = dsn })
    process:expect('"id" : 1,')
    local slow = server:session { db = name }
    slow:run("BEGIN; SELECT moonwake.publish_event('a.b', 'slow', '1')")

    publish(2)
    pg.sleep(1.5)
    local before = ids(process:out())
    slow:run("COMMIT")
    process:expect('"id" : 4,')
    process:signal("TERM")
    process:wait(5)

    assert.same({ 1 }, before)
    assert.same(numbers(1, 4), ids(process:out()))
  end)

  it("goes on after the server was restarted, without losing or repeating one", function()
    local own = pg.start()
    finally(function() own:stop() end)
    own:createdb("t")
    moonwake.must({ "migrate" }, { db = own.dsn("t") })
    local publish_one = "SELECT moonwake.publish_event('a.b', 'x', '1')"
    own:psql(publish_one, { db = "t" })
    local process = moonwake.spawn({ "tail", "--json" }, { db = own.dsn("t") })
    process:expect('"id" : 1,')

    own:halt("immediate")
    process:expect("the connection was lost; waiting for the server", "err")
    own:start()
    own:psql(publish_one, { db = "t" })
    pg.eventually(function() return #ids(process:out()) == 2 end, 15, "the event after the restart")
    process:signal("TERM")

    assert.equal(0, process:wait(5))
    local seen = ids(process:out())
    assert.equal(own:psql("SELECT string_agg(id::text, ',' ORDER BY id) FROM moonwake.events", { db = "t" }),
      table.concat(seen, ","))
  end)
end)
