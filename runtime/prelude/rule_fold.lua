-- The inputs `fold` and `score`: a state of the key that functions of the rule make, event by event or value by value.
--
-- state.i: s (that state) and, of a score, r (the last one, where a timer of the life may ask for it).

--- A function that makes the first state of a key: each has its own.
local function maker(init, json)
  if type(init) == "function" then
    return init
  end
  local text = json.encode(init == nil and {} or init)
  return function() return json.decode(text) end
end


--- The plain members of a score: what it is made of may be the detector's own state.
local function scalars(score)
  if type(score) ~= "table" then
    return score
  end
  local copy = {}
  for name, value in pairs(score) do
    if type(name) == "string" and type(value) ~= "table" then
      copy[name] = value
    end
  end
  return copy
end


local function open_fold(init, step)
  local fold = {}

  function fold.event(state, event, _, _, value)
    local i = state.i
    if not i then
      i = { s = init() }
      state.i = i
    end
    i.s = step(i.s, event, value) or i.s
    return "evaluate"
  end

  function fold.subject(state)
    return state.i and state.i.s
  end

  return fold
end


local function open_score(init, step, tools, lasting)
  local score = {}
  local current -- the score of the event at work

  function score.event(state, _, t, _, value)
    local i = state.i
    if not i then
      i = { s = init() }
      state.i = i
    end
    current = step(i.s, value, t / 1e6)
    if current == nil then
      return nil
    end
    i.r = lasting and scalars(current) or nil
    return "evaluate"
  end

  function score.subject(state)
    if tools.event() then
      return current
    end
    return state.i and state.i.r
  end

  return score
end


return function(def, tools)
  local source = def.score or def.fold
  local init = maker(source.init, tools.native.json)
  local input
  if def.score then
    input = open_score(init, source.step, tools, def.hold or def.linger or def.cooldown or def.flap)
  else
    input = open_fold(init, source.step)
  end
  input.signal = false


  --- None of its own.
  function input.timer() end


  --- What was made of a key stays until it is dropped (ttl).
  function input.idle(state)
    return state.i == nil
  end


  return input
end
