-- What a rule raises: transitions of its alerts, and what it emits and does when one fires; each a table for
-- native.raise(), with times in microseconds.
local raise = {}

local DEPTH_MAX = 8
local REPORT_MAX = 24 -- members of a subject that are told
local TEXT_MAX = 500 -- bytes of a text of them, of a label, and of what a template shows


-- Texts --------------------------------------------------------------------------------------------------------

local function is_scalar(value)
  local kind = type(value)
  return kind == "number" and value - value == 0 or kind == "string" or kind == "boolean"
end


--- "3", "71.25", "d-1": for people.
local function show(value)
  if type(value) == "number" then
    if value % 1 == 0 or math.abs(value) >= 1e6 then
      return ("%.0f"):format(value)
    end
    return ("%.6g"):format(value)
  end
  return tostring(value)
end
raise.show = show


--- As much of a text as people read, and never a part of a character.
local function clip(value)
  if type(value) ~= "string" or #value <= TEXT_MAX then
    return value
  end
  local to = TEXT_MAX
  while to > 0 and value:byte(to + 1) >= 0x80 and value:byte(to + 1) < 0xc0 do
    to = to - 1
  end
  return value:sub(1, to)
end


--- The member at a path, or nil.
local function member(value, path)
  for name in path:gmatch("[^.]+") do
    if type(value) ~= "table" then
      return nil
    end
    value = value[name]
  end
  return value
end


