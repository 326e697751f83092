-- The life of a rule's alerts: one small state machine per key, the same for every kind of input.
--
-- An input (rule_plain, rule_window, rule_absent, rule_seq, rule_fold) says of an own event or of one of its timers:
-- nothing new, "evaluate" (ask `when` and `clear`), "on", or "off" with a reason. The life makes alerts of that:
--
--   inactive --on--> pending --hold--> firing --off--> lingering --linger--> inactive
--
-- * Each level is a latch: on until `clear` is true, off until `when` is. Without `clear` it is on exactly while `when`
--   is true. The alert's level is the highest that is on. "off" opens all latches.
-- * pending, firing and lingering have an episode. It opens when the key leaves `inactive`; each step of it that
--   people should know is a transition: pending, firing (again, when the level changes), resolved, expired. An alert
--   that comes back while it lingers says nothing, unless it is on another level.
-- * Cooldown runs from a firing that began an episode (no change of level) until its timer; an event at exactly its end
--   comes before that. What comes on meanwhile is held back: without `hold` there is no episode until the end, and it
--   opens there, by the timer and not by an event; with `hold` it is pending and fires when both are over.
-- * Flapping: of the last `samples` results (verdicts, timers' too) those that differ from the one before are counted;
--   a key begins with results that were all off. From high * (samples - 1) changes on a firing alert ignores "off",
--   and what it raises is muted, until there are at most low * (samples - 1). If it is on then, and its last transition
--   was muted by this, it is raised as firing once more.
-- * A signal has episodes of one instant. Plain events without `clear`, absent and seq make one for each match; all
--   else when the condition goes on. In the cooldown they are dropped, and counted.
-- * ttl, and a key that is expected no more, end an episode as expired, whatever its phase.
-- * A key of which nothing is left (no phase, no latch, no timer, nothing in the input) is forgotten, its time too.
--
-- What happens without an alert to tell of it is counted in the memory: without_value, cooldown (signals dropped),
-- muted_limit, too_deep, late_dropped, late_counted, late_amended, buffer_full, window_full; by the host:
-- max_keys.
--
-- The state of a key is a JSON document: t (its time), phase, level, on (the latches), ep (the episode), held, reason,
-- ring and flapping, buffer, i (the input's), timers (name -> due) with next and next_name, and of its last event id,
-- cause, corr, depth. Names of the input's timers begin with "i."; of those that are due at one instant the lesser name
-- fires first, so that `buffer` precedes all others.
local episode = require "prelude.rule_episode"
local probe = require "prelude.rule_probe"
local raise = require "prelude.rule_raise"

local life = {}
local WAITING = 1000 -- events of a key that wait for their time (clock = "occurred"); the oldest is then early

local set, apply, expire = episode.set, episode.apply, episode.expire


-- Events -------------------------------------------------------------------------------------------------------

--- What is left of an event when only timers follow: whom their alerts belong to.
local function remember(state, event)
  state.id, state.cause, state.corr = event.id, event.event_id, event.correlation_id
  local depth = raise.depth(event)
  state.depth = depth > 0 and depth or nil
end


local function is_over(x, state)
  return not state.next and not state.phase and not state.on and not state.ring and x.input.idle(state)
end


--- What the host is told: `delete`, or nothing. `event`: the one that was handled, if any.
local function leave(x, state, event)
  if x.trace then
    x.trace.leave(state)
  end
  if is_over(x, state) then
    return x.delete
  elseif event then
    remember(state, event)
  end
end


--- `event` is what user functions get, `source` what transitions name as their cause.
local function enter(x, state, t, key_text, event, source)
  local last = state.t
  t = last and last > t and last or t
  x.t, x.event, x.source, x.key_text, x.k = t, event, source, key_text, x.key_parts(key_text)
  x.value, x.trace, x.finding_key = nil, nil, nil
  return t
end


--- Tells of the evaluation where somebody wants to know.
local function watch(x, state, what)
  local probing = x.probing
  x.trace = probing and (probing == true or probing == x.key_text) and x.probe.begin(x, state, what) or nil
end


local function passes(x, event)
  local where = x.def.where
  local result = not where or where(event)
  if x.trace and where then
    x.trace.where(result)
  end
  return result
end


--- The event's number, where the rule looks at one. False: it is passed over.
local function read_value(x, event)
  local value = x.def.value
  if not value then
    return true
  end
  local v = value(event)
  if v == nil then
    x.count("without_value")
    return false
  end
  x.value = v
  return true
end


--- The key had an own event.
local function note_event(x, state, t)
  state.t = t
  if x.def.ttl then
    set(state, "ttl", t + x.def.ttl)
  end
end


--- An event that passed `where`, at its place in the rule's time. Returns it, unless it was passed over.
local function handle(x, state, event, t)
  if not read_value(x, event) then
    return
  end
  note_event(x, state, t)
  apply(x, state, x.input.event(state, event, t, x.k, x.value))
  return event
end


--- An event that came beyond the rule's patience.
local function handle_late(x, state, event, occurred, t)
  local fate = x.def.late
  if fate == "drop" then
    x.count("late_dropped")
    return
  end
  local has_value = read_value(x, event)
  if has_value and fate == "amend" and x.input.late then
    local entered, verdict, reason = x.input.late(state, event, occurred, x.k, x.value)
    if entered then
      x.count("late_amended")
      note_event(x, state, t)
      apply(x, state, verdict, reason)
      return event
    end
  end
  x.count("late_counted")
  if not has_value then
    return
  end
  note_event(x, state, t)
  apply(x, state, x.input.event(state, event, t, x.k, x.value))
  return event
end


--- Keeps the event until its time has come: by then all that happened before it is here.
local function buffer(x, state, event, t)
  local list = state.buffer or {}
  local place = #list + 1
  while place > 1 and (list[place - 1].at > t or (list[place - 1].at == t and list[place - 1].e.id > event.id)) do
    place = place - 1
  end
  table.insert(list, place, { at = t, e = x.native.event_copy(event) })
  state.buffer = list
  set(state, "buffer", list[1].at)
  if x.trace then
    x.trace.buffered(t)
  end
end


--- Takes the events of one instant out of the buffer, in the order of their ids.
local function take_first(state)
  local list, taken = state.buffer, {}
  local at = list[1].at
  while list[1] and list[1].at == at do
    taken[#taken + 1] = table.remove(list, 1).e
  end
  if list[1] then
    set(state, "buffer", list[1].at)
  else
    state.buffer = nil
  end
  return taken
end


--- `failed`: a copy of one of the first instant's.
local function drop_buffered(state, list, failed)
  local place = 1
  for i = 1, #list do
    place = failed and list[i].e.id == failed.id and i or place
  end
  table.remove(list, place)
  if list[1] then
    set(state, "buffer", list[1].at)
  else
    state.buffer = nil
  end
end


local function fire_buffer(x, state)
  local handled
  for _, event in ipairs(take_first(state)) do
    if x.trace then
      x.trace.leave(state)
    end
    x.event, x.source, x.value = event, event, nil
    if x.probing then
      watch(x, state, "timer buffer")
    end
    handled = handle(x, state, event, x.t) or handled
  end
  return handled
end


-- The engine ---------------------------------------------------------------------------------------------------

local function context(def, native, clock, key_parts)
  local x = clock
  x.def, x.native, x.delete, x.key_parts = def, native, native.delete, key_parts
  x.memory = { counts = {} }
  function x.count(name, n)
    local counts = x.memory.counts
    counts[name] = (counts[name] or 0) + (n or 1)
  end
  return x
end


--- What the input may use of the life.
local function tools(x)
  return {
    set = set, count = x.count, delete = x.delete, native = x.native,
    firing = function(state) return state.phase == "firing" end,
    active = function(state) return state.phase ~= nil or state.on ~= nil end,
    now = function() return x.t end,
    event = function() return x.event end, -- the own event at work; nil in a timer
  }
end


--- The engine of a checked definition: what the host calls. `clock` is a table whose `t` is the instant at work.
function life.open(def, native, clock, key_parts)
  local x = context(def, native, clock, key_parts)
  local input = require("prelude.rule_" .. def.input)(def, tools(x))
  x.input, x.probe = input, probe
  x.each = def.kind == "signal" and (def.asserts or def.input == "plain" and not def.clears)
  local engine = { memory = x.memory }

  --- One own event of a key. `late`: with clock = "occurred", it came behind the horizon.
  function engine.handle(state, event, t, key_text, late)
    local occurred = t
    while state.buffer and #state.buffer >= WAITING do -- a limit makes an alert early, it does not lose one
      x.count("buffer_full")
      engine.fire(state, state.next, key_text)
    end
    t = enter(x, state, t, key_text, event, event)
    if x.probing then
      watch(x, state, "event")
    end
    local handled
    if not passes(x, event) then
      handled = nil
    elseif late then
      handled = handle_late(x, state, event, occurred, t)
    elseif def.clock == "occurred" then
      buffer(x, state, event, occurred)
      return leave(x, state)
    else
      handled = handle(x, state, event, t)
    end
    local result = leave(x, state, handled)
    if not handled then
      return false
    end
    return result
  end

  --- Whether an event whose key failed would have counted: what `where` keeps out needs none.
  function engine.counts(event, t)
    x.t, x.trace, x.finding_key = t, nil, nil
    return passes(x, event)
  end

  --- Fires the key's earliest timer.
  function engine.fire(state, t, key_text)
    local name = state.next_name
    t = enter(x, state, t, key_text)
    if x.probing and name ~= "buffer" then
      watch(x, state, "timer " .. name)
    end
    set(state, name, nil)
    state.t = t
    local handled
    if name == "buffer" then
      handled = fire_buffer(x, state)
    elseif episode.timers[name] then
      episode.timers[name](x, state)
    else
      apply(x, state, input.timer(state, name, t, x.k))
    end
    return leave(x, state, handled)
  end

  --- The key entered the set of those that are expected, or left it; `event` is the one that made it so.
  function engine.expect(state, present, t, event, key_text)
    t = enter(x, state, t, key_text, nil, event)
    if x.probing then
      watch(x, state, "expect")
    end
    state.t = t
    local verdict, reason = input.expect(state, present, t, event, x.k)
    if present then
      apply(x, state, verdict, reason)
    else
      expire(x, state, "not expected")
    end
    return leave(x, state, event)
  end

  --- The key's earliest timer failed: it is gone, and with it what it was for; of several events that waited for the
  --- same instant only the one that failed.
  function engine.drop(state)
    local name, list = state.next_name, state.buffer
    set(state, name, nil)
    if name == "buffer" then
      drop_buffered(state, list, x.event)
    end
  end

  --- From now on every evaluation of the key (nil: of all keys) is told; or none any more.
  function engine.probe(on, key_text)
    x.probing = on and (key_text or true) or nil
  end

  return engine
end


return life
