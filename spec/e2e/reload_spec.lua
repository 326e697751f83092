local bench_of = require "spec.support.bench_of"
local moonwake = require "spec.support.moonwake"
local files = require "spec.support.files"

local function adding(n, extra)
  return ([[projection "adder" {
  version = 1,
  columns = { total = "bigint default 0" %s },
  on = { ["*"] = function(row, event) row.total = row.total + %s end },
}]]):format(extra or "", n)
end

describe("a saved file", function()
  it("is at work from the next batch on, and what was there stays", function()
    local bench = bench_of { adder = adding("1") }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "1")

    bench:save("adder", adding("100"))
    bench.daemons[1]:expect("adder: reloaded", "err")
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "101")
  end)

  it("that does not load leaves the one before at work, and status says so", function()
    local bench = bench_of { adder = adding("1") }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "1")

    bench:save("adder", "projection 'adder' { verison = 2 }")
    bench.daemons[1]:expect("verison", "err")
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "2")
    local status = moonwake.must({ "status" }, { db = bench.run_dsn })
    assert.matches("unknown field 'verison' (did you mean 'version'", status, 1, true)

    bench:save("adder", adding("10"))
    bench:eventually("SELECT note IS NULL FROM moonwake.event_cursors", "t")
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "12")
  end)

  it("with a new column keeps the rows; with a new version fills the table again", function()
    local bench = bench_of { adder = adding("1") }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:publish("a.x", "k")
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "2")

    bench:save("adder", adding("1", ', note = "text"'))
    bench:eventually("SELECT total::text || coalesce(note, ' none') FROM moonwake.adder", "2 none")
    bench:save("adder", (adding("5"):gsub("version = 1", "version = 2")))
    bench:eventually("SELECT total FROM moonwake.adder", "10")
  end)

  it("that is new begins at the log's start, and joins the others", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:publish_many(500)
    bench:daemon()
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "500")

    bench:save("adder", adding("1"))
    bench:eventually("SELECT sum(total) FROM moonwake.adder", "500")
    bench:publish_many(10)
    bench:eventually("SELECT sum(total) FROM moonwake.adder", "510")
    bench:eventually("SELECT count(*) FROM moonwake.consumer_groups", "1")
  end)

  it("that is gone stops, and its table stays", function()
    local bench = bench_of { counter = true, adder = adding("1") }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:publish_many(10)
    bench:eventually("SELECT sum(total) FROM moonwake.adder", "10")
    bench:remove("adder")
    bench:eventually("SELECT group_id IS NULL FROM moonwake.event_cursors WHERE consumer = 'adder'", "t")
    bench:publish_many(10)

    bench:eventually("SELECT sum(events) FROM moonwake.counter", "20")
    assert.equal("10", bench:psql("SELECT sum(total) FROM moonwake.adder"))
  end)

  it("of a module reloads the scripts that require it", function()
    local bench = bench_of {}
    finally(function() bench:stop() end)
    files.write(bench.workspace .. "/scripts/lib/step.lua", "return { size = 1 }")
    bench:save("adder", "local step = require 'step'\n" .. adding("step.size"))
    bench:daemon()
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "1")

    files.write(bench.workspace .. "/scripts/lib/step.lua", "return { size = 1000 }")
    bench.daemons[1]:expect("adder: reloaded", "err")
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "1001")
  end)

  it("under load changes nothing that was counted", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:daemon()
    for i = 1, 8 do
      bench:publish_many(300)
      bench:save("extra" .. i, (adding("1"):gsub('"adder"', '"extra' .. i .. '"')))
    end

    bench:eventually("SELECT sum(events) FROM moonwake.counter", "2400")
    for i = 1, 8 do
      bench:eventually("SELECT sum(total) FROM moonwake.extra" .. i, "2400")
    end
    bench:eventually("SELECT count(*) FROM moonwake.consumer_groups", "1")
  end)
end)

describe("two files that define one name", function()
  it("leave the first at work, through reloads and to the end", function()
    local bench = bench_of { adder = adding("1"), counter = true }
    finally(function() bench:stop() end)
    bench:publish("a.x", "k")
    local daemon = bench:daemon()
    bench:eventually("SELECT total FROM moonwake.adder", "1")

    files.write(bench.workspace .. "/scripts/reducers/adder.lua",
      [[reducer "adder" { aggregate = "thing", on = { ["*"] = function() end } }]])
    daemon:expect("scripts/reducers/adder.lua", "err")
    bench:save("counter", true)
    bench:save("other", (adding("1"):gsub('"adder"', '"other"')))
    bench:eventually("SELECT total FROM moonwake.other", "1")
    bench:publish("a.x", "k")
    bench:eventually("SELECT total FROM moonwake.adder", "2")
    daemon:signal("TERM")
    assert.equal(0, daemon:wait())
  end)
end)

describe("a table that cannot be made anew", function()
  it("stops its own script alone, and says why", function()
    local body = [[projection "own" { version = %d, sql = true, tables = { own_rows = "id %s" },
      on = { ["*"] = function(db, event) end } }]]
    local bench = bench_of { own = body:format(1, "bigint"), counter = true }
    finally(function() bench:stop() end)
    bench:publish("a.x", "k")
    local daemon = bench:daemon()
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "1")

    bench:save("own", body:format(2, "nosuchtype"))
    daemon:expect("nosuchtype", "err")
    bench:publish("a.x", "k")
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "2")
  end)
end)

describe("many consumers", function()
  it("move as one group, in one row", function()
    local projections = {}
    for i = 1, 40 do
      projections["adder" .. i] = (adding("1"):gsub('"adder"', '"adder' .. i .. '"'))
    end
    local bench = bench_of(projections)
    finally(function() bench:stop() end)
    bench:publish_many(1000)
    bench:daemon()

    for i = 1, 40, 13 do
      bench:eventually("SELECT sum(total) FROM moonwake.adder" .. i, "1000")
    end
    assert.equal("1", bench:psql("SELECT count(*) FROM moonwake.consumer_groups"))
    assert.equal("40", bench:psql("SELECT count(*) FROM moonwake.event_cursors WHERE group_id IS NOT NULL"))
  end)
end)

describe("what hangs in spite of every budget", function()
  it("costs the process, and is left parked by the next one until its file changes", function()
    local bench = bench_of { counter = true, hang = [[
projection "hang" {
  version = 1, jit = true,
  columns = { n = "bigint" },
  on = { ["a.hang"] = function(row)
    local i = 0
    while true do i = i + 1 end
  end,
  ["a.x"] = function(row) row.n = 1 end },
}]] }
    local daemon = moonwake.spawn({ "run", "-C", bench.workspace, "--hang-after", "1" }, { db = bench.run_dsn })
    bench.daemons[1] = daemon
    finally(function() daemon:signal("TERM"); daemon:wait() end)
    bench:publish("a.x", "k", '{"n":1}')
    bench:eventually("SELECT events FROM moonwake.counter", "1")
    local hung = bench:publish("a.hang", "k", '{"n":1}')

    bench:eventually("SELECT state || ' ' || error_event FROM moonwake.consumers WHERE consumer = 'hang'",
      "quarantined " .. hung, 30)
    bench:publish("a.x", "k", '{"n":1}')
    bench:eventually("SELECT events FROM moonwake.counter", "3")
    bench:save("hang", [[
projection "hang" { version = 1, columns = { n = "bigint" }, on = { ["*"] = function(row) row.n = 2 end } }]])
    bench:eventually("SELECT n FROM moonwake.hang", "2")
  end)
end)
