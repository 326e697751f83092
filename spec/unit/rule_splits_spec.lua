-- A rule does the same whatever the pages of events are, and whatever is forgotten between them.
local ffi = require "ffi"
local rule = require "spec.support.rule"
local script = require "spec.support.script"

local T0 = rule.T0

local function generator(seed)
  local state = seed * 7919 % 2147483647
  for _ = 1, 10 do
    state = (state * 48271) % 2147483647
  end
  return function(from, to)
    state = (state * 48271) % 2147483647
    return from + math.floor(state / 7) % (to - from + 1)
  end
end

local Player = {}
Player.__index = Player


--- What was collected and committed.
function Player:take(fx)
  for _, text in ipairs(fx.raw) do
    self.raised[#self.raised + 1] = text
  end
  for _, letter in ipairs(fx.dead) do
    self.pending[#self.pending + 1] = ("%d %s %s %s"):format(letter.event_id, letter.key, letter.parked, letter.error)
  end
  for _, letter in ipairs(self.pending) do
    self.letters[#self.letters + 1] = letter
  end
  self.pending = {}
end


--- run(): where it stopped, and why.
function Player:step(page, from, to, careful)
  local at, err = ffi.new("size_t[1]", from), ffi.new("Err")
  local result = self.s.ops.run(self.s.handler, page.slice, at, to, careful, err)
  return tonumber(at[0]), result ~= script.C.RUN_DONE and err or nil
end


--- Events that fail are refused, their keys parked.
function Player:carefully(page, from, to)
  while from < to do
    local stop, err = self:step(page, from, to, true)
    if err then
      self.pending[#self.pending + 1] = ("%d refused: %s"):format(tonumber(err.event_id), ffi.string(err.message))
      self.s.ops.park(self.s.handler, page.slice, stop)
      stop = stop + 1
    end
    from = stop
  end
end


--- The events in steps of any size; carefully, once one has failed.
function Player:page(page, from, to)
  local at = from
  assert(self.s:prepare(page, from, to))
  while at < to do
    local stop, err = self:step(page, at, self.random(at + 1, to), false)
    if err then
      self:forget()
      assert(self.s:prepare(page, from, to))
      self:carefully(page, from, to)
      return
    end
    at = stop
  end
end


function Player:forget()
  self.pending = {}
  self.s:forget()
end


function Player:commit()
  self:take(assert(self.s:collect()))
  self.s:settled()
end


--- Handles the events as a daemon might: in pages and steps of any size, with commits, restarts and quiet times between
--- them. Returns what was raised, as texts, and the letters.
local function play(s, events, random, until_)
  local player = setmetatable({ s = s, random = random, raised = {}, letters = {}, pending = {} }, Player)
  local at = 0
  while at < #events do
    local to = math.min(#events, at + random(1, 40))
    player:page(script.events(events, { next_id = 1, rule = true }), at, to)
    if random(1, 6) == 1 then
      player:forget() -- and all of it once more
    else
      player:commit()
      at = to
    end
    if random(1, 4) == 1 then
      player:forget()
    end
    if events[at + 1] and random(1, 3) == 1 then
      player:take(assert(s:advance(events[at + 1].horizon)))
    end
  end
  player:take(assert(s:advance(until_)))
  table.sort(player.letters)
  if s:definition().after_alerts then
    table.sort(player.raised) -- the timers of other keys wait for the clock: only the order within a key is given
  end
  return { raised = player.raised, letters = player.letters, rows = s.rows, timers = s.timers, kept = s:memory() }
end

--- All of it in one page, and one step.
local function play_at_once(s, events, until_)
  return play(s, events, function(_, to) return to == 40 and #events or to end, until_)
end

local function some_events(random, n, make)
  local events, t = {}, T0
  for i = 1, n do
    t = t + (random(1, 4) == 1 and 0 or random(0, 40) / 2)
    events[i] = make(i, t, random)
    events[i].timestamp = events[i].timestamp or t
  end
  local horizon = math.huge
  for i = n, 1, -1 do -- no later event is older
    horizon = math.min(horizon, events[i].timestamp)
    events[i].horizon = horizon
  end
  return events
end

local KEYS = { "a", "b", "c", "d\"", "é" }

local function plain_event(_, t, random)
  return { "beat", KEYS[random(1, 5)], timestamp = t, data = { v = random(0, 9), site = "s" .. random(1, 2) } }
end

local CASES = {
  silence = { rule.ABSENT, plain_event },
  window = { [[ on = "beat", window = { over = "1m" }, when = function(w) return w.count >= 3 end,
    clear = function(w) return w.count == 0 end, hold = "10s", linger = "20s", cooldown = "2m" ]], plain_event },
  tumble = { [[ on = "beat", by = { "aggregate_id", "data.site" }, value = "data.v",
    window = { kind = "tumble", over = "30s" }, when = { warning = function(w) return w.avg > 3 end,
    critical = function(w) return w.max > 8 end }, on_silence = "clear", ttl = "10m" ]], plain_event },
  sequence = { [[ on = { "beat", "stop" }, seq = { "beat", missing = "stop", within = "45s" } ]],
    function(i, t, random)
      local e = plain_event(i, t, random)
      e[1] = random(1, 3) == 1 and "stop" or "beat"
      return e
    end },
  many_keys = { [[ on = "beat", by = function(event) return { event.aggregate_id, event.data.site } end,
    fold = { init = { n = 0 }, step = function(s, e) s.n = s.n + e.data.v return s end },
    when = function(s) return s.n % 7 > 3 end, hold = 5, ttl = 90 ]], plain_event },
  occurred = { [[ on = "beat", clock = "occurred", lateness = "20s", late = "count", value = "data.v",
    window = { over = "1m" }, when = function(w) return w.sum > 18 end ]],
    function(i, t, random)
      local e = plain_event(i, t, random)
      e.occurred_at = t - random(0, random(1, 8) == 1 and 80 or 15)
      return e
    end },
  expected = { [[ on = "beat", absent = { within = "30s", grace = "5s", expect = ref "site.active" },
    labels = function(k) return { size = ref("site.size")[k.aggregate_id] or 0 } end ]],
    function(i, t, random)
      local e, what = plain_event(i, t, random), random(1, 8)
      e[1] = what == 1 and "site.on" or what == 2 and "site.off" or what == 3 and "site.gone" or "beat"
      return e
    end, rule.SITES },
  busy = { [[ on = "beat", by = "type", window = { over = "30m", distinct = "data.v" }, value = "data.v",
    when = function(w) return w.count > 30 and w.last > 4 end ]], plain_event },
  alerts = { [[ on = "alert.*", window = { over = "1m" }, when = function(w) return w.count >= 2 end ]],
    function(i, t, random)
      local e = plain_event(i, t, random)
      e[1], e.aggregate_type, e.occurred_at = "alert.firing", "alert", t
      return e
    end },
  listed = { [[ on = "beat", absent = { within = "1m", expect = { "a", "z", "y" } } ]], plain_event },
  failing = { [[ on = "beat", on_error = "park_key", window = { over = "20s" }, value = "data.v",
    when = function(w, k, event)
      if w.sum == 13 then
        error("thirteen")
      elseif not event and w.count == 1 and w.last == 7 then
        error("alone")
      end
      return w.sum > 12
    end ]], function(i, t, random)
      local e = plain_event(i, t, random)
      e[2] = "k" .. random(1, 12)
      return e
    end },
}

for name, case in pairs(CASES) do
  describe("a rule of the kind " .. name, function()
    after_each(script.clean)

    for seed = 1, 6 do
      it("does the same in pages of any size, with restarts between them (seed " .. seed .. ")", function()
        local random = generator(seed)
        local events = some_events(random, 150, case[2])
        local until_ = events[#events].timestamp + random(1, 3) * 30
        local once = play_at_once(script.define_rule(case[1], case[3]), events, until_)
        assert.is_true(#once.raised + #once.letters > 5)

        local again = play(script.define_rule(case[1], case[3]), events, random, until_)
        assert.same(once, again)
      end)
    end
  end)
end
