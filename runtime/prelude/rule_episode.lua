-- The condition of a key and its episodes; rule_life says what they mean. `x` is the engine at work: its definition,
-- the instant, the key, the event if there is one.
local raise = require "prelude.rule_raise"

local episode = {}

local PENDING, FIRING, LINGERING = "pending", "firing", "lingering"


-- Timers -------------------------------------------------------------------------------------------------------

local function find_next(state)
  local due, name
  for other, at in pairs(state.timers) do
    if not due or at < due or (at == due and other < name) then
      due, name = at, other
    end
  end
  if not due then
    state.timers = nil
  end
  state.next, state.next_name = due, name
end


--- Sets a timer of the key, or takes it away where due is nil.
local function set(state, name, due)
  local timers = state.timers
  if not due then
    if timers and timers[name] then
      timers[name] = nil
      if state.next_name == name then
        find_next(state)
      end
    end
    return
  end
  if not timers then
    timers = {}
    state.timers = timers
  end
  timers[name] = due
  local first = state.next
  if not first or due < first or (due == first and name <= state.next_name) then
    state.next, state.next_name = due, name
  elseif state.next_name == name then
    find_next(state)
  end
end
episode.set = set


-- The condition ------------------------------------------------------------------------------------------------

local function latch(state, name, on)
  local latches = state.on
  if on then
    if not latches then
      latches = {}
      state.on = latches
    end
    latches[name] = true
  elseif latches and latches[name] then
    latches[name] = nil
    if next(latches) == nil then
      state.on = nil
    end
  end
end


--- The highest level that is on, by asking `when` and `clear`.
local function evaluate(x, state)
  local subject, levels, top = x.input.subject(state, x.k), x.def.levels, nil
  local trace = x.trace
  for i = 1, #levels do
    local level = levels[i]
    local was = state.on and state.on[level.name]
    local on
    if was and level.clear then
      on = not level.clear(subject, x.k, x.event)
    else
      on = level.when(subject, x.k, x.event) and true
    end
    if (was or false) ~= (on or false) then
      latch(state, level.name, on)
    end
    if on then
      top = level.name
    end
    if trace then
      trace.asked(level, was, on)
    end
  end
  return top
end


--- The level of a match that the input found itself, or nil: `when` may refuse it. Levels that are on already stay so:
--- only `clear` opens them.
local function match(x, state)
  local levels, top, taken = x.def.levels, nil, false
  local subject
  for i = 1, #levels do
    local level = levels[i]
    if level.when then
      subject = subject or x.input.subject(state, x.k)
    end
    local on = not level.when or (level.when(subject, x.k, x.event) and true)
    if on then
      taken = true
      latch(state, level.name, true)
    end
    if state.on and state.on[level.name] then
      top = level.name
    end
    if x.trace then
      x.trace.asked(level, false, on)
    end
  end
  return taken and top or nil
end


--- Own events after a match that the input found itself: does `clear` end it? nil: there is nothing to ask.
local function ask_clear(x, state)
  local levels, subject, top, asked = x.def.levels, nil, nil, false
  for i = 1, #levels do
    local level = levels[i]
    if state.on and state.on[level.name] then
      local on = true
      if level.clear then
        subject, asked = subject or x.input.subject(state, x.k), true
        on = not level.clear(subject, x.k, x.event)
        latch(state, level.name, on)
        if x.trace then
          x.trace.asked(level, true, on)
        end
      end
      top = on and level.name or top
    end
  end
  return asked, top
end


-- Episodes -----------------------------------------------------------------------------------------------------

local function open(x, state)
  local ep = raise.episode(x, state)
  state.ep = ep
  return ep
end


--- How many firings the rule's clock saw in this minute, this one included.
local function over_limit(x)
  local memory, minute = x.memory, math.floor(x.t / 60e6)
  if minute > (memory.minute or -1) then
    memory.minute, memory.fired = minute, 0
  end
  memory.fired = memory.fired + 1
  return memory.fired > x.def.max_alerts
end


--- Why what is raised now is muted, or nil.
local function muted(x, state, limited)
  local calendar = x.def.calendar
  if calendar and calendar.contains(x.t) then
    return "calendar " .. calendar.name
  elseif state.flapping then
    return "flapping"
  elseif limited then
    x.count("muted_limit")
    return "limit"
  end
end


local function tell(x, state, ep, transition, from, reason, limited)
  local why = muted(x, state, limited)
  ep.quiet = why == "flapping" or nil
  raise.transition(x, state, ep, transition, from, reason, why)
  if x.trace then
    x.trace.told(transition, why)
  end
  return why
end


--- The episode begins to fire: the transition, and what the rule does then.
local function fire(x, state, level, from)
  local ep = state.ep
  state.phase, state.level, ep.level = FIRING, level, level
  if x.def.cooldown then
    set(state, "cooldown", x.t + x.def.cooldown)
  end
  local why = tell(x, state, ep, "firing", from, nil, over_limit(x))
  raise.doings(x, state, ep, why)
end


local function close(state)
  set(state, "hold", nil)
  set(state, "linger", nil)
  state.phase, state.level, state.ep, state.held, state.reason = nil, nil, nil, nil, nil
end


local function finish(x, state, transition, reason)
  local ep = state.ep
  ep.level = state.level
  tell(x, state, ep, transition, state.phase == PENDING and PENDING or nil, reason)
  close(state)
