-- What rules mean, without any care for speed: written from their semantics and not from the engine, to be compared with
-- it. Times are whole seconds.
--
--   reference.run(def, log, horizon) -> transitions, counts
--
-- `def` is a rule's definition as its file says it, its durations plain numbers; `log` a list of events { id, type, key,
-- t, occurred, data } in the order of their ids. A transition is { key, transition, at, severity, from, reason, muted }.
local input_of = require "spec.support.rules_reference_inputs"

local reference = {}

local LEVELS = { "info", "warning", "error", "critical" }


-- Keys ----------------------------------------------------------------------------------------------------------------

local function new_key(text)
  return { text = text, timers = {}, on = {}, entries = {}, instances = {}, ring = {}, buffer = {} }
end


--- What a key is when it is dropped, or nothing is left of it.
local function wipe(key)
  local fresh = new_key(key.text)
  for name in pairs(key) do
    key[name] = nil
  end
  for name, value in pairs(fresh) do
    key[name] = value
  end
end


--- Buffer, cooldown, hold, the input's, linger, ttl: at one instant by their names.
local function next_timer(run, key)
  local due, name = run.input.due(run, key), "i"
  for other, at in pairs(key.timers) do
    if not due or at < due or (at == due and other < name) then
      due, name = at, other
    end
  end
  return due, name
end


local function forget_if_over(run, key)
  if not next_timer(run, key) and not key.phase and not next(key.on) and #key.ring == 0 and run.input.idle(run, key) then
    wipe(key)
  end
end


-- Alerts --------------------------------------------------------------------------------------------------------------

local function severity(run, level)
  return level == "only" and (run.def.severity or "warning") or level
end


local function tell(run, key, transition, from, reason)
  key.unheard = key.flapping or nil
  table.insert(run.out, { key = key.text, transition = transition, at = run.now, severity = severity(run, key.level),
    from = from, reason = reason, muted = key.flapping and "flapping" or nil })
end


local function fire(run, key, level, from)
  key.phase, key.level = "firing", level
  key.timers.cooldown = run.def.cooldown and run.now + run.def.cooldown
  tell(run, key, "firing", from)
end


local function finish(run, key, transition, reason)
  tell(run, key, transition, key.phase == "pending" and "pending" or nil, reason)
  key.phase, key.level, key.unheard, key.kept_back, key.reason = nil, nil, nil, nil, nil
  key.timers.hold, key.timers.linger = nil, nil
end


local function match(run, key, level)
  if key.timers.cooldown then
    run.count("cooldown")
    return
  end
  fire(run, key, level)
  key.phase, key.level, key.unheard = nil, nil, nil
end


local function comes_on(run, key, level)
  if run.def.hold then
    key.phase, key.level = "pending", level
    key.timers.hold = run.now + run.def.hold
    tell(run, key, "pending")
  elseif key.timers.cooldown then
    key.kept_back = true
  else
    fire(run, key, level)
  end
end


local function stays_on(run, key, level)
  local before = key.level
  key.level = level
  if key.phase == "pending" then
    return
  end
  key.phase, key.reason, key.timers.linger = "firing", nil, nil
  if before ~= level then
    tell(run, key, "firing", severity(run, before))
  elseif key.unheard and not key.flapping then
    tell(run, key, "firing", severity(run, level), "flapping is over")
  end
end


local function goes_off(run, key, reason)
  if key.phase == "pending" then
    finish(run, key, "resolved", reason)
  elseif key.phase == "firing" and not key.flapping then
    if run.def.linger then
      key.phase, key.reason = "lingering", reason
      key.timers.linger = run.now + run.def.linger
    else
      finish(run, key, "resolved", reason)
    end
  elseif not key.phase then
    key.kept_back = nil
  end
end


