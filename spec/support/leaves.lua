--- The leaves of decoded JSON by their paths, as runtime/base/json_diff.h names them, and how two values differ in them.
-- json.null is null, or no value at all where it stands alone.
local json = require "dkjson"

local leaves = {}


local function is_array(value)
  local meta = getmetatable(value)
  return meta and meta.__jsontype == "array" or #value > 0
end


local function step(path, name)
  if type(name) == "number" then
    return ("%s[%d]"):format(path, name)
  elseif name:match("^[%a_][%w_]*$") then
    return path == "" and name or path .. "." .. name
  end
  return ("%s[%s]"):format(path, json.encode(name))
end


local function collect(value, path, out)
  if type(value) ~= "table" or value == json.null then
    out[path] = value
  elseif next(value) == nil then
    out[path] = is_array(value) and "[]" or "{}"
  else
    for name, item in pairs(value) do
      collect(item, step(path, name), out)
    end
  end
  return out
end


--- path -> value; "[]" and "{}" for empty containers.
function leaves.of(value)
  return value == json.null and {} or collect(value, "", {})
end


local function readable(value)
  if type(value) == "table" and value ~= json.null and next(value) == nil then
    return is_array(value) and "[]" or "{}"
  end
  return value
end


--- path -> { before, after } of what differs; a value that is not there is nil.
function leaves.difference(before, after)
  local a, b, out = leaves.of(before), leaves.of(after), {}
  for path, value in pairs(a) do
    if b[path] ~= value then
      out[path] = { value, b[path] }
    end
  end
  for path, value in pairs(b) do
    if a[path] == nil then
      out[path] = { nil, value }
    end
  end
  return out
end


leaves.readable = readable

return leaves
