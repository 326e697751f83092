-- Live equals replay: what a projection was fed live, in batches of any size, is byte for byte what the same script
-- makes of the whole log in one go.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"

local SHAPES = {
  documents = [[projection "%s" {
    on = {
      ["thing.*"] = function(state, event)
        state.trail = state.trail or array {}
        if #state.trail == 5 then
          table.remove(state.trail, 1)
        end
        table.insert(state.trail, { n = event.data.n, at = iso(event.occurred_at), type = event.type })
        state.mean = ((state.mean or 0) * 3 + event.data.n) / 4
        state[event.type] = (state[event.type] or 0) + 1
      end,
      ["other.gone"] = function() return delete end,
    },
  }]],
  columns = [[projection "%s" {
    key = function(event) return { event.aggregate_id, event.type } end, key_column = "name",
    columns = { name = "text", events = "bigint default 0", share = "double precision", exact = "numeric",
      last = "timestamptz", seen = "jsonb" },
    on = {
      ["*"] = function(row, event)
        row.events, row.last = row.events + 1, event.occurred_at
        row.share, row.exact = event.data.n / row.events, event.data.n / 10
        row.seen = row.seen or {}
        row.seen[event.type] = (row.seen[event.type] or 0) + event.data.n
        if row.events % 50 == 0 then
          return delete
        end
      end,
    },
  }]],
}
local REDUCER = [[reducer "%s" {
  aggregate = "thing", snapshot_every = 7,
  initial = function() return { sum = 0, types = {} } end,
  on = {
    ["*"] = function(state, event)
      state.sum = state.sum + event.data.n
      state.types[event.type] = event.version
      if state.sum % 97 == 0 then
        return { sum = 0, types = {}, again = event.id }
      end
    end,
  },
}]]

local function named(source, name)
  return (source:gsub("%%s", name, 1))
end

local function contents(bench, relation, what)
  return bench.server:psql(("COPY (SELECT %s FROM moonwake.%s ORDER BY 1, 2, 3) TO STDOUT"):format(what or "*", relation),
    { db = bench.db })
end

describe("a script fed live and one replayed in one go", function()
  it("give the same bytes", function()
    local seed = os.time() % 100000
    math.randomseed(seed)
    local live = {}
    for name, source in pairs(SHAPES) do
      live[name .. "_live"] = named(source, name .. "_live")
    end
    local bench = bench_of(live)
    files.write(bench.workspace .. "/scripts/reducers/thing_live.lua", named(REDUCER, "thing_live"))
    finally(function() bench:stop() end)
    bench:daemon()
    local total = 0
    for i = 1, 60 do
      local count = math.random(4) == 1 and math.random(400) or math.random(9)
      bench:publish_many(count, math.random(20), i % 9 == 0 and "other.gone" or "thing." .. math.random(3))
      total = total + count
      if i == 20 or i == 40 then -- a restart empties every cache
        bench:stop()
        bench:daemon { "--state-memory", "1" }
      end
    end
    bench:eventually("SELECT min(position) FROM moonwake.consumers", tostring(total))
    bench:stop()

    for name, source in pairs(SHAPES) do
      bench:save(name .. "_once", named(source, name .. "_once"))
    end
    files.write(bench.workspace .. "/scripts/reducers/thing_once.lua", named(REDUCER, "thing_once"))
    local r = bench:caught_up()
    assert.equal(0, r.code, r.err)

    for name in pairs(SHAPES) do
      local rows = contents(bench, name .. "_live")
      assert.is_true(#rows > 500, name)
      assert.equal(rows, contents(bench, name .. "_once"), ("%s, seed %d"):format(name, seed))
    end
    local function reducer(relation, columns)
      local list = {}
      for _, name in ipairs { "thing_live", "thing_once" } do
        list[#list + 1] = contents(bench, ("%s WHERE reducer = '%s'"):format(relation, name), columns)
      end
      assert.is_true(#list[1] > 300, relation)
      assert.equal(list[1], list[2], ("%s, seed %d"):format(relation, seed))
    end
    reducer("aggregate_states", "aggregate_id, version, position, state, updated_at")
    reducer("snapshots", "aggregate_id, version, event_id, state")
  end)
end)
