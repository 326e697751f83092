-- calendar "name" { zone =, open = { … }, except = { … } }: hours and days, in a time zone; is an instant within?
--
-- A span is weekly, { days = "mon-fri", from = "22:00", to = "06:00" } (one that ends before it begins goes on into the
-- next day; without hours, the whole day), or dated, { from = "2026-12-24", to = "2026-12-26" } (the last day included)
-- and { from = "2026-12-24 18:00", to = "2026-12-27 06:00" } (the end not included). An instant is within where a span
-- of `open` has it and none of `except`.
local api = require "prelude.api"
local definition = require "prelude.definition"
local nearest = require "prelude.nearest"
local schema = require "prelude.schema"

local FIELDS = api.definitions.calendar.fields
local DAYS = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" }
local DAY = 86400

local problem, show = definition.problem, schema.show

local calendar = {}


-- Reading ------------------------------------------------------------------------------------------------------

--- 1 (Monday) to 7.
local function day_number(what, text)
  for i, day in ipairs(DAYS) do
    if day == text then
      return i
    end
  end
  problem("%s: %s is no day%s (mon, tue, wed, thu, fri, sat, sun, or mon-fri)", what, show(text), nearest(text, DAYS))
end


--- The days of "mon-fri", "sat", or a list of such, as a set of their names.
local function days_of(what, value)
  local set = {}
  if value == nil then
    value = "mon-sun"
  elseif type(value) ~= "string" and type(value) ~= "table" or (type(value) == "table" and #value == 0) then
    problem("%s: days must be \"mon-fri\", or a list of days, not %s", what, show(value))
  end
  for _, text in ipairs(type(value) == "string" and { value } or value) do
    local first, last = tostring(text):match("^(%a+)%-(%a+)$")
    local from = day_number(what, first or text)
    local to = last and day_number(what, last) or from
    for i = 0, (to - from) % 7 do
      set[DAYS[(from + i - 1) % 7 + 1]] = true
    end
  end
  return set
end


--- "22:00" as seconds of the day.
local function clock_time(what, text, last)
  local hour, minute = text:match("^(%d%d?):(%d%d)$")
  hour, minute = tonumber(hour), tonumber(minute)
  if not hour or minute > 59 or hour > 24 or (hour == 24 and (minute > 0 or not last)) then
    problem("%s: '%s' is no time of the day (write 06:00 to 24:00)", what, text)
  end
  return hour * 3600 + minute * 60
end


--- Days from 1970-01-01 to a date of the Gregorian calendar.
local function days_to(year, month, day)
  local y = month <= 2 and year - 1 or year
  local era = math.floor(y / 400)
  local of_era = y - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end


local LENGTHS = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }


--- A date, maybe with a time, as seconds of the zone's own clock; `last`: where the span ends.
local function date_time(what, text, last)
  local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  local leap = year and (year % 4 == 0 and year % 100 ~= 0 or year % 400 == 0)
  if not year or month < 1 or month > 12 or day < 1 or day > LENGTHS[month]
    or (month == 2 and day == 29 and not leap) then
    problem("%s: '%s' is no date (write 2026-12-24, or 2026-12-24 18:00)", what, text)
  end
  local seconds = days_to(year, month, day) * DAY
  if rest == "" then
    return seconds + (last and DAY or 0)
  end
  return seconds + clock_time(what, rest:match("^[ T](.*)$") or rest, last)
end


local function check_span(what, span)
  if type(span) ~= "table" then
    problem("%s must be { days =, from =, to = }, not %s", what, show(span))
  end
  for _, name in ipairs(schema.sorted_keys(span)) do
    if name ~= "days" and name ~= "from" and name ~= "to" then
      problem("%s: unknown field %s%s", what, show(name), nearest(name, { "days", "from", "to" }))
    elseif name ~= "days" and type(span[name]) ~= "string" then
      problem("%s: %s must be a text such as \"22:00\" or \"2026-12-24\", not %s", what, name, show(span[name]))
    end
  end
  if (span.from == nil) ~= (span.to == nil) then
    problem("%s: from and to go together", what)
  elseif not span.from and not span.days then
    problem("%s says nothing (name days, or from and to)", what)
  end
end


