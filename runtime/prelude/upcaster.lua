-- upcaster "name" { … }: what makes an event's data of one schema version that of the next.
local api = require "prelude.api"
local definition = require "prelude.definition"
local schema = require "prelude.schema"

local FIELDS = api.definitions.upcaster.fields

local upcaster = {}


--- Is there a type that both globs take? Row by row over the pairs of places in the two.
local function meets(a, b)
  local row = {}
  for i = 0, #a do
    local before = row
    row = {}
    for j = 0, #b do
      local x, y = a:sub(i, i), b:sub(j, j)
      if i == 0 and j == 0 then
        row[j] = true
      else
        row[j] = (x == y and x ~= "*" and before[j - 1])
          or ((x == "*" or y == "*") and (before[j] or row[j - 1])) or false
      end
    end
  end
  return row[#b]
end


--- Can the upcaster meet an event that one of these patterns takes?
function upcaster.concerns(def, types)
  for _, pattern in ipairs(types) do
    if meets(def.type, pattern) then
      return true
    end
  end
  return false
end


local function normalise(name, raw)
  local def = definition.check(raw, FIELDS)
  definition.check_name(name)
  if not definition.is_pattern(def.type) then
    definition.problem("type: %s is no event type", schema.show(def.type))
  end
  return { type = def.type, from = def.from, up = def.up }
end


function upcaster.statement(file)
  return definition.statement("upcaster", normalise, file)
end


return upcaster
