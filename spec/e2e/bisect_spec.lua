-- The first event that breaks an assertion, against running sums in SQL.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local terminal = require "spec.support.terminal"

local REDUCER = [[reducer "thing" {
  aggregate = "thing", version = 1, snapshot_every = 20,
  initial = function() return { total = 0, calm = true } end,
  on = {
    ["thing.*"] = function(state, event)
      state.total = state.total + event.data.n
      state.calm = event.data.n < 90
    end,
  },
}]]

local PROJECTION = [[projection "totals" {
  columns = { total = "bigint default 0" },
  on = {
    ["thing.*"] = function(row, event)
      row.total = row.total + event.data.n
    end,
  },
}]]

local function bench_with(events, aggregates, seed)
  local bench = bench_of { totals = PROJECTION }
  files.write(bench.workspace .. "/scripts/reducers/thing.lua", REDUCER)
  bench.server:psql(([[SELECT setseed(%f); SELECT count(*) FROM moonwake.publish_events((
    SELECT jsonb_agg(jsonb_build_object('event_type', 'thing.done', 'aggregate_type', 'thing',
      'aggregate_id', 'a' || i %% %d, 'data', jsonb_build_object('n', floor(random() * 100)))) FROM generate_series(1, %d) i))]])
    :format(seed, aggregates, events), { db = bench.db })
  return bench
end

