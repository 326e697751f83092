-- What the specs of rules share: times in seconds from a beginning, and what a rule raised in short.
local ffi = require "ffi"
local json = require "dkjson"

local rule = { T0 = 1767225600, NEVER = 0x7fffffffffffffffLL }

--- Silence, a minute long.
rule.ABSENT = [[ on = "beat", absent = { within = "1m" } ]]

--- A projection for rules to read.
rule.SITES = { ["projections/site.lua"] = [[projection "site" { columns = { active = "boolean", size = "integer" },
  on = { ["site.*"] = function(row, event)
    if event.type == "site.gone" then
      return delete
    end
    row.active, row.size = event.type == "site.on", (row.size or 0) + 1
  end } }]] }


--- The fields of each of a list, as texts.
function rule.texts(list, ...)
  local out = {}
  for i, item in ipairs(list) do
    local words = {}
    for j, field in ipairs { ... } do
      words[j] = tostring(item[field] == nil and "-" or item[field])
    end
    out[i] = table.concat(words, " ")
  end
  return out
end


--- "firing a 60": transition, key, seconds.
function rule.brief(fx)
  local out = {}
  for i, effect in ipairs(fx.raised) do
    out[i] = ("%s %s %g"):format(effect.transition or effect.kind, json.decode(effect.key_text), effect.at / 1e6 - rule.T0)
  end
  return out
end


--- One batch; times are seconds since T0.
function rule.run(s, events, careful)
  for _, e in ipairs(events) do
    e.timestamp = rule.T0 + e.timestamp
    e.occurred_at = e.occurred_at and rule.T0 + e.occurred_at
  end
  local fx, err = s:run(events, careful)
  if not fx then
    error(err.message, 2)
  end
  return fx
end


--- A Str for a call; `text` must stay alive meanwhile.
function rule.str(text)
  return ffi.new("Str", { ffi.cast("const char *", text), #text })
end


return rule
