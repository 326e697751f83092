-- The engine against the reference interpreter: random events with small times, so that boundaries are met often.
-- A case that disagrees names its seed; MOONWAKE_SEED=N runs that one alone.
local json = require "dkjson"
local reference = require "spec.support.rules_reference"
local script = require "spec.support.script"

local BASE = 1767225600
local KEYS, TYPES = { "a", "b", "c", "d", "e", "f", "g", "h" }, { "e" }

local only = tonumber(os.getenv("MOONWAKE_SEED") or nil)
local scale = os.getenv("MOONWAKE_SOAK") and 20 or 1


--- A generator of its own: the same numbers on every machine.
local function dice(seed)
  local state = seed % 2147483647
  if state == 0 then
    state = 1
  end
  local function roll(from, to)
    state = state * 16807 % 2147483647
    return from + math.floor((state - 1) / 2147483646 * (to - from + 1))
  end
  for _ = 1, 3 do
    roll(1, 2)
  end
  return roll
end


--- A log of the definition's events: `shape` says which.
local function make_log(roll, shape)
  local log, now = {}, BASE + roll(0, 20)
  local types, values = shape.types or TYPES, shape.values or { 0, 9 }
  for id = 1, 50 do
    now = now + ({ 0, 0, 1, 1, 1, 2, 3, roll(4, 12) })[roll(1, shape.calm and 8 or 7)]
    local t = now - (shape.backwards and roll(1, 6) == 1 and roll(1, 4) or 0)
    local e = { id = id, type = types[roll(1, #types)], key = KEYS[roll(1, shape.keys or 4)], t = t, occurred = t,
      data = { v = roll(values[1], values[2]), x = roll(1, 3), pass = roll(1, 5) > 1 } }
    if roll(1, 10) == 1 then
      e.data.v = ({ json.null, "7", true })[roll(1, 3)]
    end
    if shape.delay then
      e.occurred = t - (roll(1, 3) == 1 and 0 or roll(0, shape.delay))
    end
    log[id] = e
  end
  return log, now
end


local function to_event(e)
  return { id = e.id, type = e.type, aggregate_id = e.key, timestamp = e.t, occurred_at = e.occurred, data = e.data }
end


local function take(out, fx, failure)
  assert(fx, failure and failure.message)
  for _, r in ipairs(fx.raised) do
    if r.kind == "alert" then
      out[#out + 1] = { key = r.key.aggregate_id, transition = r.transition, at = r.at / 1e6, severity = r.severity,
        from = r.from, reason = r.reason, muted = r.muted }
    end
  end
  assert(#fx.dead == 0, fx.dead[1] and fx.dead[1].error)
end


--- What the engine says: in pages of any size, with pauses in which it forgets all, or is told how late it is.
local function engine(s, log, horizon, roll)
  local out, at = {}, 1
  while at <= #log do
    local page, size = {}, ({ 1, 1, 2, 3, 7, 20, 100 })[roll(1, 7)]
    for i = at, math.min(at + size - 1, #log) do
      page[#page + 1] = to_event(log[i])
    end
    at = at + #page
    take(out, s:run(page, roll(1, 2) == 1))
    local pause = roll(1, 6)
    if pause <= 2 then
      s:forget()
    end
    if pause == 2 or pause == 3 then
      local least = math.huge
      for i = at, #log do
        least = math.min(least, log[i].t)
      end
      take(out, s:advance(math.min(least, horizon)))
    end
  end
  take(out, s:advance(horizon))
  return out, s:memory().counts
end


local function show(transition)
  if not transition then
    return "nothing"
  end
  return ("%s of %s at %d, %s, from %s, reason %s, muted %s"):format(transition.transition, transition.key,
    transition.at - BASE, transition.severity, tostring(transition.from), tostring(transition.reason),
    tostring(transition.muted))
end


--- A rule that reads alerts fires the timers of other keys later: what it says of each key is the same.
local function by_key(transitions)
  local sorted = {}
  for _, key in ipairs(KEYS) do
    for _, transition in ipairs(transitions) do
      if transition.key == key then
        sorted[#sorted + 1] = transition
      end
    end
  end
  return sorted
end


local COUNTS = { "late_dropped", "late_counted", "late_amended", "window_full", "cooldown" }

--- The first disagreement, in words, or nil.
local function compare(expected, actual, expected_counts, counts)
  for i = 1, math.max(#expected, #actual) do
    if show(expected[i]) ~= show(actual[i]) then
      local lines = {}
      for j = math.max(1, i - 3), i + 3 do
        lines[#lines + 1] = ("  %d is %s, and should be %s"):format(j, show(actual[j]), show(expected[j]))
      end
      return ("number %d is wrong:\n%s"):format(i, table.concat(lines, "\n"))
    end
  end
  for _, name in ipairs(COUNTS) do
    if (counts[name] or 0) ~= (expected_counts[name] or 0) then
      return ("%d times %s, and should be %d"):format(counts[name] or 0, name, expected_counts[name] or 0)
    end
  end
end


local function history_of(log)
  local lines = {}
  for i, e in ipairs(log) do
    lines[i] = ("  %d %s %s t=%d occurred=%d %s"):format(e.id, e.type, e.key, e.t - BASE, e.occurred - BASE,
      json.encode(e.data))
  end
  return table.concat(lines, "\n")
end


local seen = { logs = 0, transitions = 0 }

--- As a rule that never ran.
local function begin(s)
  s:forget()
  s.rows, s.timers, s.parts = {}, {}, {}
end


--- The first problem of so many random logs of one definition, or nil and how many transitions there were.
local function disagreement(text, shape, name, runs)
  local source = "on = " .. (shape.on or "'e'") .. ", max_alerts = 1000000, " .. text
  local def = assert(loadstring("return {" .. source .. "}"))()
  local s, said = script.define_rule(source), 0
  for run = 1, runs * scale do
    local seed = run * 1000 + #name * 7 + #text
    if not only or only == seed then
      local roll = dice(seed)
      local log, last = make_log(roll, shape)
      local horizon = last + roll(0, 60)
      begin(s)
      local ok, actual, counts = pcall(engine, s, log, horizon, roll)
      if not ok then
        return ("seed %d: %s\n%s"):format(seed, tostring(actual), history_of(log))
      end
      local expected, expected_counts = reference.run(def, log, horizon)
      if shape.by_key then
        expected, actual = by_key(expected), by_key(actual)
      end
      local problem = compare(expected, actual, expected_counts, counts)
      if problem then
        return ("seed %d: %s\nrule: %s\n%s"):format(seed, problem, source, history_of(log))
      end
      seen.logs, seen.transitions = seen.logs + 1, seen.transitions + #expected
      said = said + #expected
    end
  end
  s:close()
  return nil, said
end


--- Each combination of one text of every list.
local function combinations(lists)
  local all = { "" }
  for _, list in ipairs(lists) do
    local longer = {}
    for _, before in ipairs(all) do
      for _, text in ipairs(list) do
        longer[#longer + 1] = before .. text
      end
    end
    all = longer
  end
  return all
end


local function agrees(what, shape, lists, runs)
  it(what, function()
    local all = 0
    for _, text in ipairs(combinations(lists)) do
      local problem, said = disagreement(text, shape, what, runs)
      assert(not problem, problem)
      all = all + said
    end
    assert(only or all > 100, "hardly anything was raised: the case proves nothing")
  end)
end


local WHERE = "where = function(e) return e.data.pass end, "
local VALUE = "value = 'data.v', "
local PLAIN = { "when = function(e) return e.data.x == 1 end, ",
  "when = function(e) return e.data.x == 1 end, clear = function(e) return e.data.x == 3 end, " }
local ABOVE = { "when = function(v) return v > 5 end, ",
  "when = function(v) return v > 6 end, clear = function(v) return v < 3 end, " }
local LEVELS = { [[when = { warning = function(v) return v > 4 end, critical = function(v) return v > 7 end },
  clear = { warning = function(v) return v < 3 end, critical = function(v) return v < 6 end }, ]],
  "when = { info = function(v) return v > 2 end, error = function(v) return v > 6 end }, " }
local LIFE = { "", "ttl = 6, ", "hold = 3, ", "linger = 2, ", "cooldown = 4, ttl = 9, ", "hold = 2, linger = 3, cooldown = 5, ",
  "hold = 1, linger = 4, ttl = 5, " }
local LIFE_OF_SILENCE = { "", "ttl = 12, ", "hold = 3, ", "linger = 2, ", "cooldown = 9, ", "hold = 2, linger = 3, cooldown = 8, ttl = 15, ",
  "kind = 'signal', " }
local SIGNAL = { "kind = 'signal', ", "kind = 'signal', cooldown = 4, " }

local COUNT = { "when = function(w) return w.count >= 3 end, ",
  "when = function(w) return w.count >= 3 end, clear = function(w) return w.count == 0 end, ",
  "when = function(w) return w.count >= 2 and w.span >= 2 end, " }
-- Bounds that no value of whole numbers lies on, where it is computed with fractions.
local VALUES = { "when = function(w) return w.sum >= 12 end, ", "when = function(w) return (w.avg or 0) > 4.517 end, ",
  "when = function(w) return w.count > 0 and w.max - w.min >= 6 end, ",
  "when = function(w) return w.first == w.last end, clear = function(w) return w.first > w.last end, ",
  "when = function(w) return (w.slope or 0) > 0.3171 end, ", "when = function(w) return (w.sd or 0) > 2.7173 end, " }
local SILENCE = { "", "on_silence = 'clear', " }

describe("the engine agrees with the reference", function()
  teardown(function()
    script.clean()
    io.stderr:write(("rules_reference: %d logs, %d transitions\n"):format(seen.logs, seen.transitions))
  end)

  agrees("about plain events", {}, { { WHERE }, PLAIN, LIFE }, 2)
  agrees("about values", {}, { { VALUE }, ABOVE, LIFE }, 2)
  agrees("about levels", {}, { { VALUE .. WHERE }, LEVELS, LIFE }, 2)
  agrees("about signals", {}, { PLAIN, SIGNAL }, 8)
  agrees("about flapping", { keys = 2 }, { { VALUE }, ABOVE, { "", "linger = 2, ", "cooldown = 3, ", "hold = 1, " },
    { "flap = { low = .25, high = .5, samples = 5 }, ", "flap = { low = .3, high = .7, samples = 8 }, " } }, 3)

  agrees("about counts in a sliding window", {}, { { "window = { over = 5 }, ", "window = { over = 8, min = 2 }, ",
    "window = { over = 9, max = 4 }, " }, COUNT, LIFE }, 1)
  agrees("about values in a sliding window", {}, { { VALUE .. "window = { over = 6 }, ", VALUE .. "window = { over = 8, min = 3 }, " },
    VALUES, SILENCE, { "", "hold = 2, linger = 3, " } }, 1)
  agrees("about distinct values", {}, { { "window = { over = 5, distinct = 'data.x' }, ",
    "window = { over = 6, distinct = 'data.x', kind = 'tumble' }, " },
    { "when = function(w) return w.distinct >= 2 end, ", "when = function(w) return w.distinct == 3 end, clear = function(w) return w.distinct < 2 end, " } }, 5)
  agrees("about quantiles", {}, { { VALUE }, { "window = { over = 8, quantile = 0.5 }, ", "window = { over = 8, quantile = 0.9, kind = 'tumble' }, " },
    { "when = function(w) return (w.quantile or 0) > 5.317 end, " } }, 6)
  agrees("about tumbling windows", {}, { { "window = { over = 4, kind = 'tumble' }, ", "window = { over = 7, kind = 'tumble', min = 2 }, " },
    COUNT, LIFE }, 1)
  agrees("about values in tumbling windows", {}, { { VALUE .. "window = { over = 5, kind = 'tumble' }, " }, VALUES, SILENCE, { "", "hold = 2, ", "linger = 6, cooldown = 7, " } }, 1)
  agrees("about sessions", { calm = true }, { { "window = { gap = 3, kind = 'session' }, ", "window = { gap = 3, over = 7, kind = 'session' }, " },
    COUNT, LIFE }, 1)
  agrees("about rates", {}, { { "window = { over = 6 }, ", "window = { over = 5, kind = 'tumble' }, ",
    "window = { gap = 3, over = 8, kind = 'session' }, " }, { "when = function(w) return w.rate > 0.39 end, " } }, 5)
  agrees("about signals of windows", {}, { { "window = { over = 5 }, ", "window = { over = 4, kind = 'tumble' }, " }, COUNT, SIGNAL }, 3)

  agrees("about absence", { calm = true, keys = 3 }, { { "absent = { within = 4 }, ", "absent = { within = 7 }, " .. WHERE },
    LIFE_OF_SILENCE }, 4)
  agrees("about folds", {}, { { [[fold = { init = function() return { n = 0 } end, step = function(s, e) s.n = (s.n + e.data.x) % 7 end },
    when = function(s) return s.n >= 4 end, ]], [[fold = { init = function() return { n = 0 } end,
    step = function(s, e) return { n = e.data.x == 3 and 0 or s.n + 1 } end }, when = function(s) return s.n > 3 end, ]] }, LIFE }, 2)
  agrees("about scores", {}, { { VALUE .. [[score = { init = function() return { mean = 0, n = 0 } end, step = function(s, v, t)
    s.n = s.n + 1
    if s.n % 5 == 0 then
      return nil
    end
    s.mean = (s.mean + v) / 2
    return { d = v - s.mean + t % 2 }
  end }, when = function(s) return s.d > 1.1 end, ]] }, LIFE }, 2)

  agrees("about absence where keys are expected", { calm = true, keys = 3 },
    { { "absent = { within = 5, expect = { 'a', 'b', 'f' } }, ", "absent = { within = 4, grace = 3, expect = { 'c', 'g' } }, " },
      { "", "hold = 3, ", "linger = 2, ", "cooldown = 9, ", "hold = 2, linger = 3, cooldown = 8, ", "kind = 'signal', " } }, 4)

  local ABC = { types = { "a", "b", "c", "d" }, on = "{ 'a', 'b', 'c', 'd' }", keys = 3 }
  local GLOBS = { types = { "a.x", "a.y", "b" }, on = "'*'", keys = 3, by_key = true }
  agrees("about sequences", ABC, { { "seq = { 'a', 'b', within = 4 }, ", "seq = { 'a', 'b', 'c', within = 9 }, ", "seq = { 'a', 'a', within = 3 }, ",
    "seq = { 'a', 'b', 'a', within = function(e) return e.data.x * 3 end }, ",
    "seq = { { on = 'a', where = function(e) return e.data.v ~= 3 end }, { on = { 'b', 'c' } }, within = 5 }, " },
    { "kind = 'signal', ", "kind = 'signal', cooldown = 4, ", "kind = 'signal', when = function(m) return m[2].data.x > m[1].data.x end, ", "ttl = 8, ",
      "clear = function(m, k, e) return e.type == 'd' end, ", "clear = function(m, k, e) return e.type == 'd' end, linger = 3, hold = 1, " } }, 3)
  agrees("about sequences with globs", GLOBS, { { "seq = { 'a.*', 'b', within = 4 }, ", "seq = { 'b', '*', within = 3 }, " }, { "kind = 'signal', ", "ttl = 5, " } }, 8)
  agrees("about what is missing", ABC, { { "seq = { 'a', missing = 'b', within = 4 }, ", "seq = { 'a', missing = { 'b', 'c' }, within = function(e) return e.data.x * 2 end }, ",
    "seq = { 'a', 'b', missing = 'c', within = 6 }, ", "seq = { 'a', missing = 'a', within = 4 }, ", "seq = { 'a', 'b', 'd', missing = 'c', within = 12 }, " },
    LIFE, { "", "when = function(m) return m[1].data.x > 1 end, " } }, 1)

  agrees("about events whose timestamps go back", { backwards = true }, { { VALUE }, ABOVE, LIFE }, 3)
  agrees("about windows over timestamps that go back", { backwards = true }, { { "window = { over = 5 }, ", "window = { over = 8, max = 4 }, " }, COUNT, LIFE }, 1)

  local LATE = { "late = 'drop', ", "late = 'count', ", "late = 'amend', " }
  local CLOCK = { "clock = 'occurred', lateness = 3, ", "clock = 'occurred', lateness = 0, ", "clock = 'occurred', lateness = 30, " }
  agrees("about the time at which events occurred", { delay = 8 }, { { VALUE }, ABOVE, CLOCK, LATE, { "", "hold = 3, ", "linger = 2, cooldown = 3, ", WHERE } }, 1)
  agrees("about late events of windows", { delay = 8 }, { { "window = { over = 6 }, ", VALUE .. "window = { over = 7, min = 2 }, " },
    { COUNT[1], COUNT[2] }, CLOCK, LATE }, 1)
end)
