-- Paths of an event (data.celsius, metadata.tenant.id) as functions of it. What is not there is nil, never an error.

local path = {}


--- The value at a path: a member of an array is not one, and null is nil.
function path.reader(text)
  local first, rest = text:match("^([^.]+)%.?(.*)$")
  local words = {}
  for word in rest:gmatch("[^.]+") do
    words[#words + 1] = word
  end
  return function(event)
    local value = event[first]
    for i = 1, #words do
      if type(value) ~= "table" then
        return nil
      end
      value = value[words[i]]
    end
    return value
  end
end


--- The number that a value is, or nil: a decimal becomes the nearest one, a text is none, nor is what no JSON can say.
function path.number(value)
  if type(value) == "userdata" then
    value = tonumber(value)
  end
  if type(value) == "number" and value - value == 0 then
    return value
  end
end


--- A value that can be told from others: a text, a number, a boolean. Else nil.
function path.scalar(value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" or (kind == "userdata" and tonumber(value)) then
    return value
  end
end


return path
