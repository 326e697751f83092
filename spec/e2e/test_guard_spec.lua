local files = require "spec.support.files"
local trial = require "spec.support.trial"
local workspace, test, run_body, passes, fails, COUNTER, DIARY = trial.workspace, trial.test, trial.run_body, trial.passes, trial.fails, trial.COUNTER, trial.DIARY

describe("moonwake test", function()
  after_each(files.clean)

  describe("the determinism guard", function()
    --- Four events of two things, and one that is read from what another left behind.
    local EVENTS = [[ given { { "a", "1" }, { "b", "2", { name = "x" } } } when { { "a", "1" }, { "a", "2" }, { "c", "2" } } ]]

    local function script(before, a, rest)
      return ("%s\nprojection \"p\" { %s on = {\n  a = function(state, event) %s end,\n  b = function(state, event) state.b = true %s end,"
        .. " c = function(state, event) state.c = true %s end } }"):format(before, rest and rest.key or "", a, rest and rest.b or "", rest and rest.c or "")
    end

    local RESTART, ROLLED_BACK = "the program is restarted in the middle", "a batch is rolled back and done again"
    local KEPT = "state kept in a local outside of the row"

    it("finds a counter that is kept beside the rows", function()
      fails(script("local n = 0", "n = n + 1 state.n = n"), EVENTS, "projections/p.lua is not deterministic",
        "when " .. ROLLED_BACK .. " (seed 1)", 'row "1":', "n  first 2, then", KEPT)
    end)

    it("finds a cache of what earlier events said", function()
      fails(script("local names = {}", "", { b = "names[event.aggregate_id] = event.data.name",
        c = "state.name = names[event.aggregate_id]" }), EVENTS, "when " .. RESTART, 'name  first "x", then nothing', KEPT)
    end)

    it("finds a row that is held on to", function()
      fails(script("local last", "if last then last.n = (last.n or 0) + 1 end last = state state.seen = true"), EVENTS,
        "is not deterministic", 'row "1"')
    end)

    it("finds a key that is counted", function()
      fails(script("local n = 0", "state.x = 1", { key = 'key = function() n = n + 1 return "k" .. n end,' }), EVENTS,
        "is not deterministic", 'row "k1" is missing then')
    end)

    it("finds a key that depends on what a handler did", function()
      fails(script('local now = "none"', "now = event.aggregate_id state.x = 1", { key = "key = function() return now end," }),
        EVENTS, "when the events come one by one", 'row "2" is there then, and was not')
    end)

    it("finds a failure that comes at another time", function()
      fails(script("local n = 0", 'n = n + 1 if n > 3 then error("too many") end state.n = (state.n or 0) + 1'), EVENTS,
        "is not deterministic", "event ", "fails: projections/p.lua:3: projection 'p': too many")
      fails(script("local n = 0", 'n = n + 1 if n == 1 then error("not yet") end state.n = 1'),
        [[ when { "a", "1" } expect_error "not yet" given { { "a", "1" }, { "b", "1" } } ]], "is not deterministic")
    end)

    it("finds what a coroutine, a closure or a metatable remembers", function()
      fails(script("local next_one = coroutine.wrap(function() local i = 0 while true do i = i + 1 coroutine.yield(i) end end)",
        "state.n = next_one()"), EVENTS, "is not deterministic")
      fails(script('local box = setmetatable({}, { __index = function(t, k) local v = select("#", k) rawset(t, k, v) return nil end })',
        "state.n = box.x or 0"), EVENTS, "is not deterministic")
    end)

    it("finds what a module remembers", function()
      local r = test(workspace { ["scripts/lib/m.lua"] = "local n = 0 return { next = function() n = n + 1 return n end }",
        ["projections/p.lua"] = 'local m = require "m" projection "p" { on = { a = function(state) state.n = m.next() end } }',
        ["spec/p_spec.lua"] = 'it("t", function() given { { "a", "1" }, { "a", "1" } } end)' })

      assert.matches("is not deterministic", r.out)
      assert.equal(1, r.code)
    end)

    it("finds it in a reducer", function()
      fails('local n = 0\nreducer "r" { aggregate = "a", on = { a = function(state) n = n + 1 state.n = n end } }',
        [[ given { { "a", "1" }, { "a", "1" } } ]], "scripts/reducers/r.lua is not deterministic", 'row "1":', "n  first 2, then")
    end)

    it("sees nothing in tables' addresses and order, which the sandbox hides already", function()
      passes(script("", [[
        local list, set = { { n = 1 }, { n = 2 }, { n = 3 } }, {}
        table.sort(list, function(x, y) return tostring(x) < tostring(y) end)
        state.texts, state.order, state.walk = {}, {}, {}
        for _, t in ipairs(list) do state.texts[#state.texts + 1] = tostring(t) .. tostring(print) end
        for i = 1, 60 do set["k" .. i * 7919 % 61] = i end
        for k in pairs(set) do state.order[#state.order + 1] = k end
        local k = next(set) while k do state.walk[#state.walk + 1] = k k = next(set, k) end]]), EVENTS)
      fails(script("", "for k in pairs({ [{}] = 1, [{}] = 2 }) do state.x = 1 end"), EVENTS,
        "a table as a key has no order that is the same in every run")
    end)

    it("lets what depends on rows and events alone pass, wherever pages are cut", function()
      local dir = workspace { ["projections/diary.lua"] = DIARY, ["spec/diary_spec.lua"] = [[
        it("works", function()
          for i = 1, 60 do
            given { "e" .. i % 3, "x" .. i % 4, { n = i, list = { i, { deep = { i } } }, none = json.null, empty = array {} } }
          end
          assert.equal(4, #rows())
        end)]] }

      for _, seed in ipairs { "0", "1", "2", "3", "77", "2147483646", "2147483647" } do
        local r = test(dir, { "--seed", seed })
        assert.equal("", r.err)
        assert.truthy(r.out:find("\n1 passed, 0 failed\n", 1, true), r.out)
      end
    end)

    it("keeps to what was expected to fail, and to parked keys", function()
      for _, on_error in ipairs { "stop", "skip", "park_key" } do
        passes((COUNTER:gsub("columns", ('on_error = "%s", columns'):format(on_error), 1)), [[
          given { { "thing.added", "a" }, { "thing.added", "b" } }
          for i = 1, 3 do
            if ("]] .. on_error .. [[" ~= "park_key") or i == 1 then
              when { "thing.added", "a", { n = "bad" } }
              expect_error "no number"
            end
            given { { "thing.added", "a" }, { "thing.added", "b" } }
          end
          expect_row("b", { n = 4 })]])
      end
    end)

    it("hears nothing twice: what a script logs is printed once", function()
      local r = run_body(script("", 'log("seen", event.id) state.x = 1'), EVENTS)

      assert.equal(0, r.code)
      assert.equal("projections/p.lua: seen\t1\nprojections/p.lua: seen\t3\nprojections/p.lua: seen\t4\n", r.err)
    end)
  end)
end)
