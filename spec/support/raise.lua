-- Fills alerts and the outbox without a rule: tells moonwake.raise() what a rule's handler would.
--
--   raise(bench, effect(1))                                  -- alert 1 fires at this moment, for receiver "ops"
--   raise(bench, effect(1, { transition = "resolved" }))     -- … and is over
--   raise(bench, action(1, { act = "webhook", to = "ops", data = { n = 1 } }))
local json = require "dkjson"

local raise = {}
local serial = 0


local function merged(e, more)
  for name, value in pairs(more or {}) do
    e[name] = value
  end
  return e
end


local function next_id()
  serial = serial + 1
  return ("00000000-0000-4000-9000-%012x"):format(serial)
end


--- A transition of the nth alert. `ago`: so many seconds before now.
function raise.effect(n, more)
  return merged({ kind = "alert", rule = "crash_loop", transition = "firing", n = 1, key_text = ('"d-%d"'):format(n),
    key = { aggregate_id = ("d-%d"):format(n) }, fingerprint = ("%032x"):format(n), severity = "warning",
    episode = ("00000000-0000-4000-8000-%012x"):format(n), event_id = next_id(), summary = "it crashes",
    labels = { site = "north" }, subject = { count = 3 }, signal = false, depth = 0, notify = { "ops" } }, more)
end


--- What a rule does at the nth alert's firing.
function raise.action(n, more)
  return merged({ kind = "act", rule = "crash_loop", key_text = ('"d-%d"'):format(n), n = 2,
    episode = ("00000000-0000-4000-8000-%012x"):format(n), id = next_id(), depth = 0, mode = "parallel", max = 100 }, more)
end


function raise.raise(bench, ...)
  local us = "((extract(epoch FROM clock_timestamp()) - coalesce((e ->> 'ago')::numeric, 0)) * 1000000)::bigint"
  bench:psql(("SELECT moonwake.raise((SELECT jsonb_agg(e || jsonb_build_object('at', %s, 'since', %s, 'position', 0)) "
    .. "FROM jsonb_array_elements($effects$%s$effects$) e))"):format(us, us, json.encode { ... }))
end


return raise