--- "{a} of {b}" as a list of texts and { name = "a" }. "{{" is a brace.
function raise.template(text)
  local parts, at, plain = {}, 1, ""
  while at <= #text do
    local from, to, name = text:find("{([%w_.]+)}", at)
    local double = text:find("{{", at, true)
    if double and (not from or double < from) then
      plain, at = plain .. text:sub(at, double), double + 2
    elseif from then
      parts[#parts + 1] = plain .. text:sub(at, from - 1)
      parts[#parts + 1] = { name = name }
      plain, at = "", to + 1
    else
      break
    end
  end
  parts[#parts + 1] = plain .. text:sub(at)
  return parts
end


local FIRST = { data = true, metadata = true }


--- What the event has at a path. An episode remembers it, for what its timers say.
local function of_event(scope, name)
  local first, rest = name:match("^([^.]+)%.?(.*)$")
  local value
  if FIRST[first] then
    value = member(scope.event[first], rest)
  elseif rest == "" and scope.fields[first] then
    value = scope.event[first]
  end
  if is_scalar(value) then
    scope.seen = scope.seen or {}
    scope.seen[name] = clip(value)
  end
  return value
end


--- What a name in a template stands for, or nil.
local function find(scope, name)
  local value = scope.k[name]
  if value == nil then
    value = scope.labels and scope.labels[name]
  end
  if value == nil then
    value = scope.report[name]
  end
  if value == nil then
    value = scope[name]
  end
  if value == nil and scope.event then
    value = of_event(scope, name)
  elseif value == nil then
    value = scope.seen and scope.seen[name]
  end
  if is_scalar(value) then
    return value
  end
end


--- What has no value keeps its braces: it is seen, and nothing else is lost.
local function render(parts, scope)
  local out = {}
  for i, part in ipairs(parts) do
    if type(part) == "table" then
      local value = find(scope, part.name)
      out[i] = value == nil and "{" .. part.name .. "}" or clip(show(value))
    else
      out[i] = part
    end
  end
  return table.concat(out)
end


-- The subject --------------------------------------------------------------------------------------------------

--- What an event has may not be decoded yet: only the scripts' own pairs sees it.
local function scalars(x, t)
  local names, out = {}, {}
  for name, value in x.native.pairs(t) do
    if type(name) == "string" and is_scalar(value) then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for i = 1, math.min(#names, REPORT_MAX) do
    out[names[i]] = clip(t[names[i]])
  end
  return out
end


--- The subject's small members, for people.
function raise.report(x, state)
  local input = x.input
  if input.report then
    return input.report(state, x.k)
  end
  local subject = input.subject(state, x.k)
  if subject ~= nil and x.def.input == "plain" and not x.def.value then
    subject = subject.data
  end
  if type(subject) == "table" then
    return scalars(x, subject)
  elseif is_scalar(subject) then
    return { value = clip(subject) }
  end
  return {}
end


-- Functions of the rule ---------------------------------------------------------------------------------------

--- Says what is wrong with what a function returned, with the function's place.
local function fail(native, f, text, ...)
  local path, line = native.where(f)
  error(("%s:%d: %s"):format(path, line, text:format(...)), 0)
end
raise.fail = fail


-- Episodes -----------------------------------------------------------------------------------------------------

--- What people see of a level: the rule's word for one that has no name.
function raise.severity(def, level)
  return level == "on" and def.severity or level
end


--- How many alerts led to the event, one upon another.
function raise.depth(event)
  local meta = event.metadata
  meta = type(meta) == "table" and meta.moonwake
  local depth = type(meta) == "table" and meta.depth
  return type(depth) == "number" and depth + 1 or 0
end


local function depth_here(x, state)
  if x.source then
    return raise.depth(x.source)
  end
  return state.depth or 0
end


--- The labels of an episode: text by name, as they are when it opens. They are what receivers know an alert by, so they
--- stay as they are until it is over.
local function labels_of(x, state, report)
  local def = x.def
  if not def.labels then
    return nil
  end
  local out = {}
  if type(def.labels) == "function" then
    local result = def.labels(x.k, x.input.subject(state, x.k))
    if result ~= nil and type(result) ~= "table" then
      fail(x.native, def.labels, "labels returned a %s (return a table, name = text)", type(result))
    end
    for name, value in x.native.pairs(result or {}) do
      if type(name) ~= "string" or not is_scalar(value) then
        fail(x.native, def.labels, "labels returned %s, which is no text (give names and texts)",
          type(name) == "string" and name .. " = a " .. type(value) or "a list")
      end
      out[name] = clip(show(value))
    end
    return out
  end
  local scope = { k = x.k, report = report, rule = def.name, event = x.event, fields = def.event_fields }
  for name, parts in pairs(def.labels) do
    out[name] = clip(render(parts, scope))
  end
  return out
end


--- A new episode of the key, from here and now.
function raise.episode(x, state)
  local opener = x.event and x.event.event_id or ""
  local id = x.native.uuid(("%s\n%s\n%.0f\n%s"):format(x.def.name, x.key_text, x.t, opener))
  local depth = depth_here(x, state)
  local ep = { id = id, n = 0, since = x.t }
  if depth > DEPTH_MAX then
    ep.silent = true
    x.count("too_deep")
  end
  ep.labels = labels_of(x, state, raise.report(x, state))
  return ep
end


local function common(x, state, ep, kind)
  local source = x.source
  return { kind = kind, rule = x.def.name, episode = ep.id, key_text = x.key_text, at = x.t,
    position = source and source.id or state.id, cause = source and source.event_id or state.cause,
    depth = depth_here(x, state) }
end


local function summary(x, record, ep)
  local scope = { k = x.k, labels = ep.labels, report = record.subject, rule = record.rule,
    severity = record.severity, event = x.event, fields = x.def.event_fields, seen = ep.seen }
  local text = render(x.def.summary, scope)
  ep.seen = scope.seen
  return text
end


--- One step of an episode that people should know of.
function raise.transition(x, state, ep, transition, from, reason, muted)
  if ep.silent then
    return
  end
  local def, source = x.def, x.source
  ep.n = ep.n + 1
  local record = common(x, state, ep, "alert")
  record.transition, record.n, record.from, record.reason, record.muted = transition, ep.n, from, reason, muted
  record.muted_until = muted and def.calendar and muted:find("^calendar ") and def.calendar.ends(x.t) or nil
  record.event_id = x.native.uuid(("%s\n%s\n%d"):format(ep.id, transition, ep.n))
  record.key, record.fingerprint = x.key_parts(x.key_text), x.native.hash(def.name .. "\n" .. x.key_text)
  if source then
    record.correlation = source.correlation_id
  else
    record.correlation = state.corr
  end
  record.severity, record.since, record.signal = raise.severity(def, ep.level), ep.since, def.kind == "signal"
  record.labels, record.subject = ep.labels or {}, raise.report(x, state)
  record.notify, record.group, record.inhibits = def.notify, def.group, def.inhibits
  record.description, record.runbook = def.description, def.runbook
  -- what it was about, not what the values are when it is over
  record.summary = (transition == "resolved" or transition == "expired") and ep.text or summary(x, record, ep)
  ep.text = transition == "firing" and record.summary or ep.text
  x.native.raise(record)
end


-- What it does when it fires -----------------------------------------------------------------------------------

local function is_marked(value, mark)
  return type(value) == "table" and getmetatable(value) == mark
end


--- One marked thing, or a list of them, or nothing, as a list. Or nil, and what it is instead.
local function listed(value, mark)
  if value == nil then
    return {}
  elseif is_marked(value, mark) then
    return { value }
  elseif type(value) ~= "table" then
    return nil, ("not a %s"):format(type(value))
  end
  for i = 1, #value do
    if not is_marked(value[i], mark) then
      return nil, ("and number %d of the list is a %s"):format(i, type(value[i]))
    end
  end
  if #value == 0 and next(value) ~= nil then
    return nil, "not a table with other things"
  end
  return value
end
raise.listed = listed

raise.EMITTED, raise.ACTION = "moonwake.event", "moonwake.action"
raise.ACT = "act must be publish, webhook, command, sql or pg_notify, or a list of them, %s"
local EMIT = "emit must return event(\"type\", data), or a list of them, %s"


local function emit(x, state, ep)
  local list, why = listed(x.def.emit(x.input.subject(state, x.k), x.k, x.event), raise.EMITTED)
  if not list then
    fail(x.native, x.def.emit, EMIT, why)
  end
  for i = 1, #list do
    local record, made = common(x, state, ep, "event"), list[i]
    record.event_id = x.native.uuid(("%s\nemit\n%d"):format(ep.id, i))
    record.type, record.data = made.type, made.data
    record.aggregate_type, record.aggregate_id = made.aggregate_type or "alert", made.aggregate_id or ep.id
    x.native.raise(record)
  end
end


local function act(x, state, ep, muted)
  local def = x.def
  local made = def.act
  if type(made) == "function" then
    made = made(x.input.subject(state, x.k), x.k, x.event)
  end
  local list, why = listed(made, raise.ACTION)
  if not list then
    fail(x.native, def.act, raise.ACT, why)
  end
  for i = 1, #list do
    local record, action = common(x, state, ep, "act"), list[i]
    record.id = x.native.uuid(("%s\nact\n%d"):format(ep.id, i))
    record.act, record.to, record.data = action.act, action.to, action.data
    if action.act == "publish" and not action.data.aggregate_type then
      record.data = { type = action.data.type, data = action.data.data, aggregate_type = "alert", aggregate_id = ep.id }
    end
    record.mode, record.max, record.muted = def.mode, def.max, muted
    x.native.raise(record)
  end
end


--- Facts that it appends, and actions; the latter know whether the firing is muted.
function raise.doings(x, state, ep, muted)
  if ep.silent then
    return
  end
  if x.def.emit then
    emit(x, state, ep)
  end
  if x.def.act then
    act(x, state, ep, muted)
  end
end


return raise
