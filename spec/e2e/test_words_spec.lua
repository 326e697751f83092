local files = require "spec.support.files"
local trial = require "spec.support.trial"
local workspace, test, passes, fails, COUNTER, DIARY = trial.workspace, trial.test, trial.passes, trial.fails, trial.COUNTER, trial.DIARY

describe("moonwake test", function()
  after_each(files.clean)

  describe("events", function()
    it("are filled in the same way each time", function()
      passes(DIARY, [[
        given { { "thing.added", "a" }, { "thing.added", "b", { n = 2 } }, { "other", "a" }, { "thing.added", "a" } }
        expect_state("a", { events = {
          { id = 1, event_id = "00000000-0000-4000-8000-000000000001", type = "thing.added", aggregate_type = "thing",
            aggregate_id = "a", version = 1, schema_version = 1, data = {}, metadata = {}, occurrences = 1,
            occurred_at = "2026-01-01T00:00:00.000000Z", timestamp = "2026-01-01T00:00:00.000000Z", source = absent,
            correlation_id = absent, causation_id = absent, actor_type = absent, actor_id = absent, severity = absent,
            impact = absent },
          { id = 3, type = "other", aggregate_type = "other", version = 1, timestamp = "2026-01-01T00:00:02.000000Z" },
          { id = 4, version = 2, event_id = "00000000-0000-4000-8000-000000000004",
            occurred_at = "2026-01-01T00:00:03.000000Z" },
        } })
        expect_state("b", { events = { { id = 2, version = 1, data = { n = 2 } } } })]])
    end)

    it("may name every field, each or all of a list", function()
      passes(DIARY, [[
        given { aggregate_type = "box", correlation_id = "c-1", actor_id = "ops", type = "moved",
          { nil, "a", { to = array {}, from = json.null, weight = decimal "1.10000000000000000001" }, version = 7, id = 40,
            event_id = "0000AAAA-0000-4000-8000-00000000000F", causation_id = "11111111-1111-4111-8111-111111111111",
            metadata = { tenant = { id = 5 } }, source = "s", actor_type = "user", actor_id = "me", severity = "low",
            impact = "none", schema_version = 3, occurrences = 2, occurred_at = "2026-02-03T04:05:06.7Z",
            timestamp = 1770091509.25 },
          { aggregate_id = 17 },
          { event_type = "moved", aggregate_id = "a", data = { 1, 2 }, at = "2026-02-03" } }
        expect_state("a", exactly { events = {
          exactly { id = 40, event_id = "0000aaaa-0000-4000-8000-00000000000f", type = "moved", aggregate_type = "box",
            aggregate_id = "a", version = 7, schema_version = 3, metadata = { tenant = { id = 5 } }, source = "s",
            data = exactly { to = array {}, from = json.null, weight = decimal "1.10000000000000000001" },
            correlation_id = "c-1", causation_id = "11111111-1111-4111-8111-111111111111", actor_type = "user",
            actor_id = "me", severity = "low", impact = "none", occurred_at = "2026-02-03T04:05:06.700000Z",
            timestamp = "2026-02-03T04:05:09.250000Z", occurrences = 2 },
          { id = 42, version = 8, data = { 1, 2 }, actor_id = "ops", occurred_at = "2026-02-03T00:00:00.000000Z",
            timestamp = "2026-02-03T04:05:10.250000Z" } } })
        expect_state(17, { events = { { id = 41, aggregate_id = "17", correlation_id = "c-1",
          occurred_at = "2026-02-03T04:05:10.250000Z" } } })
        assert.equal(2, #rows())]])
    end)

    it("come as late as advance says, and otherwise a second after the last", function()
      local out = passes(DIARY, [[
        advance "1h30m"
        when { "a", "x" }
        advance(0.5) advance "250ms"
        when { { "a", "x" }, { "a", "x" } }
        when { "a", "x", at = "2026-01-05T00:00:00Z" }
        advance "2d"
        when { "a", "x" }
        when { "a", "x", at = "2025-06-01" }
        when { "a", "x" }
        local times = {}
        for i, event in ipairs(state("x").events) do times[i] = event.timestamp:sub(6, 23) end
        assert.same({ "01-01T01:30:00.000", "01-01T01:30:00.750", "01-01T01:30:01.750", "01-05T00:00:00.000",
          "01-07T00:00:00.000", "01-07T00:00:00.000", "01-07T00:00:01.000" }, times)
        assert.equal("2025-06-01T00:00:00.000000Z", state("x").events[6].occurred_at)]])

      assert.matches("ok      works", out)
    end)

    local BAD = {
      ['{ { "thing.added" } }'] = "given: event 1: has no aggregate_id",
      ['{ { "thing.added", "a" }, { aggregate_id = "a" } }'] = "given: event 2: has no type",
      ['{ { "thing.added", "a", occured_at = 1 } }'] = "event 1: unknown field 'occured_at' (did you mean 'occurred_at'?)",
      ['{ { "thing.added", "a", {}, {} } }'] = "event 1: unknown field 4",
      ['{ { "thing.added", "a", aggregate_id = "b" } }'] = "event 1: 'aggregate_id' is given twice",
      ['{ { "thing.added", "a", at = "soon" } }'] = "event 1: 'occurred_at' is 'soon', and no time",
      ['{ { "thing.added", "a", id = 4 }, { "thing.added", "a", id = 4 } }'] = "event 2: 'id' is 4, and the event before it has 4 (ids rise)",
      ['{ { "thing.added", "a", { f = print } } }'] = "event 1: 'data' is no JSON: value.f: a function is no JSON value",
      ['{ { "thing.added", "a", event_id = "x" } }'] = "event 1: 'event_id' is 'x', and no uuid",
      ['{ { "thing.added", "a", version = 0 } }'] = "event 1: 'version' is 0, and must be a whole number from 1",
      ['{ { "thing.added", "a", source = 5 } }'] = "event 1: 'source' must be a text, not 5",
      ['"thing.added"'] = "given: a list of events is expected, not 'thing.added'",
      ["{ 5 }"] = "given: event 1: 5 is no event",
      ["{ tpye = 1, {} }"] = "given: unknown field 'tpye' (did you mean 'type'?)",
    }
    it("say what is wrong with them, and where", function()
      local body, expected = {}, {}
      for written, message in pairs(BAD) do
        body[#body + 1] = ('it("%d", function() given %s end)\n'):format(#body + 1, written)
        expected[#expected + 1] = ("FAILED  %d\n      spec/counter_spec.lua:%d: %s"):format(#body, #body, "")
        expected[#expected + 1] = message
      end

      local r = test(workspace { ["projections/counter.lua"] = COUNTER, ["spec/counter_spec.lua"] = table.concat(body) })

      assert.equal(1, r.code)
      assert.truthy(r.out:find(("0 passed, %d failed"):format(#body), 1, true), r.out)
      for _, text in ipairs(expected) do
        assert.truthy(r.out:find(text, 1, true), ("'%s' is not in:\n%s"):format(text, r.out))
      end
    end)
  end)

  describe("expectations", function()
    it("are a part of the row, or all of it", function()
      passes(COUNTER, [[
        given { { "thing.added", "a", { n = 2, note = "x" } }, { "thing.added", "b" }, { "thing.removed", "b" } }
        expect_row("a", { n = 2 })
        expect_row("a", {})
        expect_row("a", { n = 2, last = "2026-01-01" })
        expect_row("a", exactly { n = 2, last = time "2026-01-01", note = "x" })
        expect_row("b", absent)
        expect_row("c", nil)
        assert.same({ n = 2, note = "x", last = 1767225600 }, row "a")
        assert.is_nil(row "b")
        when { "thing.added", "a" }
        expect_row("a", { n = 3, note = absent })
        expect_row("a", { note = json.null })
        assert.same({ { key = "a", row = { n = 3, last = 1767225603 } } }, rows())]])
    end)

    it("say field by field what differs", function()
      fails(COUNTER, [[
        given { { "thing.added", "a", { n = 2, note = "x" } }, { "thing.added", "a" }, { "thing.aded", "a" } }
        expect_row("a", { n = 4, last = "2026-01-02", note = "x", nte = 1 })]],
        'spec/counter_spec.lua:3: row "a" of counter is not what was expected:\n',
        "\n        last  expected 2026-01-02T00:00:00.000000Z, is 2026-01-01T00:00:01.000000Z\n",
        "\n        n     expected 4, is 3\n",
        "\n        note  expected \"x\", is nothing\n",
        "\n        nte   expected 1, is nothing (there is no column 'nte'; did you mean 'note'?)\n",
        "\n        (event 2 'thing.added' of thing a changed it last)\n",
        "\n        no handler takes 'thing.aded' (did you mean 'thing.added'?)\n")
    end)

    it("go into documents by path", function()
      fails('projection "doc" { on = { a = function(state, event) state.list = event.data.list state.o = event.data.o end } }', [[
        when { "a", "x", { list = { 1, { name = "n" }, 3 }, o = { ["two words"] = array {}, deep = { x = true } } } }
        expect_state("x", { list = { 1, { name = "n" }, 3 }, o = { ["two words"] = array {}, deep = { x = true } } })
        expect_state("x", { list = { 1, { name = "m" }, 3 }, o = { ["two words"] = { 1 }, deep = {} } })]],
        "doc_spec.lua:4:", 'list[2].name', 'expected "m", is "n"', 'o.deep', 'expected {}, is {"x":true}',
        'o["two words"]', "expected [1], is []")
      fails('projection "doc" { on = { a = function(state, event) state.list = event.data end } }', [[
        when { "a", "x", { 1, 2, 3 } }
        expect_state("x", { list = { 1, 2 } })]], "list  expected [1,2], is [1,2,3] (3 elements, not 2)")
    end)

    it("name the rows that are there", function()
      fails(COUNTER, [[ given { { "thing.added", "a" }, { "thing.added", "b" } } expect_row("c", {}) ]],
        'row "c" of counter: there is none; the rows are "a", "b"')
      fails(COUNTER, [[ given {} expect_row("c", {}) ]], "there is none; there are no rows")
      fails(COUNTER, [[ given { { "thing.added", "a" } } expect_row("a", absent) ]],
        'row "a" of counter: there is one, and should not be: {"last":1767225600,"n":1}')
    end)

    it("find keys of several columns, and typed ones", function()
      local script = [[projection "typed" {
        key = { "data.day", "data.count", "data.at", "aggregate_id" },
        columns = { day = "date", count = "bigint", at = "timestamptz", seen = "bigint default 0" },
        on = { a = function(row) row.seen = row.seen + 1 end } }]]
      local event = [[ when { "a", "x", { day = "2026-01-02", count = 12, at = "2026-01-02T00:00:00+01:00" } } ]]

      passes(script, event .. [[
        expect_row({ "2026-01-02", 12, "2026-01-01T23:00:00Z", "x" }, { seen = 1 })
        expect_row({ "2026-01-02", 12, time "2026-01-01T23:00:00Z", "x" }, { seen = 1 })
        expect_row({ "2026-01-02", 13, "2026-01-01T23:00:00Z", "x" }, absent) ]])
      fails(script, event .. [[ expect_row("x", { seen = 1 }) ]],
        "expect_row: the key has 4 columns (day, count, at, aggregate_id), and 1 values are given")
    end)

    it("are asked for completely", function()
      fails(COUNTER, [[ given { "thing.added", "a" } expect_row("a") ]], "say what is expected of it")
      fails(COUNTER, [[ given { "thing.added", "a" } expect_row("a", 5) ]], "a table of fields or absent is expected, not a number")
      fails(COUNTER, [[ given { "thing.added", "a" } expect_row("a", { last = "now" }) ]], "'now' of 'last' is no time")
    end)
  end)

  describe("events that fail", function()
    it("fail the test where nobody expects it, with the script's line and the event", function()
      local out = fails(COUNTER, [[
        given { "thing.added", "a" }
        when { { "thing.added", "a", { n = "bad" } } }]],
        "spec/counter_spec.lua:3: event 2 'thing.added' of thing a failed:\n",
        "projections/counter.lua:6: projection 'counter': no number")

      assert.falsy(out:find("/usr/", 1, true))
    end)

    it("may be expected, and then have not happened", function()
      passes(COUNTER, [[
        given { "thing.added", "a" }
        when { { "thing.added", "a" }, { "thing.added", "a", { n = "bad" } } }
        expect_error "no number"
        expect_row("a", { n = 2 })
        when { "thing.added", "a", { n = "bad" } }
        expect_error()
        when { "thing.added", "a", { n = "bad" } }
        expect_error "^projections/counter.lua:%d+: .*no number"
        when { "thing.added", "a" }
        expect_row("a", { n = 3 })]])
    end)

    it("must be the last of their list, and not be given", function()
      fails(COUNTER, [[ when { { "thing.added", "a", { n = "bad" } }, { "thing.added", "a" } } expect_error "no number" ]],
        "event 1 'thing.added' of thing a failed")
      fails(COUNTER, [[ given { { "thing.added", "a", { n = "bad" } } } expect_error "no number" ]],
        "event 1 'thing.added' of thing a failed")
    end)

    it("must fail as expected", function()
      fails(COUNTER, [[ when { "thing.added", "a" } expect_error "no number" ]],
        "expect_error: event 1 'thing.added' of thing a did not fail")
      fails(COUNTER, [[ expect_error() ]], "expect_error: there was no event")
      fails(COUNTER, [[ when { "thing.added", "a", { n = "bad" } } expect_error "overflow" ]],
        "expect_error: 'overflow' is not in the error of event 1", "no number")
    end)

    it("are told with an expectation that does not hold because of them", function()
      fails(COUNTER, [[ when { "thing.added", "a", { n = "bad" } } expect_row("a", { n = 1 }) ]],
        "there is none", "event 1 'thing.added' of thing a failed", "no number")
    end)

    it("park their key where the script says so", function()
      passes((COUNTER:gsub("columns", 'on_error = "park_key", columns', 1)), [[
        given { { "thing.added", "a" }, { "thing.added", "b" } }
        when { "thing.added", "a", { n = "bad" } }
        expect_error "no number"
        given { { "thing.added", "a" }, { "thing.added", "b" } }
        expect_row("a", { n = 1 })
        expect_row("b", { n = 2 })]])
    end)

    it("cannot be an endless loop", function()
      fails('projection "endless" { budget = 100000, on = { a = function() while true do end end } }',
        [[ when { "a", "x" } ]], "projections/endless.lua:1: projection 'endless': instruction budget exceeded")
      passes('projection "endless" { budget = 100000, on = { a = function() while true do end end } }',
        [[ when { "a", "x" } expect_error "budget" ]])
    end)
  end)

  describe("the script under test", function()
    local SPEC = [[
      describe("one", function()
        local p = script "counter"
        it("is named", function() given { "thing.added", "a" } expect_row("a", { n = 1 })
          assert.equal("projections/counter.lua", p.path) assert.equal("projection", p.kind) end)
        describe("inner", function()
          script "projections/diary.lua"
          it("is another", function() given { "thing.added", "a" } assert.equal(1, #state("a").events) end)
        end)
        it("is the first again", function() given { "thing.added", "a" } expect_row("a", { n = 1 }) end)
      end)
      it("is the file's", function() given { "thing.added", "a" } assert.equal(1, #state("a").events) end)
    ]]

    it("is what the block says, or the file's name", function()
      local dir = workspace { ["projections/counter.lua"] = COUNTER, ["projections/diary.lua"] = DIARY,
        ["spec/diary_spec.lua"] = SPEC }

      assert.matches("\n4 passed, 0 failed\n", test(dir).out)
    end)

    it("is of the kind that the spec's folder says", function()
      local dir = workspace {
        ["projections/thing.lua"] = 'projection "thing" { on = { a = function(state) state.kind = "projection" end } }',
        ["scripts/reducers/thing.lua"] = 'reducer "thing" { aggregate = "a", on = { a = function(state) state.kind = "reducer" end } }',
        ["spec/projections/thing_spec.lua"] = 'it("p", function() given { "a", "x" } expect_state("x", { kind = "projection" }) end)',
        ["spec/reducers/thing_spec.lua"] = 'it("r", function() given { "a", "x" } expect_state("x", { kind = "reducer" }) end)',
      }

      assert.matches("\n2 passed, 0 failed\n", test(dir).out)
    end)

    it("must be there and load", function()
      local dir = workspace { ["projections/counter.lua"] = COUNTER, ["projections/broken.lua"] = 'projection "broken" { no = 1 }',
        ["projections/trusted.lua"] = 'projection "trusted" { sql = true, on = { a = function() end } }',
        ["spec/conter_spec.lua"] = 'it("t", function() given { "a", "x" } end)',
        ["spec/b_spec.lua"] = 'describe("d", function() script "brokn" it("t", function() end) end)',
        ["spec/broken_spec.lua"] = 'it("t", function() given { "a", "x" } end)',
        ["spec/trusted_spec.lua"] = 'it("t", function() given { "a", "x" } end)' }

      local r = test(dir)

      assert.matches("'conter': there is no such file[^\n]+did you mean 'counter'%?%) %(spec/conter_spec.lua is for", r.out)
      assert.matches("FAILED  d\n      spec/b_spec.lua:1: [^\n]*'brokn'[^\n]+did you mean 'broken'", r.out)
      assert.matches("projections/broken.lua:1: projection 'broken': unknown field 'no'", r.out)
      assert.matches("projections/trusted.lua: it has `sql = true`, and needs a database", r.out)
      assert.matches("\n0 passed, 4 failed\n", r.out)
      assert.equal(1, r.code)
    end)

    it("has its history in a test, and a new one in each", function()
      local dir = workspace { ["projections/counter.lua"] = COUNTER, ["spec/counter_spec.lua"] = [[
        before_each(function() given { "thing.added", "a" } end)
        it("one", function() expect_row("a", { n = 1, last = "2026-01-01" }) end)
        describe("deeper", function()
          before_each(function() given { "thing.added", "a" } end)
          it("two", function() expect_row("a", { n = 2, last = "2026-01-01T00:00:01Z" }) end)
          it("two again", function() expect_row("a", { n = 2, last = "2026-01-01T00:00:01Z" }) end)
        end)
        it("one again", function() expect_row("a", { n = 1, last = "2026-01-01" }) end)
        describe("failing", function()
          before_each(function() given { "thing.added", "a" } error("early") end)
          it("never", function() end)
        end)
        it("one for the last time", function() expect_row("a", { n = 1 }) end)]] }

      local r = test(dir)

      assert.matches("FAILED  failing before_each\n      spec/counter_spec.lua:10: early", r.out)
      assert.matches("\n5 passed, 1 failed\n", r.out)
    end)

    it("has no history outside of a test", function()
      local dir = workspace { ["projections/counter.lua"] = COUNTER, ["spec/counter_spec.lua"] = [[
        describe("a", function() given { "thing.added", "a" } end)
        describe("b", function() setup(function() given { "thing.added", "a" } end) it("t", function() end) end)
        it("c", function() given { "thing.added", "a" } script "counter" end)]] }

      local r = test(dir)

      assert.matches("FAILED  a\n      spec/counter_spec.lua:1: given: belongs in it", r.out)
      assert.matches("FAILED  b setup\n      spec/counter_spec.lua:2: given: belongs in it", r.out)
      assert.matches("FAILED  c\n      spec/counter_spec.lua:3: script: the history of this test has begun", r.out)
    end)

    it("may use modules, which specs may test too", function()
      local dir = workspace { ["scripts/lib/sums.lua"] = "return { add = function(a, b) return a + b end, none = array {} }",
        ["projections/counter.lua"] = 'local sums = require "sums"\nprojection "counter" { on = { a = function(state) state.n = sums.add(state.n or 0, 2) end } }',
        ["spec/counter_spec.lua"] = [[
          it("direct", function() local sums = require "sums" assert.equal(3, sums.add(1, 2)) assert.equal("[]", json.encode(sums.none)) end)
          it("within", function() given { { "a", "x" }, { "a", "x" } } expect_state("x", { n = 4 }) end)]] }

      assert.matches("\n2 passed, 0 failed\n", test(dir).out)
    end)
  end)
end)
