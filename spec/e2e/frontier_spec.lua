local bench_of = require "spec.support.bench_of"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local PUBLISH = [[SELECT id FROM moonwake.publish_event('a.x', 'thing', '%s', '{"n":1}')]]
local COUNTS = "SELECT coalesce(string_agg(key || events, ' ' ORDER BY key), '') FROM moonwake.counter"

local function running(server)
  local bench = bench_of({ counter = true }, server)
  bench:daemon()
  bench:publish("a.x", "first", '{"n":1}')
  bench:eventually(COUNTS, "first1")
  return bench
end

--- Long enough that an event which does not have to wait would have come through.
local function a_while()
  pg.sleep(0.7)
end

describe("later events", function()
  it("wait for one that has its number and is not committed, and no longer", function()
    local bench = running()
    finally(function() bench:stop() end)
    local open = bench.server:session { db = bench.db }
    open:run("BEGIN; " .. PUBLISH:format("held"))
    bench:publish("a.x", "later", '{"n":1}')
    a_while()
    assert.equal("first1", bench:psql(COUNTS))

    open:run("COMMIT")
    bench:eventually(COUNTS, "first1 held1 later1", 5)
    open:close()
  end)

  it("do not wait for a number that was rolled back", function()
    local bench = running()
    finally(function() bench:stop() end)
    bench:psql("BEGIN; " .. PUBLISH:format("never") .. "; ROLLBACK")
    bench:publish("a.x", "later", '{"n":1}')

    bench:eventually(COUNTS, "first1 later1", 5)
  end)

  it("wait for a prepared transaction, also one that was prepared while it was waited for", function()
    local bench = running()
    finally(function() bench:stop() end)
    local open = bench.server:session { db = bench.db }
    open:run("BEGIN; SET LOCAL moonwake.ring = off; " .. PUBLISH:format("held"))
    bench:publish("a.x", "later", '{"n":1}')
    a_while()
    open:run("PREPARE TRANSACTION 'frontier'")
    open:close()
    a_while()
    assert.equal("first1", bench:psql(COUNTS))

    bench:psql("COMMIT PREPARED 'frontier'")
    bench:eventually(COUNTS, "first1 held1 later1", 5)
  end)

  it("wait for one that writes into a partition past the table", function()
    local bench = running()
    finally(function() bench:stop() end)
    local open = bench.server:session { db = bench.db }
    local leaf = bench:psql("SELECT tableoid::regclass FROM moonwake.events LIMIT 1")
    open:run(([[BEGIN; INSERT INTO %s (event_id, event_type, aggregate_type, aggregate_id, version, data, occurred_at)
      VALUES (gen_random_uuid(), 'a.x', 'thing', 'leaf', 1, '{"n":1}', now())]]):format(leaf))
    bench:publish("a.x", "later", '{"n":1}')
    a_while()
    assert.equal("first1", bench:psql(COUNTS))

    open:run("COMMIT")
    bench:eventually(COUNTS, "first1 later1 leaf1", 5)
    open:close()
  end)

  it("do not wait for a transaction that writes something else", function()
    local bench = running()
    finally(function() bench:stop() end)
    bench:psql("CREATE TABLE other (a int)")
    local open = bench.server:session { db = bench.db }
    open:run("BEGIN; INSERT INTO other VALUES (1); SELECT pg_current_xact_id()")
    bench:publish("a.x", "later", '{"n":1}')

    bench:eventually(COUNTS, "first1 later1", 5)
    assert.equal("1", bench:psql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"))
    open:close()
  end)
end)

describe("earlier events", function()
  it("do not wait for a writer that came after them", function()
    local bench = running()
    finally(function() bench:stop() end)
    local open = bench.server:session { db = bench.db }
    open:run("BEGIN; LOCK TABLE moonwake.events IN ROW EXCLUSIVE MODE")
    bench:publish("a.x", "before", '{"n":1}')
    -- It has the lock and may hold any number, but there is no gap that its row could fill.
    bench:eventually(COUNTS, "before1 first1", 5)
    open:run(PUBLISH:format("held"))
    bench:publish("a.x", "later", '{"n":1}')
    a_while()
    assert.equal("before1 first1", bench:psql(COUNTS))

    local status = moonwake.must({ "status" }, { db = bench.run_dsn })
    assert.matches("open writer", status)
    open:run("COMMIT")
    bench:eventually(COUNTS, "before1 first1 held1 later1", 5)
    open:close()
  end)
end)

describe("a log that cannot be read safely is refused:", function()
  local cases = {
    ["numbers drawn ahead (CACHE)"] = { "ALTER SEQUENCE moonwake.events_id_seq CACHE 20", "CACHE" },
    ["numbers that will be drawn again"] = { "SELECT setval('moonwake.events_id_seq', 1)", "setval" },
  }
  for name, case in pairs(cases) do
    it(name, function()
      local bench = bench_of { counter = true }
      bench:publish_many(20)
      bench:psql(case[1])

      local r = bench:caught_up()
      assert.equal(1, r.code)
      assert.matches(case[2], r.err, 1, true)
    end)
  end

  it("a standby's, until it is promoted", function()
    local server = pg.start { settings = { hot_standby = "on" } }
    finally(function() server:stop() end)
    local bench = bench_of({ counter = true }, server)
    bench:publish_many(20)
    server:halt("fast")
    os.execute(("touch %s/standby.signal && chmod 644 %s/standby.signal"):format(server.data, server.data))
    server:start()

    local daemon = bench:daemon()
    daemon:expect("a standby does not know the writers", "err")
    assert.is_nil(daemon:code())
    bench:psql("SELECT pg_promote()")
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "20")
    bench:stop()
  end)

  it("consumers that stand behind its end", function()
    local bench = bench_of { counter = true }
    bench:publish_many(20)
    assert.equal(0, bench:caught_up().code)
    bench:psql("UPDATE moonwake.event_cursors SET position = 1000")

    local r = bench:caught_up()
    assert.equal(1, r.code)
    assert.matches("moonwake rebuild", r.err, 1, true)
  end)

  it("also when it happens while the daemon runs", function()
    local bench = running()
    finally(function() bench:stop() end)
    bench:publish_many(20)
    bench:psql("SELECT setval('moonwake.events_id_seq', 3)")

    assert.equal(1, bench.daemons[1]:wait(30))
    assert.matches("the log was restored", bench.daemons[1]:err(), 1, true)
  end)
end)

describe("a server that crashes", function()
  it("and draws the same numbers again loses nothing and repeats nothing", function()
    local server = pg.start { settings = { fsync = "on", synchronous_commit = "off", wal_writer_delay = "10s" } }
    finally(function() server:stop() end)
    local bench = bench_of({ counter = true }, server)
    bench:daemon()
    bench:publish("a.x", "first", '{"n":1}')
    bench:eventually(COUNTS, "first1")
    for _ = 1, 4 do
      for i = 1, 30 do
        bench:publish("a.x", "k" .. i % 5, '{"n":1}')
      end
      server:restart("immediate")
      bench:publish("a.x", "after", '{"n":1}')
    end

    bench:eventually([[SELECT (SELECT string_agg(aggregate_id || n, ' ' ORDER BY aggregate_id COLLATE "C") FROM
      (SELECT aggregate_id, count(*) n FROM moonwake.events GROUP BY 1) e)
      = (SELECT string_agg(key || events, ' ' ORDER BY key COLLATE "C") FROM moonwake.counter)]], "t", 30)
    bench:stop()
  end)
end)
