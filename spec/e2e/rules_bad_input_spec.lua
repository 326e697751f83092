-- Rules that are wrong, or asked for too much: each is told what is wrong, and where; all others, and its own other keys,
-- go on, and no alert is lost or cleared by it.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local function bench_with(rules, projections)
  local bench = bench_of(projections)
  os.execute("mkdir -p " .. bench.workspace .. "/rules")
  function bench.rule(name, fields)
    files.write(("%s/rules/%s.lua"):format(bench.workspace, name), fields and ('rule "%s" {\n%s }\n'):format(name, fields) or "")
  end
  for name, fields in pairs(rules) do
    bench.rule(name, fields)
  end
  return bench
end

local GOOD = [[on = "beat", when = function(e) return e.data.n >= 1 end]]
local HOT = [[on = "beat", when = function(e) return e.data.n >= 1 end,]]

--- Does `what` where the event is of x.
local function at_x(what)
  return ([[if k.aggregate_id == "x" then %s end]]):format(what)
end

-- What each says of the event of x, which it refuses.
local REFUSED = {
  throws = { [[on = "beat", when = function(e, k) ]] .. at_x [[error("boom")]] .. [[ return true end]], ":2: rule 'throws': boom" },
  endless = { [[on = "beat", budget = 100000, when = function(e, k) ]] .. at_x "while true do end" .. [[ return true end]],
    ":2: rule 'endless': instruction budget exceeded" },
  filter = { [[on = "beat", when = function() return true end, where = function(e) return e.aggregate_id ~= "x" or error { code = 5 } end]],
    ":2: rule 'filter': the script raised a table" },
  label_cycle = { HOT .. [[labels = function(k) ]] .. at_x "local t = {} t.t = t return t" .. [[ end]],
    ":2: rule 'label_cycle': labels returned t = a table, which is no text" },
  label_nul = { HOT .. [[labels = function(k) ]] .. at_x [[return { a = "a\0b" }]] .. [[ end]],
    "rules/label_nul.lua: rule 'label_nul': alert.labels.a: a string holds a NUL (byte 1)" },
  emits_cycle = { HOT .. [[emit = function(_, k) ]] .. at_x [[local t = {} t.t = t return event("made", t)]] .. [[ end]],
    "rules/emits_cycle.lua: rule 'emits_cycle': emit.data.t: a cycle: the table holds itself" },
  emits_type = { HOT .. [[emit = function(_, k) ]] .. at_x [[return event("made.*", {})]] .. [[ end]], "rules/emits_type.lua: rule 'emits_type': event: an event type is expected, not 'made.*'" },
  acts = { HOT .. [[act = function(_, k) ]] .. at_x "return { 5 }" .. [[ end]],
    ":2: rule 'acts': act must be publish, webhook, command, sql or pg_notify, or a list of them, and number 1 of the list is a number" },
  folds_much = { [[on = "beat", max_state = 600, when = function() return true end,
    fold = { step = function(s, e) s.s = e.aggregate_id == "x" and ("z"):rep(700) or "" end }]], "bytes, and max_state is 600 (keep less:" },
  within = { [[on = "beat", ttl = "1h", seq = { "beat", "beat", within = function(e) return e.aggregate_id == "x" and "soon" or 60 end }]],
    ":2: rule 'within': seq: within returned 'soon' is no duration" },
}

-- The same of keys: the event is refused without one.
local function keyed(body)
  return ([[on = "beat", when = function() return true end, by = function(e) if e.aggregate_id == "x" then %s end return e.aggregate_id end]]):format(body)
end
local UNKEYED = {
  key_throws = { keyed [[error("no key")]], ":2: rule 'key_throws': no key" },
  key_table = { keyed "return { a = 1 }", ":2: rule 'key_table': the key function's result: a table with names is no key" },
  key_long = { keyed [[return ("k"):rep(10000)]], "the key function's result: a key of 10002 bytes is too long (at most 2500)" },
}

