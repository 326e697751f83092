-- What the kinds of definition share: the statement, its name, its handlers.
local api = require "prelude.api"
local nearest = require "prelude.nearest"
local schema = require "prelude.schema"

local definition = {}


--- Ends the check of a definition: the statement says it with the user's file and line.
local function problem(text, ...)
  error({ problem = text:format(...) }, 0)
end
definition.problem = problem


function definition.contains(list, value)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return false
end


--- The fields with their defaults.
function definition.check(raw, fields)
  local def, why = schema.check(raw, fields)
  if not def then
    problem("%s", why)
  end
  return def
end


function definition.check_name(name)
  if not schema.is_name(name) then
    problem("a name is lower-case letters, digits and _, begins with a letter and has at most 48 bytes")
  end
end


--- A path of the event, such as data.site; `what` is the field that names it.
function definition.check_path(what, path)
  local first, rest = path:match("^([^.]+)(.*)$")
  local names = {}
  for _, field in ipairs(api.event) do
    names[#names + 1] = field.name
  end
  if not first or not definition.contains(names, first) then
    problem("%s '%s' is no path of the event%s", what, path, nearest(first, names))
  end
  local nested = first == "data" or first == "metadata"
  if nested and not rest:match("^%.[^.]") or rest:match("%.$") or rest:match("%.%.") then
    problem("%s '%s' must name a member (such as %s.site)", what, path, first)
  elseif not nested and rest ~= "" then
    problem("%s '%s': '%s' has no members (only data and metadata have)", what, path, first)
  end
end


--- Is the text an event type, or a glob of them?
function definition.is_pattern(pattern)
  return type(pattern) == "string" and pattern ~= "" and #pattern <= 255 and not pattern:match("[%z%c]")
end


--- The patterns of `on` and their functions, as two lists. `state` is what a handler's first argument is called.
function definition.handlers(on, state)
  local types, handlers = {}, {}
  for i, pattern in ipairs(schema.sorted_keys(on)) do
    if not definition.is_pattern(pattern) then
      problem("on: %s is no event type (write [\"type\"] = function(%s, event) … end)", schema.show(pattern), state)
    elseif type(on[pattern]) ~= "function" then
      problem("on['%s'] must be a function(%s, event), not %s", pattern, state, schema.show(on[pattern]))
    end
    types[i], handlers[i] = pattern, on[pattern]
  end
  if #types == 0 then
    problem("on is empty (name at least one event type, or \"*\")")
  end
  return types, handlers
end


--- " (did you mean 'x'?)" out of a table's names.
function definition.nearest_key(word, t)
  return nearest(word, schema.sorted_keys(t))
end


--- A statement, not a `return`: a tail call would lose the user's file and line. `file` says what is wrong with
-- where it stands: file.place(kind) before the check, file.define(definition) after it.
function definition.statement(kind, normalise, file)
  return function(name)
    if type(name) ~= "string" then
      error(("%s: a name is expected, not %s (write %s \"name\" { … })"):format(kind, schema.show(name), kind), 2)
    end
    return function(def)
      local misplaced = file.place(kind)
      if misplaced then
        error(("%s '%s': %s"):format(kind, name, misplaced), 2)
      end
      local ok, result = pcall(normalise, name, def)
      if not ok then
        error(("%s '%s': %s"):format(kind, name, type(result) == "table" and result.problem or result), 2)
      end
      result.name, result.kind = name, kind
      local problem_with_file = file.define(result)
      if problem_with_file then
        error(("%s '%s': %s"):format(kind, name, problem_with_file), 2)
      end
    end
  end
end


return definition
