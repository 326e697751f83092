local dkjson = require "dkjson"
local open = require "spec.support.rule_input"

local S = 1000000 -- microseconds

local function step(pattern)
  return { takes = function(event) return event.type == pattern end }
end


describe("a plain rule", function()
  it("looks at the event, or at its value", function()
    local event = { type = "t" }
    local plain = open("plain", {})
    local by_value = open("plain", { value = function() end })

    assert.equal("evaluate", plain.event(1, event))
    assert.equal(event, plain.subject())
    assert.equal("evaluate", by_value.event(1, event, 7))
    assert.equal(7, by_value.subject())
    assert.is_true(plain.idle())
  end)

  it("keeps what it saw only where a timer may ask for it", function()
    local plain = open("plain", { value = function() end })
    local held = open("plain", { value = function() end, hold = S })
    local held_event = open("plain", { hold = S })
    plain.event(1, {}, 7)
    held.event(1, {}, 7)
    held_event.event(1, { type = "x" })
    plain.wait(1)
    held.wait(1)
    held_event.wait(1)

    assert.is_nil(plain.subject())
    assert.equal(7, held.subject())
    assert.equal("x", held_event.subject().type)
  end)
end)


describe("a path of the event", function()
  local path = require "prelude.rule_path"

  it("leads to what is there, and never raises", function()
    local event = { type = "t", data = { x = { y = 5 }, s = "text", n = dkjson.null }, metadata = {} }

    assert.equal("t", path.reader "type"(event))
    assert.equal(5, path.reader "data.x.y"(event))
    assert.is_nil(path.reader "data.x.y.z"(event))
    assert.is_nil(path.reader "data.s.len"(event))
    assert.is_nil(path.reader "data.q.r.s"(event))
    assert.is_nil(path.reader "metadata.tenant.id"(event))
    assert.is_nil(path.reader "data.x"({ data = 7 }))
  end)

  it("takes only numbers for numbers", function()
    assert.equal(0, path.number(0))
    assert.equal(-1.5, path.number(-1.5))
    for _, value in ipairs { "7", true, {}, 0 / 0, 1 / 0, -1 / 0 } do
      assert.is_nil(path.number(value))
    end
  end)
end)


describe("absence", function()
  it("is on when no event came in time", function()
    local a = open("absent", { absent = { within = 10 * S } })

    assert.equal("off", a.event(1))
    assert.equal("off", a.event(11))
    assert.equal(21, a.due())
    assert.equal("on", a.fire())
    assert.same({ since = 11, last = 11 }, a.subject())
    assert.is_true(a.idle())
    assert.equal("off", a.event(30))
    assert.is_false(a.idle())
    assert.equal(40, a.due())
  end)

  it("counts only keys of the set", function()
    local a = open("absent", { absent = { within = 10 * S, grace = 5 * S, expect = { "x" } } })
    assert.is_nil((a.event(1)))
    assert.is_nil(a.due())
    assert.is_true(a.idle())

    assert.is_nil((a.input.expect(a.state, true, 2 * S)))
    assert.equal(17, a.due())
    assert.equal("on", a.fire())
    assert.same({ since = 2 }, a.subject())
    assert.is_false(a.idle())
    assert.equal("off", a.event(20))
    assert.equal(30, a.due())
    a.input.expect(a.state, true, 25 * S)
    assert.equal(30, a.due())
    assert.same({ "off", "not expected" }, { a.input.expect(a.state, false, 26 * S) })
    assert.is_nil(a.due())
    assert.is_true(a.idle())
  end)
end)


describe("a sequence", function()
  local function seq(def)
    for i, name in ipairs(def) do
      def[i] = step(name)
    end
    for i, name in ipairs(def.missing or {}) do
      def.missing[i] = step(name)
    end
    def.within = type(def.within) == "function" and def.within or def.within * S
    local s = open("seq", { seq = def })
    function s.types(t, ...)
      local verdict, reason
      for i, name in ipairs { ... } do
        verdict, reason = s.event(t + i - 1, { type = name, id = t + i - 1 })
      end
      return verdict, reason
    end
    function s.ids()
      local ids = {}
      for i, event in ipairs(s.subject()) do
        ids[i] = event.id
      end
      return ids
    end
    return s
  end

  it("is on when its last step comes in time", function()
    local s = seq { "a", "b", "c", within = 10 }

    assert.is_nil((s.types(1, "b", "a", "x", "b")))
    assert.equal("on", s.types(12, "c"))
    assert.same({ 2, 4, 12 }, s.ids())
    assert.equal(2, s.subject()[1].at)
    assert.is_true(s.idle())
  end)

  it("forgets a beginning whose time is up", function()
    local s = seq { "a", "b", within = 10 }
    s.types(1, "a")

    assert.equal(11, s.due())
    assert.is_false(s.idle())
    s.fire()
    assert.is_true(s.idle())
    assert.is_nil((s.types(12, "b")))
  end)

  it("keeps the newest beginning, and what got further", function()
    local s = seq { "a", "b", "c", within = 100 }
    s.types(1, "a", "b", "a", "a")

    assert.equal("on", s.types(5, "c"))
    assert.same({ 1, 2, 5 }, s.ids())
    assert.equal("on", s.types(6, "b", "c"))
    assert.same({ 4, 6, 7 }, s.ids())
    assert.is_nil((s.types(8, "c")))
  end)

  it("lets no event be two steps of one instance, but a last and a first one of two", function()
    local s = seq { "a", "a", within = 10 }

    assert.is_nil((s.types(1, "a")))
    assert.equal("on", s.types(2, "a"))
    assert.equal("on", s.types(3, "a"))
    assert.same({ 2, 3 }, s.ids())
  end)

  it("asks its first event for the time", function()
    local s = seq { "a", "b", within = function(event) return event.id == 1 and "5s" or 20 end }
    s.types(1, "a")
    assert.equal(6, s.due())
    s.types(2, "a")
    assert.equal(22, s.due())

    local bad = seq { "a", "b", within = function() return "soon" end }
    assert.error_matches(function() bad.types(1, "a") end, "seq: within returned 'soon' is no duration")
  end)
end)


