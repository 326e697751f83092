-- The input `absent`: nothing happened for some time. With `expect`, only keys of that set count, and those that never
-- had an event too.
--
-- state.i: expected (true where the key is in the set), since (from when silence counts), last (the last own event),
-- silent (its time is up).

local TIMER = "i.absent"

local absent = {}


--- Since when it is silent, and the last own event, in seconds; last is nil where there never was one.
function absent.subject(state)
  local i = state.i or {}
  return { since = i.since and i.since / 1e6, last = i.last and i.last / 1e6 }
end


function absent.timer(state)
  state.i.silent = true
  return "on"
end


function absent.idle(state)
  local i = state.i
  return not i or (i.silent and not i.expected) or false
end


return function(def, tools)
  local within, grace, by_set = def.absent.within, def.absent.grace or 0, def.absent.expect ~= nil
  local input = { signal = false, subject = absent.subject, timer = absent.timer, idle = absent.idle }


  function input.event(state, _, t)
    local i = state.i
    if not i then
      if by_set then
        return nil
      end
      i = {}
      state.i = i
    end
    i.since, i.last, i.silent = t, t, nil
    tools.set(state, TIMER, t + within)
    return "off"
  end


  function input.report(state)
    local subject, iso = absent.subject(state), tools.native.iso
    return { since = subject.since and iso(subject.since), last = subject.last and iso(subject.last) }
  end


  --- What it waits for, in words.
  function input.why(state)
    local i = state.i
    if not i then
      return "the key is not among those that are expected"
    end
    return ("the last own event is not long enough ago: %s"):format(tools.native.iso(i.since / 1e6))
  end


  --- The key entered the set, or left it.
  function input.expect(state, present, t)
    if not present then
      state.i = nil
      tools.set(state, TIMER, nil)
      return "off", "not expected"
    elseif not state.i then
      state.i = { expected = true, since = t }
      tools.set(state, TIMER, t + within + grace)
    end
  end


  return input
end
