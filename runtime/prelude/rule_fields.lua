-- Checks the fields of a rule one by one and brings them into the form that the engine reads: durations in
-- microseconds, names as lists, patterns as functions of a type.
local api = require "prelude.api"
local definition = require "prelude.definition"
local duration = require "prelude.duration"
local nearest = require "prelude.nearest"
local path = require "prelude.rule_path"
local raise = require "prelude.rule_raise"
local schema = require "prelude.schema"

local problem, show = definition.problem, schema.show

local fields = {}

fields.LEVELS = { "info", "warning", "error", "critical" }


--- A text or a list of texts, as a list.
local function names(what, value, hint)
  local list = type(value) == "table" and value or { value }
  local count = 0
  for _ in pairs(list) do
    count = count + 1
  end
  if count == 0 or count ~= #list then
    problem("%s must be %s, or a list of them", what, hint)
  end
  for i = 1, #list do
    if type(list[i]) ~= "string" or list[i] == "" then
      problem("%s must be %s, or a list of them, not %s", what, hint, show(list[i]))
    end
  end
  return list
end


--- The event types or globs of `on`, without duplicates.
function fields.patterns(what, value)
  local list, seen = {}, {}
  for _, pattern in ipairs(names(what, value, "an event type or a glob")) do
    if not definition.is_pattern(pattern) then
      problem("%s: %s is no event type", what, show(pattern))
    end
    if not seen[pattern] then
      seen[pattern], list[#list + 1] = true, pattern
    end
  end
  return list
end


--- Does a type fall under one of the patterns? Looked at once per type.
function fields.matcher(patterns)
  local known, globs = {}, {}
  for i, pattern in ipairs(patterns) do
    globs[i] = "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
  end
  return function(event_type)
    local takes = known[event_type]
    if takes == nil then
      takes = false
      for i = 1, #globs do
        takes = takes or event_type:find(globs[i]) ~= nil
      end
      known[event_type] = takes
    end
    return takes
  end
end


--- A part of the definition (window, absent, …) with its defaults, durations in microseconds.
function fields.part(name, raw)
  local known = api.parts[name].fields
  local part, why = schema.check(raw, known)
  why = why or duration.convert(part, known)
  if why then
    problem("%s: %s", name, why)
  end
  return part
end


-- by -----------------------------------------------------------------------------------------------------------

local function named_paths(by)
  local list, paths = {}, {}
  for _, name in ipairs(schema.sorted_keys(by)) do
    if type(name) ~= "string" then
      problem("by is a list of paths, or { name = path }, and not both")
    end
    list[#list + 1], paths[#paths + 1] = name, by[name]
  end
  return list, paths
end


local function check_names(list)
  local seen = {}
  for _, name in ipairs(list) do
    if name == "n" or name == "state" then
      problem("by: a part of the key cannot be named '%s' (write by = { name = path })", name)
    elseif seen[name] then
      problem("by: two parts of the key are named '%s' (write by = { name = path, … })", name)
    end
    seen[name] = true
  end
end


--- The names of the key's parts, and their paths or the function.
function fields.key(by)
  by = by == nil and "aggregate_id" or by
  if type(by) == "function" then
    return { "key" }, nil, by
  end
  local list, paths = {}, type(by) == "string" and { by } or by
  if next(paths) == nil then
    problem("by is an empty list (name at least one path)")
  elseif #paths == 0 then
    list, paths = named_paths(by)
  elseif #schema.sorted_keys(paths) ~= #paths then
    problem("by is a list of paths, or { name = path }, and not both")
  end
  for i, text in ipairs(paths) do
    if type(text) ~= "string" then
      problem("by must be a path, a list of paths, { name = path } or a function, not a list with %s", show(text))
    end
    definition.check_path("by", text)
    list[i] = list[i] or text:match("[^.]+$")
  end
  check_names(list)
  return list, paths
end


-- value --------------------------------------------------------------------------------------------------------

--- function(event) -> number or nil
function fields.value(value, native)
  if type(value) == "string" then
    definition.check_path("value", value)
    local read = path.reader(value)
    return function(event)
      return path.number(read(event))
    end
  end
  return function(event)
    local result = value(event)
    local number = path.number(result)
    if result ~= nil and not number then
      raise.fail(native, value, "value returned %s (return a number, or nil to pass the event over)",
        type(result) == "number" and "no finite number" or "a " .. type(result))
    end
    return number
  end
end


-- when, clear --------------------------------------------------------------------------------------------------

local function check_levels(what, levels)
  if next(levels) == nil then
    problem("%s names no level (write %s = { warning = function(…) … end })", what, what)
  end
  for _, name in ipairs(schema.sorted_keys(levels)) do
    if not definition.contains(fields.LEVELS, name) then
      problem("%s: unknown level %s%s (info, warning, error, critical)", what, show(name),
        nearest(name, fields.LEVELS))
    elseif type(levels[name]) ~= "function" then
      problem("%s.%s must be a function(subject, k, event), not %s", what, name, show(levels[name]))
    end
  end
end


--- The levels, lowest first: { name, when, clear }. One without a name of its own is called "on".
function fields.levels(def)
  local when, clear = def.when, def.clear
  if type(when) ~= "table" then
    if type(clear) == "table" then
      problem("clear has levels and when has none (write when = { warning = function(…) … end, … })")
    end
    return { { name = "on", when = when, clear = clear } }
  end
  check_levels("when", when)
  if type(clear) == "table" then
    check_levels("clear", clear)
  elseif clear then
    problem("when has levels and clear is one function (write clear = { warning = function(…) … end, … })")
  end
  local list = {}
  for _, name in ipairs(fields.LEVELS) do
    if when[name] then
      list[#list + 1] = { name = name, when = when[name], clear = clear and clear[name] }
    elseif clear and clear[name] then
      problem("clear.%s has no when.%s", name, name)
    end
  end
  return list
end


-- The inputs ---------------------------------------------------------------------------------------------------

function fields.window(def)
  local w = fields.part("window", def.window)
  if w.kind == "session" then
    if not w.gap then
      problem("window: a session needs gap (the time without events that ends it)")
    elseif w.over and w.over <= w.gap then
      problem("window: over is not longer than gap, so that a session is never more than one event")
    end
  elseif not w.over then
    problem("window: over is missing (how long it is)")
  elseif w.gap then
    problem("window: gap is for kind = \"session\"")
  end
  if w.min and w.min > w.max then
    problem("window: min is %d, and the window holds at most %d entries (max)", w.min, w.max)
  elseif w.quantile and not def.value then
    problem("window: quantile needs value (the number that is looked at)")
  elseif w.distinct then
    definition.check_path("window: distinct", w.distinct)
  end
  return w
end


--- One step, { on, where } or a pattern, as { on = list, where =, takes = function(event) }.
local function step(what, raw)
  local where
  if type(raw) == "table" and raw.on ~= nil then
    for name in pairs(raw) do
      if name ~= "on" and name ~= "where" then
        problem("%s: unknown field %s%s", what, show(name), nearest(name, { "on", "where" }))
      end
    end
    where = raw.where
    if where ~= nil and type(where) ~= "function" then
      problem("%s: where must be a function(event), not %s", what, show(where))
    end
    raw = raw.on
  end
  if type(raw) ~= "string" and type(raw) ~= "table" then
    problem("%s must be an event type, a glob, or { on =, where = }, not %s", what, show(raw))
  end
  local on = fields.patterns(what, raw)
  local matches = fields.matcher(on)
  return { on = on, where = where, takes = function(event)
    return matches(event.type) and (not where or (where(event) and true or false))
  end }
end


--- `missing`: a step, or a list of steps.
local function missing_steps(raw)
  if type(raw) ~= "table" or raw.on ~= nil then
    return { step("seq: missing", raw) }
  elseif #raw == 0 then
    problem("seq: missing names no step")
  end
  local list = {}
  for i, item in ipairs(raw) do
    list[i] = step(("seq: missing[%d]"):format(i), item)
  end
  return list
end


--- The steps as a list with `within` and `missing` beside them.
function fields.seq(def)
  local named, steps = {}, {}
  for name, value in pairs(def.seq) do
    if type(name) == "number" then
      steps[name] = value
    else
      named[name] = value
    end
  end
  local seq = fields.part("seq", named)
  for i = 1, #steps do
    seq[i] = step(("seq: step %d"):format(i), steps[i])
  end
  if #seq == 0 then
    problem("seq has no steps (write seq = { \"first.type\", \"second.type\", within = \"15m\" })")
  end
  seq.missing = seq.missing ~= nil and missing_steps(seq.missing) or nil
  if seq.missing and not seq.within then
    problem("seq: missing needs within (how long to wait for it)")
  elseif not seq.missing and not seq.within then
    problem("seq never ends: it has neither within nor missing (say within, the time from the first step to the last)")
  elseif #seq == 1 and not seq.missing then
    problem("seq has one step and nothing missing, which is `on` alone (add a step, or missing)")
  elseif def.kind == "alert" and not seq.missing and not def.clear and not def.ttl then
    problem("seq never ends: nothing resolves its alert (say kind = \"signal\", clear or ttl)")
  end
  return seq
end


function fields.absent(def)
  local absent = fields.part("absent", def.absent)
  if def.when or def.clear then
    problem("%s does not go with absent (its own events end it)", def.when and "when" or "clear")
  elseif def.ttl and absent.expect then
    problem("ttl does not go with absent.expect (a key that leaves the expected set is dropped)")
  elseif def.ttl and def.ttl <= absent.within then
    problem("ttl is not longer than absent.within, so that it never fires")
  end
  return absent
end


--- fold and score: a step, and what a key begins with.
function fields.steps(name, raw)
  local part = fields.part(name, raw)
  part.init = part.init == nil and {} or part.init
  return part
end


-- Who is told --------------------------------------------------------------------------------------------------

function fields.notify(value)
  local list, seen = {}, {}
  for _, name in ipairs(names("notify", value, "a receiver's name")) do
    if not schema.is_name(name) then
      problem("notify: %s is no receiver's name", show(name))
    elseif not seen[name] then
      seen[name], list[#list + 1] = true, name
    end
  end
  return list
end


function fields.group(def, json)
  if not def.notify then
    problem("group needs notify (whom to tell)")
  end
  local group = fields.part("group", def.group)
  return { by = json.array(group.by and { unpack(names("group: by", group.by, "a label's name")) } or {}),
    wait = group.wait, interval = group.interval }
end


--- Whom a firing of the rule mutes.
local function inhibits(mute, json)
  local match = json.decode("{}")
  for _, name in ipairs(schema.sorted_keys(mute.match)) do
    if type(name) ~= "string" then
      problem("mute: match is { name = value or list }, such as { rule = \"other\" }")
    end
    local list = names("mute: match." .. name, mute.match[name], "a text")
    for _, level in ipairs(name == "severity" and list or {}) do
      if not definition.contains(fields.LEVELS, level) then
        problem("mute: match.severity: unknown level %s%s", show(level), nearest(level, fields.LEVELS))
      end
    end
    match[name] = json.array({ unpack(list) })
  end
  if next(match) == nil then
    problem("mute: match is empty (name the rules that are muted)")
  end
  return { match = match, equal = json.array(mute.equal and { unpack(names("mute: equal", mute.equal,
    "a label or a part of the key")) } or {}) }
end


--- What the rule mutes while it fires, and the name of the calendar that mutes it.
function fields.mute(raw, json)
  local mute = fields.part("mute", raw)
  if not mute.match and not mute.calendar then
    problem("mute says nothing (name match or calendar)")
  elseif mute.equal and not mute.match then
    problem("mute: equal needs match (which alerts are muted)")
  elseif mute.calendar and not schema.is_name(mute.calendar) then
    problem("mute: calendar %s is no calendar's name (rules/calendars/NAME.lua)", show(mute.calendar))
  end
  return mute.match and inhibits(mute, json) or nil, mute.calendar
end


--- Texts become templates; a function stays.
function fields.labels(labels)
  if type(labels) == "function" then
    return labels
  end
  local out = {}
  for _, name in ipairs(schema.sorted_keys(labels)) do
    local value = labels[name]
    if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
      problem("labels: %s is no label's name (letters, digits and _)", show(name))
    elseif type(value) ~= "string" and type(value) ~= "number" and type(value) ~= "boolean" then
      problem("labels.%s must be a text, not %s", name, show(value))
    end
    out[name] = raise.template(tostring(value))
  end
  return out
end


function fields.flap(raw)
  local flap = fields.part("flap", raw)
  if flap.low >= flap.high then
    problem("flap: low is %.14g, and must be less than high (%.14g)", flap.low, flap.high)
  end
  return flap
end


--- Actions that are said once, not made by a function.
function fields.act(act)
  if type(act) == "table" then
    local list, why = raise.listed(act, raise.ACTION)
    if not list then
      problem(raise.ACT, why)
    elseif getmetatable(act) ~= raise.ACTION and #act == 0 then
      problem("act is empty")
    end
  end
  return act
end


return fields
