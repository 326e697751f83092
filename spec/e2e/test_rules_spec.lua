local files = require "spec.support.files"
local trial = require "spec.support.trial"
local workspace, test, passes, fails, CRASHES = trial.workspace, trial.test, trial.passes, trial.fails, trial.CRASHES

local BODY = [[
local KEY = { app = "a", device = "d" }
local function crash(n)
  local list = { data = { device = "d" } }
  for i = 1, n do list[i] = { "app.crashed", "a" } end
  return list
end
]]

describe("moonwake test", function()
  after_each(files.clean)

  describe("rules", function()
    it("are told the time by the spec alone, and each timer fires at its own", function()
      passes(CRASHES, BODY .. [[
        given(crash(2))
        expect_no_alert(KEY)
        when(crash(1))
        expect_alert(KEY, { state = "pending", severity = "warning" })
        advance "1m"
        expect_alert(KEY, { state = "pending" })
        advance "1s"
        expect_alert(KEY, { severity = "warning", from = "pending", since = "2026-01-01T00:00:02Z",
          at = "2026-01-01T00:01:02Z", labels = exactly { team = "edge" }, summary = "a on d: 3" })
        when(crash(2))
        expect_alert(KEY, { severity = "critical", from = "warning", subject = { count = 5 } })
        advance "1h"
        expect_resolved(KEY, { reason = "cleared", at = "2026-01-01T00:12:02Z" })
        expect_no_alert()]])
    end)

    it("show what they emit and do, and do nothing", function()
      passes(CRASHES, BODY .. [[
        given(crash(3))
        expect_event("app.suspect", absent)
        expect_act("publish", absent)
        advance "2m"
        expect_event("app.suspect", exactly { crashes = 3, app = "a" })
        expect_act("publish", { type = "app.restart", data = { app = "a" }, aggregate_id = "a", mode = "single" })
        assert.equal(1, #alerts())
        assert.equal("firing", alerts()[1].state)
        assert.same({ app = "a", device = "d" }, alerts()[1].key)]])
    end)

    it("say what there is instead", function()
      fails(CRASHES, BODY .. [[given(crash(3)) expect_alert(KEY)]], 'state  expected "firing", is "pending"',
        "what kept it from firing: hold: on since 2026-01-01T00:00:02")
      fails(CRASHES, BODY .. [[given(crash(1)) expect_alert(KEY)]],
        'expect_alert: ["a","d"] has no alert that is firing; there are no alerts', "when is false for warning, critical: ",
        "count = 1")
      fails(CRASHES, BODY .. [[given(crash(3)) advance "2m" expect_alert(KEY, { severity = "critical" })]],
        'severity  expected "critical", is "warning"', "event 3 'app.crashed' of app a")
      fails(CRASHES, BODY .. [[given(crash(3)) advance "2m" expect_no_alert()]], "there is one: ", "a on d: 3")
      fails(CRASHES, BODY .. [[given(crash(3)) expect_resolved(KEY)]], "has no alert that is resolved; the alerts are ")
      fails(CRASHES, BODY .. [[when { { "app.crash", "a" } } expect_alert(KEY)]],
        "no handler takes 'app.crash' (did you mean 'app.crashed'")
      fails(CRASHES, BODY .. [[given(crash(3)) advance "2m" expect_event("app.suspect", { crashes = 4 })]],
        "no 'app.suspect' is what was expected", "crashes  expected 4, is 3")
      fails(CRASHES, BODY .. [[given(crash(3)) advance "2m" expect_act("webhook")]],
        "the rule did no 'webhook'; it did event app.suspect, act publish")
      fails(CRASHES, BODY .. [[given(crash(3)) advance "2m" expect_act("publish", absent)]], "there is one, and should not be")
    end)

    it("refuse what is misspelt", function()
      fails(CRASHES, BODY .. [[given(crash(3)) expect_alert(KEY, { stat = "pending" })]],
        "an alert has no field 'stat' (did you mean 'state'")
      fails(CRASHES, BODY .. [[given(crash(3)) expect_alert(KEY, { state = "fireing" })]],
        "there is no state 'fireing' (did you mean 'firing'")
      fails(CRASHES, BODY .. [[given(crash(3)) expect_alert({ app = "a", site = "x" })]],
        "the key has no part 'site' (it has app, device)")
      fails(CRASHES, BODY .. [[given(crash(3)) expect_alert "a"]], "the key has 2 columns (app, device), and 1 values are given")
      fails(CRASHES, BODY .. [[expect_row("a", {})]], "rules/crashes.lua is a rule, and has no rows")
      fails(trial.COUNTER, [[expect_alert "a"]], "projections/counter.lua is no rule")
      fails(CRASHES, BODY .. [[given(crash(1)) advance "1h" when { { "app.crashed", "a", { device = "d" }, timestamp = "2026-01-01" } }]],
        "its timestamp is 2026-01-01T00:00:00", "the rule's clock has come to 2026-01-01T01:00:00")
    end)

    it("fail with the function that fails, of an event or of a timer", function()
      local failing = CRASHES:gsub("w.count >= 3", "w.count >= 3 and (w.count ~= 4 or error('four'))")
      fails(failing, BODY .. [[given(crash(4))]], "event 4 'app.crashed' of app a failed", "rules/crashes.lua:5: ", ": four (event 4")
      passes(failing, BODY .. [[given(crash(3)) when(crash(1)) expect_error "four"]])

      local late = CRASHES:gsub("function%(w, k%)", "function(w, k) error('no emit')")
      fails(late, BODY .. [[given(crash(3)) advance "1h"]], 'a timer of key ["a","d"] failed: ', "rules/crashes.lua:10: ", "no emit")
      passes(late, BODY .. [[given(crash(3)) advance "1h" expect_error "no emit"]])
    end)

    it("are looked at for what replay would do otherwise", function()
      local counting = "local n = 0\n" .. CRASHES:gsub("function%(w%) return w.count >= 3",
        "function(w) n = n + 1 return n > 4 and w.count >= 3")
      fails(counting, BODY .. [[given(crash(3)) given(crash(1)) given(crash(1)) advance "2h"]],
        "rules/crashes.lua is not deterministic: the same events give other alerts when")
    end)

    it("count as covered what their functions ran", function()
      local dir = workspace { ["rules/crashes.lua"] = CRASHES, ["spec/crashes_spec.lua"] =
        ('it("works", function()\n%s\ngiven(crash(1)) end)'):format(BODY) }

      local r = test(dir, { "--coverage" })

      assert.matches("rules/crashes.lua  %d of %d handler lines\n", r.out)
      assert.matches("\n *10  emit = ", r.out)
    end)

    it("see their projections, and signals pass", function()
      local dir = workspace {
        ["projections/site.lua"] = [[projection "site" { columns = { size = "bigint default 0" },
          on = { ["site.grew"] = function(row) row.size = row.size + 1 end } }]],
        ["rules/big.lua"] = [[rule "big" { on = "site.seen", kind = "signal",
          when = function(_, k) return (ref("site.size")[k.aggregate_id] or 0) >= 2 end }]],
        ["spec/big_spec.lua"] = [[it("works", function()
          given { { "site.grew", "s" }, { "site.seen", "s" } }
          expect_no_alert "s"
          given { { "site.grew", "s" } }
          when { { "site.seen", "s" } }
          expect_alert("s", { signal = true })
          advance "1s"
          expect_no_alert "s"
          assert.equal(1, #alerts())
        end)]] }

      local r = test(dir)

      assert.matches("\n1 passed, 0 failed\n$", r.out)
    end)
  end)
end)
