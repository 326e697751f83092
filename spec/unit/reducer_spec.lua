local json = require "dkjson"
local script = require "spec.support.script"

local COUNT = [[
  snapshot_every = 3,
  initial = function() return { n = 0, seen = {} } end,
  on = {
    ["count.*"] = function(state, event)
      state.n = state.n + 1
      state.seen[event.type] = (state.seen[event.type] or 0) + (event.data.by or 1)
      if event.data.bad then error("bad " .. event.id) end
    end,
    ["count.reset"] = function() return { n = 0, seen = {}, resets = 1 } end,
    ["gone"] = function() return delete end,
  },
]]

describe("a reducer", function()
  local open = {}
  local function define(fields, more, options)
    local s = script.define_reducer(fields, more, options)
    open[#open + 1] = s
    return s
  end

  after_each(function()
    for _, s in ipairs(open) do
      s:close()
    end
    open = {}
  end)
  teardown(script.clean)

  --- Events 1 … n of the aggregate, of a type that COUNT takes.
  local function events(id, from, to)
    local list = {}
    for version = from, to do
      list[#list + 1] = { "count.up", id, version = version }
    end
    return list
  end

  it("says what it is", function()
    local def = define(COUNT):definition()

    assert.equal(script.C.KIND_REDUCER, def.kind)
    assert.equal("thing", require("ffi").string(def.aggregate))
    assert.same({ 3, 1 }, { def.snapshot_every, def.version })
  end)

  it("keeps a state for each aggregate, with its version", function()
    local s = define(COUNT)
    local fx = s:run { { "count.up", "a", version = 1 }, { "count.up", "b", version = 1, timestamp = 1767323045 },
      { "count.down", "a", version = 2 } }

    assert.equal('[{"key":"a","state":{"n":2,"seen":{"count.down":1,"count.up":1}},"version":2,"position":3,'
      .. '"updated_at":"2026-01-01T00:00:00.000000Z"},{"key":"b","state":{"n":1,"seen":{"count.up":1}},"version":1,'
      .. '"position":2,"updated_at":"2026-01-02T03:04:05.000000Z"}]', fx.text)
  end)

  it("passes over the events of other aggregate types, and those without a handler", function()
    local s = define(COUNT)
    local fx = s:run { { "count.up", aggregate_type = "thingy" }, { "count.up", aggregate_type = "thin" }, { "other" } }

    assert.same({ "", {} }, { s.missing, fx.upserts })
  end)

  it("goes on from the stored state and its version", function()
    local s = define(COUNT)
    s:run(events("a", 1, 2))
    s:forget()
    local fx = s:run(events("a", 3, 3))

    assert.same({ 3, 3 }, { s:row().state.n, s:row().version })
    assert.equal('{"aggregate_id":"a","version":3,"event_id":3,"state":{"n":3,"seen":{"count.up":3}}}', fx.snapshots[1])
  end)

  it("takes a returned state, and removes one", function()
    local s = define(COUNT)
    local fx = s:run { { "count.up", version = 1 }, { "count.reset", version = 2 } }
    assert.same({ n = 0, seen = {}, resets = 1 }, fx.upserts[1].state)

    fx = s:run { { "gone", version = 3 } }
    assert.same({ { n = 0, key = "a" } }, fx.deletes)
    assert.is_nil(s:row())

    s:run { { "count.up", version = 4 } }
    assert.equal(1, s:row().state.n)
  end)

  it("begins with {} without `initial`, and with a fresh table for each aggregate", function()
    local s = define "on = { t = function(state, event) state.n = (state.n or 0) + 1 end }"
    s:run { { "t", "a" }, { "t", "b" }, { "t", "a" } }

    assert.same({ 2, 1 }, { s:row("a").state.n, s:row("b").state.n })
  end)

  describe("`initial`", function()
    it("is checked, and its error is the event's", function()
      local cases = {
        { "function() return 1 end", "scripts/reducers/r.lua:2: reducer 'r': initial() returned a number (return a table: "
          .. "the state of a new aggregate) (event 1 't', key \"a\")" },
        { "function() return { f = print } end", "scripts/reducers/r.lua:2: reducer 'r': state.f: a function is no JSON value (event 1 't', key \"a\")" },
        { "function() error('no') end", "scripts/reducers/r.lua:2: reducer 'r': no (event 1 't', key \"a\")" },
        { "function() while true do end end", "scripts/reducers/r.lua:2: reducer 'r': instruction budget exceeded" },
      }
      for _, case in ipairs(cases) do
        local s = define("initial = " .. case[1] .. ", on = { t = function() end }", nil, { budget = 100000 })
        assert.matches(case[2], s:fails { "t" }.message, 1, true)
      end
    end)

    it("may not give one table to two aggregates", function()
      local s = define [[ initial = (function() local shared = { list = {} } return function() return shared end end)(),
        on = { t = function(state) state.list[1] = 1 end } ]]
      local page = s:page { { "t", "a" }, { "t", "b" } }
      s:prepare(page)
      local result, at, err = s:step(page, 0, true)

      assert.same({ "failed", 1 }, { result, at })
      assert.matches("reducer 'r': state: ", err.message, 1, true)
    end)
  end)

  it("names reducer, file and event when a handler fails, and leaves the state as it was", function()
    local s = define(COUNT)
    s:run(events("a", 1, 2))
    local page = s:page { { "count.up", version = 3 }, { "count.up", version = 4, data = { bad = true } } }
    s:prepare(page)
    local result, at, err = s:step(page, 0, true)

    assert.same({ "failed", 1 }, { result, at })
    assert.equal("scripts/reducers/r.lua:8: reducer 'r': bad 4 (event 4 'count.up', key \"a\")", err.message)
    local fx = s:collect()
    assert.same({ 3, 3 }, { fx.upserts[1].state.n, fx.upserts[1].version })
    assert.equal(1, #fx.snapshots)
  end)

  it("names the reducer when a state is no JSON tree", function()
    local s = define "on = { t = function(state) state.f = print end }"

    assert.matches("scripts/reducers/r.lua:2: reducer 'r': state.f: a function is no JSON value", s:fails({ "t" }).message, 1, true)
  end)

  describe("snapshots", function()
    local function versions(s)
      local list = {}
      for i, raw in ipairs(s.snapshots) do
        local snapshot = json.decode(raw)
        list[i] = snapshot.aggregate_id .. snapshot.version
      end
      return table.concat(list, " ")
    end

    it("are taken at every snapshot_every versions, also in the middle of a batch", function()
      local s = define(COUNT)
      s:run(events("a", 1, 7))
      s:run(events("a", 8, 9))

      assert.equal("a3 a6 a9", versions(s))
      assert.same({ 3, 6, 9 }, { json.decode(s.snapshots[1]).state.n, json.decode(s.snapshots[2]).state.n,
        json.decode(s.snapshots[3]).event_id })
    end)

    it("are taken after the first event handled beyond, where versions are passed over", function()
      local s = define(COUNT)
      s:run { { "count.up", version = 2 }, { "other", version = 3 }, { "count.up", version = 5 },
        { "count.up", version = 14 }, { "count.up", version = 15 } }

      assert.equal("a5 a14 a15", versions(s))
    end)

    it("begin anew for an aggregate that was removed", function()
      local s = define(COUNT)
      s:run { { "count.up", version = 3 }, { "gone", version = 6 }, { "count.up", version = 7 } }

      assert.equal("a3 a7", versions(s))
    end)

    it("are dropped with the batch that was not committed", function()
      local s = define(COUNT)
      local page = s:page(events("a", 1, 4))
      s:prepare(page)
      s:step(page, 0)
      s:forget()

      assert.same({}, s:collect().snapshots)
    end)

    it("of an event that failed never were", function()
      local s = define [[ snapshot_every = 1, transitions = { initial = "x", states = { x = {} } },
        on = { t = function(state, event) state.x = event.data.x if event.data.x == 2 then error("two") end end } ]]
      local page = s:page { { "t", version = 1, data = { x = 1 } }, { "t", version = 2, data = { x = 2 } },
        { "t", version = 3, data = { x = 3 } } }
      s:prepare(page)
      local _, at = s:step(page, 0, true)
      s:step(page, at + 1, true)
      s:collect()

      assert.equal("a1 a3", versions(s))
    end)

    it("and states are the same however the log is split, and whatever the cache forgets", function()
      local seed = tonumber(os.getenv("SEED")) or os.time()
      print("seed " .. seed)
      math.randomseed(seed)
      local log, version = {}, {}
      for _ = 1, 400 do
        local id = ("abc"):sub(math.random(3)):sub(1, 1)
        local dice = math.random(40)
        version[id] = (version[id] or 0) + 1
        log[#log + 1] = { dice == 1 and "gone" or dice == 2 and "count.reset" or dice < 8 and "other" or "count.up", id,
          version = version[id], id = #log + 1 }
      end
      local function play(split)
        local s = define(COUNT)
        local at = 1
        while at <= #log do
          local stop = math.min(#log, at + split() - 1)
          assert(s:run({ unpack(log, at, stop) }, math.random(2) == 1))
          if math.random(3) == 1 then
            s:forget()
          end
          at = stop + 1
        end
        table.sort(s.snapshots)
        local rows = {}
        for _, id in ipairs { "a", "b", "c" } do
          rows[#rows + 1] = s:row(id) and getmetatable(s:row(id)).raw or "none"
        end
        return { table.concat(s.snapshots, "\n"), table.concat(rows, "\n") }
      end

      local whole = play(function() return #log end)
      assert.is_true(#whole[1] > 1000)
      for _ = 1, 10 do
        assert.same(whole, play(function() return math.random(1, 60) end))
      end
      assert.same(whole, play(function() return 1 end))
    end)

    it("leave at most snapshot_every handled events behind the newest", function()
      local s = define(COUNT)
      local behind, most = 0, 0
      for version = 1, 200 do
        if version % 7 ~= 0 then
          local fx = s:run { { "count.up", version = version } }
          behind = #fx.snapshots > 0 and 0 or behind + 1
          most = math.max(most, behind)
        end
      end

      assert.is_true(most <= 3)
    end)
  end)

  describe("`transitions`", function()
    local MACHINE = [[
      transitions = {
        field = "phase", initial = "draft",
        states = { draft = { "submitted" }, submitted = { "approved", "rejected" }, rejected = { "draft" }, approved = {} },
      },
      on = {
        set = function(state, event) state.phase, state.n = event.data.to, (state.n or 0) + 1 end,
        clear = function(state) state.phase = nil end,
        keep = function(state) state.kept = true end,
        replace = function(state, event) return { phase = event.data.to } end,
        gone = function() return delete end,
      },
    ]]

    it("give a new state its first value, and let it go along the declared ways", function()
      local s = define(MACHINE)
      s:run { { "keep", version = 1 } }
      assert.same({ phase = "draft", kept = true }, s:row().state)

      s:run { { "set", data = { to = "submitted" }, version = 2 }, { "set", data = { to = "submitted" }, version = 3 },
        { "replace", data = { to = "rejected" }, version = 4 }, { "set", data = { to = "draft" }, version = 5 } }
      assert.equal("draft", s:row().state.phase)
      assert.is_nil(s:run { { "gone", version = 6 } }.upserts[1])
    end)

    it("refuse the others, naming both states, the legal ones, the event and the key", function()
      local s = define(MACHINE)

      assert.equal("scripts/reducers/r.lua:7: reducer 'r': state.phase went from 'draft' to 'approved', which is no declared "
        .. "transition (from 'draft': submitted) (event 1 'set', key \"a\")",
        s:fails({ "set", data = { to = "approved" } }).message)
      s:run { { "set", data = { to = "submitted" }, version = 1 }, { "set", data = { to = "approved" }, version = 2 } }
      assert.matches("from 'approved' to 'draft', which is no declared transition (from 'approved': none; it is a final state)",
        s:fails({ "set", data = { to = "draft" } }).message, 1, true)
    end)

    it("refuse what is no state at all", function()
      local s = define(MACHINE)

      assert.matches("state.phase is 'submited', and must be one of its states: approved, draft, rejected, submitted "
        .. "(did you mean 'submitted'?)", s:fails({ "set", data = { to = "submited" } }).message, 1, true)
      assert.matches("state.phase has no value, and must be one of its states", s:fails({ "clear" }).message, 1, true)
      assert.matches("state.phase is 5, and must be one of its states", s:fails({ "set", data = { to = 5 } }).message, 1, true)
    end)

    it("leave the state of a refused event as it was", function()
      local s = define(MACHINE)
      local page = s:page { { "set", data = { to = "submitted" }, version = 1 }, { "set", data = { to = "draft" }, version = 2 },
        { "set", data = { to = "approved" }, version = 3 } }
      s:prepare(page)
      local _, at = s:step(page, 0, true)
      assert.equal(1, at)
      assert.equal("done", (s:step(page, 2, true)))

      assert.same({ phase = "approved", n = 2 }, s:collect().upserts[1].state)
    end)

    it("do not let `initial` begin elsewhere", function()
      local s = define([[initial = function() return { status = "b" } end,
        transitions = { initial = "a", states = { a = { "b" }, b = {} } }, on = { t = function() end }]])

      assert.matches("initial() gives state.status 'b', and its transitions begin with 'a'", s:fails({ "t" }).message, 1, true)
    end)
  end)

  describe("from its files", function()
    local MORE = {
      ["scripts/lib/names.lua"] = "return { label = 'x' }",
      ["scripts/lib/unused.lua"] = "return 1",
      ["projections/other.lua"] = "projection 'other' { on = { t = function() end } }",
    }
    local USER = 'local names = require "names"\n reducer "r" { aggregate = "thing", on = { t = function(s) s.label = names.label end } }'

    it("is what it was: the same digest, the same states", function()
      MORE["scripts/reducers/r.lua"] = USER
      local first = script.open("scripts/reducers/r", MORE)
      open[#open + 1] = first
      local bundle = script.text(first:definition().files)
      local again = assert(script.open("scripts/reducers/r", { bundle = bundle }))
      open[#open + 1] = again

      local kept = {}
      for path in pairs(json.decode(bundle)) do
        kept[#kept + 1] = path
      end
      table.sort(kept)
      assert.same({ "scripts/lib/names.lua", "scripts/reducers/r.lua" }, kept)
      assert.equal(require("ffi").string(first:definition().digest), require("ffi").string(again:definition().digest))
      assert.equal(bundle, script.text(again:definition().files))
      again:run { { "t" } }
      assert.equal("x", again:row().state.label)
    end)

    it("is refused where one is missing, or where they are none", function()
      local _, err = script.open("scripts/reducers/r", { bundle = json.encode { ["scripts/reducers/r.lua"] = USER } })
      assert.matches("no module 'names'", err.message)

      _, err = script.open("scripts/reducers/r", { bundle = "{}" })
      assert.equal("scripts/reducers/r.lua: not among the script's stored files", err.message)
      for _, bad in ipairs { "[", "[1]", '{"a":1}', '{"a":["b"]}', "7" } do
        _, err = script.open("scripts/reducers/r", { bundle = bad })
        assert.is_table(err, bad)
      end
    end)

    it("needs them all while it loads: a module that a handler asks for later is refused", function()
      local s = define([[ on = { t = function() require "names" end } ]], { ["scripts/lib/names.lua"] = "return {}" })

      assert.matches("reducer 'r': require: scripts/lib/names.lua is read too late (require modules at the beginning of the file)",
        s:fails({ "t" }).message, 1, true)
    end)

    it("is refused where a file is no text", function()
      local _, err = script.open("scripts/reducers/r", '-- \255\n reducer "r" {}')

      assert.matches("^scripts/reducers/r.lua: the file is no UTF%-8 text", err.message)
    end)
  end)
end)
