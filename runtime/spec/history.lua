-- The events of one test, and what the script under test made of them.
local alerts = require "moonwake.spec.alerts"
local events = require "moonwake.spec.events"

local History = {}
History.__index = History


local function failure_of(message, trace)
  return message and { message = message, trace = trace ~= "" and trace or nil } or nil
end


--- Opens the script for one test. nil and the problem.
function History.open(native, script, cover)
  local trial, message, trace = native.open(script, cover)
  if not trial then
    return nil, failure_of(message, trace)
  end
  local definition = trial:definition()
  definition.spec = native.json.decode(definition.spec)
  return setmetatable({ native = native, trial = trial, definition = definition, events = {}, failures = {},
    reader = events.reader(native, definition.aggregate),
    alerts = definition.kind == "rule" and alerts.open(native, trial) or nil }, History)
end


function History:close()
  self.trial:close()
end


--- "event 3 'container.crashed' of container c-1"
function History:name_of(number)
  local event = self.events[number]
  return ("event %d '%s' of %s %s"):format(event.id, event.type, event.aggregate_type, event.aggregate_id)
end


function History:name_of_id(id)
  for number, event in ipairs(self.events) do
    if event.id == id then
      return self:name_of(number)
    end
  end
  return "event " .. id
end


--- Handles a list of events as one page. Stops at one that fails: self.failed is then its number, and
-- self.failures[number] why. False where events follow it, or when the state cannot be stored.
function History:feed(list)
  local from = #self.events
  for _, event in ipairs(list) do
    self.trial:add(event)
    self.events[#self.events + 1] = event
  end
  local ok, message, trace = self.trial:prepare(from, #self.events)
  if not ok then
    return nil, failure_of(message, trace)
  end
  local at, problem, where = self.trial:run(from, #self.events)
  if problem then
    self.failed = at + 1
    self.failures[self.failed] = failure_of(problem, where)
    if self.definition.on_error == "park_key" then
      self.trial:park(at)
    end
  end
  ok, message, trace = self.trial:commit()
  if not ok then
    return nil, failure_of(message, trace)
  end
  self.table = nil
  if self.alerts then
    return self:pass_time(list[#list] and list[#list].timestamp_us)
  end
  return true
end


--- Of a rule: no event is older than this; its timers fire. A timer that fails is self.timer_failure.
function History:pass_time(horizon)
  self.horizon = horizon and math.max(horizon, self.horizon or horizon) or self.horizon
  if #self.events > 0 then
    local ok, message, trace = self.trial:advance(self.horizon)
    if not ok then
      return nil, failure_of(message, trace)
    end
  end
  self.table = nil
  self.alerts:read()
  self.timer_failure = self.timer_failure or self.alerts:failure()
  return true
end


--- The clock goes on, without an event.
function History:advance(microseconds)
  self.reader:advance(microseconds)
  if not self.alerts then
    return true
  end
  self.alerts:next_step()
  return self:pass_time(self.reader.clock and self.reader:now())
end


--- nil, or which of the events the rule's clock has passed already.
function History:too_old(list)
  for i, event in ipairs(self.alerts and self.horizon and list or {}) do
    if event.timestamp_us < self.horizon then
      return ("event %d: its timestamp is %s, and the rule's clock has come to %s"):format(i,
        self.native.iso(event.timestamp_us), self.native.iso(self.horizon))
    end
  end
end


--- A row as its handler sees it: times are numbers, and what is NULL is not there.
function History:decode(text)
  local state = self.native.json.decode(text)
  if self.definition.kind == "reducer" then
    return state.state
  elseif self.definition.spec.form ~= "columns" then
    return state
  end
  for _, column in ipairs(self.definition.spec.columns) do
    local value = state[column.name]
    if value == self.native.json.null then
      state[column.name] = nil
    elseif column.type == "timestamptz" and type(value) == "string" then
      state[column.name] = self.native.time(value) / 1e6
    end
  end
  return state
end


--- The rows in the order of their keys: { key = text, state = text, position =, updated_us = }.
function History:rows()
  if not self.table then
    self.table = { list = self.trial:rows(), by_key = {} }
    for _, row in ipairs(self.table.list) do
      self.table.by_key[row.key] = row
    end
  end
  return self.table.list, self.table.by_key
end


--- The columns of a typed projection by name, without the key's; nil where a state is a document.
function History:columns()
  if self.definition.kind == "reducer" or self.definition.spec.form ~= "columns" then
    return nil
  end
  local columns = {}
  for _, column in ipairs(self.definition.spec.columns) do
    columns[column.name] = column
  end
  return columns
end


--- A part of a key as the table has it.
local function key_part(native, value, kind)
  if kind == "timestamptz" then
    local us = type(value) == "number" and math.floor(value * 1e6 + 0.5) or native.time(tostring(value))
    return us and native.iso(us) or value
  elseif kind == "text" and type(value) == "number" then
    return native.json.encode(value)
  elseif kind == "uuid" and type(value) == "string" then
    return value:lower()
  elseif kind ~= "text" and type(value) == "string" and kind ~= "date" then
    return tonumber(value) or value
  end
  return value
end


--- { name = value } as the list of values; nil and the problem.
local function by_name(written, names)
  local values, list = {}, table.concat(names, ", ")
  for name, value in pairs(written) do
    local place
    for i, known in ipairs(names) do
      place = known == name and i or place
    end
    if not place then
      return nil, ("the key has no part '%s' (it has %s)"):format(tostring(name), list)
    end
    values[place] = value
  end
  for i, name in ipairs(names) do
    if values[i] == nil then
      return nil, ("the key's part '%s' is missing (it has %s)"):format(name, list)
    end
  end
  return values
end


--- The text of a key that a spec wrote: a value, or for a composite key a list of them or { name = value }. nil and the
-- problem.
function History:key_text(written)
  local columns = self.definition.kind == "reducer" and { { name = "aggregate_id", type = "text" } }
    or self.definition.spec.key
  local names = {}
  for i, column in ipairs(columns) do
    names[i] = column.name
  end
  local values = type(written) == "table" and written or { written }
  if next(values) ~= nil and values[1] == nil then
    local problem
    values, problem = by_name(values, names)
    if problem then
      return nil, problem
    end
  end
  if #values ~= #columns then
    return nil, ("the key has %d columns (%s), and %d values are given"):format(#columns, table.concat(names, ", "),
      #values)
  end
  local parts = self.native.json.array {}
  for i, column in ipairs(columns) do
    parts[i] = key_part(self.native, values[i], column.type)
  end
  return self.native.json.encode(#parts == 1 and parts[1] or parts)
end


--- The row of a key, or nil.
function History:row(written)
  local key, problem = self:key_text(written)
  if not key then
    return nil, problem
  end
  local _, by_key = self:rows()
  return by_key[key] and self:decode(by_key[key].state), nil, by_key[key], key
end


return History
