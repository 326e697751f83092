local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local pg = require "spec.support.pg"

local SAME = [[SELECT (SELECT count(*) FROM moonwake.events) = (SELECT sum(events) FROM moonwake.counter)]]

--- The plans of live pages in the server's log: which partitions each one really touched.
local function pages(log)
  local plans, plan = {}, nil
  for line in (log .. "\n"):gmatch("(.-)\n") do
    if line:match("^%d%d%d%d%-%d%d%-%d%d ") then
      if plan and plan.text:find("One page of the log", 1, true) then
        plans[#plans + 1] = plan
      end
      plan = line:match("LOG:  duration.*plan:") and { text = "", touched = {} } or nil
    elseif plan then
      plan.text = plan.text .. line .. "\n"
      local partition = line:match("on (events_%d+)")
      if partition and not line:find("never executed", 1, true) then
        plan.touched[#plan.touched + 1] = partition
      end
    end
  end
  return plans
end

describe("a live poll", function()
  it("touches the partitions that can hold new events, and no other", function()
    local server = pg.start { settings = { session_preload_libraries = "auto_explain",
      ["auto_explain.log_min_duration"] = "0", ["auto_explain.log_analyze"] = "on" } }
    finally(function() server:stop() end)
    local bench = bench_of({ counter = true }, server)
    bench:psql("SELECT moonwake.create_events_partition(current_date - n) FROM generate_series(31, 120) n")
    bench:publish_many(50)
    bench:daemon()
    bench:eventually(SAME, "t")
    pg.sleep(0.5)
    local before = #files.read(server.log)
    for _ = 1, 20 do
      bench:publish("thing.done", "a1", '{"n":1}')
      bench:eventually(SAME, "t")
    end
    bench:publish("thing.done", "a1", '{"n":1}')
    bench:eventually(SAME, "t")
    bench:stop()

    local plans = pages(files.read(server.log):sub(before))
    assert.is_true(#plans >= 10, "only " .. #plans .. " pages were explained")
    local today = tonumber(bench:psql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'moonwake.events'::regclass"))
    assert.is_true(today > 100)
    for _, plan in ipairs(plans) do
      -- today's and the ones that are made ahead; none of the hundred that are over
      assert.is_true(#plan.touched <= 9, plan.text)
    end
  end)
end)

describe("a type that is rare in a long history", function()
  it("is found by the index on types, and what was scanned counts as passed", function()
    local server = pg.start { settings = { session_preload_libraries = "auto_explain",
      ["auto_explain.log_min_duration"] = "0", ["auto_explain.log_analyze"] = "on" } }
    finally(function() server:stop() end)
    local bench = bench_of({ rare = [[projection "rare" { columns = { n = "bigint default 0" },
      on = { ["rare.*"] = function(row) row.n = row.n + 1 end } }]] }, server)
    bench:publish("rare.first", "a", "{}")
    bench:psql([[INSERT INTO moonwake.events (event_id, event_type, aggregate_type, aggregate_id, version, data, occurred_at)
      SELECT gen_random_uuid(), 'noise.' || i % 3, 'thing', 'n' || i, 1, '{}', now() FROM generate_series(1, 300000) i]])
    bench:publish("rare.second", "a", "{}")
    bench:psql("ANALYZE moonwake.events")

    assert.equal(0, bench:caught_up().code)
    assert.equal("2", bench:psql("SELECT n FROM moonwake.rare"))
    assert.equal("t", bench:psql("SELECT position = (SELECT max(id) FROM moonwake.events) FROM moonwake.consumers"))
    local filtered, sparse = 0, 0
    for _ in files.read(server.log):gmatch("events_page for consumers that do not take every type") do
      filtered = filtered + 1
    end
    for _ in files.read(server.log):gmatch("events_page_types where few of many rows match") do
      sparse = sparse + 1
    end
    assert.is_true(sparse >= 1, "it crawled")
    assert.is_true(filtered <= 3, "it crawled for " .. filtered .. " pages")
    bench:stop()
  end)
end)

describe("midnight", function()
  it("passes under load, and nothing is lost when the clock jumps", function()
    local server = pg.start { faketime = true }
    finally(function() server:stop() end)
    server:clock("@2031-03-09 23:59:57")
    server:restart("fast")
    local bench = bench_of({ counter = true }, server)
    bench:daemon()
    local function load(seconds)
      local script = files.write(files.dir() .. "/publish.sql",
        [[SELECT 1 FROM moonwake.publish_event('thing.done', 'thing', 'a' || (random() * 20)::int, '{"n":1}');]])
      files.command(("%s/pgbench -n -c 4 -j 1 -T %d -f %s '%s' 2>&1"):format(server.bin, seconds, script, bench.dsn))
    end

    load(4)
    bench:eventually(SAME, "t")
    local days = tonumber(bench:psql([[SELECT count(DISTINCT tableoid) FROM moonwake.events]]))
    server:clock("@2031-03-20 12:00:00") -- further ahead than there are partitions
    load(1)
    bench:eventually(SAME, "t")
    server:clock("@2031-03-10 06:00:00") -- and back
    load(1)
    bench:eventually(SAME, "t")
    bench:stop()
    assert.equal(2, days)
    assert.equal("0", bench:psql([[SELECT count(*) FROM
      (SELECT version - lag(version) OVER (PARTITION BY aggregate_id ORDER BY id) AS step FROM moonwake.events) v
      WHERE step <> 1]]))
  end)
end)
