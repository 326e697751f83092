-- A believable fleet of devices, as NDJSON for `moonwake publish -`:
--
--   luajit scripts/demo/fleet.lua [--devices 200] [--events 20000] [--days 2] [--seed 1] [--end TIME]
--   luajit scripts/demo/fleet.lua [--devices 200] [--seed 1] --live SECONDS [--rate 100]
--
-- Devices at several sites are set up, get their apps, report their vital signs, lose their connection and come back,
-- and take part in roll-outs. One release does not suit one model: it crashes there and is rolled back. The same
-- options give the same events; only their times move with the end, which is now unless --end says otherwise.
-- --live writes what such a fleet would say from now on, as it happens.
local ffi = require "ffi"

ffi.cdef [[
int poll(void *fds, unsigned long nfds, int timeout);
typedef struct { long sec; long usec; } MwTimeval;
int gettimeofday(MwTimeval *tv, void *tz);
]]

local SITES = { "austin", "berlin", "lisbon", "nairobi", "osaka" }
-- `share`: how many of ten devices are of this model.
local MODELS = {
  { name = "gw-200", kind = "gateway", share = 4, os = "12.4", cpu = 18 },
  { name = "cam-4", kind = "camera", share = 3, os = "12.4", cpu = 46 },
  { name = "edge-mini", kind = "sensor", share = 3, os = "11.9", cpu = 61 },
}
local APPS = { "agent", "broker", "vision" }
local FIRST = { agent = "2.3.0", broker = "1.8.1", vision = "0.9.4" }
-- In the order of time; `at` is the place in the history, 0 to 1. `bad`: the model that the release does not suit;
-- `full`: the share of devices that have no room for it.
local ROLLOUTS = {
  { app = "broker", version = "1.9.0", at = 0.22 },
  { app = "vision", version = "1.0.0", at = 0.45, bad = "edge-mini" },
  { app = "agent", version = "2.4.0", at = 0.72, full = 0.03 },
}
local LIVE_ROLLOUT = { app = "vision", version = "1.0.1", at = 0 }
local OS_UPDATE = "12.5"
local HOUR, MINUTE = 3600, 60


-- Chance: a generator for each purpose and device, so that one more device changes no other one's story.

local Chance = {}
Chance.__index = Chance


--- Park and Miller: exact in doubles, the same everywhere.
local function chance(...)
  local state = 1
  for _, word in ipairs { ... } do
    for i = 1, #tostring(word) do
      state = (state * 31 + tostring(word):byte(i)) % 2147483646 + 1
    end
  end
  local self = setmetatable({ state = state }, Chance)
  for _ = 1, 8 do
    self:next()
  end
  return self
end

function Chance:next()
  self.state = self.state * 16807 % 2147483647
  return (self.state - 1) / 2147483646
end

function Chance:between(low, high)
  return low + (high - low) * self:next()
end

function Chance:whole(low, high)
  return math.floor(self:between(low, high + 1))
end

