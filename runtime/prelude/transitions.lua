-- transitions = { field =, initial =, states = { name = { names … } } }: a state machine in one field of a state.
local definition = require "prelude.definition"
local nearest = require "prelude.nearest"
local schema = require "prelude.schema"

local FIELDS = require("prelude.api").parts.transitions.fields

local problem = definition.problem


local function check_targets(state, targets, states)
  if type(targets) ~= "table" then
    problem("transitions: '%s' must be a list of the states that may follow it ({} for none), not %s", state,
      schema.show(targets))
  end
  for i, target in pairs(targets) do
    if type(i) ~= "number" or type(target) ~= "string" then
      problem("transitions: '%s' must be a list of names of states", state)
    elseif not states[target] then
      local near = definition.nearest_key(target, states)
      problem("transitions: '%s' may become '%s', which is not among the states%s", state, target,
        near ~= "" and near or (" (add %s = {})"):format(target))
    end
  end
end


local function check_states(states)
  for _, state in ipairs(schema.sorted_keys(states)) do
    if type(state) ~= "string" or state == "" then
      problem("transitions: a state's name is a text, not %s (write states = { name = { … } })", schema.show(state))
    end
    check_targets(state, states[state], states)
  end
  if next(states) == nil then
    problem("transitions: states is empty (write states = { name = { the states that may follow it } })")
  end
end


--- Every state must be one that an aggregate can come to.
local function check_reachable(initial, states)
  local seen, queue = { [initial] = true }, { initial }
  for _, state in ipairs(queue) do -- grows while it is walked
    for _, target in ipairs(states[state]) do
      if not seen[target] then
        seen[target] = true
        queue[#queue + 1] = target
      end
    end
  end
  for _, state in ipairs(schema.sorted_keys(states)) do
    if not seen[state] then
      problem("transitions: '%s' is never reached from '%s' (name it in another state's list, or remove it)", state,
        initial)
    end
  end
end


local function list_of(states)
  return table.concat(schema.sorted_keys(states), ", ")
end


--- What is wrong with the step from one value of the field to another, or nil.
local function checker(field, states)
  return function(before, after)
    if type(after) ~= "string" or not states[after] then
      local what = after == nil and "has no value" or "is " .. schema.show(after)
      return ("state.%s %s, and must be one of its states: %s%s"):format(field, what, list_of(states),
        nearest(after, schema.sorted_keys(states)))
    elseif before == after or definition.contains(states[before] or {}, after) then
      return nil
    end
    local legal = table.concat(states[before] or {}, ", ")
    return ("state.%s went from '%s' to '%s', which is no declared transition (from '%s': %s)"):format(field,
      tostring(before), after, tostring(before), legal ~= "" and legal or "none; it is a final state")
  end
end


--- The checked declaration: { field, initial, check(before, after) -> problem, begin(value) -> problem }.
return function(raw)
  local def, why = schema.check(raw, FIELDS)
  if not def then
    problem("transitions: %s", why)
  end
  check_states(def.states)
  if not def.states[def.initial] then
    problem("transitions: initial is '%s', which is not among the states%s", def.initial,
      definition.nearest_key(def.initial, def.states))
  end
  check_reachable(def.initial, def.states)
  local function begin(value)
    if value ~= def.initial then
      return ("initial() gives state.%s %s, and its transitions begin with '%s'"):format(def.field,
        schema.show(value), def.initial)
    end
  end
  return { field = def.field, initial = def.initial, check = checker(def.field, def.states), begin = begin }
end
