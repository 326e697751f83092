-- Durations: seconds as a number, or "90s", "5m", "1h30m", "2d". Inside they are whole microseconds.
local schema = require "prelude.schema"

local duration = {}

local SECONDS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400, w = 604800 }
local LONGEST = 100 * 366 * 86400

local HINT = "write seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\""


local function seconds_of(text)
  local total, rest = 0, text
  while rest ~= "" do
    local digits, unit, behind = rest:match("^(%d+%.?%d*)(%a+)(.*)$")
    local number = tonumber(digits)
    if not number or not SECONDS[unit] then
      return nil
    end
    total, rest = total + number * SECONDS[unit], behind
  end
  return text ~= "" and total or nil
end


--- The microseconds of a duration, or nil and what is wrong with it.
function duration.parse(value)
  local seconds = type(value) == "string" and seconds_of(value) or value
  if type(seconds) ~= "number" or seconds ~= seconds then
    local sign = type(value) == "string" and value:match("^%s*-%s*%d")
    return nil, ("%s %s"):format(schema.show(value), sign and "is negative" or "is no duration (" .. HINT .. ")")
  elseif seconds < 0 then
    return nil, ("%s is negative"):format(schema.show(value))
  elseif seconds > LONGEST then
    return nil, ("%s is longer than a hundred years"):format(schema.show(value))
  end
  return math.floor(seconds * 1e6 + 0.5)
end


--- Turns the fields that are durations into microseconds, in place; functions stay. Returns the first problem.
function duration.convert(def, fields)
  for _, name in ipairs(schema.sorted_keys(fields)) do
    local field, value = fields[name], def[name]
    if field.duration and value ~= nil and type(value) ~= "function" then
      local us, why = duration.parse(value)
      if not us then
        return ("%s %s"):format(name, why)
      elseif us == 0 and field.positive then
        return ("%s is 0, and must be longer"):format(name)
      end
      def[name] = us
    end
  end
end


--- "1h30m", "250ms": the shortest way to write it.
function duration.show(us)
  local parts, rest = {}, us
  for _, unit in ipairs({ { "d", 86400e6 }, { "h", 3600e6 }, { "m", 60e6 }, { "s", 1e6 } }) do
    local n = math.floor(rest / unit[2])
    if n > 0 then
      parts[#parts + 1] = ("%d%s"):format(n, unit[1])
      rest = rest - n * unit[2]
    end
  end
  if rest > 0 or #parts == 0 then
    parts[#parts + 1] = rest == 0 and "0s" or ("%.14gms"):format(rest / 1e3)
  end
  return table.concat(parts)
end


return duration