local function bisect(bench, args)
  local all = { "-C", bench.workspace, "bisect", "--json" }
  for _, arg in ipairs(args) do
    all[#all + 1] = arg
  end
  local r = moonwake.run(all, { db = bench.run_dsn })
  return r.code == 0 and json.decode(r.out) or nil, r
end

--- The first version at which a condition over (n, total) is true, by SQL; nil: none.
local function first_by_sql(bench, id, condition)
  local answer = bench:psql(([[SELECT coalesce(min(version)::text, 'none') FROM (
    SELECT version, (data ->> 'n')::int AS n, sum((data ->> 'n')::int) OVER (ORDER BY version) AS total
      FROM moonwake.events WHERE aggregate_type = 'thing' AND aggregate_id = '%s') e WHERE %s]]):format(id, condition))
  return tonumber(answer)
end

describe("bisect", function()
  local bench, seed

  setup(function()
    seed = os.time() % 1000 / 1000
    bench = bench_with(3000, 3, seed)
  end)

  local function assert_finds_all(name)
    math.randomseed(seed * 1000)
    for _ = 1, 5 do
      local id, limit = "a" .. math.random(0, 2), math.random(1, 48000)
      local found, r = bisect(bench, { "thing", id, "state.total < " .. limit })
      local expected = first_by_sql(bench, id, "total >= " .. limit)
      assert.equal(expected, found and found.event.version,
        ("%s: seed %f, %s, limit %d: %s"):format(name, seed, id, limit, r.err))
      if found then
        assert.is_true(found.probes <= 12, "1,000 states take at most 11 looks, and the last one")
        assert.equal("total", found.changes[#found.changes].path)
        assert.same({ { file = "scripts/reducers/thing.lua", line = 6 } }, { found.lines[1] })
      end
    end
  end

  it("names the event that SQL finds, from the log alone and from the daemon's snapshots", function()
    assert_finds_all("log")
    local alone = bisect(bench, { "thing", "a1", "state.total < 20000" })
    local r = bench:caught_up()
    assert.equal(0, r.code, r.err)
    assert_finds_all("snapshots")
    local from_snapshots = bisect(bench, { "thing", "a1", "state.total < 20000" })
    assert.equal(alone.event.id, from_snapshots.event.id)
    assert.is_true(from_snapshots.events_read <= from_snapshots.probes * 21 + 60, tostring(from_snapshots.events_read))
    assert.is_true(alone.events_read > 4 * from_snapshots.events_read)
  end)

  it("of a projection's row names the same event", function()
    for _, limit in ipairs { 1, 777, 20000, 48000 } do
      local found, r = bisect(bench, { "projection", "totals", "a2", "row.total < " .. limit })
      assert.equal(first_by_sql(bench, "a2", "total >= " .. limit), found and found.event.version, r.err)
      assert.same(found, bisect(bench, { "--projection", "totals", "a2", "row.total < " .. limit }))
    end
  end)

  it("with --linear finds what comes and goes", function()
    for _, id in ipairs { "a0", "a1", "a2" } do
      local found, r = bisect(bench, { "thing", id, "--linear", "state.calm" })
      assert.equal(first_by_sql(bench, id, "n >= 90"), found and found.event.version, r.err)
      local jump = bisect(bench, { "projection", "totals", id, "--linear", "not before or row.total - before.total < 90" })
      assert.equal(first_by_sql(bench, id, "n >= 90 AND version > 1"), jump and jump.event.version)
    end
  end)

  it("says so where nothing breaks, and what is wrong with the question", function()
    local function fails(code, text, args)
      local _, r = bisect(bench, args)
      assert.equal(code, r.code, r.err)
      assert.matches(text, r.err, 1, true)
    end
    fails(1, "the assertion holds after the last event", { "thing", "a1", "state.total >= 0" })
    fails(1, "holds after every event", { "thing", "a1", "--linear", "state.total >= 0" })
    fails(2, "assertion", { "thing", "a1", "state.total <" })
    fails(1, "a99", { "thing", "a99", "state.total < 1" })
    fails(2, "thing", { "thin", "a1", "state.total < 1" })
    fails(1, "no event came for the key", { "projection", "totals", "zz", "row.total < 1" })
    fails(2, "takes the type and the id", { "thing", "a1" })
    fails(1, "attempt to", { "thing", "a1", "state.nothing.here < 1" })
  end)

  it("reads well on a terminal", function()
    local r = terminal.run({ "-C", bench.workspace, "bisect", "thing", "a1", "state.total < 20000" }, { db = bench.run_dsn })
    assert.equal(0, r.code, r.screen)
    assert.matches("the first event that breaks it, of 1,000 %(%d+ states looked at%)", r.screen)
    assert.matches("thing.done", r.screen, 1, true)
    assert.matches("scripts/reducers/thing.lua:6", r.screen, 1, true)
    assert.matches("total  1%d%d%d%d %-> 2%d%d%d%d", r.screen)
    assert.matches("\27[", r.raw, 1, true)
  end)
end)

describe("bisect over the help desk's log", function()
  it("agrees with a linear scan", function()
    local server = pg.shared()
    local dsn, db = moonwake.database(server)
    local path = files.dir() .. "/helpdesk.ndjson.gz"
    assert(os.execute(("cp ../shared/data/process/helpdesk.ndjson.gz %s"):format(files.quote(path))) == 0)
    moonwake.must({ "import", path, "--map", "scripts/import/helpdesk.lua" }, { db = dsn, timeout = 300 })
    local tickets = server:query([[SELECT aggregate_id, max(version) FROM moonwake.events WHERE aggregate_type = 'ticket'
      GROUP BY 1 HAVING max(version) > 3 ORDER BY md5(aggregate_id) LIMIT 15]], { db = db })
    assert.equal(15, #tickets)
    for i, ticket in ipairs(tickets) do
      local assertion = ("#state.steps < %d"):format(i % tonumber(ticket[2]) + 1)
      local function ask(...)
        return json.decode(moonwake.run({ "-C", "spec/workspaces/real", "bisect", "ticket", ticket[1], assertion, "--json",
          ... }, { db = dsn }).out)
      end
      local halves, linear = ask(), ask("--linear")
      assert.same({ linear.event, linear.changes }, { halves.event, halves.changes }, ticket[1])
      local steps = server:psql(([[SELECT coalesce(min(version), 0) FROM (SELECT version, count(*) FILTER (
        WHERE event_type <> 'ticket.closed') OVER (ORDER BY version) AS steps FROM moonwake.events
        WHERE aggregate_type = 'ticket' AND aggregate_id = '%s') e WHERE steps >= %d]]):format(ticket[1],
        i % tonumber(ticket[2]) + 1), { db = db })
      assert.equal(tonumber(steps), linear.event and linear.event.version or 0)
      assert.equal(tonumber(ticket[2]), halves.states)
    end
  end)
end)
