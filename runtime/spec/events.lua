-- How a spec writes an event, and what is filled in: ids, versions, and a clock that only the spec moves.
--
--   { "container.crashed", "c-1", { exit_code = 137 }, at = "2026-01-02", actor_id = "ops" }
--   { type = "container.crashed", aggregate_type = "container", aggregate_id = "c-1", data = { exit_code = 137 } }
--
-- Named fields of a list go for all of its events. The aggregate type, where none is named, is a reducer's own, or
-- the first word of the event's type.
local api = require "prelude.api"
local nearest = require "prelude.nearest"

local SECOND = 1e6 -- clocks count microseconds
local EPOCH = 1767225600 * SECOND -- 2026-01-01
local UNITS = { ms = 1e3, s = SECOND, m = 60 * SECOND, h = 3600 * SECOND, d = 86400 * SECOND, w = 604800 * SECOND }
local POSITIONS = { "type", "aggregate_id", "data" }
local ALIASES = { event_type = "type", at = "occurred_at" }
local TEXTS = { "source", "correlation_id", "actor_type", "actor_id", "severity", "impact" }

local events = {}


local function problem(text, ...)
  error({ problem = text:format(...) }, 0)
end


local function show(value)
  return type(value) == "string" and "'" .. value .. "'" or type(value) == "number" and tostring(value)
    or "a " .. type(value)
end


