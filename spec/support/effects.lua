--- What rules do, as the SQL function raise() takes it, made by hand:
--
--   local effects = require "spec.support.effects"
--   effects.firing(7, { rule = "hot", at = -5 })     -- episode 7 fires, 5 seconds ago
--   effects.raise(server, db, { effect, … })         -- how many were news
--
-- An episode is a number: its uuid ends with it. Every transition needs a number of its own (n) within the episode.
local effects = {}

local function encode(value)
  local kind = type(value)
  if kind == "table" then
    local parts = {}
    if #value > 0 then
      for i, item in ipairs(value) do
        parts[i] = encode(item)
      end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for name, item in pairs(value) do
      parts[#parts + 1] = ('"%s":%s'):format(name, encode(item))
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
  elseif kind == "number" then
    return ("%.0f"):format(value)
  elseif kind == "string" then
    return '"' .. value:gsub('[\\"]', "\\%0"):gsub("%c", function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
  end
  return tostring(value)
end
effects.encode = encode

--- Microseconds since 1970, so many seconds from the time at which the specs began.
local START = os.time() * 1000000
function effects.at(seconds)
  return START + (seconds or 0) * 1000000
end

function effects.uuid(n, kind)
  return ("%08x-0000-4000-8000-%012x"):format(kind or 0, n)
end

local function with(base, own)
  for name, value in pairs(own or {}) do
    base[name] = value
  end
  return base
end

local ORDER = { pending = 1, firing = 2, resolved = 3, expired = 3 }

--- own.at: seconds from the start of the specs; everything else as in the JSON.
function effects.alert(transition, episode, own)
  own = with({}, own)
  local n = own.n or ORDER[transition]
  local device = own.device or "d-" .. episode
  local at = effects.at(own.at)
  own.at, own.device = nil, nil
  return with({
    kind = "alert", rule = "crash_loop", transition = transition, episode = effects.uuid(episode),
    event_id = effects.uuid(episode * 100 + n, 1), n = n, key = { device = device }, key_text = ('"%s"'):format(device),
    fingerprint = ("%032x"):format(episode), at = at, since = at, position = 10, severity = "warning",
    summary = device .. " crashes", labels = { site = "north" }, subject = { count = 3 }, signal = false, depth = 0,
    notify = { "ops" },
  }, own)
end

for transition in pairs(ORDER) do
  effects[transition] = function(episode, own)
    return effects.alert(transition, episode, own)
  end
end

function effects.event(episode, own)
  own = with({}, own)
  own.at = effects.at(own.at)
  return with({ kind = "event", rule = "crash_loop", episode = effects.uuid(episode), event_id = effects.uuid(episode, 2),
    position = 10, type = "device.suspect", aggregate_type = "device", aggregate_id = "d-1", data = { why = "crashes" },
    depth = 0 }, own)
end

function effects.act(episode, own)
  own = with({}, own)
  own.at = effects.at(own.at)
  return with({ kind = "act", rule = "crash_loop", episode = effects.uuid(episode), id = effects.uuid(episode, 3),
    position = 10, key_text = '"d-1"', act = "webhook", to = "ops", data = { restart = true }, depth = 0 }, own)
end

function effects.sql(list)
  return ("'%s'"):format(encode(list):gsub("'", "''"))
end

function effects.raise(server, db, list)
  local news = server:psql(("SELECT moonwake.raise(%s)"):format(effects.sql(list)), { db = db, user = "moonwake_run" })
  return tonumber(news)
end

return effects