describe("a rule that fails at an event", function()
  it("says what is wrong and where, and neither its other keys nor other rules lose anything", function()
    local rules = { good = GOOD, good_timer = [[on = "beat", absent = { within = "0.4s" }]] }
    for _, cases in ipairs { REFUSED, UNKEYED } do
      for name, case in pairs(cases) do
        rules[name] = case[1]
      end
    end
    local bench = bench_with(rules)
    finally(function() bench:stop() end)
    local daemon = bench:daemon()
    bench:publish("beat", "ok", '{"n": 1}')
    local x = bench:publish("beat", "x", '{"n": 2}')
    bench:publish("beat", "ok2", '{"n": 3}')
    bench:eventually("SELECT string_agg(key_text, ' ' ORDER BY key_text) FROM moonwake.alerts WHERE rule = 'good_timer'", '"ok" "ok2" "x"', 40)

    local letters = {}
    for _, row in ipairs(bench:query("SELECT consumer, event_id, coalesce(key, ''), error FROM moonwake.dead_letters")) do
      assert.is_nil(letters[row[1]], row[1] .. " has more than one letter")
      letters[row[1]] = { row[2], row[3], row[4] }
    end
    local function check(name, case, key, place)
      local letter = assert(letters[name], name .. " has no letter")
      assert.same({ name, tostring(x), key }, { name, letter[1], letter[2] })
      assert.truthy(letter[3]:find(case[2], 1, true), letter[3])
      assert.truthy(letter[3]:find("rules/" .. name .. ".lua", 1, true), letter[3])
      assert.truthy(letter[3]:find(place, 1, true), letter[3])
      letters[name] = nil
    end
    for name, case in pairs(REFUSED) do
      check(name, case, '"x"', ([[(event %d 'beat', key "x")]]):format(x))
    end
    for name, case in pairs(UNKEYED) do
      check(name, case, "", ("(event %d 'beat')"):format(x))
    end
    assert.same({}, letters)
    for _, row in ipairs(bench:query([[SELECT c.consumer, string_agg(a.key_text, ' ' ORDER BY a.key_text)
      FROM moonwake.consumers c LEFT JOIN moonwake.alerts a ON a.rule = c.consumer AND a.state = 'firing' GROUP BY 1]])) do
      local whole = row[1] == "good" or row[1] == "good_timer"
      assert.equal(row[1] == "within" and "" or whole and '"ok" "ok2" "x"' or '"ok" "ok2"', row[2], row[1])
    end
    assert.equal("running", bench:psql("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.consumers"))
    assert.is_nil(daemon:code())
    local status = moonwake.must({ "status" }, { db = bench.run_dsn })
    assert.matches("\nthrows +running +[%d,]+ +0 +1 ", status)
    assert.matches("\ngood +running +[%d,]+ +0 +0 ", status)
  end)
end)

describe("a rule that fails in a timer", function()
  it("says so, and goes on: what the timer was for is done at the key's next event", function()
    local bench = bench_with {
      good = [[on = "beat", hold = "0.2s", when = function(e) return e.data.n >= 1 end]],
      throws = [[on = "beat", hold = "0.2s", when = function(e) return e.data.n >= 1 end,
        emit = function(_, k, e) if k.aggregate_id == "x" and not e then error("in a timer") end end]],
      endless = [[on = "beat", budget = 100000, window = { over = "0.2s" }, when = function(w, k)
        if k.aggregate_id == "x" and w.count == 0 then while true do end end
        return w.count > 0
      end]],
    }
    finally(function() bench:stop() end)
    local daemon = bench:daemon()
    bench:publish("beat", "ok", '{"n": 1}')
    local x = bench:publish("beat", "x", '{"n": 1}')
    bench:eventually("SELECT string_agg(rule || ' ' || key_text || ' ' || state, ', ' ORDER BY rule, key_text) FROM moonwake.alerts",
      'endless "ok" resolved, endless "x" firing, good "ok" firing, good "x" firing, throws "ok" firing, throws "x" pending')

    local letters = bench:query("SELECT consumer, event_id, key, parked, error FROM moonwake.dead_letters ORDER BY 1")
    assert.same({ { "endless", tostring(x), '"x"', "f" }, { "throws", tostring(x), '"x"', "f" } },
      { { unpack(letters[1], 1, 4) }, { unpack(letters[2], 1, 4) } })
    assert.matches("^rules/endless.lua:3: rule 'endless': instruction budget exceeded .*timer 'i.leave' at 20%S+Z, key \"x\"%)", letters[1][5])
    assert.matches("^rules/throws.lua:3: rule 'throws': in a timer %(timer 'hold' at 20%S+Z, key \"x\"%)", letters[2][5])
    bench:publish("beat", "x", '{"n": 2}')
    bench:eventually("SELECT state FROM moonwake.alerts WHERE rule = 'throws' AND key_text = '\"x\"'", "firing")
    assert.is_nil(daemon:code())
    assert.matches("\nthrows +running +[%d,]+ +0 +0 +1 ", moonwake.must({ "status" }, { db = bench.run_dsn }))
  end)
end)

