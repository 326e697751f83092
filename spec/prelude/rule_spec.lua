local engine = require "spec.support.rule_engine"


--- The problem of a rule "r" with these fields, without its place; nil where there is none.
local function problem(fields, files)
  local r, why = engine.try(("\nrule \"r\" { %s }\n"):format(fields), files)
  return not r and (why:match("^rules/r.lua:2: rule 'r': (.*)$") or "elsewhere: " .. why) or nil
end


describe("a rule's definition", function()
  local ON = "on = 't', when = function() end"

  local wrong = {
    { "when = function() end", "field 'on' is missing (event type or glob, or a list of them: the rule's own events)" },
    { "on = 't'", "field 'when' is missing (turns the condition on: function(subject, k, event), or { info =, warning =, error =, critical = functions })" },
    { "on = {}, when = function() end", "on must be an event type or a glob, or a list of them" },
    { "on = { 't', 1 }, when = function() end", "on must be an event type or a glob, or a list of them, not 1" },
    { "on = '', when = function() end", "on must be an event type or a glob, or a list of them, not ''" },
    { "on = { a = 't' }, when = function() end", "on must be an event type or a glob, or a list of them" },
    { "on = 1, when = function() end", "field 'on' must be a string or a table, not 1" },
    { ON .. ", wher = function() end", "unknown field 'wher' (did you mean 'when'?)" },
    { ON .. ", colour = 1", "unknown field 'colour'" },
    { ON .. ", by = 'agregate_id'", "by 'agregate_id' is no path of the event (did you mean 'aggregate_id'?)" },
    { ON .. ", by = 'data'", "by 'data' must name a member (such as data.site)" },
    { ON .. ", by = {}", "by is an empty list (name at least one path)" },
    { ON .. ", by = { 'type', 1 }", "by must be a path, a list of paths, { name = path } or a function, not a list with 1" },
    { ON .. ", by = { 'type', app = 'data.app' }", "by is a list of paths, or { name = path }, and not both" },
    { ON .. ", by = { 'data.a', 'metadata.a' }", "by: two parts of the key are named 'a' (write by = { name = path, … })" },
    { ON .. ", by = 'data.state'", "by: a part of the key cannot be named 'state' (write by = { name = path })" },
    { ON .. ", hold = -1", "hold -1 is negative" },
    { ON .. ", hold = '-5m'", "hold '-5m' is negative" },
    { ON .. ", hold = '5 minutes'", "hold '5 minutes' is no duration (write seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\")" },
    { ON .. ", hold = '5y'", "hold '5y' is no duration (write seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\")" },
    { ON .. ", hold = ''", "hold '' is no duration (write seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\")" },
    { ON .. ", linger = 0/0", "linger nan is no duration (write seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\")" },
    { ON .. ", cooldown = 1/0", "cooldown inf is longer than a hundred years" },
    { ON .. ", ttl = 0", "ttl is 0, and must be longer" },
    { ON .. ", ttl = true", "field 'ttl' must be a number or a string, not true" },
    { ON .. ", severity = 'warn'", "field 'severity' is 'warn', and must be one of info, warning, error, critical" },
    { ON .. ", kind = 'signals'", "field 'kind' is 'signals', and must be one of alert, signal (did you mean 'signal'?)" },
    { ON .. ", kind = 'signal', hold = 1", "hold does not go with kind = \"signal\" (a signal fires and is over)" },
    { ON .. ", kind = 'signal', linger = 1", "linger does not go with kind = \"signal\" (a signal fires and is over)" },
    { ON .. ", kind = 'signal', flap = {}", "flap does not go with kind = \"signal\" (a signal fires and is over)" },
    { ON .. ", value = 'data'", "value 'data' must name a member (such as data.site)" },
    { ON .. ", on_silence = 'clear'", "on_silence needs a window and value" },
    { ON .. ", mode = 'queued'", "mode needs act (what it does when it fires)" },
    { ON .. ", max = 3", "max needs mode = \"queued\" or \"parallel\"" },
    { ON .. ", late = 'drop'", "late needs clock = \"occurred\"" },
    { ON .. ", lateness = '1m'", "lateness needs clock = \"occurred\"" },
    { ON .. ", since = 'yesterday'", "since 'yesterday' is no duration (write seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\"), nor \"start\" or \"now\"" },
    { ON .. ", since = -5", "since -5 is negative, nor \"start\" or \"now\"" },
    { ON .. ", window = { over = '5m' }, fold = { step = print }", "window and fold are two inputs (a rule has one; let a second rule look at the events that this one emits)" },
    { "on = 't', when = {}", "when names no level (write when = { warning = function(…) … end })" },
    { "on = 't', when = { warn = print }", "when: unknown level 'warn' (info, warning, error, critical)" },
    { "on = 't', when = { print }", "when: unknown level 1 (info, warning, error, critical)" },
    { "on = 't', when = { info = 1 }", "when.info must be a function(subject, k, event), not 1" },
    { "on = 't', when = { info = print }, clear = print", "when has levels and clear is one function (write clear = { warning = function(…) … end, … })" },
    { "on = 't', when = { info = print }, clear = { error = print }", "clear.error has no when.error" },
    { "on = 't', when = print, clear = { error = print }", "clear has levels and when has none (write when = { warning = function(…) … end, … })" },
    { "on = 't', clear = print", "clear needs when (what turns the condition on)" },
    { "on = 't', when = { info = print }, severity = 'info'", "severity does not go with levels (when names them)" },
    { ON .. ", window = {}", "window: over is missing (how long it is)" },
    { ON .. ", window = { over = '-5m' }", "window: over '-5m' is negative" },
    { ON .. ", window = { over = 0 }", "window: over is 0, and must be longer" },
    { ON .. ", window = { ovr = '5m' }", "window: unknown field 'ovr' (did you mean 'over'?)" },
    { ON .. ", window = { over = '5m', kind = 'slid' }", "window: field 'kind' is 'slid', and must be one of slide, tumble, session (did you mean 'slide'?)" },
    { ON .. ", window = { kind = 'session' }", "window: a session needs gap (the time without events that ends it)" },
    { ON .. ", window = { over = '5m', gap = '1m' }", "window: gap is for kind = \"session\"" },
    { ON .. ", window = { over = '1m', gap = '1m', kind = 'session' }", "window: over is not longer than gap, so that a session is never more than one event" },
    { ON .. ", window = { over = '5m', min = 20, max = 10 }", "window: min is 20, and the window holds at most 10 entries (max)" },
    { ON .. ", window = { over = '5m', quantile = 0.5 }", "window: quantile needs value (the number that is looked at)" },
    { ON .. ", window = { over = '5m', quantile = 2 }", "window: field 'quantile' is 2, and must be from 0 to 1" },
    { ON .. ", window = { over = '5m', distinct = 'dat.x' }", "window: distinct 'dat.x' is no path of the event (did you mean 'data'?)" },
    { ON .. ", value = 'data.v', fold = { step = print }", "value needs an input of numbers (none, window or score)" },
    { ON .. ", fold = {}", "fold: field 'step' is missing (changes the state, or returns a new one)" },
    { ON .. ", score = { step = print }", "score needs value (the number that the detector looks at)" },
    { "on = 't', absent = {}", "absent: field 'within' is missing (the time in which an own event is expected)" },
    { "on = 't', absent = { within = 0 }", "absent: within is 0, and must be longer" },
    { ON .. ", absent = { within = 1 }", "when does not go with absent (its own events end it)" },
    { "on = 't', absent = { within = 60 }, ttl = 60", "ttl is not longer than absent.within, so that it never fires" },
    { "on = 't', absent = { within = 60, expect = { 'a' } }, ttl = 90", "ttl does not go with absent.expect (a key that leaves the expected set is dropped)" },
    { "on = 't', absent = { within = 60, expect = {} }", "absent: expect is empty (name keys, or write ref \"projection\")" },
    { "on = 't', absent = { within = 60, expect = 'devices' }", "absent: expect must be ref \"projection\" or a list of keys, not 'devices'" },
    { "on = 't', by = { 'type', 'source' }, absent = { within = 60, expect = { 'a' } }", "absent: expect: number 1 has 1 parts, and the key has 2 (type, source)" },
    { "on = 't', absent = { within = 60, expect = ref 'Devices' }", "elsewhere: rules/r.lua:2: ref: \"projection\" or \"projection.column\" is expected, not 'Devices'" },
    { "on = 't', seq = {}", "seq has no steps (write seq = { \"first.type\", \"second.type\", within = \"15m\" })" },
    { "on = 't', seq = { 'a', 'b' }", "seq never ends: it has neither within nor missing (say within, the time from the first step to the last)" },
    { "on = 't', seq = { 'a', missing = 'b' }", "seq: missing needs within (how long to wait for it)" },
    { "on = 't', seq = { 'a', 'b', within = '5m' }", "seq never ends: nothing resolves its alert (say kind = \"signal\", clear or ttl)" },
    { "on = 't', kind = 'signal', seq = { 'a', within = '5m' }", "seq has one step and nothing missing, which is `on` alone (add a step, or missing)" },
    { "on = 't', kind = 'signal', seq = { 'a', 5, within = '5m' }", "seq: step 2 must be an event type, a glob, or { on =, where = }, not 5" },
    { "on = 't', kind = 'signal', seq = { 'a', { on = 'b', were = print }, within = '5m' }", "seq: step 2: unknown field 'were' (did you mean 'where'?)" },
    { "on = 't', kind = 'signal', seq = { 'a', { on = 'b', where = 1 }, within = '5m' }", "seq: step 2: where must be a function(event), not 1" },
    { "on = 't', seq = { 'a', missing = {}, within = '5m' }", "seq: missing names no step" },
    { "on = 't', seq = { 'a', missing = 'b', within = '-5m' }", "seq: within '-5m' is negative" },
    { "on = 't', seq = { 'a', missing = 'b', withn = '5m' }", "seq: unknown field 'withn' (did you mean 'within'?)" },
    { ON .. ", flap = { low = .5, high = .25 }", "flap: low is 0.5, and must be less than high (0.25)" },
    { ON .. ", flap = { samples = 2 }", "flap: field 'samples' is 2, and must be from 3 to 1000" },
    { ON .. ", notify = 'Ops Hook'", "notify: 'Ops Hook' is no receiver's name" },
    { ON .. ", notify = { 'ops', 5 }", "notify must be a receiver's name, or a list of them, not 5" },
    { ON .. ", group = { by = 'site' }", "group needs notify (whom to tell)" },
    { ON .. ", notify = 'ops', group = { wait = '-1s' }", "group: wait '-1s' is negative" },
    { ON .. ", mute = {}", "mute says nothing (name match or calendar)" },
    { ON .. ", mute = { equal = 'site' }", "mute says nothing (name match or calendar)" },
    { ON .. ", mute = { calendar = 'c', equal = 'site' }", "mute: equal needs match (which alerts are muted)" },
    { ON .. ", mute = { match = {} }", "mute: match is empty (name the rules that are muted)" },
    { ON .. ", mute = { match = { severity = 'warn' } }", "mute: match.severity: unknown level 'warn'" },
    { ON .. ", mute = { match = { 'x' } }", "mute: match is { name = value or list }, such as { rule = \"other\" }" },
    { ON .. ", mute = { calendar = 'maintenance' }", "mute: no calendar 'maintenance' (there is no file rules/calendars/maintenance.lua)" },
    { ON .. ", mute = { calendar = '../x' }", "mute: calendar '../x' is no calendar's name (rules/calendars/NAME.lua)" },
    { ON .. ", labels = { ['a-b'] = 'x' }", "labels: 'a-b' is no label's name (letters, digits and _)" },
    { ON .. ", labels = { team = {} }", "labels.team must be a text, not a table" },
    { ON .. ", summary = 5", "field 'summary' must be a string, not 5" },
    { ON .. ", act = {}", "act is empty" },
    { ON .. ", act = { 5 }", "act must be publish, webhook, command, sql or pg_notify, or a list of them, and number 1 of the list is a number" },
    { ON .. ", act = { to = 'ops' }", "act must be publish, webhook, command, sql or pg_notify, or a list of them, not a table with other things" },
    { ON .. ", act = { event('x') }", "act must be publish, webhook, command, sql or pg_notify, or a list of them, and number 1 of the list is a table" },
    { ON .. ", max_keys = 0", "field 'max_keys' is 0, and must be from 1 to 1000000000" },
    { ON .. ", max_alerts = 0", "field 'max_alerts' is 0, and must be from 1 to 1000000 a minute" },
  }
  for _, case in ipairs(wrong) do
    it(("%s: %s"):format(case[1], case[2]:sub(1, 60)), function()
      assert.equal(case[2], problem(case[1]))
    end)
  end

  local right = {
    "on = { 'a', 'b.*', 'a' }, when = function() end",
    "on = 't', when = function() end, clear = function() end, hold = 0, linger = '0s', cooldown = '1.5h'",
    "on = 't', when = { info = print, critical = print }, clear = { info = print }",
    "on = 't', when = print, by = { device = 'aggregate_id', app = 'data.app' }",
    "on = 't', when = print, window = { kind = 'session', gap = '90s' }",
    "on = 't', absent = { within = '3m', grace = '10m', expect = ref 'devices.active' }",
    "on = 't', absent = { within = '3m', expect = { 'a', 5 } }",
    "on = 't', seq = { 'a', 'b', within = '1m' }, ttl = '1h'",
    "on = 't', seq = { 'a', 'b', within = '1m' }, clear = function() end",
    "on = 't', seq = { { on = { 'a', 'b' }, where = print }, missing = { 'c', { on = 'd' } }, within = function() end }",
    "on = 't', seq = { 'a', missing = { on = 'c' }, within = 5 }",
    "on = 't', when = print, act = { webhook { to = 'x' }, sql('SELECT 1') }, mode = 'queued', max = 3",
  }
  for _, fields in ipairs(right) do
    it("may be " .. fields, function()
      assert.is_nil(problem(fields))
    end)
  end
end)


