-- The input `window`: what happened during the last while (slide), one span after another (tumble), or without a gap
-- (session).
--
-- state.i holds the entries as rule_stats knows them; of a tumbling window also `ends`. Where a timer of the life may
-- ask for the subject of a window that was closed, its entries are `closed`.
local path = require "prelude.rule_path"
local stats = require "prelude.rule_stats"

local LEAVE, END, CLOSE = "i.leave", "i.end", "i.close"
local NOTHING = {}


-- Entries -------------------------------------------------------------------------------------------------------------

local function count(i)
  return i.t and #i.t - (i.h or 1) + 1 or 0
end


local function drop_all(i)
  i.t, i.v, i.d, i.h = nil, nil, nil, nil
end


--- Moves a list's items to its front.
local function compact(list, from)
  local n = #list
  for at = from, n do
    list[at - from + 1] = list[at]
  end
  for at = n, n - from + 2, -1 do
    list[at] = nil
  end
end


--- The oldest leaves. Places are given back when half of them are empty: a leaving costs the same however many stay.
local function drop_first(i)
  local head, n = (i.h or 1) + 1, #i.t
  if head > n then
    drop_all(i)
  elseif (head - 1) * 2 < n then
    i.h = head
  else
    compact(i.t, head)
    if i.v then
      compact(i.v, head)
    end
    if i.d then
      compact(i.d, head)
    end
    i.h = nil
  end
end


--- Puts an entry to its place: behind those of the same time.
local function add(i, t, value, mark)
  if not i.t then
    i.t, i.v, i.d = { t }, value and { value }, mark ~= nil and { mark } or nil
    return
  end
  local place, first = #i.t + 1, i.h or 1
  while place > first and i.t[place - 1] > t do
    place = place - 1
  end
  table.insert(i.t, place, t)
  if value then
    table.insert(i.v, place, value)
  end
  if mark ~= nil then
    table.insert(i.d, place, mark)
  end
end


-- Kinds ---------------------------------------------------------------------------------------------------------------

--- What the kinds share: def's window, and functions of its entries.
local function open_common(def, tools)
  local by_value = def.value ~= nil
  local w = { over = def.window.over, gap = def.window.gap, min = def.window.min or 0, by_value = by_value,
    speaks_empty = not by_value or def.on_silence == "clear" }
  local most, distinct = def.window.max, def.window.distinct
  local lasting = def.hold or def.linger or def.cooldown or def.flap or def.ttl
  local read = distinct and (type(distinct) == "function" and distinct or path.reader(distinct))

  --- Enters an event; where there are too many, the oldest leaves.
  function w.enter(state, event, t, value)
    local i = state.i
    if not i then
      i = {}
      state.i = i
    end
    local mark
    if read then
      mark = path.scalar(read(event))
      if mark == nil then
        mark = {}
      end
    end
    add(i, t, value, mark)
    if count(i) > most then
      drop_first(i)
      tools.count("window_full")
    end
    return i
  end

  function w.verdict(i)
    return count(i) >= w.min and "evaluate" or nil
  end

  --- The window is over, and is what the subject shows until something else happens.
  function w.close(state, i)
    local closed = { t = i.t, v = i.v, d = i.d, h = i.h }
    w.owner, w.at, w.closed = state, tools.now(), closed
    drop_all(i)
    i.closed = lasting and closed or nil
  end

  --- Of a window without an entry: how few they are is known, what their values would be is not.
  function w.empty()
    if not by_value then
      return "evaluate"
    elseif w.speaks_empty then
      return "off", "silence"
    end
  end

  return w
end


local function open_slide(w, tools)
  local slide = {}

  local function arm(state, i)
    tools.set(state, LEAVE, i.t and i.t[i.h or 1] + w.over)
  end

  function slide.event(state, event, t, _, value)
    local i = w.enter(state, event, t, value)
    arm(state, i)
    return w.verdict(i)
  end

  function slide.timer(state, _, due)
    local i = state.i
    while i.t and i.t[i.h or 1] + w.over <= due do
      drop_first(i)
    end
    arm(state, i)
    if not i.t then
      return w.empty()
    end
    return w.verdict(i)
  end

  --- An event from before the key's present: it counts where it has not left yet.
  function slide.late(state, event, t, _, value)
    if t + w.over < tools.now() then
      return false
    end
    local i = w.enter(state, event, t, value)
    arm(state, i)
    return true, w.verdict(i)
  end

  function slide.idle(state)
    return not (state.i and state.i.t)
  end

  return slide
end


local function open_tumble(w, tools)
  local tumble = {}

  --- The window is over at `due`; the next one begins empty. There is nothing to say of an empty one unless the key is
  --- active, which it may become by what is said now: hence one more end.
  local function turn(state, i, due)
    local n, active = count(i), tools.active(state)
    w.close(state, i)
    if (n > 0 or active) and w.speaks_empty then
      i.ends = due + w.over
    else
      i.ends = nil
    end
    tools.set(state, END, i.ends)
    if n == 0 then
      if active then
        return w.empty()
      end
      return nil
    end
    return n >= w.min and "evaluate" or nil
  end

  --- An event at the very end finds that the window's timer has not fired yet: the window precedes it.
  function tumble.event(state, event, t, _, value)
    local i, verdict, reason = state.i, nil, nil
    if i and i.ends and t >= i.ends then
      verdict, reason = turn(state, i, i.ends)
    end
    i = w.enter(state, event, t, value)
    if not i.ends then
      i.ends = t - t % w.over + w.over
      tools.set(state, END, i.ends)
    end
    return verdict, reason
  end

  function tumble.timer(state, _, due)
    return turn(state, state.i, due)
  end

  function tumble.idle(state)
    return not (state.i and state.i.ends)
  end

  return tumble
end


local function open_session(w, tools)
  local session = {}

  function session.event(state, event, t, _, value)
    local i = state.i
    if i and i.t and w.over and t - i.t[i.h or 1] > w.over then
      drop_all(i)
    end
    i = w.enter(state, event, t, value)
    w.owner, i.closed = nil, nil
    tools.set(state, CLOSE, t + w.gap)
    return w.verdict(i)
  end

  function session.timer(state)
    w.close(state, state.i)
    return "off", "session closed"
  end

  function session.idle(state)
    return not (state.i and state.i.t)
  end

  return session
end


-- The input -----------------------------------------------------------------------------------------------------------

local KINDS = { slide = open_slide, tumble = open_tumble, session = open_session }


return function(def, tools)
  local w = open_common(def, tools)
  local _, bind, names = stats { over = w.over, value = w.by_value, distinct = def.window.distinct ~= nil,
    quantile = w.by_value and def.window.quantile }
  local input = KINDS[def.window.kind](w, tools)
  input.signal = false


  --- The window that was closed last, where one was; else what is in it now.
  function input.subject(state)
    if w.owner == state and w.at == tools.now() then
      return bind(w.closed)
    end
    local i = state.i or NOTHING
    return bind(i.closed or i)
  end


  --- All members that it has.
  function input.report(state)
    local subject, out = input.subject(state), {}
    for _, name in ipairs(names) do
      local value = subject[name]
      if value ~= nil and value - value == 0 then
        out[name] = value
      end
    end
    return out
  end


  return input
end
