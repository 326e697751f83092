local engine = require "spec.support.rule_engine"


describe("with clock = \"occurred\"", function()
  local OCCURRED = [[on = "t", value = "data.v", when = function(v) return v > 70 end, clock = "occurred", lateness = "5m", ]]

  it("handles the oldest early when a thousand wait, and counts it: nothing is lost", function()
    local r = engine.open([[on = "t", window = { over = "1h" }, when = function(w) return w.count >= 1003 end, clock = "occurred"]])
    for i = 1, 1002 do
      r:event("00:10", { "t", "a", {}, occurred = ("00:%02d"):format(1 + i % 8) })
    end

    assert.equal(877, #r:state("a").buffer) -- the oldest instant had 125
    assert.equal(1, r:counts().buffer_full)
    r:event("00:10", { "t", "a", {}, occurred = "00:09" }):advance("00:10")
    assert.equal("firing", r.raised[1].transition)
    assert.equal(1003, r.raised[1].subject.count)
  end)

  it("handles events in the order in which they occurred, whatever order they came in", function()
    local r = engine.open(OCCURRED .. "summary = '{value} {event_id}'")
    r:event("00:10", { "t", "a", { v = 80 }, occurred = "00:03" }):event("00:10", { "t", "a", { v = 1 }, occurred = "00:02" })
      :event("00:10", { "t", "a", { v = 90 }, occurred = "00:01" }):event("00:11", { "t", "a", { v = 2 }, occurred = "00:03" })
    assert.same({}, r.raised)
    assert.same({ engine.instant("00:01"), "buffer" }, { r:state().next, r:state().next_name })
    r:advance("00:03")
    assert.same({ 3, 2 }, { r.raised[1].position, r.raised[2].position })
    assert.same({ "90 e3", "90 e3" }, { r.raised[1].summary, r.raised[2].summary }) -- at its end, what it was about
    r:said()
    r:advance("00:04")
    assert.same({ 1, 4, "e4" }, { r.raised[1].position, r.raised[2].position, r.raised[2].cause })
    assert.same({ "00:03:00 firing warning", "00:03:00 resolved warning (cleared)" }, r:said())
    assert.same({}, r.states)
  end)

  it("keeps events that wait where their key's ttl is over", function()
    local r = engine.open(OCCURRED .. "ttl = '5m'"):event("00:10", { "t", "a", { v = 1 }, occurred = "00:01" }):advance("00:02")
    r:event("00:10", { "t", "a", { v = 80 }, occurred = "00:09" }):advance("00:08")
    assert.same({ engine.instant("00:09"), "buffer" }, { r:state().next, r:state().next_name })

    assert.same({ "00:09:00 firing warning", "00:14:00 expired warning (ttl)" }, r:advance("01:00"):said())
  end)

  it("asks `where` when an event comes, and keeps nothing of others", function()
    local r = engine.open(OCCURRED .. "where = function(e) return e.data.ok end"):event("00:10", { "t", "a", { v = 80 }, occurred = "00:03" })

    assert.same({}, r.states)
  end)

  it("counts what comes late, at the key's last instant", function()
    local r = engine.open(OCCURRED .. "ttl = '1h'"):event("00:10", { "t", "a", { v = 1 }, occurred = "00:09" }):advance("00:10")
    r:event("00:30", { "t", "a", { v = 90 }, occurred = "00:05" }, true)

    assert.same({ "00:09:00 firing warning" }, r:said())
    assert.same({ late_counted = 1 }, r:counts())
  end)

  it("drops what comes late where it says so", function()
    local r = engine.open(OCCURRED .. "late = 'drop'"):event("00:30", { "t", "a", { v = 90 }, occurred = "00:05" }, true)

    assert.same({}, r.raised)
    assert.same({}, r.states)
    assert.same({ late_dropped = 1 }, r:counts())
  end)

  it("amends a window that still holds the late event's time, and counts it otherwise", function()
    local r = engine.open [[on = "t", window = { over = "10m" }, when = function(w) return w.count >= 2 end, clock = "occurred", late = "amend"]]
    r:event("00:10", { "t", occurred = "00:09" }):advance("00:10"):event("00:30", { "t", occurred = "00:05" }, true)
    assert.same({ "00:09:00 firing warning" }, r:said())
    r:advance("00:15:01")
    assert.same({ "00:15:00 resolved warning (cleared)" }, r:said())
    r:event("00:40", { "t", occurred = "00:02" }, true)

    assert.same({ late_amended = 1, late_counted = 1 }, r:counts())
    assert.same({ "00:15:00 firing warning" }, r:said())
  end)

  it("gives up of the events of an instant the one that fails, and goes on with the others", function()
    local r = engine.open [[on = "t", kind = "signal", when = function(e) return not e.data.bad or error("bad") end,
      summary = "{data.n}", clock = "occurred"]]
    for n, at in ipairs { "00:03", "00:03", "00:03", "00:04" } do
      r:event("00:10", { "t", "a", { n = n, bad = n == 2 }, occurred = at })
    end
    local before = engine.copy(r:state())
    assert.is_false((pcall(r.advance, r, "00:05")))
    r.raised, r.states['"a"'] = {}, before -- as the host undoes it
    r.engine.drop(before)

    assert.same({ engine.instant("00:03"), "buffer", 3 }, { before.next, before.next_name, #before.buffer })
    r:advance("00:05")
    local told = {}
    for i, effect in ipairs(r.raised) do
      told[i] = effect.summary
    end
    assert.same({ "1", "3", "4" }, told)
  end)
end)
