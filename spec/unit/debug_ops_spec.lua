-- What a debugger asks of a handler: states and expressions.
local json = require "dkjson"
local debugger = require "spec.support.debugger"
local script = require "spec.support.script"

describe("state", function()
  after_each(script.clean)

  it("is the row as one object, with its key", function()
    local s = script.define [[
      columns = { n = "bigint default 0", name = "text", seen = "timestamptz", tags = "jsonb" },
      on = { t = function(row, event) row.n = row.n + 1 row.seen = event.timestamp row.tags = { 1, { a = 2 } } end },
    ]]
    assert(s:run { { "t", "d-1" } })

    assert.same({ key = "d-1", n = 1, seen = "2026-01-01T00:00:00.000000Z", tags = { 1, { a = 2 } }, name = json.null },
      json.decode(debugger.state(s, '"d-1"'), 1, json.null))
  end)

  it("is the document, byte for byte as it is stored", function()
    local s = script.define [[ on = { t = function(state, event) state.list = array() state.b, state.a = 1, -0 end } ]]
    assert(s:run { { "t", "d-1" } })

    assert.equal('{"a":0,"b":1,"list":[]}', debugger.state(s, '"d-1"'))
  end)

  it("is none for a key that nobody knows, that was deleted, or that was not asked for", function()
    local s = script.define [[ on = { t = function(state) state.n = 1 end, d = function() return delete end } ]]
    assert(s:run { { "t", "d-1" }, { "t", "d-2" }, { "d", "d-2" } })

    assert.is_nil(debugger.state(s, '"d-0"'))
    assert.is_nil(debugger.state(s, '"d-2"'))
    assert.equal('{"n":1}', debugger.state(s, '"d-1"'))
    s:forget()
    assert.is_nil(debugger.state(s, '"d-1"'))
  end)

  it("knows composite keys", function()
    local s = script.define [[
      key = { "aggregate_type", "aggregate_id" }, columns = { n = "bigint" },
      on = { t = function(row) row.n = 5 end },
    ]]
    assert(s:run { { "t", "d-1" } })

    assert.equal('{"aggregate_type":"thing","aggregate_id":"d-1","n":5}', debugger.state(s, '["thing","d-1"]'))
  end)
end)