--- Changes among the last results, where those before the first one were off.
local function note_result(run, key, on)
  local flap, list, changes = run.def.flap, {}, 0
  table.insert(key.ring, on)
  for i = #key.ring - flap.samples + 1, #key.ring do
    list[#list + 1] = key.ring[i] or false
  end
  for i = 2, #list do
    changes = changes + (list[i] ~= list[i - 1] and 1 or 0)
  end
  if changes / (flap.samples - 1) >= flap.high then
    key.flapping = true
  elseif changes / (flap.samples - 1) <= flap.low then
    key.flapping = nil
  end
  local any = false
  for _, result in ipairs(list) do
    any = any or result
  end
  key.ring = any and key.ring or {}
end


local function result(run, key, level, reason, was_on)
  if run.def.flap then
    note_result(run, key, level ~= nil)
  end
  if run.def.kind == "signal" then
    if level and (run.each or not was_on) then
      match(run, key, level)
    end
  elseif not level then
    goes_off(run, key, reason or "cleared")
  elseif key.phase then
    stays_on(run, key, level)
  else
    comes_on(run, key, level)
  end
  if run.each then
    key.on = {}
  end
end


--- The levels of the definition, lowest first: { name, when, clear }.
local function levels_of(def)
  if type(def.when) ~= "table" then
    return { { name = "only", when = def.when, clear = def.clear } }
  end
  local list = {}
  for _, name in ipairs(LEVELS) do
    if def.when[name] then
      list[#list + 1] = { name = name, when = def.when[name], clear = def.clear and def.clear[name] }
    end
  end
  return list
end


local function highest(run, key)
  local top
  for _, level in ipairs(run.levels) do
    top = key.on[level.name] and level.name or top
  end
  return top
end


--- on := on and not clear, or when; without clear: on := when.
local function ask(run, key, e)
  local subject = run.input.subject(run, key)
  for _, level in ipairs(run.levels) do
    if key.on[level.name] and level.clear then
      key.on[level.name] = not level.clear(subject, {}, e) or nil
    else
      key.on[level.name] = level.when(subject, {}, e) and true or nil
    end
  end
end


--- A sequence or a silence says itself that it is on; `when` may refuse, and `clear` is asked at later own events.
local function assertion(run, key, verdict, e)
  for _, level in ipairs(run.levels) do
    if verdict == "on" then
      local subject = run.input.subject(run, key)
      key.on[level.name] = key.on[level.name] or not level.when or (level.when(subject, {}, e) and true) or nil
    elseif key.on[level.name] and level.clear and e then
      key.on[level.name] = not level.clear(run.input.subject(run, key), {}, e) or nil
    end
  end
end


local function take(run, key, verdict, reason, e)
  local was_on = next(key.on) ~= nil
  if verdict == "off" then
    key.on = {}
    result(run, key, nil, reason, was_on)
  elseif run.asserts then
    assertion(run, key, verdict, e)
    if verdict == "on" and next(key.on) or was_on and not next(key.on) then
      result(run, key, highest(run, key), nil, was_on)
    end
  elseif verdict == "ask" then
    ask(run, key, e)
    result(run, key, highest(run, key), nil, was_on)
  end
end


-- Time ----------------------------------------------------------------------------------------------------------------

local timers = {}

function timers.hold(run, key)
  if key.timers.cooldown then
    key.kept_back = true
  else
    fire(run, key, key.level, "pending")
  end
end

function timers.linger(run, key)
  finish(run, key, "resolved", key.reason)
end

function timers.cooldown(run, key)
  if key.kept_back then
    key.kept_back = nil
    fire(run, key, key.phase and key.level or highest(run, key), key.phase)
  end
end

function timers.ttl(run, key)
  if key.phase then
    finish(run, key, "expired", "ttl")
  end
  wipe(key)
end

function timers.i(run, key, due)
  local verdict, reason = run.input.timer(run, key, due)
  take(run, key, verdict, reason)
end


--- The event in the key's present.
local function handle(run, key, e)
  local t = run.now
  key.last = t
  key.timers.ttl = run.def.ttl and t + run.def.ttl
  if run.kind == "tumble" and run.input.due(run, key) == t then
    timers.i(run, key, t) -- the window ends before an event at its end
  end
  local verdict, reason = run.input.event(run, key, e, t)
  take(run, key, verdict, reason, e)
end


local function has_value(run, e)
  if run.def.value then
    e.value = e.data.v
    return type(e.value) == "number"
  end
  return true
end


function timers.buffer(run, key)
  local e = table.remove(key.buffer, 1)
  key.timers.buffer = key.buffer[1] and key.buffer[1].occurred
  if has_value(run, e) then
    handle(run, key, e)
  end
end


--- Fires everything that is due before an instant, in order.
local function fire_before(run, horizon)
  while true do
    local first, due, name
    for _, text in ipairs(run.order) do
      local at, its_name = next_timer(run, run.keys[text])
      if at and at < horizon and (not due or at < due) then
        first, due, name = run.keys[text], at, its_name
      end
    end
    if not first then
      return
    end
    run.now = math.max(due, first.last or due)
    first.last, first.timers[name] = run.now, nil
    timers[name](run, first, due)
    forget_if_over(run, first)
  end
end


local function late(run, key, e)
  local fate, over = run.def.late or "count", run.def.window and run.def.window.over
  if fate == "drop" then
    run.count("late_dropped")
    return
  end
  run.now = math.max(e.occurred, key.last or e.occurred)
  if fate == "amend" and run.kind == "slide" and has_value(run, e) and e.occurred + over >= run.now then
    run.count("late_amended")
    key.last = run.now
    take(run, key, (run.input.event(run, key, e, e.occurred)), nil, e)
  else
    run.count("late_counted")
    if has_value(run, e) then
      handle(run, key, e)
    end
  end
end


local function keep_for_later(_, key, e)
  table.insert(key.buffer, e)
  table.sort(key.buffer, function(a, b)
    return a.occurred < b.occurred or (a.occurred == b.occurred and a.id < b.id)
  end)
  key.timers.buffer = key.buffer[1].occurred
end


local function one_event(run, e)
  local def, key = run.def, run.keys[e.key]
  local horizon = e.t
  if def.clock == "occurred" then
    horizon = math.max(run.watermark, run.live and e.t - def.lateness or -math.huge)
  end
  fire_before(run, horizon)
  if not def.where or def.where(e) then
    if def.clock == "occurred" then
      local fate = e.occurred < horizon and late or keep_for_later
      fate(run, key, e)
    elseif has_value(run, e) then
      run.now = math.max(e.t, key.last or e.t)
      handle(run, key, e)
    end
    forget_if_over(run, key)
  end
  if def.clock == "occurred" then
    run.watermark = math.max(run.watermark, e.occurred - def.lateness)
    run.live = e.t - e.occurred <= def.lateness
  end
end


-- A run ---------------------------------------------------------------------------------------------------------------

local function open(def, log)
  local run = { def = def, out = {}, counts = {}, keys = {}, order = {}, levels = levels_of(def), watermark = -math.huge, live = false }
  run.input, run.kind = input_of(def)
  run.asserts = def.seq ~= nil or def.absent ~= nil
  local plain = not (def.window or def.fold or def.score or run.asserts)
  run.each = def.kind == "signal" and (run.asserts or plain and not def.clear)
  function run.count(name)
    run.counts[name] = (run.counts[name] or 0) + 1
  end
  local function add(text)
    if not run.keys[text] then
      run.keys[text] = new_key(text)
      run.order[#run.order + 1] = text
    end
  end
  for _, e in ipairs(log) do
    add(e.key)
  end
  for _, text in ipairs(def.absent and def.absent.expect or {}) do
    add(text)
  end
  table.sort(run.order)
  return run
end


function reference.run(def, log, horizon)
  local run = open(def, log)
  for i, e in ipairs(log) do
    if i == 1 and def.absent and def.absent.expect then
      for _, text in ipairs(def.absent.expect) do
        run.input.enter(run, run.keys[text], e.t)
      end
    end
    one_event(run, e)
  end
  if def.clock == "occurred" then
    horizon = math.max(run.watermark, run.live and horizon - def.lateness or -math.huge)
  end
  fire_before(run, horizon)
  return run.out, run.counts
end


return reference