describe("a rule that asks for too much", function()
  it("is held to its limits: what they keep out is counted, and alerts that fire stay", function()
    local bench = bench_with {
      good = GOOD,
      few_keys = [[on = "beat", max_keys = 2, absent = { within = "1h" }, by = "event_id"]],
      few_alerts = [[on = "beat", kind = "signal", max_alerts = 2, when = function() return true end]],
      ping = [[on = { "beat", "alert.firing" }, by = "event_id", kind = "signal", when = function() return true end,
        where = function(e) return e.type == "beat" and e.aggregate_id == "a" or e.data.rule == "pong" end]],
      pong = [[on = "alert.firing", by = "event_id", kind = "signal", when = function(e) return e.data.rule == "ping" end]],
      patient = [[on = "beat", hold = "36500d", when = function() return true end]],
      wordy = HOT .. [[summary = "{data.text}", labels = { text = "{data.text}" } ]],
      unheard = HOT .. [[notify = "nobody" ]],
      refused = HOT .. [[emit = function(_, k) return event("made", {}, { aggregate_type = "thing", aggregate_id = ("i"):rep(1e6) }) end]],
    }
    finally(function() bench:stop() end)
    local daemon = bench:daemon()
    for n, key in ipairs { "a", "b", "c", "d" } do
      bench:publish("beat", key, ('{"n": %d, "text": "a%s"}'):format(n, ("\195\169"):rep(40000)))
    end
    bench:eventually("SELECT state -> 'counts' ->> 'too_deep' FROM moonwake.rule_states WHERE rule = 'pong' AND part = 'memory'", "1")

    assert.same({}, bench:query("SELECT consumer, error FROM moonwake.dead_letters WHERE consumer <> 'patient'"))
    assert.same({ { "few_alerts", '{"muted_limit": 2}' }, { "few_keys", '{"max_keys": 2}' }, { "pong", '{"too_deep": 1}' } },
      bench:query([[SELECT rule, state ->> 'counts' FROM moonwake.rule_states WHERE part = 'memory' AND state ->> 'counts' <> '{}' ORDER BY 1]]))
    assert.same({ { "few_alerts", "4" }, { "good", "4" }, { "ping", "5" }, { "pong", "4" }, { "refused", "4" }, { "unheard", "4" }, { "wordy", "4" } },
      bench:query("SELECT rule, count(*) FROM moonwake.alerts WHERE rule <> 'patient' GROUP BY 1 ORDER BY 1"))
    assert.equal("2", bench:psql("SELECT count(*) FROM moonwake.alerts WHERE rule = 'few_alerts' AND muted = 'limit'"))
    assert.equal("499 499", bench:psql(
      "SELECT DISTINCT octet_length(summary) || ' ' || octet_length(labels ->> 'text') FROM moonwake.alerts WHERE rule = 'wordy'"))
    assert.same({ { "publish", "refused", "failed", "4" }, { "alert", "unheard", "waiting", "4" } },
      bench:query("SELECT kind, rule, state, count(*) FROM moonwake.outbox GROUP BY 1, 2, 3 ORDER BY 2"))
    assert.matches("aggregate_id: 1000000 bytes are too many", bench:psql("SELECT note FROM moonwake.outbox WHERE kind = 'publish' LIMIT 1"))
    local _, said = daemon:err():gsub("rule 'few_keys' has 2 keys, and max_keys is 2: key %S+ and all other new ones are passed over", "")
    assert.equal(1, said)
    pg.eventually(function()
      return daemon:err():find("deliveries wait for receivers that are not defined: nobody (rules/receivers/NAME.lua defines one)", 1, true)
    end, 20, "a word about the receiver")
    assert.is_nil(daemon:code())
  end)
end)

