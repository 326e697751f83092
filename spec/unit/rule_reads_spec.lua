-- What rules read beside their events: projections, lists of keys, and the clock.
local ffi = require "ffi"
local json = require "dkjson"
local rule = require "spec.support.rule"
local script = require "spec.support.script"

local T0 = rule.T0
local NEVER = rule.NEVER
local SITES = rule.SITES
local run = rule.run
local brief = rule.brief
local texts = rule.texts

-- What it reads ----------------------------------------------------------------------------------------------------------

describe("a rule that reads a projection", function()
  after_each(script.clean)

  local READS = [[ on = "beat", kind = "signal", when = function() return true end,
    labels = function(k) local row = ref("site")[k.aggregate_id] return row and { size = row.size, on = tostring(row.active),
      key = row.key } or {} end ]]

  local function labels(fx)
    local out = {}
    for i, effect in ipairs(fx.raised) do
      local l = effect.labels
      out[i] = ("%s %s %s"):format(l.key or "-", l.size or "-", l.on or "-")
    end
    return out
  end

  it("takes its events, and is made of its files", function()
    local s = script.define_rule(READS, SITES)
    local def, types = s:definition(), {}
    for i = 0, tonumber(def.ntypes) - 1 do
      types[i + 1] = script.text(def.types[i])
    end

    assert.same({ "beat", "site.*" }, types)
    local files = json.decode(script.text(def.files))
    assert.is_string(files["projections/site.lua"])
    local again = assert(script.open("rules/r", { bundle = script.text(def.files) }))
    assert.equal(ffi.string(def.digest), ffi.string(again:definition().digest))
    local other = script.define_rule(READS, { ["projections/site.lua"] = SITES["projections/site.lua"] .. " " })
    assert.not_equal(ffi.string(def.digest), ffi.string(other:definition().digest))
  end)

  it("sees each event in the row before it handles it, and its own timers before", function()
    local s = script.define_rule(READS:gsub("beat", "*"), SITES)
    local fx = run(s, { { "beat", timestamp = 0 }, { "site.on", timestamp = 1 }, { "site.off", timestamp = 2 },
      { "site.gone", timestamp = 3 } })

    assert.same({ "- - -", "a 1 true", "a 2 false", "- - -" }, labels(fx))
  end)

  it("keeps its rows with its own, through restarts", function()
    local s = script.define_rule(READS, SITES)
    run(s, { { "site.on", "a", timestamp = 0 }, { "site.on", "b", timestamp = 0 }, { "site.gone", "b", timestamp = 1 } })

    assert.same({ ['"a"'] = '{"active":true,"size":1}' }, s.parts["ref site"])
    s:forget()
    assert.same({ "a 1 true", "- - -" }, labels(run(s, { { "beat", "a", timestamp = 2 }, { "beat", "b", timestamp = 2 } })))
    run(s, { { "site.on", "a", timestamp = 3 } })
    assert.same({ ['"a"'] = '{"active":true,"size":2}' }, s.parts["ref site"])
  end)

  it("gives an event to the projection once, whatever becomes of it here", function()
    local s = script.define_rule([[ on = "*", kind = "signal", when = function(e) if e.data.bad then error("bad") end
      return true end, labels = function() return { size = ref("site.size").a } end ]], SITES)
    local page = s:page { { "site.on", timestamp = T0, data = { bad = true } }, { "beat", timestamp = T0 } }
    assert(s:prepare(page))
    local _, at = s:step(page, 0, true)
    assert.equal(0, at)
    assert.equal("failed", (s:step(page, 0, true)))
    assert.equal("done", (s:step(page, 1, true)))

    assert.equal("1", s:collect().raised[1].labels.size)
  end)

  it("refuses an event that the projection refuses, but not one that it skips", function()
    local function projection(more)
      return { ["projections/site.lua"] = ([[projection "site" { columns = { n = "integer" }, %s
        on = { ["site.*"] = function(row, e) if e.data.bad then error("bad site") end row.n = (row.n or 0) + 1 end } }]])
        :format(more) }
    end
    local source = [[ on = "beat", kind = "signal", when = function() return true end,
      labels = function() return { n = ref("site.n").a or "none" } end ]]
    local s = script.define_rule(source, projection "")
    assert.matches("^rules/r.lua: rule 'r': ref \"site\": projections/site.lua:2: projection 'site': bad site .*event 1",
      s:fails({ "site.on", timestamp = T0, data = { bad = true } }).message)

    s = script.define_rule(source, projection "on_error = \"skip\",")
    local fx = run(s, { { "site.on", timestamp = 0, data = { bad = true } }, { "site.on", timestamp = 0 },
      { "beat", timestamp = 0 } })
    assert.equal("1", fx.raised[1].labels.n)
  end)

  it("reads rows as the projection's handlers have them: times in seconds, keys of several parts", function()
    local s = script.define_rule([[ on = "beat", kind = "signal", when = function() return true end,
      labels = function(k)
        local row = ref("pair")[{ "x", 7 }]
        return { at = row.at, tags = #row.tags, none = tostring(row.none), site = row.site, number = row.number + 1,
          other = tostring(ref("pair")[{ "x", 8 }]) }
      end ]], { ["projections/pair.lua"] = [[projection "pair" { key = { "data.site", "data.number" },
      columns = { number = "bigint", at = "timestamptz", tags = "jsonb", none = "text" },
      on = { pair = function(row, e) row.at, row.tags = e.timestamp, { 1, 2 } end } }]] })
    local fx = run(s, { { "pair", timestamp = 5, data = { site = "x", number = 7 } }, { "beat", timestamp = 6 } })

    assert.same({ at = tostring(T0 + 5), tags = "2", none = "nil", site = "x", number = "8", other = "nil" },
      fx.raised[1].labels)
  end)

  it("is told which projections there are, and what a rule cannot read", function()
    local function problem(source, files)
      local all = { ["rules/r.lua"] = ("rule \"r\" { on = \"beat\", when = function() return %s end }"):format(source) }
      for path, text in pairs(files) do
        all[path] = text
      end
      local _, err = script.open("rules/r", all)
      return err.message
    end

    assert.matches("rule 'r': ref \"sites\": there is no file projections/sites.lua %(did you mean 'site'%?%)",
      problem("ref(\"sites\").x", SITES))
    assert.matches("rule 'r': ref \"site\": the projection has no column 'sice'", problem("ref(\"site.sice\").x", SITES))
    assert.matches("rule 'r': ref \"q\": a projection with sql = true keeps its rows in tables of its own",
      problem("ref(\"q\").x", { ["projections/q.lua"] = [[projection "q" { sql = true, tables = { q = "a int" },
        on = { x = function() end } }]] }))
    assert.matches("rule 'r': ref \"bad\": projections/bad.lua:1:", problem("ref(\"bad\").x",
      { ["projections/bad.lua"] = "projection" }))
  end)

  it("takes keys in and out of those that it expects as the projection's column says", function()
    local s = script.define_rule([[ on = "beat", absent = { within = "30s", grace = "5s", expect = ref "site.active" } ]],
      SITES)
    local fx = run(s, { { "site.on", "a", timestamp = 0 }, { "site.on", "a", timestamp = 20 }, { "beat", "z", timestamp = 20 },
      { "site.off", "a", timestamp = 50 }, { "site.on", "b", timestamp = 51 }, { "site.gone", "b", timestamp = 60 } })

    assert.same({ "firing a 35", "expired a 50" }, brief(fx))
    assert.same({}, s.timers)
    assert.same({}, s.rows)
  end)
end)