function Chance:of(list)
  return list[self:whole(1, #list)]
end

function Chance:hex(n)
  local digits = {}
  for i = 1, n do
    digits[i] = ("%x"):format(self:whole(0, 15))
  end
  return table.concat(digits)
end

function Chance:uuid()
  return ("%s-%s-4%s-a%s-%s"):format(self:hex(8), self:hex(4), self:hex(3), self:hex(3), self:hex(12))
end


-- JSON, with names in order: the same event is the same line.

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n" }

local function encode(value)
  if type(value) == "string" then
    return '"' .. value:gsub('["\\\n]', ESCAPES) .. '"'
  elseif type(value) ~= "table" then
    return type(value) == "number" and ("%.10g"):format(value) or tostring(value)
  end
  local parts, names = {}, {}
  if #value > 0 then
    for i, item in ipairs(value) do
      parts[i] = encode(item)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for name in pairs(value) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = encode(name) .. ":" .. encode(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end


local function iso(seconds)
  local whole = math.floor(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%03dZ"):format(math.floor((seconds - whole) * 1000))
end


local function now()
  local tv = ffi.new("MwTimeval")
  ffi.C.gettimeofday(tv, nil)
  return tonumber(tv.sec) + tonumber(tv.usec) / 1e6
end


local function round(value, step)
  return math.floor(value / step + 0.5) * step
end


--- What runs or should run, as events say it.
local function state_of(versions)
  local apps = {}
  for app, version in pairs(versions) do
    apps[app] = { image = ("acme/%s:%s"):format(app, version) }
  end
  return { apps = apps }
end


-- The story of one device. Times are seconds since the history's beginning. Each `say` is one event.

local Device = {}
Device.__index = Device


local function make_device(number, options)
  local luck = chance("device", options.seed, number)
  local at, i = luck:whole(1, 10), 1
  while at > MODELS[i].share do
    at, i = at - MODELS[i].share, i + 1
  end
  local model, site = MODELS[i], luck:of(SITES)
  return setmetatable({
    uuid = luck:uuid(), name = ("%s-%s-%03d"):format(site, model.kind, number), number = number, luck = luck,
    ids = chance("ids", options.seed, options.finish, number), model = model, site = site, os = model.os,
    apps = {}, wanted = {}, online = {}, events = {},
  }, Device)
end

--- `more` holds the event's other members. Returns the event.
function Device:say(at, event_type, data, more)
  local event = { at = at, event_type = event_type, data = data, aggregate_type = "device", aggregate_id = self.uuid,
    source = "device/" .. self.name, order = #self.events }
  for name, value in pairs(more or {}) do
    event[name] = value
  end
  self.events[#self.events + 1] = event
  return event
end

function Device:image(app)
  return ("acme/%s:%s"):format(app, self.apps[app])
end

function Device:container(at, what, app, data, more)
  data.device_uuid, data.model, data.app, data.image = self.uuid, self.model.name, app, self:image(app)
  local members = { aggregate_type = "container", aggregate_id = self.uuid .. "/" .. app }
  for name, value in pairs(more or {}) do
    members[name] = value
  end
  return self:say(at, "container." .. what, data, members)
end

function Device:pull(at, app, cause)
  local data = { device_uuid = self.uuid, model = self.model.name, image = self:image(app) }
  local more = { aggregate_type = "image", aggregate_id = data.image, correlation_id = cause.correlation_id,
    causation_id = cause.event_id }
  if self.luck:next() < 0.04 then
    local failed = { device_uuid = self.uuid, model = data.model, image = data.image, error = "registry: timeout" }
    more.severity = "error"
    self:say(at, "image.pull_failed", failed, more)
    more.severity = nil
    at = at + self.luck:between(20, 90)
  end
  data.bytes = self.luck:whole(20, 180) * 1000000
  at = at + self.luck:between(4, 50)
  self:say(at, "image.pulled", data, more)
  return at
end

--- Makes `app` run in `version`, as the target event asked for; returns when that is done.
function Device:reconcile(at, app, version, target)
  local more = { correlation_id = target.correlation_id, causation_id = target.event_id }
  local running = self.apps[app] ~= nil
  at = at + self.luck:between(1, 8)
  self:say(at, "reconciliation.started", { reason = "target_state", app = app }, more)
  if running then
    self:container(at + 0.5, "stopped", app, { reason = "update" }, more)
  end
  self.apps[app] = version
  local begun = at
  at = self:pull(at + 1, app, target) + self.luck:between(0.5, 3)
  self:container(at, "started", app, { restarts = 0 }, more)
  self:say(at + 0.4, "current_state.updated", { new_state = state_of(self.apps) }, more)
  self:say(at + 0.5, "reconciliation.completed", { app = app, duration_ms = round((at - begun) * 1000, 1) }, more)
  return at + 0.5
end

--- The operator's wish. It causes what follows, so it has an id and names the roll-out.
function Device:target(at, app, version, reason)
  self.wanted[app] = version
  return self:say(at, "target_state.updated", { new_state = state_of(self.wanted), reason = reason }, {
    event_id = self.ids:uuid(), correlation_id = ("%s-%s-%s"):format(reason, app, version), source = "console",
    actor_type = "user", actor_id = self.luck:of { "mira", "tomas", "aiko" },
  })
end

function Device:crash(at, app)
  local restarts = 0
  for _ = 1, self.luck:whole(2, 4) do
    self:container(at, "crashed", app, { exit_code = self.luck:of { 139, 137, 139 } }, { severity = "error" })
    restarts = restarts + 1
    self:container(at + 5 * restarts, "restarted", app, { restarts = restarts }, { severity = "warning" })
    at = at + 5 * restarts + self.luck:between(10, 200)
  end
  return at
end

function Device:provision(at)
  self:say(at, "device.provisioned", { name = self.name, model = self.model.name, site = self.site, os = self.os,
    tags = { self.model.kind, self.luck:next() < 0.1 and "canary" or "stable" } },
    { source = "console", actor_type = "user", actor_id = "mira" })
  at = self:come_online(at + self.luck:between(30, 600))
  local target = self:say(at + 1, "target_state.created", { new_state = state_of(FIRST) },
    { event_id = self.ids:uuid(), source = "console", actor_type = "user", actor_id = "mira" })
  for _, app in ipairs(APPS) do
    self.wanted[app] = FIRST[app]
    at = self:reconcile(at + 1, app, FIRST[app], target)
  end
  return at
end

function Device:come_online(at)
  local ip = ("10.%d.%d.%d"):format(self.luck:whole(1, 9), self.number % 250, self.luck:whole(2, 250))
  self:say(at, "device.online", { ip = ip })
  self.online[#self.online + 1] = { from = at }
  return at
end

function Device:go_offline(at, reason)
  self.online[#self.online].to = at
  self:say(at, "device.offline", { reason = reason }, { severity = "warning" })
end

--- The wish came, and cannot be met: the device drifts from here on.
function Device:fail(at, app, target)
  local more = { correlation_id = target.correlation_id, causation_id = target.event_id, severity = "error" }
  self:say(at, "reconciliation.failed", { app = app, error = "no space left on device" }, more)
  return at
end

function Device:take_part(rollout, at)
  local before = self.apps[rollout.app]
  local target = self:target(at, rollout.app, rollout.version, "rollout")
  if rollout.full and self.luck:next() < rollout.full then
    return self:fail(at + self.luck:between(2, 30), rollout.app, target)
  end
  at = self:reconcile(at, rollout.app, rollout.version, target)
  if rollout.bad == self.model.name then
    at = self:crash(at + self.luck:between(40, 400), rollout.app)
    target = self:target(at + self.luck:between(30, 300), rollout.app, before, "rollback")
    at = self:reconcile(target.at, rollout.app, before, target)
  elseif self.luck:next() < 0.02 then
    at = self:crash(at + self.luck:between(100, 4000), rollout.app)
  end
  return at
end

--- The time between two roll-outs, in which a connection may be lost or a system updated.
function Device:quiet_time(at, till)
  local room = till - at
  if room > HOUR and self.luck:next() < 0.35 then
    at = at + self.luck:between(0.1, 0.4) * room
    self:go_offline(at, self.luck:of { "timeout", "timeout", "power", "network" })
    at = self:come_online(at + self.luck:between(2 * MINUTE, math.min(3 * HOUR, room * 0.4)))
  end
  if till - at > HOUR and self.os ~= OS_UPDATE and self.luck:next() < 0.12 then
    at = at + self.luck:between(0.1, 0.3) * (till - at)
    self:say(at, "device.updated", { from = self.os, os = OS_UPDATE })
    self.os = OS_UPDATE
    self:say(at + 1, "device.rebooted", { reason = "update" }, { severity = "warning" })
    at = at + 1
  end
  return at
end

--- From set-up to the history's end, without the vital signs.
function Device:live(span)
  local at = self:provision(self.luck:between(0, 0.12) * span)
  local leaves = self.luck:next() < 0.04 and self.luck:between(0.8, 0.98) * span
  for _, rollout in ipairs(ROLLOUTS) do
    -- in waves: canaries first, then site by site
    local start = (rollout.at + 0.08 * self.luck:next()) * span
    at = self:quiet_time(at, start)
    at = self:take_part(rollout, math.max(at + MINUTE, start))
  end
  at = self:quiet_time(at, span)
  if leaves and leaves > at + MINUTE then
    self:go_offline(leaves, "shutdown")
    self:say(leaves + 1, "device.deprovisioned", { reason = "replaced" }, { source = "console" })
    self.gone = true
  end
  local last = self.online[#self.online]
  last.to = last.to or span
end

function Device:vital_signs(at, metrics)
  local luck = self.luck
  if not metrics then
    return self:say(at, "device.heartbeat", { uptime_s = math.floor(at - self.online[1].from) }, { severity = "debug" })
  end
  return self:say(at, "device.metrics_reported", {
    cpu_percent = round(math.min(99, self.model.cpu * luck:between(0.5, 1.5)), 0.1),
    memory_percent = round(luck:between(30, 85), 0.1), disk_percent = round(luck:between(20, 60), 0.1),
    temperature_c = round(luck:between(38, 71), 0.1),
  }, { severity = "debug" })
end

--- `n` heartbeats and measurements at even steps through the times in which the device was online.
function Device:fill(n)
  local total, done, passed = 0, 0, 0
  for _, stay in ipairs(self.online) do
    total = total + math.max(0, stay.to - stay.from)
  end
  for _, stay in ipairs(self.online) do
    local room = math.max(0, stay.to - stay.from)
    while done < n and (done + 0.5) / n * total <= passed + room do
      self:vital_signs(stay.from + (done + 0.5) / n * total - passed, done % 4 == 3)
      done = done + 1
    end
    passed = passed + room
  end
end


-- The whole fleet.

local function write(event, base)
  event.occurred_at = iso(base + event.at)
  event.at, event.order, event.device = nil, nil, nil
  io.write(encode(event), "\n")
end


local function make_fleet(options)
  local fleet, told, span = {}, 0, options.days * 24 * HOUR
  for number = 1, options.devices do
    local device = make_device(number, options)
    device:live(span)
    fleet[number] = device
    told = told + #device.events
  end
  return fleet, told, span
end


local function in_order(fleet, span)
  local all = {}
  for _, device in ipairs(fleet) do
    for _, event in ipairs(device.events) do
      -- Nothing happens behind the end, whatever a late roll-out took.
      event.at, event.device = math.min(event.at, span), device.number
      all[#all + 1] = event
    end
  end
  table.sort(all, function(a, b)
    if a.at ~= b.at then
      return a.at < b.at
    elseif a.device ~= b.device then
      return a.device < b.device
    end
    return a.order < b.order
  end)
  return all
end


local function history(options)
  local fleet, told, span = make_fleet(options)
  local rest = options.events - told
  if rest < 0 then
    io.stderr:write(("fleet.lua: --events %d: a fleet of %d has %d events without any heartbeat (name more events, "
      .. "or fewer devices)\n"):format(options.events, options.devices, told))
    os.exit(2)
  end
  for i, device in ipairs(fleet) do
    device:fill(math.floor(rest * i / #fleet) - math.floor(rest * (i - 1) / #fleet))
  end
  for _, event in ipairs(in_order(fleet, span)) do
    write(event, options.finish - span)
  end
end


--- What one device has to say now: mostly how it is, sometimes more. Its new events are in device.events.
local function speak(device, luck, at)
  local dice = luck:next()
  if device.away then
    device:come_online(at)
    device.away = false
  elseif dice < 0.015 then
    device:go_offline(at, "timeout")
    device.away = true
  elseif dice < 0.03 then
    local app = luck:of(APPS)
    device:container(at, "crashed", app, { exit_code = 137 }, { severity = "error" })
    device:container(at + 0.001, "restarted", app, { restarts = 1 }, { severity = "warning" })
  elseif dice < 0.10 and device.apps[LIVE_ROLLOUT.app] ~= LIVE_ROLLOUT.version then
    device:take_part(LIVE_ROLLOUT, at)
  else
    device:vital_signs(at, dice > 0.7)
  end
end


local function live(options)
  local fleet, _, span = make_fleet(options)
  local luck, begin, sent = chance("live", options.seed), now(), 0
  local present = {}
  for _, device in ipairs(fleet) do
    device.luck = chance("live", options.seed, device.number)
    present[#present + 1] = not device.gone and device or nil
  end
  while #present > 0 and now() - begin < options.live do
    while sent < (now() - begin) * options.rate do
      local device = luck:of(present)
      device.events = {}
      speak(device, luck, span)
      for _, event in ipairs(device.events) do
        -- A roll-out's steps are told at once: the fleet is quick today.
        event.at = 0
        write(event, now())
        sent = sent + 1
      end
    end
    io.flush()
    ffi.C.poll(nil, 0, 5)
  end
end


-- The command line.

local function fail(text)
  io.stderr:write("fleet.lua: ", text, "\n")
  os.exit(2)
end


local function parse_time(text)
  local year, month, day, hour, minute, second = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):?(%d*)Z?$")
  if not year then
    fail(("--end: '%s' is not a time such as 2026-01-31T12:00:00Z"):format(text))
  end
  -- days since 1970, with years that begin in March
  local y, m = tonumber(year), tonumber(month)
  if m <= 2 then
    y, m = y - 1, m + 12
  end
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (m - 3) + 2) / 5) + tonumber(day) - 719469
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + (tonumber(second) or 0)
end


local function parse(args)
  local options = { devices = 200, events = 20000, days = 2, seed = 1, rate = 100 }
  local i = 1
  while i <= #args do
    local name, value = args[i]:match("^%-%-(%a+)$"), args[i + 1]
    if name == "end" and value then
      options.finish = parse_time(value)
    elseif name == "live" or (name and options[name]) then
      options[name] = tonumber(value)
      if not options[name] or options[name] <= 0 then
        fail(("--%s: '%s' is not a number above 0"):format(name, tostring(value)))
      end
    else
      fail(("'%s': no such option (--devices, --events, --days, --seed, --end, --live, --rate)"):format(args[i]))
    end
    i = i + 2
  end
  options.finish = options.finish or now()
  return options
end


local options = parse(arg)
if options.live then
  live(options)
else
  history(options)
end