describe("a rule's file", function()
  local BAD = {
    no_on = { [[when = function() end]], "rules/no_on.lua:1: rule 'no_on': field 'on' is missing" },
    negative = { [[on = "beat", window = { over = "-5m" }, when = function() end]], "rules/negative.lua:1: rule 'negative': window: over '-5m' is negative" },
    no_end = { [[on = "beat", seq = { "a", "b" }]], "rules/no_end.lua:1: rule 'no_end': seq never ends" },
    no_calendar = { GOOD .. [[, mute = { calendar = "nope" }]], "mute: no calendar 'nope' (there is no file rules/calendars/nope.lua)" },
    no_ref = { [[on = "beat", when = function() return ref("nothing").x end]], [[rule 'no_ref': ref "nothing": there is no file projections/nothing.lua]] },
    bad_ref = { [[on = "beat", when = function() return ref("broken").x end]], [[rule 'bad_ref': ref "broken": projections/broken.lua:1:]] },
    taken = { GOOD, "rules/taken.lua: projections/taken.lua has the same name (rename one of them)" },
  }

  it("that is wrong is refused with its name, and nobody else notices", function()
    local rules = { good = GOOD, unheard = GOOD .. [[, notify = "nobody"]] }
    for name, case in pairs(BAD) do
      rules[name] = case[1]
    end
    local bench = bench_with(rules, { broken = "projection 'broken' {", taken = true })
    finally(function() bench:stop() end)
    files.write(bench.workspace .. "/rules/two.lua", ('rule "two" { %s }\nrule "two" { %s }'):format(GOOD, GOOD))
    files.write(bench.workspace .. "/rules/alias.lua", ('rule "good" { %s }'):format(GOOD))
    local daemon = bench:daemon()
    bench:publish("beat", "a", '{"n": 1}')
    bench:eventually("SELECT string_agg(rule, ' ' ORDER BY rule) FROM moonwake.alerts", "good unheard")

    local checked = moonwake.run({ "check", "-C", bench.workspace })
    assert.equal(1, checked.code)
    for name, case in pairs(BAD) do
      assert.truthy(daemon:err():find(case[2], 1, true), name .. "\n" .. daemon:err())
      assert.truthy(checked.err:find(case[2], 1, true), name .. "\n" .. checked.err)
    end
    for _, text in ipairs { "rules/two.lua:2: rule 'two': 'two' is defined in this file already", "rules/alias.lua:1: rule 'good': the file's name is not the definition's" } do
      assert.truthy(checked.err:gsub("two.lua:1", "two.lua:2"):find(text, 1, true), checked.err)
    end
    assert.truthy(checked.err:find("rule 'unheard' notifies 'nobody' (there is no rules/receivers/nobody.lua)", 1, true), checked.err)
    assert.equal("good taken unheard", bench:psql("SELECT string_agg(consumer, ' ' ORDER BY consumer) FROM moonwake.consumers"))
  end)

  it("may break while its alerts fire: the version before goes on, and status says so; where it is gone they are resolved", function()
    local bench = bench_with { good = GOOD, breaks = GOOD, goes = GOOD }
    finally(function() bench:stop() end)
    local daemon = bench:daemon()
    bench:publish("beat", "a", '{"n": 1}')
    bench:eventually("SELECT count(*) FROM moonwake.alerts WHERE state = 'firing'", "3")
    bench.rule("breaks", "on = 5")
    os.remove(bench.workspace .. "/rules/goes.lua")
    bench:eventually("SELECT state || ' ' || reason FROM moonwake.alerts WHERE rule = 'goes'", "resolved rule-removed")
    bench:eventually("SELECT count(*) FROM moonwake.consumers WHERE consumer = 'breaks' AND note LIKE 'rules/breaks.lua:1: rule ''breaks'': field ''on'' must be%'", "1")

    bench:publish("beat", "b", '{"n": 1}')
    bench:publish("beat", "a", '{"n": 0}')
    bench:eventually("SELECT string_agg(rule || ' ' || key_text || ' ' || state, ', ' ORDER BY rule, key_text) FROM moonwake.alerts WHERE rule <> 'goes'",
      'breaks "a" resolved, breaks "b" firing, good "a" resolved, good "b" firing')
    assert.truthy(moonwake.must({ "status" }, { db = bench.run_dsn }):find(
      "breaks: the changed file does not load, the version before it goes on: rules/breaks.lua:1: rule 'breaks'", 1, true))
    assert.is_nil(daemon:code())
  end)
end)