local function field_names()
  local names = { "at", "event_type" }
  for _, field in ipairs(api.event) do
    names[#names + 1] = field.name
  end
  return names
end


local FIELDS = {}
for _, name in ipairs(field_names()) do
  FIELDS[name] = true
end


--- Microseconds of a duration: seconds, or "90s", "5m", "1h30m", "2d".
function events.duration(value)
  if type(value) == "number" and value >= 0 and value < 1e12 then
    return value * SECOND
  elseif type(value) == "string" and value ~= "" then
    local total, rest = 0, value:gsub("%s+", "")
    while rest ~= "" do
      local count, unit, after = rest:match("^(%d+%.?%d*)(%a+)(.*)$")
      if not count or not UNITS[unit] then
        total = nil
        break
      end
      total, rest = total + tonumber(count) * UNITS[unit], after
    end
    if total then
      return math.floor(total + 0.5)
    end
  end
  return nil, ("%s is no duration (say seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\")"):format(show(value))
end


local Reader = {}
Reader.__index = Reader

--- `aggregate` is a reducer's aggregate type, or nil; `native` has time() and json.
function events.reader(native, aggregate)
  return setmetatable({ native = native, aggregate = aggregate, clock = nil, pending = 0, last_id = 0, versions = {} },
    Reader)
end


--- The first event after it happens so much later.
function Reader:advance(microseconds)
  self.pending = self.pending + microseconds
end


--- The time of an event without one: a second after the last, or as long after it as advance() said.
function Reader:now()
  if not self.clock then
    return EPOCH + self.pending
  end
  return self.clock + (self.pending > 0 and self.pending or SECOND)
end


function Reader:time_of(name, value)
  if type(value) == "number" then
    return math.floor(value * SECOND + 0.5)
  end
  local time = type(value) == "string" and self.native.time(value)
  return time or problem("'%s' is %s, and no time (say \"2026-01-02T03:04:05Z\", or seconds since 1970)", name,
    show(value))
end


--- What was written, under the fields' own names.
local function named(raw, shared)
  local out = {}
  for name, value in pairs(raw) do
    local position = type(name) == "number" and POSITIONS[name]
    local field = position or ALIASES[name] or name
    if not position and not FIELDS[name] then
      problem("unknown field %s%s", show(name), type(name) == "string" and nearest(name, field_names())
        or " (an event is { \"type\", \"id\", { data }, field = value })")
    elseif out[field] ~= nil then
      problem("'%s' is given twice", field)
    end
    out[field] = value
  end
  for name, value in pairs(shared) do
    if out[name] == nil then
      out[name] = value
    end
  end
  return out
end


local function text_of(raw, name, required)
  local value = raw[name]
  if value == nil and not required then
    return nil
  elseif type(value) == "number" and name == "aggregate_id" and value % 1 == 0 then
    return ("%.0f"):format(value)
  elseif type(value) ~= "string" or value == "" then
    problem(value == nil and "has no %s" or "'%s' must be a text, not %s", name, show(value))
  end
  return value
end


local function integer_of(raw, name, default, least)
  local value = raw[name]
  if value == nil then
    return default
  elseif type(value) ~= "number" or value % 1 ~= 0 or value < least then
    problem("'%s' is %s, and must be a whole number from %d", name, show(value), least)
  end
  return value
end


local function uuid_of(raw, name, default)
  local value = raw[name]
  if value == nil then
    return default
  elseif type(value) ~= "string" or not value:match("^%x+%-%x+%-%x+%-%x+%-%x+$") or #value ~= 36 then
    problem("'%s' is %s, and no uuid", name, show(value))
  end
  return value:lower()
end


function Reader:json_of(raw, name)
  local value = raw[name]
  if value == nil then
    return "{}"
  end
  local ok, text = pcall(self.native.json.encode, value)
  return ok and text or problem("'%s' is no JSON: %s", name, (text:gsub("^.-json%.encode: ", "")))
end


local function aggregate_type(self, raw, event_type)
  return text_of(raw, "aggregate_type") or self.aggregate or event_type:match("^([^.]+)%.") or event_type
end


--- The times of an event. A producer's word (occurred_at) may be in the past; the log's own goes on.
function Reader:set_times(event, raw)
  local now = self:now()
  local occurred = raw.occurred_at ~= nil and self:time_of("occurred_at", raw.occurred_at)
  local appended = raw.timestamp ~= nil and self:time_of("timestamp", raw.timestamp)
  if not appended then
    appended = occurred and (self.clock and math.max(occurred, self.clock + self.pending) or occurred) or now
  end
  event.occurred_us, event.timestamp_us = occurred or appended, appended
  self.clock = math.max(self.clock or appended, appended)
  self.pending = 0
end


function Reader:set_place(event, raw)
  local stream = event.aggregate_type .. "\0" .. event.aggregate_id
  local id, version = integer_of(raw, "id", self.last_id + 1, 1), (self.versions[stream] or 0) + 1
  if id <= self.last_id then
    problem("'id' is %d, and the event before it has %d (ids rise)", id, self.last_id)
  end
  event.id, event.version = id, integer_of(raw, "version", version, version)
  self.last_id, self.versions[stream] = event.id, event.version
end


--- One event as the native side takes it; raises { problem = … }.
function Reader:read(written, shared)
  local raw = named(written, shared)
  local event = { type = text_of(raw, "type", true) }
  event.aggregate_type = aggregate_type(self, raw, event.type)
  event.aggregate_id = text_of(raw, "aggregate_id", true)
  event.data, event.metadata = self:json_of(raw, "data"), self:json_of(raw, "metadata")
  for _, name in ipairs(TEXTS) do
    event[name] = text_of(raw, name)
  end
  event.schema_version = integer_of(raw, "schema_version", 1, 1)
  event.occurrences = integer_of(raw, "occurrences", 1, 1)
  self:set_place(event, raw)
  self:set_times(event, raw)
  event.event_id = uuid_of(raw, "event_id", ("00000000-0000-4000-8000-%012x"):format(event.id))
  event.causation_id = uuid_of(raw, "causation_id")
  return event
end


--- A list of events (or one), with the fields that go for all of them. nil and the problem.
function Reader:read_list(written)
  if type(written) ~= "table" then
    return nil, ("a list of events is expected, not %s"):format(show(written))
  end
  local single = type(written[1]) == "string" or written[1] == nil and (written.type or written.event_type) ~= nil
  local list, shared, out = single and { written } or written, {}, {}
  for name, value in pairs(single and {} or written) do
    if type(name) ~= "number" then
      shared[name] = value
    end
  end
  local subject = ""
  local ok, why = pcall(function()
    shared = named(shared, {})
    for i, item in ipairs(list) do
      subject = ("event %d: "):format(i)
      if type(item) ~= "table" then
        problem("%s is no event", show(item))
      end
      out[i] = self:read(item, shared)
    end
  end)
  if not ok then
    return nil, type(why) == "table" and subject .. why.problem or why
  end
  return out
end


return events
