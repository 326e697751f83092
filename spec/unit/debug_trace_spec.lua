-- The lines of an event as a debugger gets them: what each changed, and how often each ran.
local debugger = require "spec.support.debugger"
local script = require "spec.support.script"

--- The steps that changed something, as "line: before -> after".
local function changes(steps)
  local out = {}
  for _, step in ipairs(steps) do
    if step.before or step.after then
      out[#out + 1] = ("%d: %s -> %s"):format(step.line, step.before or "none", step.after or "none")
    end
  end
  return out
end

--- The lines that ran, those of other files with their name.
local function ran(steps)
  local out = {}
  for i, step in ipairs(steps) do
    out[i] = step.file == "projections/p.lua" and tostring(step.line)
      or step.file:match("([^/]*)%.lua$") .. ":" .. step.line
  end
  return table.concat(out, " ")
end

describe("trace", function()
  after_each(script.clean)

  local function open(source, files)
    files = files or {}
    files["projections/p.lua"] = source
    local s, err = script.open("p", files)
    return assert(s, err and err.message)
  end

  it("tells the lines that ran and what each changed", function()
    local s = open [[
projection "p" {
  columns = { n = "bigint default 0", name = "text" },
  on = {
    t = function(row, event)
      local by = event.data.by
      row.n = row.n + by
      if row.n > 5 then
        row.name = "many"
      end
    end,
  },
}]]
    local first, result = debugger.trace(s, { "t", data = { by = 2 } })
    local second = debugger.trace(s, { "t", data = { by = 4 } })

    assert.equal("done", result)
    assert.same({ '0: none -> {"key":"a","n":0,"name":null}',
      '6: {"key":"a","n":0,"name":null} -> {"key":"a","n":2,"name":null}' }, changes(first))
    assert.equal("0 5 6 7 10", ran(first))
    assert.equal("5 6 7 8 10", ran(second))
    assert.same({ '6: {"key":"a","n":2,"name":null} -> {"key":"a","n":6,"name":null}',
      '8: {"key":"a","n":6,"name":null} -> {"key":"a","n":6,"name":"many"}' }, changes(second))
    assert.equal('"a"', second[1].key)
    assert.equal('{"key":"a","n":6,"name":"many"}', debugger.state(s, '"a"'))
  end)

  it("does what run() does", function()
    local s = open [[projection "p" { on = { t = function(state) state.n = (state.n or 0) + 1 end } }]]
    debugger.trace(s, { "t" })
    local fx = assert(s:collect())

    assert.same({ key = "a", n = 1 }, { key = fx.upserts[1].key, n = fx.upserts[1].state.n })
    s:settled()
    assert(s:run { { "t" } })
    assert.equal('{"n":2}', debugger.state(s, '"a"'))
  end)

  it("goes into helpers and modules, and tells a line again after a call where it changed something then", function()
    local s = open([[
local names = require "names"
local function bump(state, by)
  state.n = (state.n or 0) + by
  return state.n
end
projection "p" { on = {
  t = function(state)
    state.twice = bump(state, 1) + bump(state, 1)
    names.rename(state)
  end,
} }]], { ["scripts/lib/names.lua"] = [[
return {
  rename = function(state)
    state.name = ("%d"):format(state.n)
  end,
}]] })
    local steps = debugger.trace(s, {})

    assert.same({ "0: none -> {}", '3: {} -> {"n":1}', '3: {"n":1} -> {"n":2}', '8: {"n":2} -> {"n":2,"twice":3}',
      '3: {"n":2,"twice":3} -> {"n":2,"name":"2","twice":3}' }, changes(steps))
    assert.equal("0 8 3 4 3 4 8 9 names:3 names:3 names:4 10", ran(steps))
  end)

  it("tells each turn of a loop, also on one line", function()
    local s = open [[
projection "p" { on = { t = function(state)
  state.list = {}
  for i = 1, 3 do state.list[i] = i end
  for i = 1, 2 do
    state.list[i] = nil or i * 10
  end
end } }]]
    local steps = debugger.trace(s, {})

    assert.same({ "0: none -> {}", '2: {} -> {"list":{}}', '3: {"list":{}} -> {"list":[1]}',
      '3: {"list":[1]} -> {"list":[1,2]}', '3: {"list":[1,2]} -> {"list":[1,2,3]}',
      '5: {"list":[1,2,3]} -> {"list":[10,2,3]}', '5: {"list":[10,2,3]} -> {"list":[10,20,3]}' }, changes(steps))
  end)

  it("sees what a returned table and delete amount to", function()
    local s = open [[
projection "p" { on = {
  t = function(state)
    local new = { n = (state.n or 0) + 1 }
    return new
  end,
  d = function()
    return delete
  end,
} }]]
    assert.same({ "0: none -> {}", '4: {} -> {"n":1}' }, changes((debugger.trace(s, { "t" }))))
    assert.same({ '4: {"n":1} -> {"n":2}' }, changes((debugger.trace(s, { "t" }))))
    assert.same({ '7: {"n":2} -> none' }, changes((debugger.trace(s, { "d" }))))
    assert.same({ "0: none -> {}", '4: {} -> {"n":1}' }, changes((debugger.trace(s, { "t" }))))
  end)

  it("looks into jsonb columns, and at values that a column cannot have", function()
    local s = open [[
projection "p" { columns = { n = "bigint not null", tags = "jsonb" }, on = { t = function(row)
  row.tags = { a = {} }
  row.tags.a.b = 1
  row.n = "seven"
  row.n = print
  row.n = 7.0
end } }]]
    local steps = debugger.trace(s, {})

    assert.same({
      '0: none -> {"key":"a","n":null,"tags":null}',
      '2: {"key":"a","n":null,"tags":null} -> {"key":"a","n":null,"tags":{"a":{}}}',
      '3: {"key":"a","n":null,"tags":{"a":{}}} -> {"key":"a","n":null,"tags":{"a":{"b":1}}}',
      '4: {"key":"a","n":null,"tags":{"a":{"b":1}}} -> {"key":"a","n":"seven","tags":{"a":{"b":1}}}',
      '5: {"key":"a","n":"seven","tags":{"a":{"b":1}}} -> {"key":"a","n":"a function","tags":{"a":{"b":1}}}',
      '6: {"key":"a","n":"a function","tags":{"a":{"b":1}}} -> {"key":"a","n":7,"tags":{"a":{"b":1}}}',
    }, changes(steps))
  end)

  it("tells an event that fails up to there, and gives the states back", function()
    local s = open [[
projection "p" { on = { t = function(state, event)
  state.n = (state.n or 0) + 1
  if state.n == 2 then
    state.broken = true
    error("two")
  end
end } }]]
    debugger.trace(s, {})
    local steps, result, err = debugger.trace(s, { id = 77 })

    assert.equal("failed", result)
    assert.equal(77, err.event_id)
    assert.matches("^projections/p.lua:5: projection 'p': two", err.message)
    assert.equal("2 3 4 5", ran(steps))
    assert.same({ '2: {"n":1} -> {"n":2}', '4: {"n":2} -> {"broken":true,"n":2}' }, changes(steps))
    assert.equal('{"n":1}', debugger.state(s, '"a"'))
    assert(s:run({ { "t", "b" } }, true))
  end)

  it("tells the keys of an event in turn", function()
    local s = open [[
projection "p" {
  key = function(event) return event.data.keys end,
  on = { t = function(state, event)
    state.n = (state.n or 0) + 1
    if event.data.fail == state.n then error("no") end
  end },
}]]
    local steps = debugger.trace(s, { data = { keys = { "x", "y" } } })
    local keys = {}
    for i, step in ipairs(steps) do
      keys[i] = step.key .. step.line
    end
    assert.equal('"x"0 "x"4 "x"5 "x"6 "y"0 "y"4 "y"5 "y"6', table.concat(keys, " "))

    assert(s:run { { "t", data = { keys = { "x" } } } })
    local _, result = debugger.trace(s, { data = { keys = { "y", "x" }, fail = 3 } })
    assert.equal("failed", result)
    assert.equal('{"n":1}', debugger.state(s, '"y"'))
    assert.equal('{"n":2}', debugger.state(s, '"x"'))
  end)

  it("follows coroutines, callbacks and pcall", function()
    local s = open [[
projection "p" { on = { t = function(state)
  local co = coroutine.wrap(function()
    state.a = 1
    coroutine.yield()
    state.b = 2
  end)
  co() co()
  pcall(function()
    state.c = 3
    error("x")
  end)
  state.d = ("x"):gsub("x", function()
    state.e = 5
    return "y"
  end)
end } }]]
    assert.same({ "0: none -> {}", '3: {} -> {"a":1}', '5: {"a":1} -> {"a":1,"b":2}', '9: {"a":1,"b":2} -> {"a":1,"b":2,"c":3}',
      '13: {"a":1,"b":2,"c":3} -> {"a":1,"b":2,"c":3,"e":5}',
      '15: {"a":1,"b":2,"c":3,"e":5} -> {"a":1,"b":2,"c":3,"d":"y","e":5}' }, changes((debugger.trace(s, {}))))
  end)

  it("traces what is compiled otherwise, again and again", function()
    local s = open [[
projection "p" { jit = true, on = { t = function(state)
  state.n = state.n or 0
  for i = 1, 300 do
    state.n = state.n + i % 2
  end
end } }]]
    for _ = 1, 100 do
      assert(s:run { { "t" } })
    end
    for round = 1, 3 do
      local steps = debugger.trace(s, {})
      assert.equal(603, #steps)
      assert(s:run { { "t" } })
      assert.equal(('{"n":%d}'):format(15000 + round * 300), debugger.state(s, '"a"'))
    end
  end)

  it("tells no more than asked for, and the last change all the same", function()
    local s = open [[
projection "p" { on = { t = function(state)
  state.n = 0
  for i = 1, 1000 do
    state.n = i
  end
  state.last = true
  local unused = 1
end } }]]
    local steps = debugger.trace(s, {}, 10)
    assert.equal(10, #steps)
    assert.same({ "projections/p.lua", 6, '{"n":3}', '{"last":true,"n":1000}' },
      { steps[10].file, steps[10].line, steps[10].before, steps[10].after })

    assert.same({ '2: {"last":true,"n":1000} -> {"last":true,"n":0}', '4: {"last":true,"n":0} -> {"last":true,"n":1}',
      '4: {"last":true,"n":1} -> {"last":true,"n":1000}' }, changes((debugger.trace(s, {}, 5))))
    assert.equal(1, #debugger.trace(s, {}, 1))
    assert.equal(0, #debugger.trace(s, {}, 0))
    assert.equal('{"last":true,"n":1000}', debugger.state(s, '"a"'))
  end)

  it("puts the changes together to what the event did, for random handlers", function()
    local seed = os.time()
    print("seed " .. seed)
    math.randomseed(seed)
    for _ = 1, 60 do
      local body = {}
      for i = 1, math.random(1, 12) do
        local name = ("abc"):sub(math.random(3)):sub(1, 1)
        body[i] = ({
          ("state.%s = event.data.v + %d"), ("state.%s = { x = event.data.v, y = { %d } }"), ("state.%s = nil -- %d"),
          ("for i = 1, 3 do state.%s = i * %d end"), ("set(state, '%s', %d)"), ("state = { %s = %d }"),
          ("if event.data.v %% 2 == 0 then state.%s = %d end"),
        })[math.random(7)]:format(name, math.random(100))
      end
      local s = open("local function set(s, k, v)\n  s[k] = v\nend\n" ..
        'projection "p" { on = { t = function(state, event)\n' .. table.concat(body, "\n") .. "\nreturn state end } }")
      local other = open(("local function set(s, k, v)\n  s[k] = v\nend\n" ..
        'projection "p" { on = { t = function(state, event)\n' .. table.concat(body, "\n") .. "\nreturn state end } }"))
      local state
      for _ = 1, 5 do
        local event = { data = { v = math.random(100) } }
        for _, step in ipairs((debugger.trace(s, event, math.random(1, 30)))) do
          if step.before or step.after then
            assert.equal(state, step.before)
            assert.are_not.equal(step.before, step.after)
            state = step.after
          end
        end
        assert(other:run { event })
        assert.equal(debugger.state(other, '"a"'), state, table.concat(body, "\n"))
        assert.equal(state, debugger.state(s, '"a"'))
      end
      s:close()
      other:close()
    end
  end)

  it("does not take a script's time or budget", function()
    local s = script.define([[ on = { t = function(state)
      state.list = state.list or {}
      for i = 1, 400 do
        state.list[i] = { name = "item " .. i, i = i }
      end
    end } ]], { budget = 20000 })
    local steps, result, err = debugger.trace(s, {})

    assert.equal("done", result, err and err.message)
    assert.is_true(#steps > 800)
  end)
end)

describe("a reducer", function()
  after_each(script.clean)

  it("shows its plain state, and the lines of `initial`", function()
    local s = script.define_reducer [[
  initial = function()
    return { n = 0 }
  end,
  on = { t = function(state, event)
    return { n = state.n + event.data.by }
  end },]]
    local first = debugger.trace(s, { "t", "x", version = 1, data = { by = 2 } })
    local second = debugger.trace(s, { "t", "x", version = 2, data = { by = 3 } })

    assert.same({ "3: none -> {\"n\":0}", "6: {\"n\":0} -> {\"n\":2}" }, changes(first))
    assert.same({ "6: {\"n\":2} -> {\"n\":5}" }, changes(second))
    assert.equal("scripts/reducers/r.lua", first[1].file)
    assert.equal('{"n":5}', debugger.state(s, '"x"'))
    assert.equal("5", (debugger.evaluate(s, "state.n", { key = '"x"', state = debugger.state(s, '"x"') })))
  end)

  it("that refuses a transition tells the lines until then", function()
    local s = script.define_reducer [[
  transitions = { field = "phase", initial = "new", states = { new = { "open" }, open = { "closed" }, closed = {} } },
  on = { t = function(state, event)
    state.phase = event.data.to
  end },]]
    local steps, result = debugger.trace(s, { "t", "x", version = 1, data = { to = "open" } })
    assert.equal("done", result)
    assert.same({ '0: none -> {"phase":"new"}', '4: {"phase":"new"} -> {"phase":"open"}' }, changes(steps))

    local err
    steps, result, err = debugger.trace(s, { "t", "x", version = 2, data = { to = "new" } })
    assert.equal("failed", result, err and err.message)
    assert.same({ '4: {"phase":"open"} -> {"phase":"new"}' }, changes(steps))
    assert.equal('{"phase":"open"}', debugger.state(s, '"x"'))
  end)
end)

describe("with upcasters", function()
  after_each(script.clean)

  it("expressions see the event as handlers do", function()
    local s = assert(script.open("p", { ["projections/p.lua"] = "projection 'p' { on = { t = function(state, event) state.name = event.data.name end } }",
      ["scripts/upcasters/t.lua"] = "upcaster 't' { type = 't', from = 1, up = function(data) return { name = data.title } end }" }))
    local event = { "t", "x", data = { title = "old" } }

    assert.equal('"old"', (debugger.evaluate(s, "event.data.name", { event = event })))
    assert.equal("2", (debugger.evaluate(s, "event.schema_version", { event = event })))
    assert.same({ "0: none -> {}", '1: {} -> {"name":"old"}' }, changes((debugger.trace(s, event))))
  end)
end)

describe("coverage", function()
  after_each(script.clean)

  it("counts the lines of functions, and knows those that never ran", function()
    local s = assert(script.open("p", { ["projections/p.lua"] = [[
local names = require "names"
projection "p" { on = {
  t = function(state)
    state.n = 1
    for i = 1, 3 do
      state.n = names.inc(state.n)
    end
    if state.n > 10 then
      state.many = true
    end
  end,
  never = function(state)
    local inner = function()
      return 1
    end
    state.n = inner()
  end,
  brief = function(state) state.n = 0 end,
} }]], ["scripts/lib/names.lua"] = [[
local names = {}
function names.inc(n)
  return n + 1
end
function names.unused()
  return "x"
end
return names]] }))
    assert(s:run { { "t" } })
    assert.is_nil(debugger.coverage(s))
    s.ops.cover(s.handler)
    assert(s:run { { "t", "x" }, { "t", "y" } })

    assert.same({
      ["projections/p.lua"] = {
        functions = { { line = 3, last = 11 }, { line = 12, last = 17 }, { line = 13, last = 15 }, { line = 18, last = 18 } },
        lines = { ["4"] = 2, ["5"] = 8, ["6"] = 6, ["8"] = 2, ["9"] = 0, ["14"] = 0, ["16"] = 0, ["18"] = 0 },
      },
      ["scripts/lib/names.lua"] = {
        functions = { { line = 2, last = 4 }, { line = 5, last = 7 } },
        lines = { ["3"] = 6, ["6"] = 0 },
      },
    }, debugger.coverage(s))
    assert(s:run { { "brief" } })
    debugger.trace(s, { "t" })
    assert.equal(1, debugger.coverage(s)["projections/p.lua"].lines["18"])
    assert.equal(3, debugger.coverage(s)["projections/p.lua"].lines["4"])
  end)

  it("counts compiled scripts too", function()
    local s = script.define "jit = true, on = { t = function(state)\nfor i = 1, 500 do\nstate.n = i\nend\nend }"
    for _ = 1, 50 do
      assert(s:run { { "t" } })
    end
    s.ops.cover(s.handler)
    for _ = 1, 50 do
      assert(s:run { { "t" } })
    end
    assert.equal(25000, debugger.coverage(s)["projections/p.lua"].lines["4"])
  end)
end)
