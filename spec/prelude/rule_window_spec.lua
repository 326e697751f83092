local open = require "spec.support.rule_input"

local S = 1000000 -- microseconds

describe("a sliding window", function()
  it("counts an event until its time has passed, the last instant included", function()
    local w = open("window", { window = { over = 10 * S } })
    w.event(1)
    w.event(5)

    assert.equal(11, w.due())
    assert.equal("evaluate", w.event(11))
    assert.equal(3, w.subject().count)
    assert.equal("evaluate", w.fire())
    assert.equal(2, w.subject().count)
    assert.equal(15, w.due())
  end)

  it("loses all entries of one instant at once", function()
    local w = open("window", { window = { over = 10 * S } })
    w.event(1)
    w.event(1)
    w.event(2)
    w.fire()

    assert.equal(1, w.subject().count)
    assert.equal("evaluate", w.fire())
    assert.equal(0, w.subject().count)
    assert.is_nil(w.due())
    assert.is_true(w.idle())
  end)

  it("says nothing with too few entries, but when it runs empty", function()
    local w = open("window", { window = { over = 10 * S, min = 2 } })

    assert.is_nil((w.event(1)))
    assert.equal("evaluate", w.event(2))
    assert.is_nil((w.fire()))
    assert.equal("evaluate", w.fire())
  end)

  it("does not know what values would be that did not come", function()
    local hold = open("window", { window = { over = S }, value = function() end, on_silence = "hold" })
    local clear = open("window", { window = { over = S }, value = function() end, on_silence = "clear" })
    hold.event(1, {}, 5)
    clear.event(1, {}, 5)

    assert.is_nil((hold.fire()))
    assert.same({ "off", "silence" }, { clear.fire() })
  end)

  it("holds at most max entries, and counts those that left early", function()
    local w = open("window", { window = { over = 100 * S, max = 3 }, value = function() end })
    for t = 1, 5 do
      w.event(t, {}, t)
    end

    assert.equal(3, w.subject().count)
    assert.equal(3, w.subject().first)
    assert.equal(2, w.counts.window_full)
    assert.equal(103, w.due())
  end)

  it("gives the places of those that left back", function()
    local w = open("window", { window = { over = 10 * S, distinct = "data.x" }, value = function() end })
    for t = 1, 500 do
      w.event(t, { data = { x = t % 7 } }, t)
      while w.due() < t do
        w.fire()
      end
      assert.is_true(#w.state.i.t <= 24)
      assert.equal(#w.state.i.t, #w.state.i.v)
      assert.equal(#w.state.i.t, #w.state.i.d)
    end

    local s = w.subject()
    assert.same({ 11, 490, 500, 10, 7 }, { s.count, s.first, s.last, s.span, s.distinct })
  end)

  it("takes a late event to its place while it is inside", function()
    local w = open("window", { window = { over = 10 * S }, value = function() end })
    w.event(5, {}, 50)
    w.event(9, {}, 90)

    assert.same({ true, "evaluate" }, { w.late(7, {}, 70) })
    assert.same({ 5, 7, 9 }, { w.state.i.t[1] / S, w.state.i.t[2] / S, w.state.i.t[3] / S })
    assert.same({ 50, 70, 90 }, w.state.i.v)
    assert.is_true((w.late(-1, {}, 1)))
    assert.equal(9, w.due())
    assert.is_false((w.late(-2, {}, 1)))
    assert.equal(4, w.subject().count)
  end)
end)


describe("a tumbling window", function()
  it("is looked at once, at its end", function()
    local w = open("window", { window = { kind = "tumble", over = 10 * S } })

    assert.is_nil((w.event(3)))
    assert.is_nil((w.event(9)))
    assert.equal(10, w.due())
    assert.equal("evaluate", w.fire())
    assert.equal(2, w.subject().count)
  end)

  it("ends before an event at its very end", function()
    local w = open("window", { window = { kind = "tumble", over = 10 * S } })
    w.event(3)

    assert.equal("evaluate", w.event(10))
    assert.equal(1, w.subject().count)
    assert.equal(20, w.due())
    w.event(11)
    assert.equal("evaluate", w.fire())
    assert.equal(2, w.subject().count)
  end)

  it("is looked at while it is empty only for a key that is active", function()
    local w = open("window", { window = { kind = "tumble", over = 10 * S } })
    w.event(3)
    w.fire()
    w.active = true

    assert.equal(20, w.due())
    assert.equal("evaluate", w.fire())
    assert.equal(0, w.subject().count)
    w.active = false
    assert.is_nil((w.fire()))
    assert.is_nil(w.due())
    assert.is_true(w.idle())
  end)

  it("treats silence as a sliding one does", function()
    local hold = open("window", { window = { kind = "tumble", over = S }, value = function() end, on_silence = "hold" })
    local clear = open("window", { window = { kind = "tumble", over = S }, value = function() end, on_silence = "clear" })
    hold.event(1, {}, 5)
    clear.event(1, {}, 5)
    hold.active, clear.active = true, true

    assert.equal("evaluate", hold.fire())
    assert.is_nil(hold.due())
    assert.equal("evaluate", clear.fire())
    assert.same({ "off", "silence" }, { clear.fire() })
  end)

  it("says nothing with too few entries", function()
    local w = open("window", { window = { kind = "tumble", over = 10 * S, min = 2 } })
    w.event(3)

    assert.is_nil((w.fire()))
  end)

  it("shows the window that ended to the timers of the life", function()
    local w = open("window", { window = { kind = "tumble", over = 10 * S }, hold = S })
    w.event(3)
    w.event(4)
    w.fire()
    w.event(11)

    assert.equal(2, w.subject().count)
  end)
end)


describe("a session", function()
  local function session(over)
    return open("window", { window = { kind = "session", gap = 5 * S, over = over and over * S } })
  end

  it("goes on as long as no gap is too long", function()
    local w = session()
    w.event(1)
    w.event(6)

    assert.equal("evaluate", w.event(11))
    assert.equal(3, w.subject().count)
    assert.equal(16, w.due())
    assert.same({ "off", "session closed" }, { w.fire() })
    assert.equal(3, w.subject().count)
    assert.is_true(w.idle())
    w.event(17)
    assert.equal(1, w.subject().count)
  end)

  it("does not become longer than over", function()
    local w = session(8)
    w.event(1)
    w.event(5)
    w.event(9)
    assert.equal(3, w.subject().count)

    assert.equal("evaluate", w.event(10))
    assert.equal(1, w.subject().count)
  end)

  it("is new where an event is counted at the instant at which the last one closed", function()
    local w = session()
    w.event(1)
    w.fire()
    w.event(6)

    assert.equal(1, w.subject().count)
  end)
end)


describe("what a window shows", function()
  local function of(values, options)
    local def = { window = { over = 100 * S, quantile = options and options.quantile }, value = function() end }
    local w = open("window", def)
    for i, value in ipairs(values) do
      w.event(options and options.times and options.times[i] or i, {}, value)
    end
    return w.subject()
  end

  local function close_to(expected, actual)
    assert.is_true(math.abs(expected - actual) <= 1e-9 * math.max(1, math.abs(expected)),
      ("%.17g is not %.17g"):format(actual, expected))
  end

  it("is what statistics make of its values", function()
    local s = of { 2, 4, 4, 4, 5, 5, 7, 9 }

    assert.same({ 8, 40, 5, 2, 9, 2, 9, 7 }, { s.count, s.sum, s.avg, s.min, s.max, s.first, s.last, s.span })
    close_to(math.sqrt(32 / 7), s.sd)
    close_to(0.08, s.rate)
    close_to(34 / 42, s.slope)
  end)

  it("is nil where there is nothing to compute it of", function()
    local none, one, same = of {}, of { 3 }, of({ 3, 4 }, { times = { 5, 5 } })

    assert.same({ 0, 0, 0, 0 }, { none.count, none.sum, none.rate, none.span })
    for _, name in ipairs { "avg", "min", "max", "first", "last", "slope", "sd" } do
      assert.is_nil(none[name])
    end
    assert.is_nil(one.sd)
    assert.is_nil(one.slope)
    assert.is_nil(same.slope)
    close_to(math.sqrt(0.5), same.sd)
  end)

  it("interpolates quantiles between the values, in any order", function()
    assert.equal(2.5, of({ 4, 1, 3, 2 }, { quantile = 0.5 }).quantile)
    assert.equal(3, of({ 5, 1, 3 }, { quantile = 0.5 }).quantile)
    assert.equal(1, of({ 5, 1, 3 }, { quantile = 0 }).quantile)
    assert.equal(5, of({ 5, 1, 3 }, { quantile = 1 }).quantile)
    close_to(4.6, of({ 5, 1, 3 }, { quantile = 0.9 }).quantile)
    assert.equal(7, of({ 7 }, { quantile = 0.3 }).quantile)
    assert.is_nil(of({}, { quantile = 0.3 }).quantile)
  end)

  it("keeps its digits where large values lie close together", function()
    local s = of { 1e9 + 1, 1e9 + 2, 1e9 + 3 }
    assert.equal(1, s.sd)
    assert.equal(1, s.slope)
    assert.equal(1e9 + 2, s.avg)

    local far = of({ 1e9, 1e9 + 1 }, { times = { 1.7e9, 1.7e9 + 1 } })
    assert.equal(1, far.slope)
    assert.equal(2, of({ 1e100, 1, 1, -1e100 }).sum)
  end)

  it("tells values apart as JSON does, and does not count what is not there", function()
    local w = open("window", { window = { over = S, distinct = "data.a.b" } })
    for _, data in ipairs { { a = { b = 1 } }, { a = { b = "1" } }, { a = { b = true } }, { a = { b = false } }, { a = { b = 1 } },
      {}, { a = 7 }, { a = { b = { 1 } } }, { a = { b = 1.5 } } } do
      w.event(1, { data = data })
    end

    assert.equal(5, w.subject().distinct)
  end)

  it("is computed anew when the window has changed", function()
    local w = open("window", { window = { over = 100 * S }, value = function() end })
    w.event(1, {}, 1)
    assert.equal(1, w.subject().sum)
    w.event(2, {}, 1)

    assert.equal(2, w.subject().sum)
  end)

  it("cannot be changed, and complains of what it does not have", function()
    local s = open("window", { window = { over = S } }).subject()

    assert.error_matches(function() s.count = 7 end, "the window's 'count' cannot be set")
    local _, err = pcall(function() return s.cuont > 3 end)
    assert.matches("rule_window_spec.lua:%d+: a window has no 'cuont' %(did you mean 'count'%?%)", err)
    assert.error_matches(function() return s.avg end, "the window has no 'avg': the rule needs the field value")
    assert.error_matches(function() return s.distinct end, "the rule needs the field window.distinct")
  end)

  it("is told whole", function()
    local w = open("window", { window = { over = 10 * S } })
    w.event(1)
    w.event(3)

    assert.same({ count = 2, rate = 0.2, span = 2 }, w.input.report(w.state))
  end)
end)
