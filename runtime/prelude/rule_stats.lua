-- What `when` sees of a window: a read-only table whose members are computed when they are asked for.
--
-- Entries are kept as lists: t (microseconds, ascending), v (values) and d (what is told apart; {} where an entry has
-- nothing), of which the places before h have left already.
local nearest = require "prelude.nearest"

local abs, floor, sqrt = math.abs, math.floor, math.sqrt

local compute = {}


--- The mean, by distances from the first value: large values that lie close together keep their digits.
local function mean(list, from, to)
  local base, sum = list[from], 0
  for i = from, to do
    sum = sum + (list[i] - base)
  end
  return base + sum / (to - from + 1)
end


function compute.count(_, from, to)
  return to - from + 1
end


--- Neumaier's sum: small values are not lost beside large ones.
function compute.sum(e, from, to)
  local v, sum, lost = e.v, 0, 0
  for i = from, to do
    local value = v[i]
    local total = sum + value
    if abs(sum) >= abs(value) then
      lost = lost + ((sum - total) + value)
    else
      lost = lost + ((value - total) + sum)
    end
    sum = total
  end
  return sum + lost
end


function compute.avg(e, from, to)
  return from <= to and compute.sum(e, from, to) / (to - from + 1) or nil
end


function compute.min(e, from, to)
  local v = e.v
  local least = v and v[from]
  for i = from + 1, to do
    least = v[i] < least and v[i] or least
  end
  return least
end


function compute.max(e, from, to)
  local v = e.v
  local most = v and v[from]
  for i = from + 1, to do
    most = v[i] > most and v[i] or most
  end
  return most
end


function compute.first(e, from)
  return e.v and e.v[from]
end


function compute.last(e, _, to)
  return e.v and e.v[to]
end


function compute.distinct(e, from, to)
  local d, seen, n = e.d, {}, 0
  for i = from, to do
    local value = d[i]
    if type(value) ~= "table" and not seen[value] then
      seen[value], n = true, n + 1
    end
  end
  return n
end


--- Between two values, as far as the quantile lies between their places.
function compute.quantile(e, from, to, options)
  if from > to then
    return nil
  end
  local sorted = {}
  for i = from, to do
    sorted[#sorted + 1] = e.v[i]
  end
  table.sort(sorted)
  local place = options.quantile * (#sorted - 1)
  local below = floor(place)
  local low, high = sorted[below + 1], sorted[below + 2]
  return high and low + (high - low) * (place - below) or low
end


function compute.rate(_, from, to, options)
  return (to - from + 1) / (options.over / 1e6)
end


--- Per second, by least squares; times and values as distances from their means.
function compute.slope(e, from, to)
  local t, v = e.t, e.v
  if from >= to or t[from] == t[to] then
    return nil
  end
  local t0, v0, tt, tv = mean(t, from, to), mean(v, from, to), 0, 0
  for i = from, to do
    local dt = (t[i] - t0) / 1e6
    tt = tt + dt * dt
    tv = tv + dt * (v[i] - v0)
  end
  return tv / tt
end


--- Of a sample.
function compute.sd(e, from, to)
  if from >= to then
    return nil
  end
  local v, squares, rest = e.v, 0, 0
  local middle = mean(v, from, to)
  for i = from, to do
    local delta = v[i] - middle
    squares, rest = squares + delta * delta, rest + delta
  end
  local n = to - from + 1
  return sqrt((squares - rest * rest / n) / (n - 1))
end


function compute.span(e, from, to)
  return from < to and (e.t[to] - e.t[from]) / 1e6 or 0
end


local NAMES = { "count", "sum", "avg", "min", "max", "first", "last", "distinct", "quantile", "rate", "slope", "sd",
  "span" }

-- Members that there are only with a field of the definition.
local NEEDS = { sum = "value", avg = "value", min = "value", max = "value", first = "value", last = "value",
  slope = "value", sd = "value", distinct = "distinct", quantile = "quantile", rate = "over" }

local WHERE = { value = "value", distinct = "window.distinct", quantile = "window.quantile", over = "window.over" }


local function complain(name)
  if NEEDS[name] then
    error(("the window has no '%s': the rule needs the field %s"):format(name, WHERE[NEEDS[name]]), 3)
  end
  error(("a window has no '%s'%s"):format(tostring(name), nearest(tostring(name), NAMES)), 3)
end


--- The subject, a function bind(entries) that says what it is about, and the names of its members. `options`: over
--- (microseconds), quantile, and whether there are values and a thing to tell apart (value, distinct).
return function(options)
  local entries, from, to = nil, 1, 0
  local known, names = {}, {}
  for _, name in ipairs(NAMES) do
    local needs = NEEDS[name]
    if not needs or options[needs] then
      names[#names + 1], names[name] = name, true
    end
  end
  local subject = setmetatable({}, {
    __index = function(_, name)
      local value = known[name]
      if value == nil and names[name] then
        value = compute[name](entries, from, to, options)
        known[name] = value
      elseif value == nil then
        complain(name)
      end
      return value
    end,
    __newindex = function(_, name)
      error(("the window's '%s' cannot be set (use a local)"):format(tostring(name)), 2)
    end,
    __metatable = false,
  })
  local function bind(to_entries)
    entries = to_entries
    from, to = entries.h or 1, entries.t and #entries.t or 0
    if next(known) ~= nil then
      known = {}
    end
    return subject
  end
  return subject, bind, names
end
