-- The host of rules: timers in their order, failures, limits, and what people ask of a rule.
local ffi = require "ffi"
local json = require "dkjson"
local c = require "spec.support.c"
local rule = require "spec.support.rule"
local script = require "spec.support.script"

local C = c.load { "base/mem.h", "lua/lua_data.h" }
local T0 = rule.T0
local NEVER = rule.NEVER
local ABSENT = rule.ABSENT
local run = rule.run
local brief = rule.brief
local texts = rule.texts

-- Timers ---------------------------------------------------------------------------------------------------------------

describe("timers", function()
  after_each(script.clean)

  it("fire before the event that passes them, each at its own instant, in the order of instants and keys", function()
    local s = script.define_rule(ABSENT)
    local fx = run(s, { { "beat", "b", timestamp = 0 }, { "beat", "a", timestamp = 0 }, { "beat", "c", timestamp = 10 },
      { "beat", "d", timestamp = 1000 } })

    assert.same({ "firing a 60", "firing b 60", "firing c 70" }, brief(fx))
  end)

  it("that are due at the event's instant fire after it", function()
    local s = script.define_rule(ABSENT)
    local fx = run(s, { { "beat", "a", timestamp = 0 }, { "beat", "a", timestamp = 60 }, { "beat", "b", timestamp = 120 } })

    assert.same({}, brief(fx))
    assert.same({ "firing a 120" }, brief(run(s, { { "beat", "b", timestamp = 120, us = 1 } })))
  end)

  it("of other keys wait where the rule reads alerts", function()
    local s = script.define_rule [[ on = "alert.*", absent = { within = "1m" } ]]
    assert.is_true(s:definition().after_alerts)
    local fx = run(s, { { "alert.firing", "a", timestamp = 0 }, { "alert.firing", "b", timestamp = 1 },
      { "alert.firing", "a", timestamp = 500 } })

    assert.same({ "firing a 60", "resolved a 500" }, brief(fx))
    assert.same({ "firing b 61", "firing a 560" }, brief(s:advance(T0 + 1000)))
  end)

  it("go by an alert's own time, whenever its event was appended", function()
    local s = script.define_rule [[ on = "alert.*", absent = { within = "1m" } ]]
    run(s, { { "alert.firing", "a", aggregate_type = "alert", timestamp = 5000, occurred_at = 0 } })

    assert.equal((T0 + 60) * 1e6, s.timers['"a"'].due)
  end)

  it("are told when the next one is due, and nothing where there is none", function()
    local s = script.define_rule(ABSENT)
    assert.is_true(s.ops.wants(s.handler))
    assert.equal(NEVER, s.ops.next_due(s.handler))
    run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 3 } })

    assert.is_false(s.ops.wants(s.handler))
    assert.equal((T0 + 60) * 1000000LL + 1, s.ops.next_due(s.handler))
    assert.same({}, brief(s:advance(T0 + 60)))
    assert.same({ "firing a 60" }, brief(s:advance(T0 + 60.000001)))
    s:forget()
    assert.equal(NEVER, s.ops.next_due(s.handler))
  end)

  it("stop behind the first instant that raises something, where that is asked", function()
    local s = script.define_rule(ABSENT)
    run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 0 }, { "beat", "c", timestamp = 5 } })

    assert.same({ "firing a 60", "firing b 60" }, brief(s:advance(T0 + 1000, true)))
    assert.same({ "firing c 65" }, brief(s:advance(T0 + 1000, true)))
  end)

  it("ask for the states that they need, with a page and between pages", function()
    local s = script.define_rule(ABSENT)
    run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 10 } })
    s:forget()
    assert(s:restore())
    local missing = ffi.new("Str[1]")

    s.ops.due(s.handler, (T0 + 100) * 1000000LL, 1, missing)
    assert.same({ '"a"' }, texts(json.decode(script.text(missing[0])), "key"))
    assert(s:prepare(s:page { { "beat", "z", timestamp = T0 + 65 } }))
    assert.same({ '"z"', '"a"' }, texts(json.decode(s.missing), "key"))
  end)

  it("of a key that has no row are dropped", function()
    local s = script.define_rule(ABSENT)
    run(s, { { "beat", "a", timestamp = 0 } })
    s.rows = {}
    s:forget()

    assert.same({}, brief(s:advance(T0 + 1000)))
    assert.same({}, s.timers)
  end)

  it("of a parked key stand still until it is not parked any more", function()
    local s = script.define_rule(ABSENT)
    run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 0 } })
    local key = '"a"'
    local parked = rule.str(key)
    s.ops.set_parked(s.handler, parked, true)

    assert.same({ "firing b 60" }, brief(s:advance(T0 + 1000)))
    assert.equal(NEVER, s.ops.next_due(s.handler))
    s:forget()
    assert.same({}, brief(s:advance(T0 + 1000)))
    s.ops.set_parked(s.handler, parked, false)
    assert.same({ "firing a 60" }, brief(s:advance(T0 + 1000)))
  end)

  it("that fail are gone, with a letter, and leave the state as it was", function()
    local s = script.define_rule [[ on = "beat", absent = { within = "1m" },
      labels = function(k) if k.aggregate_id == "b" then error("no labels") end return {} end ]]
    run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 1 }, { "beat", "c", timestamp = 2 } })
    local fx = s:advance(T0 + 1000)

    assert.same({ "firing a 60", "firing c 62" }, brief(fx))
    assert.equal(1, #fx.dead)
    assert.same({ 2, '"b"', false }, { fx.dead[1].event_id, fx.dead[1].key, fx.dead[1].parked })
    assert.matches("^rules/r.lua:%d+: rule 'r': no labels %(timer 'i.absent' at 2026%-01%-01T00:01:01.000000Z, key \"b\"%)",
      fx.dead[1].error)
    assert.is_nil(s.timers['"b"'])
    assert.is_nil(s:row("b").state.next)
  end)
