-- A workspace, a database and the daemons that a spec needs, with what is asked of them all the time.
--
--   local bench = bench_of { counter = [[projection "counter" { … }]] }   -- projections by name
--   local daemon = bench:daemon()             -- `run`, ended with the spec
--   bench:publish("device.online", "dev-1", '{"n":1}')
--   bench:caught_up()                         -- runs to the end of the log in the foreground
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local Bench = {}
Bench.__index = Bench

--- A projection that counts events per aggregate, in the words of most specs.
local COUNTER = [[projection "%s" {
  version = 1,
  columns = { events = "bigint default 0", total = "bigint default 0", last = "bigint" },
  on = {
    ["*"] = function(row, event)
      row.events = row.events + 1
      row.total = row.total + (event.data.n or 0)
      row.last = event.id
    end,
  },
}
]]

local function bench_of(projections, server)
  local self = setmetatable({ server = server or pg.shared(), daemons = {} }, Bench)
  self.dsn, self.db = moonwake.database(self.server)
  self.run_dsn = self.server.dsn(self.db, "moonwake_run")
  self.workspace = files.dir()
  os.execute("mkdir -p " .. self.workspace .. "/projections " .. self.workspace .. "/scripts/lib")
  for name, source in pairs(projections or {}) do
    self:save(name, source)
  end
  return self
end

--- Saves a projection's file; `true` stands for a counter of that name.
function Bench:save(name, source)
  files.write(("%s/projections/%s.lua"):format(self.workspace, name),
    source == true and COUNTER:format(name) or source)
end

function Bench:remove(name)
  os.remove(("%s/projections/%s.lua"):format(self.workspace, name))
end

function Bench:daemon(args, env)
  local all = { "run", "-C", self.workspace, "--no-supervisor" }
  for _, arg in ipairs(args or {}) do
    all[#all + 1] = arg
  end
  local daemon = moonwake.spawn(all, { db = self.run_dsn, env = env })
  self.daemons[#self.daemons + 1] = daemon
  return daemon
end

--- Runs until everything in the log is handled; returns what `run` said.
function Bench:caught_up(args)
  local all = { "run", "-C", self.workspace, "--until-caught-up" }
  for _, arg in ipairs(args or {}) do
    all[#all + 1] = arg
  end
  return moonwake.run(all, { db = self.run_dsn })
end

function Bench:publish(event_type, aggregate, data)
  return tonumber(self:psql(("SELECT id FROM moonwake.publish_event('%s', 'thing', '%s', '%s')"):format(
    event_type, aggregate, data or "{}")))
end

--- `count` events of some aggregates, in one statement.
function Bench:publish_many(count, aggregates, event_type)
  self.server:psql(([[SELECT count(*) FROM moonwake.publish_events((
    SELECT jsonb_agg(jsonb_build_object('event_type', '%s', 'aggregate_type', 'thing',
      'aggregate_id', 'a' || i %% %d, 'data', jsonb_build_object('n', i))) FROM generate_series(1, %d) i))]])
    :format(event_type or "thing.done", aggregates or 10, count), { db = self.db })
end

function Bench:psql(sql)
  return (self.server:psql(sql, { db = self.db }))
end

function Bench:query(sql)
  return self.server:query(sql, { db = self.db })
end

--- Waits until SQL gives this text.
function Bench:eventually(sql, expected, timeout)
  local got
  local ok = pcall(pg.eventually, function()
    local answer = self.server:psql(sql, { db = self.db, fail_ok = true })
    got = answer or got
    return answer == expected
  end, timeout or 20)
  if not ok then
    local said = {}
    for i, daemon in ipairs(self.daemons) do
      said[i] = daemon:err():sub(-1500)
    end
    error(("%s\nexpected: %s\ngot: %s\n%s"):format(sql, expected, tostring(got), table.concat(said, "\n--\n")), 2)
  end
end

--- Ends the daemons; for finally().
function Bench:stop()
  for _, daemon in ipairs(self.daemons) do
    if not daemon:code() then
      daemon:signal("CONT")
      daemon:signal("KILL")
      daemon:wait()
    end
  end
end

return bench_of
