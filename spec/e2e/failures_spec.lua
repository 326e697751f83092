local bench_of = require "spec.support.bench_of"
local moonwake = require "spec.support.moonwake"

--- Fails on events whose data says so; otherwise counts.
local function fragile(name, on_error, extra)
  return ([[projection "%s" {
  version = 1,
  on_error = "%s",
  columns = { events = "bigint default 0", order_seen = "text default ''" },
  on = {
    ["*"] = function(row, event)
      row.events = row.events + 1
      row.order_seen = row.order_seen .. event.version
      %s
      if event.data.bad then
        error("cannot stand " .. event.type)
      end
    end,
  },
}
]]):format(name, on_error, extra or "")
end

local function table_of(bench, name)
  return bench:psql(("SELECT coalesce(string_agg(key || ':' || events || ':' || order_seen, ' ' ORDER BY key), '') FROM moonwake.%s"):format(name))
end

describe("on_error", function()
  it("stop parks the consumer before the event and keeps its state as it was; others go on", function()
    local bench = bench_of { fragile = fragile("fragile", "stop"), counter = true }
    finally(function() bench:stop() end)
    bench:publish("a.ok", "x")
    local bad = bench:publish("a.bad", "x", '{"bad":true}')
    bench:publish("a.ok", "x")

    local r = bench:caught_up()
    assert.equal(1, r.code)
    assert.equal("x:1:1", table_of(bench, "fragile"))
    assert.equal("3", bench:psql("SELECT events FROM moonwake.counter"))
    assert.same({ { "parked", tostring(bad), tostring(bad - 1) } },
      bench:query("SELECT state, error_event, position FROM moonwake.consumers WHERE consumer = 'fragile'"))
    local status = moonwake.must({ "status", "-v" }, { db = bench.run_dsn })
    assert.matches("cannot stand a.bad", status, 1, true)
    assert.matches("projections/fragile.lua:%d+", status)
  end)

  it("stop goes on after the file was mended", function()
    local bench = bench_of { fragile = fragile("fragile", "stop") }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:publish("a.ok", "x")
    bench:publish("a.bad", "x", '{"bad":true}')
    bench:publish("a.ok", "x")
    bench:eventually("SELECT state FROM moonwake.consumers", "parked")

    bench:save("fragile", (fragile("fragile", "stop"):gsub("event.data.bad", "false")))
    bench:eventually("SELECT string_agg(key || ':' || order_seen, ' ') FROM moonwake.fragile", "x:123")
  end)

  it("skip loses that event only, and keeps a record of it", function()
    local bench = bench_of { fragile = fragile("fragile", "skip") }
    local expected = {}
    for i = 1, 200 do
      local bad = i % 7 == 0
      local id = bench:publish("a.x", "k" .. i % 3, bad and '{"bad":true}' or "{}")
      if bad then
        expected[#expected + 1] = tostring(id)
      end
    end

    assert.equal(0, bench:caught_up().code)
    assert.equal(tostring(200 - #expected), bench:psql("SELECT sum(events) FROM moonwake.fragile"))
    assert.equal(table.concat(expected, ","),
      bench:psql("SELECT string_agg(event_id::text, ',' ORDER BY event_id) FROM moonwake.dead_letters WHERE NOT parked"))
  end)

  it("park_key keeps the event and the later ones of its key, and retry handles them in order", function()
    local bench = bench_of { fragile = fragile("fragile", "park_key") }
    finally(function() bench:stop() end)
    local daemon = bench:daemon()
    bench:publish("a.ok", "x")
    bench:publish("a.bad", "x", '{"bad":true}')
    bench:publish("a.ok", "y")
    bench:publish("a.ok", "x")
    bench:publish("a.ok", "x")
    bench:eventually("SELECT count(*) FROM moonwake.dead_letters WHERE parked", "3")
    assert.equal("x:1:1 y:1:1", table_of(bench, "fragile"))

    local still = moonwake.run({ "dead-letters", "retry", "fragile" }, { db = bench.run_dsn })
    assert.equal(1, still.code)
    assert.equal("3", bench:psql("SELECT count(*) FROM moonwake.dead_letters"))
    assert.equal("x:1:1 y:1:1", table_of(bench, "fragile"))

    bench:save("fragile", (fragile("fragile", "park_key"):gsub("event.data.bad", "false")))
    daemon:expect("reloaded", "err")
    local done = moonwake.run({ "dead-letters", "retry", "fragile" }, { db = bench.run_dsn })
    assert.equal(0, done.code, done.err .. done.out .. daemon:err())
    assert.equal("x:4:1234 y:1:1", table_of(bench, "fragile"))
    bench:publish("a.ok", "x")
    bench:eventually("SELECT order_seen FROM moonwake.fragile WHERE key = 'x'", "12345")
  end)

  it("parked keys stay parked over a restart", function()
    local bench = bench_of { fragile = fragile("fragile", "park_key") }
    bench:publish("a.bad", "x", '{"bad":true}')
    assert.equal(0, bench:caught_up().code)
    bench:publish("a.ok", "x")
    bench:publish("a.ok", "z")

    assert.equal(0, bench:caught_up().code)
    assert.equal("z:1:1", table_of(bench, "fragile"))
    assert.equal("2", bench:psql("SELECT count(*) FROM moonwake.dead_letters WHERE parked"))
  end)
end)

describe("an event of several keys", function()
  local function links(condition)
    return ([[
projection "links" {
  version = 1, on_error = "park_key",
  key = function(event) return event.data.ends end,
  columns = { seen = "text default ''" },
  on = { ["*"] = function(row, event)
    if %s then error("broken link") end
    row.seen = row.seen .. event.data.n
  end },
}]]):format(condition)
  end
  local BAD = 'event.data.n == 2 and row.key == "b"'
  local SEEN = "SELECT string_agg(key || '=' || seen, ' ' ORDER BY key) FROM moonwake.links"

  it("is handled for all of them or for none, also after a restart and a retry", function()
    local bench = bench_of { links = links(BAD) }
    finally(function() bench:stop() end)
    bench:publish("link.up", "l", '{"n":1,"ends":["a","b"]}')
    bench:publish("link.up", "l", '{"n":2,"ends":["a","b"]}')
    bench:publish("link.up", "l", '{"n":3,"ends":["c","a"]}')
    assert.equal(0, bench:caught_up().code)
    assert.equal("a=1 b=1", bench:psql(SEEN))

    bench:publish("link.up", "l", '{"n":4,"ends":["c"]}')
    bench:publish("link.up", "l", '{"n":5,"ends":["d"]}')
    assert.equal(0, bench:caught_up().code)
    assert.equal("a=1 b=1 d=5", bench:psql(SEEN))

    bench:save("links", links("false"))
    bench:daemon()
    bench:eventually("SELECT daemon IS NOT NULL FROM moonwake.consumers", "t")
    assert.equal(0, moonwake.run({ "dead-letters", "retry", "links" }, { db = bench.run_dsn }).code)
    assert.equal("a=123 b=12 c=34 d=5", bench:psql(SEEN))
  end)

  it("that is dropped frees its keys for what comes", function()
    local bench = bench_of { links = links(BAD) }
    finally(function() bench:stop() end)
    bench:daemon()
    local bad = bench:publish("link.up", "l", '{"n":2,"ends":["a","b"]}')
    bench:eventually("SELECT count(DISTINCT event_id) FROM moonwake.dead_letters", "1")

    assert.equal(0, moonwake.run({ "dead-letters", "drop", "links", tostring(bad) }, { db = bench.run_dsn }).code)
    bench:publish("link.up", "l", '{"n":7,"ends":["a","b"]}')
    bench:eventually(SEEN, "a=7 b=7")
    assert.equal(1, moonwake.run({ "dead-letters", "drop", "links", tostring(bad) }, { db = bench.run_dsn }).code)
  end)
end)

describe("what the server refuses", function()
  it("costs the event that wanted it, found among many, and nobody else", function()
    local bench = bench_of { counter = true, strict = [[
projection "strict" {
  version = 1, on_error = "skip",
  columns = { events = "bigint default 0", small = "bigint" },
  on = { ["*"] = function(row, event)
    row.events = row.events + 1
    row.small = event.data.n
  end },
}]] }
    bench:publish_many(10)
    assert.equal(0, bench:caught_up().code)
    -- A constraint that the script knows nothing of
    bench:psql("ALTER TABLE moonwake.strict ADD CHECK (small <> 777)")
    bench:publish_many(700, 50)
    local bad = bench:publish("thing.done", "alone", '{"n":777}')
    bench:publish_many(700, 50)

    assert.equal(0, bench:caught_up().code)
    assert.equal("1410", bench:psql("SELECT sum(events) FROM moonwake.strict"))
    assert.equal("1411", bench:psql("SELECT sum(events) FROM moonwake.counter"))
    assert.same({ { "strict", tostring(bad) } }, bench:query("SELECT consumer, event_id FROM moonwake.dead_letters"))
  end)
end)

describe("a script with SQL of its own", function()
  it("writes and reads in the transaction of its batch", function()
    local bench = bench_of { tally = [[
projection "tally" {
  version = 1, sql = true,
  tables = { tally_days = "kind text primary key, n bigint not null" },
  on = { ["*"] = function(db, event)
    local rows = db:query("SELECT n FROM moonwake_tables.tally_days WHERE kind = $1", event.type)
    if #rows == 0 then
      db:exec("INSERT INTO moonwake_tables.tally_days VALUES ($1, 1)", event.type)
    else
      db:exec("UPDATE moonwake_tables.tally_days SET n = $2 WHERE kind = $1", event.type, rows[1].n + 1)
    end
  end },
}]] }
    bench:publish_many(300, 10, "a.x")
    bench:publish_many(200, 10, "a.y")

    local r = bench:caught_up()
    assert.equal(0, r.code, r.err)
    assert.same({ { "a.x", "300" }, { "a.y", "200" } },
      bench:query("SELECT kind, n FROM moonwake_tables.tally_days ORDER BY 1"))
  end)

  for _, statement in ipairs { "COMMIT", "RESET ROLE", "/* x */ ROLLBACK", "SET ROLE postgres", "COPY events TO STDOUT",
    "LISTEN x", "DO $$ BEGIN END $$", "BEGIN", "SAVEPOINT a" } do
    it("may not say " .. statement, function()
      local bench = bench_of { rogue = ([[
projection "rogue" {
  version = 1, sql = true,
  on = { ["*"] = function(db) db:exec(%q) end },
}]]):format(statement) }
      bench:publish("a.x", "k")

      assert.equal(1, bench:caught_up().code)
      assert.matches("rogue", bench:psql("SELECT error FROM moonwake.consumers"))
      assert.equal("parked", bench:psql("SELECT state FROM moonwake.consumers"))
    end)
  end

  it("loses only the event whose statement is refused", function()
    local bench = bench_of { pairs_of = [[
projection "pairs_of" {
  version = 1, sql = true, on_error = "skip",
  tables = { pairs_seen = "n bigint primary key" },
  on = { ["*"] = function(db, event)
    db:exec("INSERT INTO moonwake_tables.pairs_seen VALUES ($1)", event.data.n)
  end },
}]] }
    bench:publish_many(300)
    bench:publish_many(3)

    assert.equal(0, bench:caught_up().code)
    assert.equal("300", bench:psql("SELECT count(*) FROM moonwake_tables.pairs_seen"))
    assert.equal("3", bench:psql("SELECT count(*) FROM moonwake.dead_letters"))
  end)
end)

describe("a supervisor", function()
  it("stops when it is told to, also while its worker crashes again and again", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:publish("a.x", "k")

    local daemon = moonwake.spawn({ "run", "-C", bench.workspace }, { db = bench.run_dsn,
      env = { MOONWAKE_FAULT = "group.before_commit" } })
    daemon:expect("ended %(signal 9%): starting another.*ended %(signal 9%)", "err")
    daemon:signal("TERM")

    assert.is_not_nil(daemon:wait(30))
  end)
end)
