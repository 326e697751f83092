local ffi = require "ffi"
local flow = require "spec.support.flow"
local script = require "spec.support.script"

local C = flow.C
local SEED = tonumber(os.getenv("SEED") or os.time())

-- What a random history does to it: rows of several keys, deletes, a key function that fails, handlers that fail before
-- and after they changed something, documents and columns.
local SCRIPTS = {
  [[key = function(event)
      if event.data.badkey then error("no key") end
      if event.data.nokey then return nil end
      return event.data.also and { event.aggregate_id, event.data.also } or event.aggregate_id
    end,
    on = { ["t"] = function(state, event)
      state.n = (state.n or 0) + 1
      state.list = state.list or {}
      state.list[#state.list + 1] = event.data
      if event.data.fail then error("refused") end
      if event.data.gone then return delete end
      if #state.list > 4 then state.list = {} end
    end }]],
  [[key = { "aggregate_id", "data.site" },
    columns = { n = "bigint default 0", total = "numeric", note = "text not null", seen = "timestamptz", tree = "jsonb" },
    on = { ["t"] = function(row, event)
      row.n, row.note, row.seen = row.n + 1, event.data.note or "-", event.timestamp
      row.total = (row.total or 0) + (event.data.price or 0)
      row.tree = { last = event.data, [event.data.site or "none"] = event.id }
      if event.data.fail then row.note = {} end
      if event.data.gone then return delete end
    end }]],
}
local REDUCER = [[initial = function() return { list = {} } end, on = { ["t"] = function(state, event)
    state.list[#state.list + 1] = event.data
    if event.data.fail then error("refused") end
    if event.data.gone then return { list = {}, gone = (state.gone or 0) + 1 } end
  end }]]

local function define(nth)
  return SCRIPTS[nth] and script.define(SCRIPTS[nth]) or script.define_reducer(REDUCER)
end

local function maybe(n, value)
  if math.random(n) == 1 then
    return value
  end
end

local function random_history(n)
  local events = {}
  for i = 1, n do
    events[i] = { maybe(8, "other") or "t", "a" .. math.random(5), id = i * 3, version = i, aggregate_type = maybe(10, "else"), timestamp = 1767225600 + i,
      data = { note = maybe(2, 'quote " ' .. i), site = maybe(9) or "s" .. math.random(2), price = maybe(2, i / 100),
        also = maybe(5, "a" .. math.random(5)), badkey = maybe(30, true), nokey = maybe(20, true), fail = maybe(12, true),
        gone = maybe(9, true) } }
  end
  return events
end

local function walk_of(s, tape)
  return ffi.gc(C.walk_open(s.handler, tape), function(walk)
    C.walk_close(walk)
    tape = nil -- it lives as long as its walk
  end)
end

local function shown(step)
  local out = { tonumber(step.number), step.taken, step.failed, step.failed and flow.message(step.err),
    tonumber(step.event.id) }
  for i = 0, tonumber(step.nchanges) - 1 do
    local change = step.changes[i]
    out[#out + 1] = ("%s: %s -> %s"):format(flow.text(change.key), tostring(flow.text(change.before)),
      tostring(flow.text(change.after)))
  end
  for i = 1, #out do
    out[i] = tostring(out[i])
  end
  return table.concat(out, "\n")
end

--- What stepping forward showed: states[n] before event n, steps[n] of event n, failures[n] up to it.
local function forward(walk)
  local step, err = ffi.new("WalkStep"), ffi.new("Err")
  local seen = { states = { [0] = flow.dump(C.walk_table(walk)) }, steps = {}, failures = { [0] = 0 } }
  while C.walk_step(walk, step, err) do
    local n = tonumber(C.walk_position(walk))
    seen.steps[n - 1] = shown(step)
    seen.states[n] = flow.dump(C.walk_table(walk))
    seen.failures[n] = tonumber(C.walk_failures(walk))
    seen.count = n
  end
  assert.equal(0, tonumber(err.kind), flow.message(err))
  return seen
end

local function check(walk, seen, what)
  local n = tonumber(C.walk_position(walk))
  assert.equal(seen.states[n], flow.dump(C.walk_table(walk)), what)
  assert.equal(seen.failures[n], tonumber(C.walk_failures(walk)), what)
  return n
end

local MOVES = {
  function(walk, seen, step, err, what)
    local n = tonumber(C.walk_position(walk))
    assert.equal(n < seen.count, C.walk_step(walk, step, err), what)
    assert.equal(0, tonumber(err.kind), what)
    if n < seen.count then
      assert.equal(seen.steps[n], shown(step), what)
    end
  end,
  function(walk, seen, step, err, what)
    local n = tonumber(C.walk_position(walk))
    assert.equal(n > 0, C.walk_back(walk, step, err), what)
    assert.equal(0, tonumber(err.kind), what)
    if n > 0 then
      assert.equal(seen.steps[n - 1], shown(step), what)
      assert.equal(n - 1, tonumber(C.walk_position(walk)), what)
    end
  end,
  function(walk, seen, _, err, what)
    local to = math.random(0, seen.count + 3)
    assert.is_true(C.walk_to(walk, to, err), what)
    assert.equal(math.min(to, seen.count), tonumber(C.walk_position(walk)), what)
  end,
  function(walk, seen, _, err, what)
    assert.is_true(C.walk_run(walk, err), what)
    assert.equal(seen.count, tonumber(C.walk_position(walk)), what)
  end,
}

local function random_move()
  local r = math.random(100)
  return r <= 35 and MOVES[1] or r <= 80 and MOVES[2] or r <= 97 and MOVES[3] or MOVES[4]
end


describe("a walk", function()
  after_each(script.clean)

  it("steps back onto exactly the state that stepping forward showed, at every position", function()
    math.randomseed(SEED)
    for i = 1, 3 do
      local s = define(i)
      local walk = walk_of(s, flow.tape(random_history(300)))
      local seen = forward(walk)
      local changes = 0
      for n = 0, 299 do
        changes = changes + select(2, seen.steps[n]:gsub("%-> {", ""))
      end
      assert.is_true(seen.count == 300 and seen.failures[300] > 5 and changes > 100)

      local step, err = ffi.new("WalkStep"), ffi.new("Err")
      for n = 299, 0, -1 do
        MOVES[2](walk, seen, step, err, ("script %d, position %d, seed %d"):format(i, n, SEED))
        check(walk, seen, ("script %d, position %d, seed %d"):format(i, n, SEED))
      end
      assert.is_false(C.walk_back(walk, step, err))
      s:close()
    end
  end)

  it("is where stepping forward was, wherever 1,000 random walks lead", function()
    math.randomseed(SEED)
    local step, err = ffi.new("WalkStep"), ffi.new("Err")
    for history = 1, 20 do
      local s = define(history % 3 + 1)
      local tape = flow.tape(random_history(math.random(0, history % 5 == 0 and 700 or 80)))
      local seen = forward(walk_of(s, tape))
      seen.count = seen.count or 0
      for round = 1, 50 do
        local walk = walk_of(s, tape)
        local what = ("history %d, walk %d, seed %d"):format(history, round, SEED)
        C.walk_limit(walk, ({ 0, 2000, 20000, 256 * 2 ^ 20 })[math.random(4)])
        for _ = 1, math.random(12) do
          random_move()(walk, seen, step, err, what)
          check(walk, seen, what)
        end
      end
      s:close()
    end
  end)

  it("begins with what its table held, and comes back to that", function()
    local s = script.define('columns = { n = "bigint default 0" }, on = { ["t"] = function(row) row.n = row.n + 1 end }')
    local walk = walk_of(s, flow.tape { { "t", "a" }, { "t", "b" }, { "t", "a" } })
    local key, state = '"a"', '{"n":40}'
    C.memory_table_put(C.walk_table(walk), ffi.new("MemoryRow", { flow.str(key), flow.str(state), 7, 8 }))
    local step, err = ffi.new("WalkStep"), ffi.new("Err")
    C.walk_limit(walk, 0)

    assert.is_true(C.walk_run(walk, err))
    assert.equal('{"n":42}', flow.rows(C.walk_table(walk))[1].state)
    for _ = 1, 3 do
      assert.is_true(C.walk_back(walk, step, err))
    end
    assert.same({ { key = key, state = state, position = 7, updated_us = 8 } }, flow.rows(C.walk_table(walk)))
    s:close()
  end)

  it("remembers no more than it may", function()
    local s = script.define('on = { ["t"] = function(state, event) state.text = event.data.text end }')
    local events = {}
    for i = 1, 400 do
      events[i] = { "t", "a", data = { text = ("x"):rep(5000) .. i } }
    end
    local walk = walk_of(s, flow.tape(events))
    C.walk_limit(walk, 100000)
    local seen = forward(walk)

    local step, err = ffi.new("WalkStep"), ffi.new("Err")
    for _ = 1, 60 do
      MOVES[2](walk, seen, step, err)
      check(walk, seen)
    end
    s:close()
  end)
end)


--- The reference: each event alone, each state from the table, as if nothing was ever cached.
local function one_by_one(s, events)
  local t, err, failures = ffi.gc(C.memory_table_new(), C.memory_table_free), ffi.new("Err"), {}
  for _, event in ipairs(events) do
    local page = script.events { event }
    s:forget()
    assert(C.memory_table_prepare(t, s.handler, page.slice, 0, 1, err))
    local result = s:step(page, 0, true)
    failures[#failures + 1] = result == "failed" and event.id or nil
    assert(C.memory_table_commit(t, s.handler, err))
  end
  return flow.dump(t), failures
end

describe("a replay", function()
  after_each(script.clean)

  it("gives the same states and failures in whatever pages the events come", function()
    math.randomseed(SEED)
    for round = 1, 12 do
      local s = define(round % 3 + 1)
      local events = random_history(600)
      local expected, failed = one_by_one(s, events)
      for _, size in ipairs { 600, 1, 37 } do
        local replay = ffi.gc(C.replay_open(s.handler), C.replay_close)
        local told, err = {}, ffi.new("Err")
        local on_failure = ffi.cast("ReplayFailure", function(_, event, why)
          told[#told + 1] = tonumber(event.id)
          assert.equal(tonumber(event.id), tonumber(why.event_id))
        end)
        C.replay_on_failure(replay, on_failure, nil)
        for first = 1, #events, size do
          local page = script.events { unpack(events, first, math.min(first + size - 1, #events)) }
          assert.is_true(C.replay_page(replay, page.slice, err), flow.message(err))
        end
        assert.equal(expected, flow.dump(C.replay_table(replay)), "seed " .. SEED)
        assert.same(failed, told, "seed " .. SEED)
        assert.equal(#failed, tonumber(C.replay_failures(replay)))
        assert.equal(600, tonumber(C.replay_events(replay)))
        on_failure:free()
      end
      s:close()
    end
  end)

  it("goes on where every event fails", function()
    local s = script.define('on = { ["t"] = function(state, event) state.n = 1 error("no") end }')
    local events = {}
    for i = 1, 3000 do
      events[i] = { "t", "a" .. i % 7 }
    end
    local replay, err = ffi.gc(C.replay_open(s.handler), C.replay_close), ffi.new("Err")
    local page = script.events(events)

    assert.is_true(C.replay_page(replay, page.slice, err))
    assert.equal(3000, tonumber(C.replay_failures(replay)))
    assert.equal(0, tonumber(C.memory_table_count(C.replay_table(replay))))
    s:close()
  end)
end)