end


--- Whatever the key was, it is over without the condition having cleared.
local function expire(x, state, reason)
  if state.phase then
    finish(x, state, "expired", reason)
  end
  state.held, state.on = nil, nil
end
episode.expire = expire


local function signal(x, state, level, was)
  if x.each then
    state.on = nil -- nothing lasts
  elseif was then
    return
  end
  if not level then
    return
  elseif state.timers and state.timers.cooldown then
    x.count("cooldown")
    return
  end
  open(x, state)
  fire(x, state, level)
  close(state)
end


--- The condition came on in a key without an episode.
local function appear(x, state, level)
  local cooling = state.timers and state.timers.cooldown
  if x.def.hold then
    open(x, state)
    state.phase, state.level, state.ep.level = PENDING, level, level
    set(state, "hold", x.t + x.def.hold)
    tell(x, state, state.ep, "pending")
  elseif cooling then
    state.held = level
  else
    open(x, state)
    fire(x, state, level)
  end
end


--- Does a timer lead on from here? One that failed is gone: then the key's next result does what it was for.
local function waits(state, ...)
  local timers = state.timers
  for i = 1, select("#", ...) do
    if timers and timers[select(i, ...)] then
      return true
    end
  end
  return false
end


local function go_on(x, state, level)
  local ep = state.ep
  if state.phase == LINGERING then
    set(state, "linger", nil)
    state.phase, state.reason = FIRING, nil
  end
  if level ~= state.level then
    local before = raise.severity(x.def, state.level)
    state.level, ep.level = level, level
    tell(x, state, ep, "firing", before)
  elseif ep.quiet and not state.flapping then
    tell(x, state, ep, "firing", raise.severity(x.def, level), "flapping is over")
  end
end


local function go_off(x, state, reason)
  if state.phase == PENDING then
    finish(x, state, "resolved", reason or "cleared")
  elseif state.phase == FIRING then
    if state.flapping then
      return
    elseif x.def.linger then
      state.phase, state.reason = LINGERING, reason
      set(state, "linger", x.t + x.def.linger)
    else
      finish(x, state, "resolved", reason or "cleared")
    end
  elseif not state.phase then
    state.held = nil
  elseif not waits(state, "linger") then
    finish(x, state, "resolved", reason or state.reason or "cleared")
  end
end


--- One more result: does the condition flap?
local function sample(x, state, on)
  local flap = x.def.flap
  local ring = (state.ring or "") .. (on and "1" or "0")
  if #ring > flap.samples then
    ring = ring:sub(2)
  end
  local changes, last = 0, #ring < flap.samples and 48 or ring:byte(1)
  for i = 1, #ring do
    local result = ring:byte(i)
    if result ~= last then
      changes, last = changes + 1, result
    end
  end
  if changes >= flap.high * (flap.samples - 1) then
    state.flapping = true
  elseif changes <= flap.low * (flap.samples - 1) then
    state.flapping = nil
  end
  state.ring = ring:find("1", 1, true) and ring or nil
end


--- What a new result (a level, or nil: off) means for the key.
local function settle(x, state, level, reason, was)
  local def = x.def
  if def.flap then
    sample(x, state, level ~= nil)
  end
  if def.kind == "signal" then
    signal(x, state, level, was)
  elseif not level then
    go_off(x, state, reason)
  elseif not state.phase then
    appear(x, state, level)
  elseif state.phase == PENDING and waits(state, "hold", "cooldown") then
    state.level = level
  elseif state.phase == PENDING then
    fire(x, state, level, PENDING)
  else
    go_on(x, state, level)
  end
end


--- What the input said, of an event or of a timer.
function episode.apply(x, state, verdict, reason)
  local was = state.on ~= nil
  if verdict == "evaluate" and not x.def.asserts then
    settle(x, state, evaluate(x, state), reason, was)
  elseif verdict == "on" then
    local level = match(x, state)
    if level then
      settle(x, state, level, reason, was)
      return
    elseif x.input.refuse then
      x.input.refuse(state)
    end
    verdict = nil
  elseif verdict == "off" then
    state.on = nil
    settle(x, state, nil, reason, was)
  end
  if not verdict and x.def.asserts and was and x.event then
    local asked, level = ask_clear(x, state)
    if asked then
      settle(x, state, level, nil, was)
    end
  end
end


-- Its timers ---------------------------------------------------------------------------------------------------

local timers = {}
episode.timers = timers


function timers.hold(x, state)
  if state.timers and state.timers.cooldown then
    state.held = state.level
  else
    fire(x, state, state.level, PENDING)
  end
end


function timers.linger(x, state)
  finish(x, state, "resolved", state.reason or "cleared")
end


function timers.cooldown(x, state)
  local held = state.held
  state.held = nil
  if held and state.phase == PENDING then
    fire(x, state, state.level, PENDING)
  elseif held then
    open(x, state)
    fire(x, state, held)
  end
end


function timers.ttl(x, state)
  local buffer, due = state.buffer, state.timers and state.timers.buffer
  expire(x, state, "ttl")
  for name in pairs(state) do
    state[name] = nil
  end
  if due then -- events that came and are not handled yet
    state.buffer = buffer
    set(state, "buffer", due)
  end
end


return episode
