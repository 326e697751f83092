local engine = require "spec.support.rule_engine"
local dkjson = require "dkjson"


local HOT = [[on = "t", value = "data.v", when = function(v) return v > 70 end, ]]


local function v(value, key)
  return { "t", key or "a", { v = value } }
end


describe("what a rule raises beside alerts", function()
  it("is facts and actions, at the firing and not at a change of level", function()
    local r = engine.open [[on = "t", value = "data.v", when = { info = function(v) return v > 1 end, error = function(v) return v > 5 end }, hold = "1m",
      emit = function(s, k, e)
        assert(e == nil)
        return { event("a.b", { s = s }), event("c.d", { k = k.aggregate_id }, { aggregate_type = "device", aggregate_id = "d" }) }
      end,
      act = function(s) return { publish("x.y", { s = s }), webhook { to = "ops", data = { a = 1 } }, command { to = "pager" },
        sql("SELECT $1, $2", s, nil), pg_notify("c", "p") } end, mode = "queued", max = 4]]
    r:event("00:01", v(3)):advance("00:03"):event("00:04", v(9))
    local episode, out = r.raised[1].episode, {}
    for _, record in ipairs(r.raised) do
      if record.kind ~= "alert" then
        out[#out + 1] = record
      end
    end
    local at, key = engine.instant("00:02"), '"a"'
    local function event(fields)
      for name, value in pairs { kind = "event", rule = "r", episode = episode, at = at, position = 1, cause = "e1", key_text = key, depth = 0 } do
        fields[name] = fields[name] or value
      end
      return fields
    end
    local function act(fields)
      fields.kind, fields.mode, fields.max = "act", "queued", 4
      return event(fields)
    end
    local function id(what)
      return ("uuid(%s\n%s)"):format(episode, what)
    end

    assert.same({
      event { event_id = id "emit\n1", type = "a.b", data = { s = 3 }, aggregate_type = "alert", aggregate_id = episode },
      event { event_id = id "emit\n2", type = "c.d", data = { k = "a" }, aggregate_type = "device", aggregate_id = "d" },
      act { id = id "act\n1", act = "publish", data = { type = "x.y", data = { s = 3 }, aggregate_type = "alert", aggregate_id = episode } },
      act { id = id "act\n2", act = "webhook", to = "ops", data = { a = 1 } },
      act { id = id "act\n3", act = "command", to = "pager" },
      act { id = id "act\n4", act = "sql", data = { text = "SELECT $1, $2", args = { 3, dkjson.null } } },
      act { id = id "act\n5", act = "notify", to = "c", data = "p" },
    }, out)
  end)

  it("may be one action that is said once", function()
    local r = engine.open(HOT .. [[act = webhook { to = "ops", data = { a = 1 } }]]):event("00:01", v(80))

    assert.same({ "00:01:00 webhook" }, r:said("act"))
  end)

  it("may be nothing this time", function()
    local r = engine.open(HOT .. [[act = function() end, emit = function() end]]):event("00:01", v(80))

    assert.equal(1, #r.raised)
  end)

  local wrong = {
    { "emit = function() return 5 end", "emit must return event(\"type\", data), or a list of them, not a number" },
    { "emit = function() return { 5 } end", "emit must return event(\"type\", data), or a list of them, and number 1 of the list is a number" },
    { "emit = function() return { type = 'x' } end", "emit must return event(\"type\", data), or a list of them, not a table with other things" },
    { "emit = function() return publish('x') end", "emit must return event(\"type\", data), or a list of them, not a table with other things" },
    { "act = function() return event('x') end", "act must be publish, webhook, command, sql or pg_notify, or a list of them, not a table with other things" },
    { "labels = function() return 5 end", "labels returned a number (return a table, name = text)" },
    { "labels = function() return { x = {} } end", "labels returned x = a table, which is no text (give names and texts)" },
    { "labels = function() return { 'x' } end", "labels returned a list, which is no text (give names and texts)" },
  }
  for _, case in ipairs(wrong) do
    it("is refused: " .. case[1], function()
      local r = engine.open(HOT .. case[1])
      local ok, why = pcall(r.event, r, "00:01", v(80))

      assert.same({ false, "rules/r.lua:2: " .. case[2] }, { ok, why })
    end)
  end

  local words = {
    { "event()", "event: an event type is expected, not a nil" },
    { "event('a.*')", "event: an event type is expected, not 'a.*'" },
    { "event('x', 5)", "event 'x': data must be a table, not 5" },
    { "event('x', {}, { agregate_id = 'a' })", "event 'x': unknown option 'agregate_id' (did you mean 'aggregate_id'?)" },
    { "event('x', {}, { aggregate_id = 'a' })", "event 'x': aggregate_type and aggregate_id go together" },
    { "publish('x', {}, { aggregate_id = 5 })", "publish 'x': aggregate_id must be a text, not 5" },
    { "webhook()", "webhook: { to = \"receiver\", data = { … } } is expected, not a nil" },
    { "webhook { too = 'ops' }", "webhook: unknown option 'too' (did you mean 'to'?)" },
    { "webhook { to = 'https://x' }", "webhook: to must be a receiver's name, not 'https://x'" },
    { "command {}", "command: to must be a receiver's name, not a nil" },
    { "sql(' ')", "sql: a statement is expected, not ' '" },
    { "pg_notify('')", "pg_notify: a channel's name is expected, not ''" },
    { "ref(5)", "ref: \"projection\" or \"projection.column\" is expected, not 5" },
    { "ref 'a.b.c'", "ref: \"projection\" or \"projection.column\" is expected, not 'a.b.c'" },
    { "ref('x').y = 1", "ref \"x\" cannot be changed by a rule" },
    { "local n = 'x' return ref(n).y", "ref \"x\" was not found when the rule was loaded (write its name as a text in the file)" },
  }
  for _, case in ipairs(words) do
    it("says what is wrong with " .. case[1], function()
      local _, why = engine.try("\n" .. case[1])

      assert.equal("rules/r.lua:2: " .. case[2], why)
    end)
  end

  it("is not raised beyond eight alerts one upon another, and counted", function()
    local r = engine.open(HOT .. "emit = function() return event('x') end, ttl = '1h'")
    local function deep(depth)
      return { "t", "k" .. depth, { v = 80 }, metadata = { moonwake = { depth = depth } } }
    end
    r:event("00:01", deep(6)):event("00:02", deep(7)):event("00:03", deep(8)):event("00:04", v(1, "k8"))
    local depths = {}
    for i, record in ipairs(r.raised) do
      depths[i] = record.depth
    end

    assert.same({ 7, 7, 8, 8 }, depths)
    assert.same({ too_deep = 1 }, r:counts())
    r.raised = {}
    r:advance("05:00")
    assert.same({ 7, 8 }, { r.raised[1].depth, r.raised[2].depth })
  end)
end)


describe("texts", function()
  local function summary(text, event, more)
    return engine.open(("%s summary = %q, %s"):format(HOT, text, more or "")):event("00:01", event or v(80)).raised[1].summary
  end

  it("take parts of the key, labels, the subject, the severity, the rule and paths of the event", function()
    assert.equal("a is 80 (warning, r), team x, t at s1/5", summary("{aggregate_id} is {value} ({severity}, {rule}), team {team}, {type} at {data.site.id}/{data.n}",
      { "t", "a", { v = 80, n = 5, site = { id = "s1" } } }, "labels = { team = 'x' }"))
  end)

  it("keep the braces of what has no value, and of what is none", function()
    assert.equal("{nothing} {data.none} {data} {} {a b} {x", summary("{nothing} {data.none} {data} {} {a b} {{x"))
  end)

  it("write numbers for people", function()
    local function value(n)
      return summary("{value}", v(n))
    end

    assert.same({ "80", "1234567890123", "80.1235", "1234568" }, { value(80), value(1234567890123), value(80.123456789), value(1234567.8) })
  end)

  it("are the rule and its key where there is no summary", function()
    assert.equal("r: a", engine.open(HOT):event("00:01", v(80)).raised[1].summary)
    assert.equal("r: x / y", engine.open(HOT .. "by = { 'type', 'source' }"):event("00:01", { "t", "a", { v = 80 }, key = '["x","y"]' }).raised[1].summary)
  end)

  it("remember what the event had, for timers", function()
    local r = engine.open(HOT .. "hold = '1m', linger = '1m', summary = '{data.site}'")
    r:event("00:01", { "t", "a", { v = 80, site = "s1" } }):event("00:03", v(1)):advance("01:00")

    for _, record in ipairs(r.raised) do
      assert.equal("s1", record.summary)
    end
    assert.equal(3, #r.raised)
  end)

  it("make labels, which stay while the alert lasts", function()
    local r = engine.open [[on = "t", value = "data.v", when = { info = function(v) return v > 1 end, error = function(v) return v > 5 end },
      labels = { site = "{data.site}", n = 5, first = "{value}" }]]
    r:event("00:01", { "t", "a", { v = 3, site = "s1" } }):event("00:02", { "t", "a", { v = 9, site = "s2" } }):event("00:03", v(0))

    for _, record in ipairs(r.raised) do
      assert.same({ site = "s1", n = "5", first = "3" }, record.labels)
    end
    r.raised = {}
    r:event("00:04", { "t", "a", { v = 9, site = "s2" } })
    assert.same({ site = "s2", n = "5", first = "9" }, r.raised[1].labels)
  end)

  it("may be labels of a function, which reads projections", function()
    local r = engine.open(HOT .. [[labels = function(k, value) return { team = ref("owners")[k.aggregate_id].team, n = value, up = true,
      size = ref("site.size").x } end]])
    r.rows = { { a = { team = "blue" } }, { x = { size = 5 } } }
    r:event("00:01", v(80))

    assert.same({ team = "blue", n = "80", up = "true", size = "5" }, r.raised[1].labels)
  end)

  it("tell of a plain event what it has in its data, in a timer too", function()
    local r = engine.open [[on = "t", when = function() return true end, hold = "1m", emit = function(e) return event("x", { v = e.data.v }) end]]
    r:event("00:01", { "t", "a", { v = 5, list = { 1 } } }):advance("00:05")

    assert.same({ { v = 5 }, { v = 5 }, { v = 5 } }, { r.raised[1].subject, r.raised[2].subject, r.raised[3].data })
  end)

  it("tell the subject's small members", function()
    local r = engine.open [[on = "t", fold = { step = function(s, e) s.n, s.list, s.text, s.ok = 5, { 1 }, ("x"):rep(1000), true end }, when = function() return true end]]
    r:event("00:01")

    assert.same({ n = 5, text = ("x"):rep(500), ok = true }, r.raised[1].subject)
  end)
end)


describe("a probe", function()
  --- The reasons that were told for a sequence of events.
  local function whys(fields, ...)
    local r = engine.open(fields)
    r.engine.probe(true)
    for _, event in ipairs { ... } do
      r:event(event[1], event[2])
    end
    return r
  end

  it("tells all of an evaluation", function()
    local r = whys(HOT .. "hold = '1m'", { "00:01", v(80) })

    assert.same({ kind = "probe", key_text = '"a"', position = 1, at = engine.instant("00:01"), what = "event", type = "t", value = 80, subject = { value = 80 },
      when = { warning = true }, before = "inactive", after = "pending", timers = { hold = engine.instant("00:02") },
      why = "hold: on since 2026-01-01T00:01:00Z, and fires at 2026-01-01T00:02:00Z if it stays on" }, r.raised[2])
    r.raised = {}
    r:advance("00:03")
    assert.same({ "timer hold", "pending", "firing", 1, "it fires" }, { r.raised[2].what, r.raised[2].before, r.raised[2].after, r.raised[2].position, r.raised[2].why })
  end)

  it("names the first thing that keeps a key from firing", function()
    local r = whys(HOT .. "where = function(e) return not e.data.no end, cooldown = '1h'", { "00:01", { "t", "a", { v = 80, no = 1 } } }, { "00:02", { "t", "a", {} } },
      { "00:03", v(5) }, { "00:04", v(80) }, { "00:05", v(81) }, { "00:06", v(5) }, { "00:07", v(80) })

    assert.same({ "00:01:00 where: it does not take this event", "00:02:00 value: the event has none at data.v", "00:03:00 when is false for warning: value = 5",
      "00:04:00 it fires", "00:05:00 it is firing already, since 2026-01-01T00:04:00Z", "00:06:00 when is false for warning: value = 5",
      "00:07:00 cooldown: it cannot fire until 2026-01-01T01:04:00Z" }, r:said("probe"))
  end)

  it("tells the levels, and what muted it", function()
    local r = whys([[on = "t", value = "data.v", when = { info = function(v) return v > 1 end, error = function(v) return v > 5 end },
      clear = { info = function(v) return v < 0 end }, max_alerts = 1]], { "00:01", v(0) }, { "00:02", v(3) }, { "00:03", v(4) }, { "00:02", v(3, "b") })

    assert.same({ "00:01:00 when is false for info, error: value = 0", "00:02:00 it fires", "00:03:00 it is firing already, since 2026-01-01T00:02:00Z",
      "00:02:00 it fires, and is muted: limit" }, (function()
        assert.same({ error = false }, r.raised[4].when)
        assert.same({ info = false }, r.raised[4].clear)
        return r:said("probe")
      end)())
  end)

  it("tells of windows that hold too little, of what they wait for, and of buffers", function()
    local r = whys([[on = "t", window = { over = "10m", min = 2 }, when = function(w) return w.count > 5 end]], { "00:01" }, { "00:02" })
    local absent = whys([[on = "t", absent = { within = "10m" }]], { "00:01" })
    local late = whys([[on = "t", when = print, clock = "occurred", lateness = "5m"]], { "00:01" })

    assert.equal("the window has 1 of at least 2 entries", r.raised[1].why)
    assert.matches("^when is false for warning: count = 2, ", r.raised[2].why)
    assert.equal("the last own event is not long enough ago: 2026-01-01T00:01:00Z", absent.raised[1].why)
    assert.equal("the event waits for earlier ones until 2026-01-01T00:01:00Z has passed and 5m more", late.raised[1].why)
  end)

  it("is for one key where that is named, and ends", function()
    local r = engine.open(HOT)
    r.engine.probe(true, '"b"')
    r:event("00:01", v(80, "a")):event("00:02", v(80, "b"))
    r.engine.probe(false)
    r:event("00:03", v(80, "b"))

    assert.same({ "00:02:00 it fires" }, r:said("probe"))
  end)

  it("changes nothing", function()
    local function run(probing)
      local r = engine.open(HOT .. "hold = '1m', linger = '1m', cooldown = '5m', flap = {}")
      r.engine.probe(probing)
      for i, value in ipairs { 80, 81, 1, 90, 5, 80, 80, 2, 80 } do
        r:event(i * 40, v(value))
      end
      return r:advance("01:00"):said(), r.states
    end
    local said, states = run(false)

    assert.same({ said, states }, { run(true) })
  end)
end)
