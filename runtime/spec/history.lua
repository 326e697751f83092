-- The events of one test, and what the script under test made of them.
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
    reader = events.reader(native, definition.aggregate) }, History)
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
  return true
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


--- The text of a key that a spec wrote: a value, or a list of them for a composite key. nil and the problem.
function History:key_text(written)
  local columns = self.definition.kind == "reducer" and { { name = "aggregate_id", type = "text" } }
    or self.definition.spec.key
  local values = type(written) == "table" and written or { written }
  if #values ~= #columns then
    local names = {}
    for i, column in ipairs(columns) do
      names[i] = column.name
    end
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
