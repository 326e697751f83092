-- The inputs of rules for the reference interpreter: what each says of an event or of its own timer, made anew from what
-- happened whenever it is asked. Each is a table of
--
--   event(run, key, e, t) -> verdict, reason      an own event
--   due(run, key) -> the instant of its next timer, or nil
--   timer(run, key, due) -> verdict, reason
--   subject(run, key)                             what `when` sees
--   idle(run, key)                                is nothing left of the key?
--
-- A verdict is "ask" (for `when` and `clear`), "on", "off" or nil.

-- Windows -------------------------------------------------------------------------------------------------------------

local function sorted_values(entries)
  local values = {}
  for i, e in ipairs(entries) do
    values[i] = e.value
  end
  table.sort(values)
  return values
end


local function quantile(values, q)
  local place = 1 + q * (#values - 1)
  local low = math.floor(place)
  return values[low] + (place - low) * ((values[low + 1] or values[low]) - values[low])
end


--- Everything of a list of entries that are in the order of their times.
local function statistics(entries, window)
  local n, s = #entries, { count = #entries, sum = 0, distinct = 0, span = 0 }
  local seen, t_sum, tt, tv, vv = {}, 0, 0, 0, 0
  for _, e in ipairs(entries) do
    s.sum, t_sum = s.sum + (e.value or 0), t_sum + e.t - entries[1].t
    if e.mark ~= nil and not seen[e.mark] then
      seen[e.mark], s.distinct = true, s.distinct + 1
    end
  end
  s.rate = window.over and n / window.over
  if n == 0 then
    return s
  end
  s.span = entries[n].t - entries[1].t
  if not entries[1].value then
    return s
  end
  local values = sorted_values(entries)
  s.avg, s.min, s.max, s.first, s.last = s.sum / n, values[1], values[n], entries[1].value, entries[n].value
  s.quantile = window.quantile and quantile(values, window.quantile)
  for _, e in ipairs(entries) do
    local dt, dv = e.t - entries[1].t - t_sum / n, e.value - s.avg
    tt, tv, vv = tt + dt * dt, tv + dt * dv, vv + dv * dv
  end
  s.sd = n > 1 and math.sqrt(vv / (n - 1)) or nil
  s.slope = s.span > 0 and tv / tt or nil
  return s
end


--- Puts an entry behind all that are not later; of too many the first one goes.
local function enter(run, key, e, t)
  local place = 1
  for i, other in ipairs(key.entries) do
    place = other.t <= t and i + 1 or place
  end
  local mark
  if run.def.window.distinct then
    mark = e.data[run.def.window.distinct:match("[^.]+$")]
  end
  table.insert(key.entries, place, { t = t, value = e.value, mark = mark })
  if #key.entries > (run.def.window.max or 10000) then
    table.remove(key.entries, 1)
    run.count("window_full")
  end
end


local function enough(run, entries)
  return #entries >= (run.def.window.min or 0) and "ask" or nil
end


local function of_empty(run)
  if not run.def.value then
    return "ask"
  elseif run.def.on_silence == "clear" then
    return "off", "silence"
  end
end


local slide = {}

function slide.event(run, key, e, t)
  enter(run, key, e, t)
  return enough(run, key.entries)
end

function slide.due(run, key)
  local due
  for _, e in ipairs(key.entries) do
    due = math.min(due or e.t + run.def.window.over, e.t + run.def.window.over)
  end
  return due
end

function slide.timer(run, key, due)
  local stay = {}
  for _, e in ipairs(key.entries) do
    if e.t + run.def.window.over > due then
      stay[#stay + 1] = e
    end
  end
  key.entries = stay
  if #stay == 0 then
    return of_empty(run)
  end
  return enough(run, stay)
end

function slide.subject(run, key)
  return statistics(key.entries, run.def.window)
end

function slide.idle(_, key)
  return #key.entries == 0
end


--- A key is looked at while it is empty as long as its condition is on or an episode of it is open.
local tumble = {}

local function end_of(run, t)
  return (math.floor(t / run.def.window.over) + 1) * run.def.window.over
end

function tumble.due(run, key)
  local due
  for _, e in ipairs(key.entries) do
    due = math.min(due or end_of(run, e.t), end_of(run, e.t))
  end
  if key.ended and (key.phase or next(key.on)) then
    due = math.min(due or math.huge, key.ended + run.def.window.over)
  end
  return due
end

function tumble.timer(run, key, due)
  local past, rest = {}, {}
  for _, e in ipairs(key.entries) do
    local list = e.t < due and past or rest
    list[#list + 1] = e
  end
  key.entries, key.shown, key.ended = rest, past, due
  if #past == 0 then
    return of_empty(run)
  end
  return enough(run, past)
end

function tumble.event(run, key, e, t)
  enter(run, key, e, t)
end

function tumble.subject(run, key)
  return statistics(key.shown, run.def.window)
end

function tumble.idle(_, key)
  return #key.entries == 0
end


local session = {}

function session.event(run, key, e, t)
  local w, n = run.def.window, #key.entries
  if n > 0 and (t - key.entries[n].t > w.gap or (w.over and t - key.entries[1].t > w.over)) then
    key.entries = {}
  end
  enter(run, key, e, t)
  return enough(run, key.entries)
end

function session.due(run, key)
  local last = key.entries[#key.entries]
  return last and last.t + run.def.window.gap
end

function session.timer(_, key)
  key.entries = {}
  return "off", "session closed"
end

session.subject, session.idle = slide.subject, slide.idle


-- Absence -------------------------------------------------------------------------------------------------------------

local absent = {}

function absent.event(run, key, _, t)
  if not run.def.absent.expect or key.expected then
    key.up = t + run.def.absent.within
    return "off"
  end
end

function absent.due(_, key)
  return key.up
end

function absent.timer(_, key)
  key.up = nil
  return "on"
end

function absent.enter(run, key, t)
  key.expected = true
  key.up = t + run.def.absent.within + (run.def.absent.grace or 0)
end

function absent.subject()
  return {}
end

function absent.idle(_, key)
  return not key.expected and not key.up
end


-- Sequences -----------------------------------------------------------------------------------------------------------

local seq = {}

--- A step is a type or a glob, { on =, where = }, or a list of which any will do.
local function takes(step, e)
  if type(step) == "string" then
    return step == e.type or (step:match("%*$") and e.type:sub(1, #step - 1) == step:sub(1, -2))
  elseif step.on then
    return takes(step.on, e) and (not step.where or step.where(e))
  end
  for _, one in ipairs(step) do
    if takes(one, e) then
      return true
    end
  end
end


--- The newest instance with so many steps, whose time is not up.
local function newest(key, n, t)
  local found
  for _, instance in ipairs(key.instances) do
    if #instance.steps == n and t <= instance.by then
      found = instance
    end
  end
  return found
end


--- Of those with as many steps the newest stays; what has them all is no partial instance any more.
local function prune(run, key)
  local stay = {}
  for i, instance in ipairs(key.instances) do
    local replaced = #instance.steps >= #run.def.seq
    for j = i + 1, #key.instances do
      replaced = replaced or #key.instances[j].steps == #instance.steps
    end
    if not replaced then
      stay[#stay + 1] = instance
    end
  end
  key.instances = stay
end


local function complete(run, key, instance)
  if run.def.seq.missing then
    key.waiting, key.instances = instance, {}
    return nil
  end
  key.match = instance.steps
  return "on"
end


local function advance(run, key, e, t)
  local steps, verdict = run.def.seq, nil
  for n = #steps - 1, 1, -1 do
    local instance = newest(key, n, t)
    if instance and takes(steps[n + 1], e) then
      instance.steps[n + 1] = e
      if n + 1 == #steps then
        verdict = complete(run, key, instance) or verdict
      end
    end
  end
  if not key.waiting and takes(steps[1], e) then
    local within = steps.within
    local instance = { steps = { e }, by = t + (type(within) == "function" and within(e) or within) }
    table.insert(key.instances, instance)
    if #steps == 1 then
      verdict = complete(run, key, instance) or verdict
    end
  end
  prune(run, key)
  return verdict
end


function seq.event(run, key, e, t)
  local verdict, reason
  if not key.phase and not next(key.on) then
    key.match = nil
  end
  if run.def.seq.missing and takes(run.def.seq.missing, e) then
    if key.match then
      verdict, reason = "off", "late"
    end
    key.instances, key.waiting, key.match = {}, nil, nil
  end
  if run.def.seq.missing and (key.waiting or key.match) then
    return verdict, reason
  end
  return advance(run, key, e, t) or verdict, reason
end

function seq.due(_, key)
  return key.waiting and key.waiting.by
end

function seq.timer(_, key)
  key.match, key.waiting = key.waiting.steps, nil
  return "on"
end

function seq.subject(_, key)
  return key.match
end

function seq.idle(_, key)
  return #key.instances == 0 and not key.waiting
end


-- Others --------------------------------------------------------------------------------------------------------------

local plain = {}

function plain.event(run, key, e)
  key.shown = e
  if run.def.value then
    key.shown = e.value
  end
  return "ask"
end

function plain.subject(_, key)
  return key.shown
end

function plain.due() end

function plain.idle()
  return true
end


local fold = { due = plain.due }

function fold.event(run, key, e)
  if not key.folded then
    key.folded = { state = run.def.fold.init() }
  end
  key.folded.state = run.def.fold.step(key.folded.state, e) or key.folded.state
  return "ask"
end

function fold.subject(_, key)
  return key.folded.state
end

function fold.idle(_, key)
  return not key.folded
end


local score = { due = plain.due, idle = fold.idle, subject = plain.subject }

function score.event(run, key, e, t)
  if not key.folded then
    key.folded = { state = run.def.score.init() }
  end
  local result = run.def.score.step(key.folded.state, e.value, t)
  if result == nil then
    return nil
  end
  key.shown = result
  return "ask"
end


-- Which is the definition's -------------------------------------------------------------------------------------------

return function(def)
  if def.window then
    return ({ tumble = tumble, session = session })[def.window.kind] or slide, def.window.kind or "slide"
  end
  return def.absent and absent or def.seq and seq or def.fold and fold or def.score and score or plain
end