describe("what the host reads of a rule", function()
  local function spec_of(fields)
    return engine.open(fields).spec
  end

  it("names the parts of the key by the last words of their paths, or as they are named", function()
    local function key(by)
      local r = engine.open("on = 't', when = print, " .. by)
      return { r.definition.key_names, r.definition.key_paths }
    end

    assert.same({ { "aggregate_id" }, { "aggregate_id" } }, key "")
    assert.same({ { "site" }, { "data.at.site" } }, key "by = 'data.at.site'")
    assert.same({ { "aggregate_id", "app" }, { "aggregate_id", "data.app" } }, key "by = { 'aggregate_id', 'data.app' }")
    assert.same({ { "app", "device" }, { "data.app", "aggregate_id" } }, key "by = { device = 'aggregate_id', app = 'data.app' }")
    assert.same({ { "key" } }, key "by = function(e) return e.type end")
  end)

  it("takes the types of `on` and of the steps, once each, and knows its own", function()
    local r = engine.open [[on = { "job.*", "x+y" }, seq = { "job.*", missing = { "a.done", { on = { "b", "x+y" } } }, within = 5 }]]

    assert.same({ "job.*", "x+y", "a.done", "b" }, r.definition.types)
    assert.equal(4, #r.definition.handlers)
    local own = {}
    for _, name in ipairs { "job.started", "job.", "job", "x+y", "xy", "xxy", "a.done", "aXdone", "b", "bb" } do
      own[#own + 1] = r.engine.own(name) and name or nil
    end
    assert.same({ "job.started", "job.", "x+y", "a.done", "b" }, own)
  end)

  it("says whether it reads the events of alerts", function()
    local function after(on)
      return engine.open(("on = %s, when = print"):format(on)).engine.after_alerts
    end

    for _, on in ipairs { "'alert.firing'", "'alert.*'", "'*'", "'al*'", "{ 'x', 'a*.firing' }", "'*.firing'" } do
      assert.is_true(after(on), on)
    end
    for _, on in ipairs { "'alerts.x'", "'x.*'", "'alarm*'", "'device.alert.firing'", "'alert'" } do
      assert.is_false(after(on), on)
    end
  end)

  it("finds the projections that it reads, also in modules, and none that is only written about", function()
    local r = engine.try([[
      local lib = require "fleet"
      local sizes = ref "site.size"
      -- ref "comment"
      --[==[ ref "long" ]==]
      local text = "ref 'text'"
      local t = { ref = function() end }
      t.ref "field"
      rule "r" { on = "t", absent = { within = 60, expect = ref("devices.active") },
        labels = function(k) return { owner = ref('owners')[k.aggregate_id].name, n = lib.size(k), s = sizes.x } end }
    ]], { ["scripts/lib/fleet.lua"] = [[return { size = function(k) return ref [=[site]=][k.site] end }]] })

    assert.same({ { name = "devices", column = "active" }, { name = "owners" }, { name = "site" }, { name = "site", column = "size" } },
      r.engine.refs)
    assert.equal(1, r.engine.expect_ref)
    assert.is_nil(r.engine.expect_keys)
    assert.same({ "devices", "owners", "site", "site" }, r.spec.refs)
  end)

  it("gives the keys of a list that is expected as JSON texts", function()
    assert.same({ '"a"', '"5"', '"it\\"s"' }, engine.open [[on = "t", absent = { within = 60, expect = { "a", 5, 'it"s' } }]].engine.expect_keys)
    assert.same({ '["a","1"]' }, engine.open [[on = "t", by = { "type", "data.m" }, absent = { within = 60, expect = { { "a", 1 } } }]].engine.expect_keys)
  end)

  it("says how much history decides the state", function()
    local function horizon(fields)
      local us = spec_of("on = 't', " .. fields).horizon
      return us and us / 1e6
    end

    assert.is_nil(horizon "when = print")
    assert.equal(0, horizon "when = print, kind = 'signal'")
    assert.is_nil(horizon "when = print, kind = 'signal', cooldown = '1m'")
    assert.is_nil(horizon "when = print, ttl = '1h', clock = 'occurred'")
    assert.equal(3600, horizon "when = print, ttl = '1h'")
    assert.equal(1200 + 60 + 30, horizon "when = print, window = { over = '10m' }, hold = '1m', linger = 30")
    assert.is_nil(horizon "when = print, window = { over = '10m', min = 2 }")
    assert.is_nil(horizon "when = print, clear = print, window = { over = '10m' }")
    assert.is_nil(horizon "when = print, flap = {}, window = { over = '10m' }")
    assert.is_nil(horizon "when = print, value = 'data.v', window = { over = '10m' }")
    assert.equal(1200, horizon "when = print, value = 'data.v', on_silence = 'clear', window = { over = '10m' }")
    assert.is_nil(horizon "when = print, window = { kind = 'session', gap = 5 }")
    assert.is_nil(horizon "when = print, window = { kind = 'session', gap = 5, over = '1m' }")
    assert.is_nil(horizon "when = print, kind = 'signal', value = 'data.v', window = { over = '10m' }")
    assert.is_nil(horizon "kind = 'signal', seq = { 'a', missing = 'b', within = '5m' }")
    assert.is_nil(horizon "absent = { within = '3m' }")
    assert.equal(7200, horizon "absent = { within = '3m' }, ttl = '2h'")
    assert.equal(300, horizon "kind = 'signal', seq = { 'a', 'b', within = '5m' }")
    assert.is_nil(horizon "kind = 'signal', seq = { 'a', 'b', within = function() return 5 end }")
    assert.is_nil(horizon "seq = { 'a', missing = 'b', within = '5m' }")
    assert.is_nil(horizon "when = print, fold = { step = print }")
    assert.is_nil(horizon "when = function() return ref('x').y end, kind = 'signal'")
  end)

  it("says since when, in microseconds or a word", function()
    assert.same({ "start", "now", 604800e6 }, { spec_of("on = 't', when = print").since, spec_of("on = 't', when = print, since = 'now'").since,
      spec_of("on = 't', when = print, since = '7d'").since })
  end)
end)


describe("the prelude's data about rules", function()
  local api = require "prelude.api"

  it("describes every field, and none has a default that it refuses itself", function()
    local schema = require "prelude.schema"
    for _, list in ipairs { api.definitions, api.parts } do
      for name, definition in pairs(list) do
        for field, known in pairs(definition.fields) do
          assert.is_true(#known.doc > 0 and known.since ~= nil, name .. "." .. field)
          if known.default ~= nil then
            assert.same({ known.default }, { schema.check({ [field] = known.default }, { [field] = known })[field] })
          end
        end
      end
    end
  end)
end)