local function read_span(what, span)
  check_span(what, span)
  local from, to = span.from or "00:00", span.to or "24:00"
  if not from:find("-", 1, true) and not to:find("-", 1, true) then
    local weekly = { days = days_of(what, span.days), from = clock_time(what, from), to = clock_time(what, to, true) }
    if weekly.from == weekly.to then
      problem("%s: from and to are the same (write 00:00 to 24:00 for the whole day)", what)
    end
    return weekly
  elseif span.days then
    problem("%s: days go with hours, and not with dates", what)
  end
  local dated = { since = date_time(what, from), till = date_time(what, to, true) }
  if dated.till <= dated.since then
    problem("%s: it ends before it begins", what)
  end
  return dated
end


local function read_spans(what, list)
  local spans = {}
  for name in pairs(list) do
    if type(name) ~= "number" then
      problem("%s is a list of spans, and has no field '%s' (write %s = { { … } })", what, tostring(name), what)
    end
  end
  for i, span in ipairs(list) do
    spans[i] = read_span(("%s[%d]"):format(what, i), span)
  end
  return spans
end


-- Asking -------------------------------------------------------------------------------------------------------

--- Is the instant, as seconds of the zone's own clock, in the span?
local function has(span, at)
  if span.since then
    return at >= span.since and at < span.till
  end
  local day, second = math.floor(at / DAY), at % DAY
  local today, yesterday = DAYS[(day + 3) % 7 + 1], DAYS[(day + 2) % 7 + 1] -- 1970-01-01 was a Thursday
  if span.from < span.to then
    return span.days[today] and second >= span.from and second < span.to
  end
  return span.days[today] and second >= span.from or span.days[yesterday] and second < span.to
end


local function any_has(spans, at)
  for i = 1, #spans do
    if has(spans[i], at) then
      return true
    end
  end
  return false
end


--- Adds where spans begin and end within the next days, in the zone's own clock.
local function add_edges(edges, spans, today, days)
  for _, span in ipairs(spans) do
    if span.since then
      edges[#edges + 1], edges[#edges + 2] = span.since, span.till
    else
      for day = today - 1, today + days do
        edges[#edges + 1], edges[#edges + 2] = day * DAY + span.from, day * DAY + span.to
      end
    end
  end
end


--- The checked calendar, as data.
local function normalise(name, raw, zone_offset)
  local def = definition.check(raw, FIELDS)
  definition.check_name(name)
  local open, except = read_spans("open", def.open), read_spans("except", def.except or {})
  if #open == 0 then
    problem("open is empty (name at least one span)")
  end
  local ok, why = pcall(zone_offset, def.zone, 0)
  if not ok then
    problem("%s", (tostring(why):gsub("^.-:%d+: ", "")))
  end
  return { zone = def.zone, open = open, except = except }
end


--- The word for a calendar's own file.
function calendar.statement(file, native)
  return definition.statement("calendar", function(name, raw)
    return normalise(name, raw, native.zone_offset)
  end, file)
end


--- The calendar that a rule names: host.run(path, kind, name) runs its file, which is then part of the rule. Its
--- contains(us) says whether an instant is within, ends(us) when it no longer will be: nil if not within eight days.
function calendar.load(name, host)
  local loaded = host.run(("rules/calendars/%s.lua"):format(name), "calendar", name)
  if not loaded then
    problem("mute: no calendar '%s' (there is no file rules/calendars/%s.lua)", name, name)
  end
  local zone, open, except, zone_offset = loaded.zone, loaded.open, loaded.except, host.native.zone_offset
  local function contains(us)
    local at = us / 1e6 + zone_offset(zone, math.floor(us / 1e6))
    return any_has(open, at) and not any_has(except, at)
  end
  local function ends(us)
    local edges, shift = {}, zone_offset(zone, math.floor(us / 1e6))
    local today = math.floor((us / 1e6 + shift) / DAY)
    add_edges(edges, open, today, 8)
    add_edges(edges, except, today, 8)
    table.sort(edges)
    for _, edge in ipairs(edges) do
      -- the offset may be another one by then: the one that holds shortly before
      local at = (edge - zone_offset(zone, edge - shift - 1)) * 1e6
      if at > us and not contains(at) then
        return at
      end
    end
  end
  return { name = name, contains = contains, ends = ends }
end


return calendar
