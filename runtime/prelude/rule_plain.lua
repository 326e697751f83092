-- The input of a rule without any: each event is the subject, or its value.

return function(def, tools)
  local plain = { signal = false }
  local by_value = def.value ~= nil
  -- May a timer of the life want to know what the subject was?
  local lasting = def.hold or def.linger or def.cooldown or def.flap
  local current -- what is seen of the event at work


  function plain.event(state, event, _, _, value)
    current = event
    if by_value then
      current = value
    end
    if lasting then
      state.i = by_value and { v = value } or { e = tools.native.event_copy(event) }
    end
    return "evaluate"
  end


  --- None of its own.
  function plain.timer() end


  function plain.subject(state)
    if tools.event() then
      return current
    end
    local kept = state.i
    if kept then
      return kept.v or kept.e
    end
  end


  function plain.idle()
    return true
  end


  return plain
end