describe("what a rule reads", function()
  after_each(script.clean)

  it("is known when an event is handled, and not where its key is made, which may be long before", function()
    local s = script.define_rule([[ on = "hello", kind = "signal", when = function() return true end,
      by = function(e) return ref("site.size")[e.aggregate_id] end ]], rule.SITES)
    local fx, err = s:run { { "hello", "a", timestamp = T0 } }

    assert.is_nil(fx)
    assert.matches('ref "site.size" is not known yet where the key is made', err.message)
    s = script.define_rule [[ on = "hello", kind = "signal", when = function() return true end,
      by = function() return "k" .. now() end ]]
    run(s, {})
    fx, err = s:run { { "hello", "a", timestamp = T0 }, { "hello", "a", timestamp = T0 + 5 } }
    assert.is_nil(fx)
    assert.matches("now%(%) is the instant at work", err.message)
  end)

  it("stays whole through restarts, however large it is", function()
    local s = script.define_rule([[ memory = 2000, kind = "signal", on = "beat",
      when = function(e) return ref("big.n")[e.data.site] == 1 end ]], { ["projections/big.lua"] = [[projection "big" {
        memory = 2000, columns = { n = "integer", t = "text" }, on = { grow = function(row) row.n = 1 end } }]] })
    local rows, err, seen = {}, ffi.new("Err"), 0
    for i = 1, 18 do
      rows[i] = ('{"key": "\\"a%d\\"", "state": {"n": 1, "t": "%s"}}'):format(i, ("x"):rep(4000000))
    end
    local stored = ('{"timers": [], "memory": null, "refs": {"big": [%s]}}'):format(table.concat(rows, ", "))
    assert.is_true(s.ops.restore(s.handler, rule.str(stored), err))
    for i = 1, 18 do
      seen = seen + #run(s, { { "beat", "b", timestamp = 100 + i, data = { site = "a" .. i } } }).raised
    end

    assert.equal(18, seen)
  end)

  it("takes an expected key away after its timers, though others wait for alerts", function()
    for _, advanced in ipairs { false, true } do
      local s = script.define_rule([[ on = "alert.*", absent = { within = "1m", expect = ref "site.active" } ]], rule.SITES)
      run(s, { { "site.on", "a", timestamp = 0 } })
      local said = advanced and brief(s:advance(T0 + 70)) or {}
      for _, text in ipairs(brief(run(s, { { "site.gone", "a", timestamp = 100 } }))) do
        said[#said + 1] = text
      end

      assert.same({ "firing a 60", "expired a 100" }, said)
    end
  end)

  it("may be of alerts: they are news when they are appended", function()
    for _, advanced in ipairs { false, true } do
      local s = script.define_rule([[ on = "beat", absent = { within = "1m", expect = ref "told" } ]], {
        ["projections/told.lua"] = [[projection "told" { columns = { n = "integer" }, key = "data.key",
          on = { ["alert.*"] = function(row, event)
            if event.type == "alert.resolved" then
              return delete
            end
            row.n = 1
          end } }]] })
      local function alert(type, timestamp, at)
        return { type, "x", aggregate_type = "alert", timestamp = timestamp, occurred_at = at, data = { key = "a" } }
      end
      run(s, { alert("alert.firing", 0, 0) })
      local said = advanced and brief(s:advance(T0 + 90)) or {}
      for _, text in ipairs(brief(run(s, { alert("alert.resolved", 100, 50) }))) do
        said[#said + 1] = text
      end

      assert.same({ "firing a 60", "expired a 100" }, said)
    end
  end)

  it("is a part of what the rule means", function()
    local function body(more, lib)
      local s = script.define_rule([[ on = "hello", when = function(e)
        return ref("site.size")[e.aggregate_id] == require("x").one end ]], { ["scripts/lib/x.lua"] = lib or "return { one = 1 }",
        ["projections/site.lua"] = ([[local y = require "y" projection "site" { columns = { size = "integer" },
          on = { ["site.*"] = function(row) row.size = %s end } }]]):format(more or "1"), ["scripts/lib/y.lua"] = "return 1" })
      local hash = json.decode(script.text(s:definition().spec)).body
      s:close()
      return hash
    end

    assert.equal(body(), body " 1 -- one\n")
    assert.not_equal(body(), body "2")
    assert.not_equal(body(), body(nil, "return { one = 2 }"))
  end)
end)


describe("a list of expected keys", function()
  after_each(script.clean)

  it("begins with the rule's first event, once", function()
    local s = script.define_rule [[ on = "beat", absent = { within = "1m", expect = { "a", "b" } } ]]
    assert.same({ '"a"', '"b"' }, texts(run(s, { { "beat", "b", timestamp = 5 }, { "beat", "x", timestamp = 6 } }).upserts,
      "key"))
    s:forget()

    assert.same({ "firing a 65", "firing b 65", "resolved b 90" }, brief(run(s, { { "beat", "b", timestamp = 90 } })))
  end)
end)


-- Clocks -----------------------------------------------------------------------------------------------------------------

describe("the clock \"occurred\"", function()
  after_each(script.clean)

  local LATE = [[ on = "beat", clock = "occurred", lateness = "10s", kind = "signal", when = function() return true end ]]

  it("handles events in the order in which they occurred, when no earlier one is waited for", function()
    local s = script.define_rule(LATE)
    local fx = run(s, { { "beat", "a", timestamp = 100, occurred_at = 98 }, { "beat", "a", timestamp = 101, occurred_at = 95 },
      { "beat", "b", timestamp = 107, occurred_at = 107 } })
    assert.same({ "firing a 95" }, brief(fx)) -- by what occurred at 107, not by when it came

    fx = run(s, { { "beat", "b", timestamp = 109, occurred_at = 108 } })
    assert.same({ "firing a 98" }, brief(fx))
  end)

  it("goes on with the log's clock where events come soon after they occurred", function()
    local s = script.define_rule(LATE)
    run(s, { { "beat", "a", timestamp = 100, occurred_at = 98 } })

    assert.equal((T0 + 108) * 1000000LL + 1, s.ops.next_due(s.handler))
    assert.same({}, brief(s:advance(T0 + 108)))
    assert.same({ "firing a 98" }, brief(s:advance(T0 + 109)))
  end)

  it("waits where they do not", function()
    local s = script.define_rule(LATE)
    run(s, { { "beat", "a", timestamp = 1000, occurred_at = 98 } })

    assert.equal(NEVER, s.ops.next_due(s.handler))
    assert.same({}, brief(s:advance(T0 + 5000)))
    assert.same({ "firing a 98" }, brief(run(s, { { "beat", "b", timestamp = 5001, occurred_at = 200 } })))
  end)

  it("counts what comes too late, before the event itself moves it", function()
    local s = script.define_rule(LATE)
    run(s, { { "beat", "a", timestamp = 100, occurred_at = 100 }, { "beat", "a", timestamp = 100, occurred_at = 90 } })
    assert.is_nil(s:memory().counts.late_counted)

    run(s, { { "beat", "a", timestamp = 100, occurred_at = 89.9 } })
    assert.equal(1, s:memory().counts.late_counted)
    run(s, { { "beat", "a", timestamp = 101, occurred_at = 100 }, { "beat", "c", timestamp = 500, occurred_at = 400 } })
    assert.equal(2, s:memory().counts.late_counted)
    run(s, { { "beat", "c", timestamp = 501, occurred_at = 401 } })
    assert.equal(2, s:memory().counts.late_counted)
  end)
end)
