-- What shrink writes still fails, and no single event can be taken out of it.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"
local terminal = require "spec.support.terminal"

-- Fails where a device was armed, its alarm went, and it was touched twice afterwards.
local ALARM = [[projection "alarm" {
  on = {
    ["thing.*"] = function(state, event)
      local kind = event.data.kind
      if kind == "arm" then
        state.armed, state.touched = true, 0
      elseif kind == "ring" and state.armed then
        state.rang = true
      elseif kind == "touch" and state.rang then
        state.touched = state.touched + 1
        if state.touched == 2 then
          error("touched twice " .. json.encode({ site = event.data["a site"], none = event.data.none }))
        end
      end
    end,
  },
}]]

local TOTALS = [[projection "totals" {
  key = { "data.kind", "aggregate_id" }, key_column = { "kind", "thing" },
  columns = { kind = "text", thing = "text", n = "bigint default 0" },
  on = { ["thing.*"] = function(row, event) row.n = row.n + 1 end },
}]]

--- `count` random events of some things; after a thing's last one it has been armed, rung and touched.
local function publish_random(bench, count, seed)
  math.randomseed(seed)
  local kinds, list = { "arm", "ring", "touch", "rest", "rest", "rest", "move", "move" }, {}
  for i = 1, count do
    list[i] = { event_type = i % 7 == 0 and "thing.seen" or "thing.done", aggregate_type = "thing",
      aggregate_id = "a'" .. math.random(1, 12) .. '"', actor_id = i % 3 == 0 and "ops\n" or nil,
      data = { kind = kinds[math.random(#kinds)], ["a site"] = "Zü\\rich\1", none = json.null, list = {},
        big = i, empty = setmetatable({}, { __jsontype = "array" }) } }
  end
  local path = files.dir() .. "/events.json"
  files.write(path, json.encode(list))
  bench.server:psql(("SELECT count(*) FROM moonwake.publish_events(pg_read_file('%s')::jsonb)"):format(path), { db = bench.db })
end

local function run(bench, args)
  local all = { "-C", bench.workspace }
  for _, arg in ipairs(args) do
    all[#all + 1] = arg
  end
  return moonwake.run(all, { db = bench.run_dsn })
end

--- The blocks of the spec file that hold an event each, and what is around them.
local function parts_of(source)
  local before, list, after = source:match("^(.-given {\n)(.-)(    }\n.*)$")
  local events = {}
  for event in (list:gsub("\n      { type", "\0      { type") .. "\0"):gmatch("(.-)%z") do
    events[#events + 1] = event:gsub("\n$", "") .. "\n"
  end
  return before, events, after
end

local function assert_minimal(bench, file)
  local source = files.read(bench.workspace .. "/" .. file)
  local before, events, after = parts_of(source)
  local whole = run(bench, { "test", file })
  assert.equal(1, whole.code, whole.out .. whole.err)
  for i = 1, #events do
    local rest = {}
    for k, event in ipairs(events) do
      rest[#rest + 1] = k ~= i and event or nil
    end
    files.write(bench.workspace .. "/spec/without_spec.lua", before .. table.concat(rest) .. after)
    local r = run(bench, { "test", "spec/without_spec.lua" })
    assert.equal(0, r.code, ("without event %d of %d:\n%s%s%s"):format(i, #events, r.out, r.err, source))
  end
  os.remove(bench.workspace .. "/spec/without_spec.lua")
  return #events, whole
end

describe("shrink", function()
  local bench, seed

  setup(function()
    seed = os.time() % 100000
    bench = bench_of { alarm = ALARM, totals = TOTALS }
    publish_random(bench, 2000, seed)
  end)

  it("leaves the events that an error of the script takes", function()
    local r = run(bench, { "shrink", "alarm", "--json", "-o", "spec/alarm_spec.lua" })
    assert.equal(0, r.code, r.err)
    local answer = json.decode(r.out)
    local count, whole = assert_minimal(bench, "spec/alarm_spec.lua")

    assert.equal(4, count, "arm, ring, touch, touch: seed " .. seed)
    assert.equal(4, #answer.events)
    assert.matches("projections/alarm.lua:12: .*touched twice", answer.error)
    assert.matches('{"none":null,"site":"Zü', whole.out .. whole.err, 1, true)
    assert.same({ "arm", "ring", "touch", "touch" }, { answer.events[1].data.kind, answer.events[2].data.kind,
      answer.events[3].data.kind, answer.events[4].data.kind })
  end)

  it("leaves the events that break an assertion", function()
    local r = run(bench, { "shrink", "totals", "--assert", "row.n < 5 or event.type ~= 'thing.seen'",
      "-o", "spec/deep/totals_spec.lua" })
    assert.equal(0, r.code, r.err)
    assert.equal(5, (assert_minimal(bench, "spec/deep/totals_spec.lua")), "seed " .. seed)
    assert.matches("5 of %d+ events make it fail", r.out)
  end)

  it("writes an assertion as it was given, whatever its form", function()
    for i, assertion in ipairs { "row.n < 3 -- at most two", "return row.n < 3", "event.data.kind ~= 'move' or row.n < 3" } do
      local file = ("spec/form%d_spec.lua"):format(i)
      local r = run(bench, { "shrink", "totals", "--assert", assertion, "-o", file })
      assert.equal(0, r.code, r.err)
      assert.equal(3, (assert_minimal(bench, file)), assertion)
    end
  end)

  it("shows on a terminal what is left, and where it is", function()
    local r = terminal.run({ "-C", bench.workspace, "shrink", "alarm" }, { db = bench.run_dsn })
    assert.equal(0, r.code, r.screen)
    assert.matches("4 of %d+ events make it fail %(%d+ lists tried%)", r.screen)
    assert.matches("projections/alarm.lua:12: .*touched twice", r.screen)
    local file = r.screen:match("written to (spec/alarm_event_%d+_spec%.lua) %(`moonwake test spec/alarm_event_")
    assert.is_string(file, r.screen)
    assert.is_true(files.exists(bench.workspace .. "/" .. file))
  end)

  it("keeps to one key, and to a part of the history", function()
    local key = json.encode { "move", "a'3\"" }
    local r = run(bench, { "shrink", "totals", "--assert", "row.n < 3", "--key", key, "--json", "-o", "spec/key_spec.lua" })
    assert.equal(0, r.code, r.err)
    for _, event in ipairs(json.decode(r.out).events) do
      assert.same({ "move", "a'3\"" }, { event.data.kind, event.aggregate_id })
    end
    r = run(bench, { "shrink", "totals", "--assert", "row.n < 100", "--aggregate", "thing/a'3\"" })
    assert.equal(1, r.code)
    assert.matches("the assertion holds after every event", r.err, 1, true)
  end)

  it("does not overwrite a file unless it is told to, and names what it does not know", function()
    local function fails(code, text, args)
      local r = run(bench, args)
      assert.equal(code, r.code, r.err)
      assert.matches(text, r.err, 1, true)
    end
    files.write(bench.workspace .. "/spec/mine_spec.lua", "-- mine")
    fails(1, "--force", { "shrink", "alarm", "-o", "spec/mine_spec.lua" })
    assert.equal("-- mine", files.read(bench.workspace .. "/spec/mine_spec.lua"))
    assert.equal(0, run(bench, { "shrink", "alarm", "-o", "spec/mine_spec.lua", "--force" }).code)
    fails(2, "alarm", { "shrink", "alarn" })
    fails(2, "--assert", { "shrink", "alarm", "--assert", "row.n <" })
    fails(1, "every event", { "shrink", "totals" })
    fails(2, "no `before`", { "shrink", "totals", "--assert", "not before" })
    fails(1, "no event came for the key nosuch", { "shrink", "totals", "--assert", "row.n < 3", "--key", "nosuch" })
    fails(1, "no event", { "shrink", "totals", "--aggregate", "thing/nosuch" })
  end)
end)