describe("a sequence with something missing", function()
  local function job()
    local s = open("seq", { seq = { step "start", missing = { step "done", step "fail" }, within = 10 * S } })
    function s.type(t, name)
      return s.event(t, { type = name, id = t })
    end
    return s
  end

  it("is on when it did not come until the end, and off when it comes late", function()
    local s = job()
    s.type(1, "start")

    assert.equal(11, s.due())
    assert.equal("on", s.fire())
    assert.equal(1, s.subject()[1].id)
    s.active = true
    assert.is_nil((s.type(12, "start")))
    assert.is_nil(s.due())
    assert.same({ "off", "late" }, { s.type(13, "fail") })
    assert.is_true(s.idle())
  end)

  it("is over when it comes, the last instant included", function()
    local s = job()
    s.type(1, "start")

    assert.is_nil((s.type(11, "done")))
    assert.is_nil(s.due())
    assert.is_true(s.idle())
  end)

  it("ignores further first steps while it waits", function()
    local s = job()
    s.type(1, "start")
    s.type(5, "start")

    assert.equal(11, s.due())
  end)

  it("begins anew when its match was refused, or its alert ended otherwise", function()
    local s = job()
    s.type(1, "start")
    s.fire()
    s.active = false

    s.type(20, "start")
    assert.equal(30, s.due())
  end)

  it("may watch for the next of the same", function()
    local s = open("seq", { seq = { step "beat", missing = { step "beat" }, within = 10 * S } })
    s.event(1, { type = "beat" })
    s.event(9, { type = "beat" })

    assert.equal(19, s.due())
    assert.equal("on", s.fire())
    s.active = true
    assert.same({ "off", "late" }, { s.event(25, { type = "beat" }) })
    assert.equal(35, s.due())
  end)

  it("is stopped by it also before all steps are done", function()
    local s = open("seq", { seq = { step "a", step "b", missing = { step "c" }, within = 10 * S } })
    s.event(1, { type = "a" })
    s.event(2, { type = "c" })
    s.event(3, { type = "b" })

    assert.is_nil(s.due())
    s.event(4, { type = "a" })
    s.event(14, { type = "b" })
    assert.equal(14, s.due())
    assert.equal("on", s.fire())
  end)
end)


describe("a fold", function()
  it("has a state for each key, which steps change or replace", function()
    local f = open("fold", { fold = { init = { n = 0, list = {} }, step = function(s, event)
      if event.fresh then
        return { n = 100, list = {} }
      end
      s.n = s.n + 1
    end } })
    assert.is_true(f.idle())
    assert.equal("evaluate", f.event(1))
    f.event(2)
    assert.equal(2, f.subject().n)
    assert.is_false(f.idle())

    f.state = {}
    f.event(3)
    assert.equal(1, f.subject().n)
    f.event(4, { fresh = true })
    assert.equal(100, f.subject().n)
  end)

  it("may make its first state with a function", function()
    local f = open("fold", { fold = { init = function() return { n = 5 } end, step = function(s) s.n = s.n + 1 end } })
    f.event(1)

    assert.equal(6, f.subject().n)
  end)
end)


describe("a score", function()
  local function detector(fields)
    fields.value, fields.score = function() end, { init = { sum = 0 }, step = function(state, value, t)
      state.sum = state.sum + value
      if value >= 0 then
        return { z = state.sum, t = t, parts = { 1 } }
      end
    end }
    return open("fold", fields)
  end

  it("is what the detector says of the value and its time", function()
    local s = detector {}
    assert.equal("evaluate", s.event(7, {}, 3))
    assert.same({ z = 3, t = 7, parts = { 1 } }, s.subject())

    assert.is_nil((s.event(8, {}, -1)))
    assert.equal("evaluate", s.event(9, {}, 3))
    assert.equal(5, s.subject().z)
    s.wait(9)
    assert.is_nil(s.subject())
  end)

  it("is kept where a timer may ask for it", function()
    local s = detector { hold = S }
    s.event(7, {}, 3)
    s.wait(7)

    assert.same({ z = 3, t = 7 }, s.subject())
  end)
end)