end)


-- Failures and limits --------------------------------------------------------------------------------------------------

describe("an event that fails", function()
  after_each(script.clean)

  it("raises nothing, and leaves states, timers and memory as they were", function()
    local s = script.define_rule [[ on = "beat", by = function() return { "a", "b" } end, max_keys = 5, ttl = "1h",
      fold = { init = { n = 0 }, step = function(s, e)
        s.n = s.n + 1
        return s
      end },
      when = function(s, k, event)
        if event.data.fail and k.key == "b" then
          error("not b")
        end
        return true
      end ]]
    local page = s:page { { "beat", timestamp = T0 }, { "beat", timestamp = T0 + 5, data = { fail = true } },
      { "beat", timestamp = T0 + 9 } }
    assert(s:prepare(page))
    local result, at, err = s:step(page, 0, true)

    assert.same({ "failed", 1 }, { result, at })
    assert.matches("^rules/r.lua:%d+: rule 'r': not b %(event 2 'beat', key \"b\"%)$", err.message)
    local fx = s:collect()
    assert.same({ "firing a 0", "firing b 0" }, brief(fx))
    assert.same({ 1, 1 }, { s:row("a").state.i.s and s:row("a").state.i.s.n or s:row("a").state.i.n, s:row("a").position })
    assert.equal((T0 + 3600) * 1e6, s.timers['"a"'].due)
    assert.equal(2, s:memory().host.keys)
    assert.equal("done", (s:step(page, 2, true)))
    assert.same({ '"a"', '"b"' }, texts(s:collect().timers, "key"))
    assert.equal((T0 + 3609) * 1e6, s.timers['"a"'].due)
  end)

  it("of a page that was forgotten never was", function()
    local s = script.define_rule(ABSENT)
    run(s, { { "beat", "a", timestamp = 0 } })
    local page = s:page { { "beat", "b", timestamp = T0 + 100 } }
    assert(s:prepare(page))
    assert.equal("done", (s:step(page)))
    s:forget()

    assert.is_true(s.ops.wants(s.handler))
    local fx = assert(s:collect())
    assert.same({ 0, 0, 0 }, { #fx.raised, #fx.timers, #fx.upserts })
    assert.same({ "firing a 60" }, brief(s:advance(T0 + 1000)))
  end)

  it("is refused before the rule has what the database keeps of it", function()
    local s = script.define_rule(ABSENT)
    local page, missing = s:page { { "beat", "a", timestamp = T0 } }, ffi.new("Str[1]")
    s.ops.need(s.handler, page.slice, 0, 1, missing)
    local result, _, err = s:step(page)

    assert.equal("failed", result)
    assert.matches("^rules/r.lua: rule 'r': its timers have not been restored", err.message)
  end)
end)

describe("limits", function()
  after_each(script.clean)

  it("of keys: a new one beyond is passed over and counted, and the others go on", function()
    local s = script.define_rule(ABSENT .. ", max_keys = 2, ttl = 100")
    local fx = run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 1 }, { "beat", "c", timestamp = 2 },
      { "beat", "a", timestamp = 3 }, { "beat", "d", timestamp = 4 } })

    assert.same({ '"a"', '"b"' }, texts(fx.upserts, "key"))
    assert.same({ 2, 2 }, { s:memory().counts.max_keys, s:memory().host.keys })
    s:forget()
    assert.same({ "firing b 61", "firing a 63", "expired b 101", "expired a 103" }, brief(s:advance(T0 + 200)))
    assert.equal(0, s:memory().host.keys)
    run(s, { { "beat", "c", timestamp = 300 } })
    assert.same({ 2, 1 }, { s:memory().counts.max_keys, s:memory().host.keys })
  end)

  it("of a state's size: the event that makes it too large is refused, and says what to do", function()
    local s = script.define_rule [[ on = "beat", max_state = 2000, fold = { init = { list = {} }, step = function(s, e)
      s.list[#s.list + 1] = e.data.text
      return s
    end }, when = function() return false end ]]
    local long = ("x"):rep(800)
    run(s, { { "beat", timestamp = 0, data = { text = long } } })
    run(s, { { "beat", timestamp = 1, data = { text = "short" } } })
    local err = s:fails { "beat", timestamp = T0 + 2, data = { text = long:rep(2) } }

    assert.matches("^rules/r.lua: rule 'r': the state of key \"a\" would take %d+ bytes, and max_state is 2000 %(keep less",
      err.message)
    assert.equal("limit", err.kind)
  end)

  it("count a state's bytes as its JSON has them", function()
    local s = script.define_rule [[ on = "beat", max_state = 600, fold = { init = { n = 0 }, step = function(s, e)
      s.text = e.data.text
      return s
    end }, when = function() return false end ]]
    run(s, { { "beat", timestamp = 0, data = { text = "" } } })
    local room = 600 - #json.encode(s:row("a").state)

    run(s, { { "beat", timestamp = 1, data = { text = ("x"):rep(room - 60) } } })
    s:fails { "beat", timestamp = T0 + 2, data = { text = ("x"):rep(room + 60) } }
  end)

  it("refuse what cannot be kept: a state with a function in it", function()
    local s = script.define_rule [[ on = "beat", fold = { init = {}, step = function(s) s.f = function() end return s end },
      when = function() return false end ]]

    assert.matches("rule 'r': state.*: a function is no JSON value", s:fails({ "beat", timestamp = T0 }).message)
  end)
end)


