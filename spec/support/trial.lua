--- Runs `moonwake test` in workspaces that a spec makes up.
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local assert = require "luassert"

local trial = {}

--- A workspace of these files (path -> text).
function trial.workspace(contents)
  local dir = files.dir()
  for path, text in pairs(contents) do
    files.write(dir .. "/" .. path, text)
  end
  return dir
end

function trial.test(dir, args, opts)
  opts = opts or {}
  opts.cwd = dir
  return moonwake.run({ "test", unpack(args or {}) }, opts)
end

--- Runs the body of one test against a script: its output and exit code.
function trial.run_body(script, body, args)
  local name = script:match('^%s*%w+ "([%w_]+)"') or script:match('\n%w+ "([%w_]+)"')
  local folder = script:match("reducer \"") and "scripts/reducers/" or script:match("rule \"") and "rules/"
    or "projections/"
  return trial.test(trial.workspace { [folder .. name .. ".lua"] = script,
    ["spec/" .. name .. "_spec.lua"] = ('it("works", function()\n%s\nend)\n'):format(body) }, args)
end

function trial.passes(script, body)
  local r = trial.run_body(script, body)
  assert.equal("", r.err)
  assert.truthy(r.out:find("\n1 passed, 0 failed\n", 1, true), r.out)
  assert.equal(0, r.code)
  return r.out
end

function trial.fails(script, body, ...)
  local r = trial.run_body(script, body)
  for _, text in ipairs { ... } do
    assert.truthy(r.out:find(text, 1, true), ("'%s' is not in:\n%s%s"):format(text, r.out, r.err))
  end
  assert.truthy(r.out:find("\n0 passed, 1 failed\n", 1, true), r.out)
  assert.equal(1, r.code)
  return r.out
end

trial.COUNTER = [[
projection "counter" {
  columns = { n = "bigint default 0", last = "timestamptz", note = "text" },
  on = {
    ["thing.added"] = function(row, event)
      if event.data.n == "bad" then
        error("no number")
      end
      row.n = row.n + (event.data.n or 1)
      row.last = event.occurred_at
      row.note = event.data.note
    end,
    ["thing.removed"] = function() return delete end,
  },
}
]]

trial.CRASHES = [[
rule "crashes" {
  on = "app.crashed",
  by = { device = "data.device", app = "aggregate_id" },
  window = { over = "10m" },
  when = { warning = function(w) return w.count >= 3 end, critical = function(w) return w.count >= 5 end },
  hold = "1m",
  linger = "2m",
  labels = { team = "edge" },
  summary = "{app} on {device}: {count}",
  emit = function(w, k) return event("app.suspect", { crashes = w.count, app = k.app }) end,
  act = function(_, k) return publish("app.restart", { app = k.app }, { aggregate_type = "app", aggregate_id = k.app }) end,
}
]]

-- Keeps every field of every event as its handler saw it.
trial.DIARY = [[
projection "diary" {
  on = {
    ["*"] = function(state, event)
      state.events = state.events or array {}
      table.insert(state.events, { id = event.id, event_id = event.event_id, type = event.type,
        aggregate_type = event.aggregate_type, aggregate_id = event.aggregate_id, version = event.version,
        schema_version = event.schema_version, data = json.decode(json.encode(event.data)),
        metadata = json.decode(json.encode(event.metadata)), source = event.source, correlation_id = event.correlation_id,
        causation_id = event.causation_id, actor_type = event.actor_type, actor_id = event.actor_id,
        severity = event.severity, impact = event.impact, occurred_at = iso(event.occurred_at),
        timestamp = iso(event.timestamp), occurrences = event.occurrences })
    end,
  },
}
]]

return trial