describe("an expression", function()
  local s
  before_each(function()
    s = script.define [[
      columns = { n = "bigint default 0", seen = "timestamptz", tags = "jsonb" },
      on = { t = function(row) row.n = row.n + 1 end },
    ]]
  end)
  after_each(script.clean)

  local function value(source, on)
    local out, truth = debugger.evaluate(s, source, on)
    assert(out, type(truth) == "table" and truth.message)
    return out, truth
  end

  it("sees the event, the key, and the state with its columns' values", function()
    local on = { event = { "t", "d-1", data = { site = "x" } }, key = '"d-1"',
      before = '{"n":1,"seen":null,"tags":null}', state = '{"n":2,"seen":"1970-01-01T00:00:10Z","tags":[1,2]}' }

    assert.equal('"t"', value("event.type", on))
    assert.equal('"x"', value("event.data.site", on))
    assert.equal('"d-1"', value("key", on))
    assert.equal("true", value("before.n == 1 and state.n == 2 and row == state", on))
    assert.equal("10", value("state.seen", on))
    assert.equal('"d-1"', value("state.key", on))
    assert.equal("2", value("#row.tags", on))
    assert.equal("[1,2]", value("state.tags", on))
  end)

  it("has nil for what is not there", function()
    assert.equal("null", value "event")
    assert.equal("true", value "event == nil and state == nil and row == nil and before == nil and key == nil")
  end)

  it("is true where Lua takes it for true", function()
    for source, expected in pairs { ["nil"] = false, ["false"] = false, ["0"] = true, ["''"] = true, ["{}"] = true,
      ["json.null"] = true } do
      local _, truth = value(source)
      assert.equal(expected, truth, source)
    end
  end)

  it("gives JSON, or a text for what has none", function()
    assert.equal('{"a":[1,2.5],"b":{}}', value "{ b = {}, a = { 1, 2.5 } }")
    assert.equal('"function"', value "tostring")
    assert.matches('^"%-?nan"$', (value "0/0"))
    assert.equal('"table"', value "{ 1, x = 2 }")
    assert.equal("12345678901234567890", value "decimal '12345678901234567890'")
    assert.equal('"\239\191\189x"', value [["\255x"]])
    assert.equal('"event 7"', value("event", { event = { "t", id = 7 } }))
  end)

  it("may be a return statement, and several lines with a comment", function()
    assert.equal("3", value "return 1 + 2")
    assert.equal("3", value "1 +\n 2 -- three")
    assert.equal("3", value "  return(3)")
    assert.equal("4", value "(function() local returned = 4 return returned end)()")
  end)

  it("has the words of scripts, and the same error for others", function()
    assert.equal('"2026-01-02"', value "utc_date(time '2026-01-02T03:04:05Z')")

    local function problem(source)
      local out, err = debugger.evaluate(s, source, { event = { "t", "d-1", id = 41 }, key = '"d-1"', state = "{}" })
      assert.is_nil(out, source)
      return err
    end
    assert.equal("--break: unknown word 'stat' (did you mean 'state'?) (event 41 't', key \"d-1\")", problem("stat.n").message)
    assert.matches("^%-%-break: unknown word 'tonumbr' %(did you mean 'tonumber'%?%)", problem("tonumbr(1)").message)
    assert.matches("^%-%-break: 'os' is not available", problem("os.time()").message)
    assert.matches("an event has no field 'typ' %(did you mean 'type'%?%)", problem("event.typ").message)
    assert.matches("^%-%-break: attempt to index field 'site' %(a nil value%)", problem("event.data.site.x").message)
    assert.equal("script", problem("event.data.site.x").kind)
    assert.equal(41, problem("event.data.site.x").event_id)
    assert.equal("", problem("event.data.site.x").trace)
    for _, word in ipairs { "require", "projection" } do
      assert.matches("'" .. word .. "' is not available in an expression", problem(word .. " 'x'").message)
    end
  end)

  it("with a syntax error says what is wrong, and a hint", function()
    local function problem(source)
      local n, err = debugger.expression(s, source, "--where")
      assert.is_nil(n, source)
      assert.equal("usage", err.kind)
      return err.message
    end
    assert.equal("--where: '<eof>' expected near '=' (to compare write ==)", problem "state.n = 1")
    assert.matches("^%-%-where: .* near '!' %(write ~= for unequal", problem "state.n != 1")
    assert.matches("^%-%-where: .* near '&' %(write `and` for &&%)", problem "state.n && 1")
    assert.matches("^%-%-where: unexpected symbol near '<eof>' %(write a Lua expression", problem "state.n ==")
    assert.matches("^%-%-where: .*near ','", problem "1, 2")
    assert.matches("^%-%-where: an expression is expected", problem "  \n")
    assert.matches("^%-%-where: an expression is expected", problem "1\0")
    assert.matches("^%-%-where: ", problem "return")
    assert.matches("^%-%-where: ", problem "return 1 end")
    assert.matches("^%-%-where: ", problem "\27LJ\2\0")
  end)

  it("can change nothing", function()
    assert(s:run { { "t", "d-1" } })
    local before = debugger.state(s, '"d-1"')
    local function attempt(source)
      return debugger.evaluate(s, source, { event = { "t", "d-1", data = { a = 1 } }, key = '"d-1"', state = before })
    end

    assert.equal("7", attempt "(function() state.n = 7 row.tags = { 1 } return state.n end)()")
    assert.equal("1", attempt "state.n")
    assert.equal("2", attempt "(function() event.data.a = 2 return event.data.a end)()")
    assert.equal("1", attempt "event.data.a")
    assert.matches("global 'state' cannot be set", select(2, attempt "(function() state = 1 end)()").message)
    assert.matches("global 'x' cannot be set", select(2, attempt "(function() x = 1 end)()").message)
    assert.matches("an event cannot be changed", select(2, attempt "(function() event.type = 1 end)()").message)
    assert.matches("read%-only", select(2, attempt "(function() string.x = 1 end)()").message)
    assert.equal(before, debugger.state(s, '"d-1"'))
    assert(s:run { { "t", "d-1" } })
    assert.equal(2, s:row("d-1").n)
  end)

  it("stops at the instruction budget, also where the script is compiled", function()
    for _, jit in ipairs { "", "jit = true," } do
      s = script.define(jit .. " on = { t = function(state) state.n = 1 end } ")
      local _, err = debugger.evaluate(s, "(function() while true do end end)()")
      assert.equal("limit", err.kind)
      assert.matches("^%-%-break: instruction budget exceeded", err.message)
      assert(s:run { { "t", "d-1" } })
    end
  end)

  it("that was compiled before is the same one", function()
    local first = debugger.expression(s, "state.n == 1")
    assert.equal(first, debugger.expression(s, "state.n == 1"))
    assert.are_not.equal(first, debugger.expression(s, "state.n == 2"))
  end)

  it("may come between need() and run()", function()
    local page = s:page { { "t", "d-1" }, { "t", "d-1" } }
    assert(s:prepare(page))
    assert.equal("null", value("state", { key = '"d-1"' }))
    assert.equal("done", (s:step(page, 0)))
    assert.equal('2', (json.encode(json.decode(debugger.state(s, '"d-1"')).n)))
  end)
end)

describe("a script with sql = true", function()
  after_each(script.clean)

  it("answers nothing of it, and says why", function()
    local s = script.define [[ sql = true, tables = { x = "n int" }, on = { t = function() end } ]]
    local _, err = debugger.state(s, '"a"')
    assert.equal("usage", err.kind)
    assert.matches("sql = true", err.message)
    assert.equal("usage", select(2, debugger.expression(s, "1")).kind)
    assert.equal("usage", select(2, debugger.evaluate(s, 1)).kind)
    local _, result, failed = debugger.trace(s, {})
    assert.equal("failed", result)
    assert.equal("usage", failed.kind)
    s.ops.cover(s.handler)
    assert.is_nil(debugger.coverage(s))
  end)
end)
