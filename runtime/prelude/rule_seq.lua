-- The input `seq`: events of a key in an order, within a time; with `missing`, what must not come after them.
--
-- state.i: partial (number of completed steps, as a text -> the newest instance that got so far), waiting (an instance
-- with all steps, while what is missing may still come), match (the steps of the last match, while it matters). An
-- instance is { steps = events, by = the last instant of its time }.
local duration = require "prelude.duration"
local raise = require "prelude.rule_raise"

local TIMER = "i.seq"


--- The time that an instance has, from its first event.
local function patience(within, native)
  if type(within) ~= "function" then
    return function() return within end
  end
  return function(event)
    local us, problem = duration.parse(within(event))
    if not us then
      raise.fail(native, within, "seq: within returned %s", problem)
    end
    return us
  end
end


--- Is the event one of what must not come?
local function takes_any(steps, event)
  for n = 1, #steps do
    if steps[n].takes(event) then
      return true
    end
  end
  return false
end


return function(def, tools)
  local steps, missing, within = def.seq, def.seq.missing, patience(def.seq.within, tools.native)
  local seq = { signal = missing == nil }
  local before -- the match that the one at work took the place of


  local function capture(event, t)
    local copy = tools.native.event_copy(event)
    copy.at = t / 1e6
    return copy
  end


  --- The timer stands at the first instance whose time is up.
  local function arm(state, i)
    local first = i.waiting and i.waiting.by
    for _, instance in pairs(i.partial or {}) do
      if not first or instance.by < first then
        first = instance.by
      end
    end
    tools.set(state, TIMER, first)
  end


  --- An instance with n steps: one that has them all is a match, or waits for what is missing.
  local function keep(i, instance, n)
    if n < #steps then
      i.partial = i.partial or {}
      i.partial[tostring(n)] = instance
    elseif missing then
      i.waiting, i.partial = instance, nil
    else
      before, i.match = i.match, instance.steps
      return "on"
    end
  end


  --- The event is the next step of what it can be, and maybe a first one.
  local function advance(i, event, t)
    local verdict
    for n = #steps - 1, 1, -1 do
      local name = tostring(n)
      local instance = i.partial and i.partial[name]
      if instance and steps[n + 1].takes(event) then
        i.partial[name] = nil
        instance.steps[n + 1] = capture(event, t)
        verdict = keep(i, instance, n + 1) or verdict
      end
    end
    if not i.waiting and steps[1].takes(event) then
      verdict = keep(i, { steps = { capture(event, t) }, by = t + within(event) }, 1) or verdict
    end
    return verdict
  end


  local function tidy(state, i)
    if i.partial and next(i.partial) == nil then
      i.partial = nil
    end
    arm(state, i)
    if next(i) == nil then
      state.i = nil
    end
  end


  function seq.event(state, event, t)
    local i = state.i or {}
    local verdict, reason
    state.i = i
    if i.match and not tools.active(state) then
      i.match = nil
    end
    if missing and takes_any(missing, event) then
      if i.match then
        verdict, reason = "off", "late"
      end
      i.partial, i.waiting, i.match = nil, nil, nil
    end
    if not missing or not (i.waiting or i.match) then
      verdict = advance(i, event, t) or verdict
    end
    tidy(state, i)
    return verdict, reason
  end


  --- Those whose time is up: nothing that was missing came, or the steps did not.
  function seq.timer(state, _, due)
    local i, verdict = state.i, nil
    if i.waiting and i.waiting.by <= due then
      before, i.match, i.waiting, verdict = i.match, i.waiting.steps, nil, "on"
    end
    for name, instance in pairs(i.partial or {}) do
      if instance.by <= due then
        i.partial[name] = nil
      end
    end
    tidy(state, i)
    return verdict
  end


  --- The match at work is none after all.
  function seq.refuse(state)
    state.i.match = before
  end


  function seq.subject(state)
    return state.i and state.i.match or {}
  end


  function seq.report(state)
    local match = seq.subject(state)
    return { steps = #match, started = match[1] and tools.native.iso(match[1].at) }
  end


  --- What it waits for, in words.
  function seq.why(state)
    local i, most = state.i or {}, 0
    if i.waiting then
      return ("all steps are done, and until %s what is missing may come"):format(tools.native.iso(i.waiting.by / 1e6))
    end
    for _, instance in pairs(i.partial or {}) do
      most = math.max(most, #instance.steps)
    end
    return ("%d of %d steps are done"):format(most, #steps)
  end


  function seq.idle(state)
    local i = state.i
    return not i or not (i.partial or i.waiting)
  end


  return seq
end
