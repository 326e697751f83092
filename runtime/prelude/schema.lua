-- Checks a table against a table of fields: { name = { type, required, default, min, max, one_of, unit } }.
local nearest = require "prelude.nearest"

local schema = {}


local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end
schema.sorted_keys = sorted_keys


local function is_integer(value)
  return type(value) == "number" and value % 1 == 0 and math.abs(value) <= 2 ^ 53
end


local function has_type(value, types)
  for name in types:gmatch("[^|]+") do
    if type(value) == name or (name == "integer" and is_integer(value)) then
      return true
    end
  end
  return false
end


--- "a string or a table", for messages.
local function type_words(types)
  local words = {}
  for name in types:gmatch("[^|]+") do
    words[#words + 1] = (name == "integer" and "an " or "a ") .. name
  end
  return table.concat(words, " or ")
end


local function show(value)
  if type(value) == "string" then
    return "'" .. value:sub(1, 60) .. "'"
  end
  return (type(value) == "number" or type(value) == "boolean") and tostring(value) or "a " .. type(value)
end
schema.show = show


local function check_value(name, value, field)
  if not has_type(value, field.type) then
    return nil, ("field '%s' must be %s, not %s"):format(name, type_words(field.type), show(value))
  end
  if field.one_of then
    for _, allowed in ipairs(field.one_of) do
      if value == allowed then
        return true
      end
    end
    return nil, ("field '%s' is %s, and must be one of %s%s"):format(name, show(value),
      table.concat(field.one_of, ", "), nearest(value, field.one_of))
  end
  if type(value) == "number" and ((field.min and value < field.min) or (field.max and value > field.max)) then
    return nil, ("field '%s' is %s, and must be from %d to %.0f%s"):format(name, show(value), field.min,
      field.max, field.unit and " " .. field.unit or "")
  end
  return true
end


--- A copy of `def` with defaults, or nil and the first problem.
function schema.check(def, fields)
  local checked = {}
  if type(def) ~= "table" then
    return nil, ("a table of fields is expected, not %s"):format(show(def))
  end
  for _, name in ipairs(sorted_keys(def)) do
    if not fields[name] then
      if type(name) ~= "string" then
        return nil, ("a field without a name: %s"):format(show(def[name]))
      end
      return nil, ("unknown field '%s'%s"):format(name, nearest(name, sorted_keys(fields)))
    end
  end
  for _, name in ipairs(sorted_keys(fields)) do
    local field, value = fields[name], def[name]
    if value == nil then
      if field.required then
        return nil, ("field '%s' is missing (%s)"):format(name, field.doc)
      end
      checked[name] = field.default
    else
      local ok, problem = check_value(name, value, field)
      if not ok then
        return nil, problem
      end
      checked[name] = value
    end
  end
  return checked
end


--- A name that is a table's or a column's in SQL without quotes.
function schema.is_name(name)
  return type(name) == "string" and #name <= 48 and name:match("^[a-z][a-z0-9_]*$") ~= nil
end


return schema
