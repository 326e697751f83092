local engine = require "spec.support.rule_engine"
local dkjson = require "dkjson"


local function times(from, step, n, event)
  return function(r)
    for i = 0, n - 1 do
      r:event(from + i * step, event)
    end
    return r
  end
end


local HOT = [[on = "t", value = "data.v", when = function(v) return v > 70 end, ]]


local function v(value, key)
  return { "t", key or "a", { v = value } }
end


describe("the life of an alert", function()
  it("fires at once without hold, and resolves when the condition is gone", function()
    local r = engine.open(HOT):event("00:01", v(70)):event("00:02", v(71)):event("00:03", v(99)):event("00:04", v(70)):event("00:05", v(5))

    assert.same({ "00:02:00 firing warning", "00:04:00 resolved warning (cleared)" }, r:said())
    assert.same({}, r.states)
  end)

  it("is told with all that receivers and people need", function()
    local r = engine.open(HOT .. [[ notify = "ops", group = { by = "site" }, severity = "error", summary = "{aggregate_id}: {value}",
      description = "d", runbook = "u", mute = { match = { rule = "x", severity = { "info" } }, equal = "site" }, labels = { team = "t" } ]])
    r:event("00:02", { "t", "a", { v = 71 }, correlation_id = "c-1" }):event("00:04", v(70))
    local t, key = engine.instant("00:02"), '"a"'
    local episode = ("uuid(r\n%s\n%.0f\ne1)"):format(key, t)

    assert.same({ kind = "alert", rule = "r", transition = "firing", n = 1, episode = episode, event_id = "uuid(" .. episode .. "\nfiring\n1)",
      key = { aggregate_id = "a" }, key_text = key, fingerprint = "hash of r\n" .. key, at = t, since = t, position = 1, cause = "e1",
      correlation = "c-1", severity = "error", summary = "a: 71", labels = { team = "t" }, subject = { value = 71 }, signal = false, depth = 0,
      notify = { "ops" }, group = { by = { "site" }, wait = 30e6, interval = 300e6 },
      inhibits = { match = { rule = { "x" }, severity = { "info" } }, equal = { "site" } }, description = "d", runbook = "u" }, r.raised[1])
    local last = r.raised[2]
    assert.same({ "resolved", 2, episode, "uuid(" .. episode .. "\nresolved\n2)", 2, "e2", t, engine.instant("00:04") },
      { last.transition, last.n, last.episode, last.event_id, last.position, last.cause, last.since, last.at })
  end)

  it("keeps the keys apart", function()
    local r = engine.open(HOT):event("00:01", v(80, "a")):event("00:02", v(80, "b")):event("00:03", v(1, "a"))

    assert.same({ '"b"' }, { next(r.states) and next(r.states) })
    assert.same({ "00:01:00 firing warning", "00:02:00 firing warning", "00:03:00 resolved warning (cleared)" }, r:said())
  end)

  it("gives parts of a key to functions by their names, and a fresh table to each event", function()
    local r = engine.open [[on = "t", by = { device = "aggregate_id", app = "data.app" }, when = function(e, k)
      assert(k.seen == nil and k.app == "x" and k.device == 'd"1')
      k.seen = true
      return true end, summary = "{app} on {device}"]]
    r:event("00:01", { "t", key = dkjson.encode { "x", 'd"1' } }):event("00:02", { "t", key = dkjson.encode { "x", 'd"1' } })

    assert.equal('x on d"1', r.raised[1].summary)
    assert.same({ app = "x", device = 'd"1' }, r.raised[1].key)
  end)

  describe("with hold", function()
    it("is pending until its timer, and fires at exactly its due time", function()
      local r = engine.open(HOT .. "hold = '2m'"):event("00:01", v(80)):event("00:02", v(90)):event("00:03:01", v(91)):event("00:04", v(1))

      assert.same({ "00:01:00 pending warning", "00:03:00 firing warning from pending", "00:04:00 resolved warning (cleared)" }, r:said())
    end)

    it("does not fire where the condition goes at exactly the due time: the event comes first", function()
      local r = engine.open(HOT .. "hold = '2m'"):event("00:01", v(80)):event("00:03", v(1)):advance("01:00")

      assert.same({ "00:01:00 pending warning", "00:03:00 resolved warning from pending (cleared)" }, r:said())
      assert.same({}, r.states)
    end)

    it("fires where it is still on at exactly the due time, once the timer comes", function()
      local r = engine.open(HOT .. "hold = '2m'"):event("00:01", v(80)):event("00:03", v(90)):advance("00:03")

      assert.same({ "00:01:00 pending warning" }, r:said())
      assert.same({ "00:03:00 firing warning from pending" }, r:advance("00:03:01"):said())
    end)

    it("begins anew after it went", function()
      local r = engine.open(HOT .. "hold = '2m'"):event("00:01", v(80)):event("00:02", v(1)):event("00:02:30", v(80)):advance("00:04:30")

      assert.same({ "00:01:00 pending warning", "00:02:00 resolved warning from pending (cleared)", "00:02:30 pending warning" }, r:said())
      assert.same({ "00:04:30 firing warning from pending" }, r:advance("00:05"):said())
    end)

    it("counts its transitions within the episode, which began when it became pending", function()
      local r = engine.open(HOT .. "hold = '2m'"):event("00:01", v(80)):event("00:04", v(1))

      for i, record in ipairs(r.raised) do
        assert.same({ i, engine.instant("00:01"), r.raised[1].episode }, { record.n, record.since, record.episode })
      end
      assert.equal(3, #r.raised)
    end)
  end)

  describe("with linger", function()
    it("resolves when it was off all the time", function()
      local r = engine.open(HOT .. "linger = '1m'"):event("00:01", v(80)):event("00:02", v(1)):event("00:02:30", v(2)):advance("01:00")

      assert.same({ "00:01:00 firing warning", "00:03:00 resolved warning (cleared)" }, r:said())
      assert.same({}, r.states)
    end)

    it("goes on silently where it is back before, also at exactly that instant", function()
      local r = engine.open(HOT .. "linger = '1m'"):event("00:01", v(80)):event("00:02", v(1)):event("00:03", v(80)):event("00:04", v(1)):advance("00:10")

      assert.same({ "00:01:00 firing warning", "00:05:00 resolved warning (cleared)" }, r:said())
    end)

    it("is said where it comes back on another level", function()
      local r = engine.open [[on = "t", value = "data.v", when = { warning = function(v) return v > 70 end, critical = function(v) return v > 80 end },
        linger = "1m"]]
      r:event("00:01", v(75)):event("00:02", v(1)):event("00:02:30", v(90))

      assert.same({ "00:01:00 firing warning", "00:02:30 firing critical from warning" }, r:said())
    end)

    it("does not linger when it never fired", function()
      local r = engine.open(HOT .. "linger = '1m', hold = '1m'"):event("00:01", v(80)):event("00:01:30", v(1)):advance("01:00")

      assert.same({ "00:01:00 pending warning", "00:01:30 resolved warning from pending (cleared)" }, r:said())
    end)
  end)

  describe("with levels and clear", function()
    local LEVELS = [[on = "t", value = "data.v",
      when  = { warning = function(v) return v > 70 end, critical = function(v) return v > 80 end },
      clear = { warning = function(v) return v < 65 end, critical = function(v) return v < 75 end }]]

    it("has hysteresis on each level", function()
      local r = engine.open(LEVELS)
      for i, value in ipairs { 70, 71, 66, 81, 76, 75, 74, 64, 66 } do
        r:event(i * 60, v(value))
      end

      assert.same({ "00:02:00 firing warning", "00:04:00 firing critical from warning", "00:07:00 firing warning from critical",
        "00:08:00 resolved warning (cleared)" }, r:said())
      assert.same({}, r.states)
    end)

    it("keeps a lower level's latch below a higher one", function()
      local r = engine.open(LEVELS):event("00:01", v(90)):event("00:02", v(70)):event("00:03", v(66)):event("00:04", v(60))

      assert.same({ "00:01:00 firing critical", "00:02:00 firing warning from critical", "00:04:00 resolved warning (cleared)" }, r:said())
    end)

    it("may have levels without a clear of their own", function()
      local r = engine.open [[on = "t", value = "data.v", clear = { critical = function(v) return v < 10 end },
        when = { warning = function(v) return v > 70 end, critical = function(v) return v > 80 end }]]
      r:event("00:01", v(90)):event("00:02", v(20)):event("00:03", v(5))

      assert.same({ "00:01:00 firing critical", "00:03:00 resolved critical (cleared)" }, r:said())
    end)

    it("asks clear alone while it is on, and when alone while it is off", function()
      local r = engine.open [[on = "t", value = "data.v", when = function(v) return v % 2 == 0 end, clear = function(v) return v > 10 end]]
      for i, value in ipairs { 11, 12, 7, 14, 16, 1, 20 } do
        r:event(i * 60, v(value))
      end

      assert.same({ "00:02:00 firing warning", "00:04:00 resolved warning (cleared)", "00:05:00 firing warning", "00:07:00 resolved warning (cleared)" }, r:said())
    end)

    it("is pending on one level and fires on the one that it has by then", function()
      local r = engine.open(LEVELS .. ", hold = '2m'"):event("00:01", v(75)):event("00:02", v(85)):advance("00:05")

      assert.same({ "00:01:00 pending warning", "00:03:00 firing critical from pending" }, r:said())
    end)
  end)

  describe("with cooldown", function()
    it("fires anew at its end where it is still on, as an episode that a timer opened", function()
      local r = engine.open(HOT .. "cooldown = '10m'"):event("00:01", v(80)):event("00:02", v(1)):event("00:03", v(80)):advance("00:20")

      assert.same({ "00:01:00 firing warning", "00:02:00 resolved warning (cleared)", "00:11:00 firing warning" }, (function()
        local raised = r.raised
        local said = r:said()
        assert.equal(("uuid(r\n\"a\"\n%.0f\n)"):format(engine.instant("00:11")), raised[3].episode)
        assert.same({ engine.instant("00:11"), 3, "e3", { value = 80 } }, { raised[3].since, raised[3].position, raised[3].cause, raised[3].subject })
        return said
      end)())
    end)

    it("does not where it is off again by then", function()
      local r = engine.open(HOT .. "cooldown = '10m'"):event("00:01", v(80)):event("00:02", v(1)):event("00:03", v(80)):event("00:04", v(1)):advance("01:00")

      assert.same({ "00:01:00 firing warning", "00:02:00 resolved warning (cleared)" }, r:said())
      assert.same({}, r.states)
    end)

    it("holds back what comes at exactly its end until its timer, which has the same instant", function()
      local r = engine.open(HOT .. "cooldown = '10m'"):event("00:01", v(80)):event("00:02", v(1)):event("00:11", v(80))

      assert.equal(2, #r:said())
      assert.same({ "00:11:00 firing warning" }, r:advance("00:11:01"):said())
    end)

    it("lets a change of level through", function()
      local r = engine.open [[on = "t", value = "data.v", when = { warning = function(v) return v > 70 end, critical = function(v) return v > 80 end },
        cooldown = "1h"]]
      r:event("00:01", v(75)):event("00:02", v(85)):event("00:03", v(75))

      assert.same({ "00:01:00 firing warning", "00:02:00 firing critical from warning", "00:03:00 firing warning from critical" }, r:said())
    end)

    it("fires on the level that it has at its end", function()
      local r = engine.open [[on = "t", value = "data.v", when = { warning = function(v) return v > 70 end, critical = function(v) return v > 80 end },
        cooldown = "10m"]]
      r:event("00:01", v(75)):event("00:02", v(1)):event("00:03", v(75)):event("00:04", v(85)):advance("00:20")

      assert.same({ "00:01:00 firing warning", "00:02:00 resolved warning (cleared)", "00:11:00 firing critical" }, r:said())
    end)

    it("is over before a pending alert fires", function()
      local r = engine.open(HOT .. "cooldown = '10m', hold = '1m'")
      r:event("00:01", v(80)):event("00:03", v(1)):event("00:04", v(80)):advance("01:00")

      assert.same({ "00:01:00 pending warning", "00:02:00 firing warning from pending", "00:03:00 resolved warning (cleared)", "00:04:00 pending warning",
        "00:12:00 firing warning from pending" }, r:said())
    end)

    it("does not keep a pending alert from resolving", function()
      local r = engine.open(HOT .. "cooldown = '10m', hold = '1m'")
      r:event("00:01", v(80)):event("00:03", v(1)):event("00:04", v(80)):event("00:06", v(1)):advance("01:00")

      assert.same({ "00:04:00 pending warning", "00:06:00 resolved warning from pending (cleared)" }, { select(4, unpack(r:said())) })
    end)
  end)

  describe("as a signal", function()
    it("fires for each plain event that matches, and is over", function()
      local r = engine.open(HOT .. "kind = 'signal'"):event("00:01", v(80)):event("00:02", v(81)):event("00:02", v(82)):event("00:03", v(1))
      local raised = r.raised

      assert.same({ "00:01:00 firing warning", "00:02:00 firing warning", "00:02:00 firing warning" }, r:said())
      assert.is_true(raised[1].signal)
      assert.are_not.equal(raised[2].episode, raised[3].episode)
      assert.same({}, r.states)
    end)

    it("fires when the condition goes on, where that lasts", function()
      local r = engine.open [[on = "t", kind = "signal", fold = { init = { n = 0 }, step = function(s, e) s.n = e.data.v end },
        when = function(s) return s.n > 2 end]]
      r:event("00:01", v(3)):event("00:02", v(4)):event("00:03", v(1)):event("00:04", v(5))

      assert.same({ "00:01:00 firing warning", "00:04:00 firing warning" }, r:said())
    end)

    it("is over with each silence, and with each thing that stayed away", function()
      local absent = engine.open [[on = "t", kind = "signal", absent = { within = "3m" }]]
      absent:event("00:00"):event("00:10"):advance("01:00")
      local seq = engine.open [[on = "*", kind = "signal", seq = { "a", missing = "b", within = "5m" }]]
      seq:event("00:00", { "a" }):event("00:10", { "a" }):advance("01:00"):event("01:01", { "b" })

      assert.same({ "00:03:00 firing warning", "00:13:00 firing warning" }, absent:said())
      assert.same({ "00:05:00 firing warning", "00:15:00 firing warning" }, seq:said())
      assert.same({ {}, {} }, { absent.states, seq.states })
    end)

    it("is armed by clear", function()
      local r = engine.open(HOT .. "kind = 'signal', clear = function(v) return v < 50 end")
      for i, value in ipairs { 80, 60, 80, 40, 80 } do
        r:event(i * 60, v(value))
      end

      assert.same({ "00:01:00 firing warning", "00:05:00 firing warning" }, r:said())
    end)

    it("is dropped in the cooldown, and counted", function()
      local r = engine.open(HOT .. "kind = 'signal', cooldown = '10m'")
      r:event("00:01", v(80)):event("00:02", v(80)):event("00:11", v(80)):event("00:11:01", v(80)):advance("01:00")

      assert.same({ "00:01:00 firing warning", "00:11:01 firing warning" }, r:said())
      assert.same({ cooldown = 2 }, r:counts())
      assert.same({}, r.states)
    end)
  end)

  it("flaps: one alert that stays, muted, until it is quiet", function()
    local r = engine.open(HOT .. "flap = { low = .25, high = .6, samples = 9 }")
    for i, value in ipairs { 80, 1, 80, 1, 80, 1, 80 } do
      r:event(i * 60, v(value))
    end
    -- From the fifth change on (of 9 - 1): it opens an episode that ignores the sixth.
    assert.same({ "00:01:00 firing warning", "00:02:00 resolved warning (cleared)", "00:03:00 firing warning", "00:04:00 resolved warning (cleared)",
      "00:05:00 firing warning muted: flapping" }, r:said())
    times(8 * 60, 60, 6, v(1))(r)
    assert.same({}, r:said())
    -- Of the last nine results two differ from the one before.
    times(14 * 60, 60, 1, v(1))(r)
    assert.same({ "00:14:00 resolved warning (cleared)" }, r:said())
    times(15 * 60, 60, 9, v(1))(r)
    assert.same({}, r.states)
  end)

  it("is told once it no longer flaps and is on, where it was muted", function()
    local r = engine.open(HOT .. "flap = { low = .25, high = .6, samples = 9 }")
    for i, value in ipairs { 80, 1, 80, 1, 80 } do
      r:event(i * 60, v(value))
    end
    r:said()
    times(6 * 60, 60, 9, v(90))(r)

    assert.same({ "00:11:00 firing warning from warning (flapping is over)" }, r:said())
  end)

  it("keeps a firing alert that begins to flap", function()
    local r = engine.open(HOT .. "flap = { low = .1, high = .5, samples = 5 }")
    for i, value in ipairs { 80, 1, 80, 1, 80, 1, 1, 1, 1, 1 } do
      r:event(i * 60, v(value))
    end

    assert.same({ "00:01:00 firing warning", "00:10:00 resolved warning (cleared)" }, r:said())
    assert.same({}, r.states)
  end)

  describe("with ttl", function()
    it("expires at the last own event and as long on", function()
      local r = engine.open(HOT .. "ttl = '1h'"):event("00:01", v(80)):event("00:30", v(90)):event("01:30", v(90)):advance("05:00")

      assert.same({ "00:01:00 firing warning", "02:30:00 expired warning (ttl)" }, r:said())
      assert.same({}, r.states)
    end)

    it("drops a quiet key, and says nothing of it", function()
      local r = engine.open(HOT .. "ttl = '1h'"):event("00:01", v(1)):advance("00:30")

      assert.is_table(r:state())
      assert.same({}, r:advance("02:00"):said())
      assert.same({}, r.states)
    end)

    it("ends what is pending or lingers, too", function()
      local r = engine.open(HOT .. "ttl = '1m', hold = '1h'"):event("00:01", v(80)):advance("05:00")
      local l = engine.open(HOT .. "ttl = '1m', linger = '1h'"):event("00:01", v(80)):event("00:01:30", v(1)):advance("05:00")

      assert.same({ "00:01:00 pending warning", "00:02:00 expired warning from pending (ttl)" }, r:said())
      assert.same({ "00:01:00 firing warning", "00:02:30 expired warning (ttl)" }, l:said())
      assert.same({}, l.states)
    end)
  end)

  it("is muted beyond max_alerts a minute of the rule's clock, and counted", function()
    local r = engine.open(HOT .. "max_alerts = 2")
    for i = 1, 4 do
      r:event("00:01:0" .. i, v(80, "k" .. i))
    end
    r:event("00:01:59", v(1, "k3")):event("00:02:00", v(80, "k5"))

    assert.same({ "00:01:01 firing warning", "00:01:02 firing warning", "00:01:03 firing warning muted: limit", "00:01:04 firing warning muted: limit",
      "00:01:59 resolved warning (cleared)", "00:02:00 firing warning" }, r:said())
    assert.same({ muted_limit = 2 }, r:counts())
  end)

  it("never goes back in the time of a key while something of it is kept", function()
    local r = engine.open(HOT .. "hold = '2m'")
    r.engine.handle(r.states, r:make("00:05", v(80)), engine.instant("00:05"), '"a"')
    local state = r.states
    r.engine.handle(state, r:make("00:03", v(80)), engine.instant("00:03"), '"a"')

    assert.equal(engine.instant("00:05"), state.t)
    assert.equal(engine.instant("00:07"), state.next)
    assert.equal("hold", state.next_name)
  end)

  it("keeps the earliest timer at hand, the lesser name first", function()
    local r = engine.open(HOT .. "hold = '2m', ttl = '2m', cooldown = '1m'"):event("00:01", v(80))
    local state = r:state()

    assert.same({ engine.instant("00:03"), "hold" }, { state.next, state.next_name })
    assert.same({ hold = engine.instant("00:03"), ttl = engine.instant("00:03") }, state.timers)
    r:event("00:02", v(80))
    assert.same({ engine.instant("00:03"), "hold", engine.instant("00:04") }, { state.next, state.next_name, state.timers.ttl })
  end)

  it("leaves alone what it passes over", function()
    local r = engine.open [[on = "t", value = "data.v", where = function(e) return e.data.ok end, when = function(v) return v > 1 end, ttl = "1h"]]
    local state = {}

    assert.is_false(r.engine.handle(state, r:make("00:01", { "t", "a", { v = 5 } }), engine.instant("00:01"), '"a"'))
    assert.is_false(r.engine.handle(state, r:make("00:01", { "t", "a", { ok = true, v = "5" } }), engine.instant("00:01"), '"a"'))
    assert.is_false(r.engine.handle(state, r:make("00:01", { "t", "a", { ok = true } }), engine.instant("00:01"), '"a"'))
    assert.same({}, state)
    assert.same({ without_value = 2 }, r:counts())
    assert.is_nil(r.engine.handle(state, r:make("00:01", { "t", "a", { ok = true, v = 0 } }), engine.instant("00:01"), '"a"'))
    assert.is_table(state.timers)
  end)

  it("says what is wrong with what a value function returns", function()
    local r = engine.open [[on = "t", value = function(e) return e.data.v end, when = print]]

    for value, text in pairs { [true] = "a boolean", x = "a string", [1 / 0] = "no finite number" } do
      local ok, why = pcall(r.event, r, "00:01", v(value))
      assert.same({ false, ("rules/r.lua:2: value returned %s (return a number, or nil to pass the event over)"):format(text) }, { ok, why })
    end
  end)

  it("knows the instant at work", function()
    local r = engine.open [[on = "t", value = "data.v", when = function(v) return v > 1 end, hold = "1m", labels = function() return { at = now() } end,
      emit = function() return event("x", { at = now() }) end]]
    r:event("00:01", v(5)):advance("00:05")

    assert.equal(engine.instant("00:02") / 1e6, r.raised[3].data.at)
    assert.equal(tostring(engine.instant("00:01") / 1e6), r.raised[1].labels.at)
    local _, why = engine.try "now()"
    assert.equal("rules/r.lua:1: now() is the instant at work in a rule, and none is (use event.timestamp)", why)
  end)
end)


describe("a rule whose input knows itself when it is on", function()
  it("absent: fires at exactly `within` after the last event, resolves with the next one", function()
    local r = engine.open [[on = "t", absent = { within = "3m" }, severity = "critical", linger = 0]]
    r:event("00:00"):event("00:03"):event("00:06:01"):advance("00:07")

    assert.same({ "00:06:00 firing critical", "00:06:01 resolved critical (cleared)" }, r:said())
  end)

  it("absent: a key that was never seen counts, and one that leaves the set expires", function()
    local r = engine.open [[on = "t", absent = { within = "3m", grace = "10m", expect = ref "devices.active" }, hold = "1m", linger = "1m"]]
    r:expect("00:00", "a", true):event("00:01", { "t", "b" }):advance("00:14:30")
    assert.same({ "00:13:00 pending warning", "00:14:00 firing warning from pending" }, r:said())
    local position = r.next_id
    r:expect("00:20", "a", false)

    assert.equal(position, r.raised[1].position)
    assert.same({ "00:20:00 expired warning (not expected)" }, r:said())
    assert.same({}, r.states)
  end)

  it("absent: lingers after the first event", function()
    local r = engine.open [[on = "t", absent = { within = "3m" }, linger = "1m"]]
    r:event("00:00"):event("00:10"):advance("00:12")

    assert.same({ "00:03:00 firing warning", "00:11:00 resolved warning (cleared)" }, r:said())
  end)

  it("seq: when refuses a match, clear ends it, and the subject is the steps", function()
    local r = engine.open [[on = "*", seq = { "a", "b", within = "5m" }, when = function(m) return m[2].data.v > 1 end,
      clear = function(m, k, e) return e.type == "ok" end, summary = "{steps} steps"]]
    r:event("00:01", { "a" }):event("00:02", { "b", "a", { v = 1 } }):event("00:03", { "a" }):event("00:04", { "b", "a", { v = 2 } }):event("00:05", { "x" })
      :event("00:06", { "ok" })

    assert.equal("2 steps", r.raised[1].summary)
    assert.same({ "00:04:00 firing warning", "00:06:00 resolved warning (cleared)" }, r:said())
  end)

  it("seq: a match that when refuses leaves an alert as it was, which clear can still end", function()
    local r = engine.open [[on = "*", seq = { "a", "b", within = "5m" }, when = function(m) return m[2].data.v > 1 end,
      clear = function(m, k, event) return event.type == "c" and m[2].data.v == 2 end]]
    r:event("00:00", { "a" }):event("00:01", { "b", "a", { v = 2 } })
    r:event("00:02", { "a" }):event("00:03", { "b", "a", { v = 1 } }):event("00:04", { "c" })

    assert.same({ "00:01:00 firing warning", "00:04:00 resolved warning (cleared)" }, r:said())
    assert.same({}, r.states)
  end)

  it("clock = \"occurred\": that a late event has no value is counted once", function()
    local r = engine.open [[on = "t", value = "data.v", window = { over = "1h" }, when = function() return false end,
      clock = "occurred", late = "amend"]]
    r:event("00:40", { "t", "a", {}, occurred = "00:02" }, true)

    assert.same({ without_value = 1, late_counted = 1 }, r:counts())
  end)

  it("seq: levels judge a match", function()
    local r = engine.open [[on = "*", kind = "signal", seq = { "a", "b", within = "5m" }, when = { info = function() return true end,
      critical = function(m) return m[2].data.v > 1 end }]]
    r:event("00:01", { "a" }):event("00:02", { "b", "a", { v = 1 } }):event("00:03", { "a" }):event("00:04", { "b", "a", { v = 2 } }):advance("01:00")

    assert.same({ "00:02:00 firing info", "00:04:00 firing critical" }, r:said())
    assert.same({}, r.states)
  end)

  it("seq with missing: fires at the end of its time, and what comes late resolves it", function()
    local r = engine.open [[on = "job.*", seq = { "job.started", missing = { "job.finished", "job.failed" },
      within = function(first) return first.data.timeout or "15m" end }]]
    r:event("00:00", { "job.started" }):event("00:15", { "job.finished" })
      :event("01:00", { "job.started", "a", { timeout = 60 } }):event("01:05", { "job.failed" }):advance("05:00")

    assert.same({ "01:01:00 firing warning", "01:05:00 resolved warning (late)" }, r:said())
    assert.same({}, r.states)
  end)

  it("seq with ttl: its alert expires", function()
    local r = engine.open [[on = "*", seq = { "a", "b", within = "5m" }, ttl = "1h"]]
    r:event("00:01", { "a" }):event("00:02", { "b" }):event("00:03", { "a" }):event("00:04", { "b" }):advance("05:00")

    assert.same({ "00:02:00 firing warning", "01:04:00 expired warning (ttl)" }, r:said())
  end)

  it("a window: counts rise, entries leave by timers, and an empty one is judged", function()
    local r = engine.open [[on = "t", window = { over = "10m" }, when = function(w) return w.count >= 3 end, clear = function(w) return w.count == 0 end,
      summary = "{count} in 10m"]]
    r:event("00:01"):event("00:02"):event("00:11"):event("00:12"):advance("01:00")

    assert.equal("3 in 10m", r.raised[1].summary)
    assert.same({ "00:11:00 firing warning", "00:22:00 resolved warning (cleared)" }, r:said())
    assert.same({}, r.states)
  end)

  it("a session: its end resolves, after lingering too, with its reason", function()
    local r = engine.open [[on = "t", window = { kind = "session", gap = "90s" }, when = function(w) return w.count > 2 end, linger = "1m"]]
    times(0, 60, 4)(r)
    r:advance("01:00")

    assert.same({ "00:02:00 firing warning", "00:05:30 resolved warning (session closed)" }, r:said())
  end)
end)
