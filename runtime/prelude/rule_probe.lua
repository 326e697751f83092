-- Tells of an evaluation step by step: what `explain --why-not` shows. Only while somebody asked for the key.
local duration = require "prelude.duration"
local raise = require "prelude.rule_raise"

local probe = {}


--- "count = 2, sum = 7.5"
local function values(report)
  local names, parts = {}, {}
  for name in pairs(report) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = ("%s = %s"):format(name, raise.show(report[name]))
  end
  return #parts > 0 and ": " .. table.concat(parts, ", ") or ""
end


local function when_false(record)
  local asked = {}
  for _, level in ipairs({ "info", "warning", "error", "critical" }) do
    if record.when and record.when[level] == false then
      asked[#asked + 1] = level
    end
  end
  if #asked == 0 or (record.when and #asked < record.asked) then
    return nil
  end
  return ("when is false for %s%s"):format(table.concat(asked, ", "), values(record.subject))
end


--- The input's own timers: what it waits for.
local function waits(x, state)
  local due
  for name, at in pairs(state.timers or {}) do
    if name:sub(1, 2) == "i." and (not due or at < due) then
      due = at
    end
  end
  return due and ("nothing new; the next look is at %s"):format(x.native.iso(due / 1e6)) or "nothing new"
end


local function few_entries(x, record)
  local min = x.def.window and x.def.window.min
  local count = record.subject.count
  return min and count and count < min
    and ("the window has %d of at least %d entries"):format(count, min) or nil
end


local function held_back(x, state)
  if state.timers and state.timers.cooldown then
    return ("cooldown: it cannot fire until %s"):format(x.native.iso(state.timers.cooldown / 1e6))
  end
end


local function pending(x, state)
  if not state.timers or not (state.timers.hold or state.timers.cooldown) then
    return "hold: its timer failed (a dead letter says why)"
  end
  return ("hold: on since %s, and fires at %s if it stays on"):format(x.native.iso(state.ep.since / 1e6),
    x.native.iso(state.timers.hold and state.timers.hold / 1e6 or state.timers.cooldown / 1e6))
end


--- The first thing that keeps the key from firing; or that it fires.
local function why(x, state, record)
  if record.where == false then
    return "where: it does not take this event"
  elseif record.type and record.what ~= "expect" and x.def.value and x.value == nil and not record.buffered then
    return ("value: the event has none%s"):format(x.def.value_path and " at " .. x.def.value_path or "")
  elseif record.buffered then
    return ("the event waits for earlier ones until %s has passed and %s more"):format(
      x.native.iso(record.buffered / 1e6), duration.show(x.def.lateness))
  elseif record.fired then
    return record.muted and ("it fires, and is muted: %s"):format(record.muted) or "it fires"
  elseif record.after == "firing" or record.after == "lingering" then
    return ("it is %s already, since %s"):format(record.after, x.native.iso(state.ep.since / 1e6))
  elseif record.after == "pending" then
    return pending(x, state)
  end
  return few_entries(x, record) or when_false(record)
    or (record.on and held_back(x, state))
    or (x.input.why and x.input.why(state, x.k)) or waits(x, state)
end


--- The levels that were asked, by name, under `when` or `clear`.
local function note(record, name, severity, value)
  record[name] = record[name] or {}
  record[name][severity] = value and true or false
end


--- A trace of one evaluation: its functions are told what happens, and leave() raises it.
function probe.begin(x, state, what)
  local record = { kind = "probe", key_text = x.key_text, what = what, at = x.t, asked = 0,
    position = x.source and x.source.id or state.id, type = x.source and x.source.type,
    before = state.phase or "inactive" }
  local trace = {}

  function trace.where(passes)
    record.where = passes and true or false
  end

  function trace.asked(level, was, on)
    local severity = raise.severity(x.def, level.name)
    if was and level.clear then
      note(record, "clear", severity, not on)
    elseif level.when then
      note(record, "when", severity, on)
      record.asked = record.asked + 1
    end
    record.on = record.on or on and true or nil
  end

  function trace.told(transition, muted)
    record.fired = record.fired or transition == "firing" or nil
    record.muted = muted
  end

  function trace.buffered(t)
    record.buffered = t
  end

  function trace.leave(after)
    record.after, record.value = after.phase or "inactive", x.value
    local seen = x.event and (x.value ~= nil or not x.def.value) or not x.event and after.i
    record.subject = seen and not record.buffered and record.where ~= false
      and raise.report(x, after) or {}
    record.timers = {}
    for name, due in pairs(after.timers or {}) do
      record.timers[name] = due
    end
    record.why = why(x, after, record)
    record.on, record.asked, record.fired, record.buffered = nil, nil, nil, nil
    x.native.raise(record)
  end

  return trace
end


return probe
