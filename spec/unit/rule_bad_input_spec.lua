-- Functions of rules that throw or return nonsense: what is said of it, with the event, the key and the place; and what a
-- rule tells of texts that are too long.
local rule = require "spec.support.rule"
local script = require "spec.support.script"

local T0 = rule.T0
local HOT = [[on = "beat", when = function(e) return e.data.n >= 1 end,]]

--- Does `what` where the event is of x.
local function at_x(what)
  return ([[if k.aggregate_id == "x" then %s end]]):format(what)
end

-- What each says of the event of x, which it refuses.
local REFUSED = {
  throws = { [[on = "beat", when = function(e, k) ]] .. at_x [[error("boom")]] .. [[ return true end]], ":2: rule 'throws': boom" },
  indexes = { [[on = "beat", when = function(e) return e.aggregate_id ~= "x" or e.data.no.more end]],
    ":2: rule 'indexes': attempt to index field 'no' (a nil value)" },
  level = { [[on = "beat", when = { info = function() return true end, critical = function(e, k) ]] .. at_x [[error("crit")]] .. [[ end }]],
    ":2: rule 'level': crit" },
  endless = { [[on = "beat", budget = 100000, when = function(e, k) ]] .. at_x "while true do end" .. [[ return true end]],
    ":2: rule 'endless': instruction budget exceeded" },
  filter = { [[on = "beat", when = function() return true end, where = function(e) return e.aggregate_id ~= "x" or error { code = 5 } end]],
    ":2: rule 'filter': the script raised a table" },
  label = { HOT .. [[labels = function(k) ]] .. at_x [[error("no label")]] .. [[ end]], ":2: rule 'label': no label" },
  label_cycle = { HOT .. [[labels = function(k) ]] .. at_x "local t = {} t.t = t return t" .. [[ end]],
    ":2: rule 'label_cycle': labels returned t = a table, which is no text" },
  label_nan = { HOT .. [[labels = function(k) ]] .. at_x "return { a = 0 / 0 }" .. [[ end]], "labels returned a = a number, which is no text" },
  label_nul = { HOT .. [[labels = function(k) ]] .. at_x [[return { a = "a\0b" }]] .. [[ end]],
    "rules/label_nul.lua: rule 'label_nul': alert.labels.a: a string holds a NUL (byte 1)" },
  emits = { HOT .. [[emit = function(_, k) ]] .. at_x "return 5" .. [[ end]],
    [[:2: rule 'emits': emit must return event("type", data), or a list of them, not a number]] },
  emits_cycle = { HOT .. [[emit = function(_, k) ]] .. at_x [[local t = {} t.t = t return event("made", t)]] .. [[ end]],
    "rules/emits_cycle.lua: rule 'emits_cycle': emit.data.t: a cycle: the table holds itself" },
  emits_nan = { HOT .. [[emit = function(_, k) ]] .. at_x [[return event("made", { n = 0 / 0 })]] .. [[ end]], "emit.data.n: NaN is no JSON value" },
  emits_type = { HOT .. [[emit = function(_, k) ]] .. at_x [[return event("made.*", {})]] .. [[ end]], "rules/emits_type.lua: rule 'emits_type': event: an event type is expected, not 'made.*'" },
  emits_long = { HOT .. [[emit = function(_, k) ]] .. at_x [[return event("made", { s = ("s"):rep(2e7) })]] .. [[ end]],
    ":2: rule 'emits_long': rep: the result is longer than" },
  acts = { HOT .. [[act = function(_, k) ]] .. at_x "return { 5 }" .. [[ end]],
    ":2: rule 'acts': act must be publish, webhook, command, sql or pg_notify, or a list of them, and number 1 of the list is a number" },
  acts_nul = { HOT .. [[act = function(_, k) ]] .. at_x [[return sql("SELECT $1", "a\0b")]] .. [[ end]], "act.data.args[1]: a string holds a NUL (byte 1)" },
  value = { [[on = "beat", value = function(e) return e.aggregate_id == "x" and "7" or 7 end, when = function() return true end]],
    ":2: rule 'value': value returned a string (return a number, or nil to pass the event over)" },
  folds_nan = { [[on = "beat", when = function() return true end, fold = { step = function(s, e) s.n = e.aggregate_id == "x" and 0 / 0 or 1 end }]],
    "rule 'folds_nan': state.i.s.n: NaN is no JSON value" },
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
  key_data = { keyed "return e.data", "the key function's result: a table with names is no key" },
  key_nested = { keyed "return { { 1 } }", "the key function's result: text expected, not an object or array" },
  key_nan = { keyed "return 0 / 0", "the key function's result: text expected, not NaN or an infinity" },
  key_nul = { keyed [[return "a\0b"]], "the key function's result: a string holds a NUL (byte 1)" },
  key_long = { keyed [[return ("k"):rep(10000)]], "the key function's result: a key of 10002 bytes is too long (at most 2500)" },
  keys_many = { keyed "local t = {} for i = 1, 10001 do t[i] = i end return t", "the key function's result: an event has too many keys (at most 10000)" },
}

describe("a rule that fails at an event", function()
  after_each(script.clean)

  --- What it says of the event of x; that of another key it takes.
  local function refused(fields)
    local s = script.define_rule(fields)
    rule.run(s, { { "beat", "ok", timestamp = 0, data = '{"n": 1}' } })
    local err = s:fails { "beat", "x", timestamp = T0 + 1, data = '{"n": 2}' }
    local fx = rule.run(s, { { "beat", "ok2", timestamp = 2, data = '{"n": 3}' } }, true)
    assert.equal('"ok2"', fx.upserts[1] and fx.upserts[1].key)
    return err.message
  end

  for title, cases in pairs { ["of key x"] = REFUSED, ["without a key"] = UNKEYED } do
    for name, case in pairs(cases) do
      it(("%s says what is wrong: %s"):format(title, name), function()
        local message = refused(case[1])
        local expected = case[2]:gsub("rule '" .. name .. "'", "rule 'r'"):gsub("rules/" .. name .. ".lua", "rules/r.lua")

        assert.truthy(message:find(expected, 1, true), message)
        assert.matches("^rules/r.lua:?%d*: rule 'r': ", message)
        assert.truthy(message:find(title == "of key x" and [['beat', key "x")]] or "'beat')", 1, true), message)
      end)
    end
  end
end)


describe("a long text", function()
  after_each(script.clean)

  it("is told as far as people read, and never ends within a character", function()
    local s = script.define_rule(HOT .. [[summary = "{data.text}!", labels = { text = "{data.text}" }, hold = 1, max_state = 200000 ]])
    local fx = rule.run(s, { { "beat", "x", timestamp = 0, data = ('{"n": 1, "text": "%s"}'):format("a" .. ("\195\169"):rep(40000)) } })
    local told = "a" .. ("\195\169"):rep(249)

    assert.same({ told .. "!", told, told }, { fx.raised[1].summary, fx.raised[1].labels.text, fx.raised[1].subject.text })
    assert.equal(told .. "!", s:advance(T0 + 2).raised[1].summary)
  end)
end)