-- What people ask ----------------------------------------------------------------------------------------------------------

describe("a rule", function()
  after_each(script.clean)

  it("tells every evaluation of a key from then on", function()
    local s = script.define_rule(ABSENT)
    local key = '"a"'
    assert.is_true(s.ops.probe(s.handler, rule.str(key), ffi.new("Err")))
    local fx = run(s, { { "beat", "a", timestamp = 0 }, { "beat", "b", timestamp = 1 }, { "beat", "c", timestamp = 61 } })

    assert.same({ "probe event", "alert -", "probe timer i.absent" }, texts(fx.raised, "kind", "what"))
  end)

  it("shows its states", function()
    local s = script.define_rule(ABSENT)
    run(s, { { "beat", "a", timestamp = 0 } })
    local out, key = ffi.new("Str[1]"), '"a"'
    assert.is_true(s.ops.state(s.handler, rule.str(key), out, ffi.new("Err")))

    assert.equal((T0 + 60) * 1e6, json.decode(script.text(out[0])).next)
  end)

  it("can be traced line by line, its timers too", function()
    local s = script.define_rule [[ on = "beat", window = { over = 10 },
      when = function(w)
        local n = w.count
        return n > 1
      end ]]
    run(s, { { "beat", "a", timestamp = 0 } })
    local page = s:page { { "beat", "b", timestamp = T0 + 20 } }
    assert(s:prepare(page))
    local at, steps, n = ffi.new("size_t[1]"), ffi.new("const TraceStep *[1]"), ffi.new("size_t[1]")
    assert.equal(C.RUN_DONE, s.ops.trace(s.handler, page.slice, at, 100, steps, n, ffi.new("Err")))
    local seen = {}
    for i = 0, tonumber(n[0]) - 1 do
      seen[#seen + 1] = ("%s:%d"):format(script.text(steps[0][i].key), steps[0][i].line)
    end

    assert.same({ '"a":4', '"a":5' }, { seen[2], seen[3] })
    assert.matches('"b":5', table.concat(seen, " "), 1, true)
  end)

  it("costs nothing where it does not take an event", function()
    local s = script.define_rule(ABSENT)
    local fx = run(s, { { "other", "a", timestamp = 0 } })

    assert.equal("", s.missing)
    assert.same({ {}, {}, {} }, { fx.upserts, fx.timers, fx.raised })
    s.ops.collect(s.handler, ffi.new("Effects"), ffi.new("Err"))
    assert.equal(0, s:collect().nraised)
  end)

  it("is refused what is stored of it where that is no such thing", function()
    local s, err = script.define_rule(ABSENT), ffi.new("Err")
    for text, what in pairs { ["{"] = "JSON", ['{"timers": [{"key": 1}]}'] = "a stored timer is no" } do
      assert.is_false(s.ops.restore(s.handler, rule.str(text), err))
      assert.matches("rules/r.lua: rule 'r': .*" .. what, ffi.string(err.message))
    end
    assert.is_true(s.ops.wants(s.handler))
  end)
end)


-- Data ---------------------------------------------------------------------------------------------------------------------

describe("a definition of data", function()
  after_each(script.clean)

  local function definition(path, source)
    local options, out, err = ffi.new("LuaOptions"), ffi.new("Buf"), ffi.new("Err")
    local dir = script.workspace { [path] = source }
    options.workspace = dir
    local ok = C.lua_data_definition(options, path, out, err)
    local text = out.s ~= nil and ffi.string(out.s, out.len)
    C.buf_free(out)
    return ok and json.decode(text) or nil, ffi.string(err.message)
  end

  it("is given as JSON, checked", function()
    local calendar = assert(definition("rules/calendars/nights.lua", [[calendar "nights" {
      open = { { days = "mon-fri", from = "22:00", to = "06:00" } } }]]))

    assert.same({ "nights", "calendar", "UTC" }, { calendar.name, calendar.kind, calendar.zone })
    assert.equal(1, #calendar.open)
  end)

  it("says what is wrong with it, and what should be there", function()
    assert.matches("^rules/calendars/x.lua: nothing is defined in it %(write calendar \"name\"",
      select(2, definition("rules/calendars/x.lua", "local a = 1")))
    assert.matches("^rules/receivers/x.lua: nothing is defined in it %(write receiver \"name\"",
      select(2, definition("rules/receivers/x.lua", "")))
    assert.matches("^rules/receivers/x.lua:1: rule 'x': .*receivers",
      select(2, definition("rules/receivers/x.lua", "rule \"x\" {}")))
  end)
end)
