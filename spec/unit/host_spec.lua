local script = require "spec.support.script"

--- Runs `body` as a handler of one event in a small budget, and gives its failure.
local function failure(body, options)
  local s = script.define(("on = { t = function(state, event)\n%s\nend }"):format(body),
    options or { budget = 1000000, memory = 16 * 1024 * 1024, states = 1024 * 1024 })
  local err = s:fails()
  s:close()
  return err
end

--- The state that `body` leaves, as JSON.
local function result(body, options)
  local s = script.define(("on = { t = function(state, event)\n%s\nend }"):format(body), options)
  local fx, err = s:run { {} }
  s:close()
  assert(fx, err and err.message)
  return fx.text:match('"state":(.*),"position"')
end

describe("the sandbox", function()
  teardown(script.clean)

  describe("budget", function()
    local endless = {
      ["a plain loop"] = "while true do end",
      ["pcall in a loop"] = "while true do pcall(function() while true do end end) end",
      ["a looping xpcall handler"] = "xpcall(error, function() while true do end end)",
      ["xpcall in a loop"] = "while true do xpcall(function() while true do end end, function() while true do end end) end",
      ["a coroutine"] = "coroutine.wrap(function() while true do end end)()",
      ["coroutines that hide the error"] =
        "while true do local co = coroutine.create(function() while true do end end) coroutine.resume(co) end",
      ["a backtracking pattern"] = "string.find(('a'):rep(40000), ('a?'):rep(30) .. ('a'):rep(30) .. '(.-)b')",
      ["a pattern tried in a loop"] = "while true do pcall(string.find, ('a'):rep(40000), '.-.-.-.-b') end",
      ["a comparator that never ends"] = "table.sort({ 3, 2, 1 }, function() while true do end end)",
      ["a bomb of strings"] = "local s = ('x'):rep(1000000) while true do local t = s .. tostring({}) .. math.floor(1) end",
      ["insertion at the front"] = "local t = {} while true do table.insert(t, 1, 0) end",
      ["next in a loop"] = "local t = {} for i = 1, 1000 do t['k' .. i] = i end while true do next(t, 'k1') end",
      ["gsub with a callback that loops"] = "(('x'):rep(10)):gsub('.', function() while true do end end)",
      ["a tail call without end"] = "local function f() return f() end f()",
    }
    for name, body in pairs(endless) do
      it("ends " .. name, function()
        local err = failure(body)

        assert.equal("limit", err.kind, err.message)
        assert.matches("^projections/p.lua:%d+: projection 'p': .*budget", err.message)
      end)
    end

    it("ends a key function that loops, at its event", function()
      local s = script.define [[ budget = 100000, key = function(event) if event.id == 2 then while true do end end return "k" end,
        on = { t = function() end } ]]
      local page = s:page { {}, {}, {} }
      s:prepare(page)
      local how, at, err = s:step(page)
      s:close()

      assert.same({ "failed", 1, "limit", 2 }, { how, at, err.kind, err.event_id })
    end)

    it("ends a file that loops while it is loaded", function()
      local s, err = script.open("p", "while true do end", { budget = 100000 })

      assert.is_nil(s)
      assert.matches("^projections/p.lua:1: .*budget", err.message)
    end)

    it("is given anew to every event", function()
      local s = script.define [[ budget = 20000, on = { t = function(state) for i = 1, 3000 do end end } ]]
      local many = {}
      for i = 1, 100 do
        many[i] = {}
      end

      assert.is_truthy(s:run(many))
      s:close()
    end)

    it("is given up by jit = true", function()
      local s = script.define [[ jit = true, budget = 1000, on = { t = function(state) state.n = 0
        for i = 1, 1e6 do state.n = state.n + i % 3 end end } ]]
      local fx = s:run { {} }
      s:close()

      assert.equal(1000000, fx.upserts[1].state.n)
    end)

    it("ends the same event at the same instruction in every run", function()
      local function depth()
        return result [[ state.n = 0
          pcall(function() while true do state.n = state.n + 1 end end) ]]
      end
      local ok, first = pcall(depth)
      local again, second = pcall(depth)

      assert.same({ ok, first }, { again, second })
    end)
  end)

  describe("memory", function()
    local greedy = {
      ["a table that grows"] = "local t = {} for i = 1, 1e9 do t[i] = i end",
      ["a table of tables"] = "local t = {} while true do t = { t, {}, {}, {} } end",
      ["a string that doubles"] = "local s = 'xxxxxxxx' while true do s = s .. s end",
      ["repetition"] = "local t = {} for i = 1, 1e6 do t[i] = ('x'):rep(1000000 + i) end",
      ["a state that grows"] = "for i = 1, 1e9 do state[i] = ('x'):rep(1000) .. i end",
      ["closures"] = "local f for i = 1, 1e9 do local g = f f = function() return g, i end end",
      ["coroutines"] = "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() coroutine.yield() end) coroutine.resume(t[i]) end",
      ["a format"] = "local t = {} for i = 1, 1e6 do t[i] = ('%99d'):rep(1000):format(unpack(t)) end",
    }
    for name, body in pairs(greedy) do
      it("stops " .. name, function()
        local err = failure(body, { budget = 1000000000, memory = 8 * 1024 * 1024, states = 1024 * 1024 })

        assert.is_true(err.kind == "memory" or err.kind == "limit" or err.kind == "script", err.message)
        assert.matches("projection 'p'", err.message)
      end)
    end

    it("is collected before the limit is reached", function()
      assert.equal('{"n":2000}', result("state.n = 0 for i = 1, 2000 do local s = ('x'):rep(100000 + i) state.n = state.n + 1 end",
        { memory = 4 * 1024 * 1024, states = 1024 * 1024, budget = 1000000000 }))
    end)

    it("lets the script go on with the next event", function()
      local s = script.define([[ on = { big = function() local t = {} for i = 1, 1e9 do t[i] = {} end end,
        small = function(state) state.n = 1 end } ]], { memory = 8 * 1024 * 1024, states = 1024 * 1024, budget = 1000000000 })
      local _, err = s:run { { "big" } }
      local fx = s:run { { "small" } }
      s:close()

      assert.equal("memory", err.kind)
      assert.equal(1, fx.upserts[1].state.n)
    end)
  end)

  describe("the stack", function()
    local deep = {
      ["recursion"] = "local function f() return 1 + f() end f()",
      ["coroutines in coroutines"] = "local function f() coroutine.wrap(f)() end f()",
      ["sort in sort"] = "local function f() table.sort({ 1, 2, 3 }, function() f() return false end) end f()",
      ["gsub in gsub"] = "local function f() (('x'):rep(2)):gsub('.', function() f() end) end f()",
      ["__index loops"] = "local t = {} setmetatable(t, { __index = function(_, k) return t[k .. 'x'] end }) return t.a",
      ["__add loops"] = "local t = setmetatable({}, { __add = function(a, b) return a + b end }) return t + t",
      ["__tostring loops"] = "local t t = setmetatable({}, { __tostring = function() return tostring(t) end }) tostring(t)",
      ["a module that requires itself"] = "require 'self'",
    }
    for name, body in pairs(deep) do
      it("survives " .. name, function()
        local s = assert(script.open("p", {
          ["projections/p.lua"] = ("projection 'p' { on = { t = function(state)\n%s\nend } }"):format(body),
          ["scripts/lib/self.lua"] = "require 'self'",
        }))
        local err = s:fails()
        s:close()

        assert.matches("projection 'p'", err.message)
      end)
    end
  end)

  describe("words", function()
    local absent = { "io", "os", "debug", "ffi", "jit", "package", "load", "loadstring", "loadfile", "dofile", "newproxy",
      "collectgarbage", "getfenv", "setfenv", "module", "_G", "gcinfo" }
    for _, name in ipairs(absent) do
      it("has no " .. name, function()
        assert.matches(("'%s' is not available %%("):format(name), failure("return " .. name).message)
      end)
    end

    it("has no math.random, and says why", function()
      assert.matches("math.random is not available %(a replay would differ", failure("math.random()").message)
    end)

    it("has no table.foreach, whose order is not defined", function()
      assert.matches("foreach", failure("table.foreach({}, function() end)").message)
    end)

    it("has no string.dump", function()
      assert.matches("string.dump is not available", failure("string.dump(function() end)").message)
      assert.matches("not available", failure("(''):dump()").message)
    end)

    it("names the nearest word for an unknown one", function()
      local err = failure("return tonumbr('1')")

      assert.matches("^projections/p.lua:3: projection 'p': unknown word 'tonumbr' %(did you mean 'tonumber'%?%)", err.message)
    end)

    it("refuses to set a global", function()
      assert.matches("global 'count' cannot be set %(use a local, or the state", failure("count = 1").message)
      assert.matches("global 'print' cannot be set", failure("print = nil").message)
    end)

    it("refuses to change a library", function()
      for _, body in ipairs { "string.upper = nil", "math.pi = 3", "rawset(table, 'insert', print)", "json.null = 1",
        "setmetatable(math, nil)", "setmetatable('', {})", "getmetatable('').__index.x = 1", "rawset(math, 'random', print)" } do
        assert.matches("projection 'p'", failure(body).message, 1, true)
      end
    end)

    it("cannot reach the metatable of strings", function()
      assert.equal('{"m":"boolean"}', result("state.m = type(getmetatable(''))"))
    end)

    it("refuses weak tables", function()
      assert.matches("weak tables are not available", failure("setmetatable({}, { __mode = 'k' })").message)
    end)

    it("refuses bytecode", function()
      local s, err = script.open("p", string.dump(loadstring("return 1")))

      assert.is_nil(s)
      assert.matches("projections/p.lua: bytecode is not accepted %(give the source%)", err.message)
    end)

    it("shows no address", function()
      assert.equal('{"a":"table","b":"function","c":"thread","d":"table function"}',
        result([[ state.a, state.b, state.c = tostring({}), tostring(print), tostring(coroutine.create(print))
          state.d = ("%s %s"):format({}, print) ]]))
    end)

    it("raises what error() was given, with its place", function()
      assert.matches("^projections/p.lua:3: projection 'p': too hot", failure("error('too hot')").message)
      assert.matches("^projections/p.lua:3: projection 'p': too hot", failure("error('too hot', 0)").message)
    end)

    it("describes an error that is no text without running it", function()
      local err = failure("error(setmetatable({}, { __tostring = function() while true do end end }))")

      assert.equal("script", err.kind)
      assert.matches("the script raised a table", err.message)
    end)

    it("keeps xpcall's promise", function()
      assert.equal('{"all":"true 1 2","failed":"false caught"}', result([[
        state.all = table.concat({ tostring((xpcall(function() end, print))), select(2, xpcall(function() return 1, 2 end, print)) }, " ")
        local ok, what = xpcall(error, function() return "caught" end)
        state.failed = tostring(ok) .. " " .. what ]]))
    end)

    it("reads and writes times in UTC", function()
      assert.equal('{"day":"2026-01-02","iso":"2026-01-02T03:04:05.123456Z","t":1767323045.123456}', result([[
        state.t = time "2026-01-02T05:04:05.123456+02:00"
        state.iso, state.day = iso(state.t), utc_date(state.t) ]]))
    end)

    it("has the coroutines of Lua", function()
      assert.equal('{"dead":"dead","sum":6,"why":"cannot resume dead coroutine"}', result([[
        state.sum = 0
        local co = coroutine.create(function(n) for i = 1, n do coroutine.yield(i) end end)
        for _ = 1, 3 do local _, i = coroutine.resume(co, 3) state.sum = state.sum + i end
        coroutine.resume(co)
        state.dead = coroutine.status(co)
        state.why = select(2, coroutine.resume(co)) ]]))
    end)
  end)

  describe("order", function()
    local function order(setup)
      return result(setup .. [[
        local seen = array {}
        for k in pairs(t) do seen[#seen + 1] = tostring(k) end
        state.seen = seen ]])
    end

    it("is numbers ascending, then strings by bytes", function()
      assert.equal('{"seen":["-1","1","2.5","10","A","B","a","aa","b","é"]}',
        order "local t = { b = 1, a = 1, aa = 1, B = 1, A = 1, ['é'] = 1, [10] = 1, [2.5] = 1, [-1] = 1, [1] = 1 }")
    end)

    it("does not depend on how the table was filled", function()
      local forward = order "local t = {} for i = 1, 300 do t['k' .. i] = i end"
      local backward = order "local t = {} for i = 300, 1, -1 do t['k' .. i] = i t['x' .. i] = i t['x' .. i] = nil end"

      assert.equal(forward, backward)
    end)

    it("is the same for next", function()
      assert.equal('{"seen":["1","2","a","b"]}', result([[
        local t, seen, k = { b = 1, a = 1, 5, 6 }, array {}, nil
        repeat k = next(t, k) seen[#seen + 1] = k and tostring(k) until k == nil
        state.seen = seen ]]))
    end)

    it("allows to change and remove fields on the way", function()
      assert.equal('{"left":["b"],"seen":["a","b"]}', result([[
        local t, seen, left = { a = 1, b = 2, c = 3 }, array {}, array {}
        for k in pairs(t) do seen[#seen + 1] = k t.a = nil t.c = nil t.b = 5 end
        for k in pairs(t) do left[#left + 1] = k end
        state.seen, state.left = seen, left ]]))
    end)

    it("is refused for keys that have none", function()
      assert.matches("a table as a key has no order", failure("for _ in pairs({ [{}] = 1, a = 2 }) do end").message)
    end)
  end)

  describe("require", function()
    local function open(body, modules)
      local files = { ["projections/p.lua"] = body }
      for name, source in pairs(modules or {}) do
        files["scripts/lib/" .. name] = source
      end
      return script.open("p", files)
    end
    local USER = "local names = require 'fleet.names' projection 'p' { on = { t = function(s) s.n = names.n end } }"

    it("finds modules in scripts/lib, and puts them into the digest", function()
      local one = assert(open(USER, { ["fleet/names.lua"] = "return { n = 1 }" }))
      local two = assert(open(USER, { ["fleet/names.lua"] = "return { n = 2 }" }))
      local first, second = one:definition().digest, two:definition().digest
      local ffi = require "ffi"

      assert.equal(1, one:run({ {} }).upserts[1].state.n)
      assert.not_equal(ffi.string(first), ffi.string(second))
      assert.equal(64, #ffi.string(first))
      one:close()
      two:close()
    end)

    it("says where a missing module should be", function()
      local _, err = open(USER)

      assert.matches("^projections/p.lua:1: .*no module 'fleet.names' %(there is no file scripts/lib/fleet/names.lua%)", err.message)
    end)

    it("names the line of a module's own error", function()
      local _, err = open(USER, { ["fleet/names.lua"] = "\n\nreturn {" })

      assert.matches("^scripts/lib/fleet/names.lua:3: ", err.message)
    end)

    it("does not leave scripts/lib", function()
      for _, name in ipairs { "../secret", "/etc/passwd", "a..b", "A", "a/b", ".a", "a." } do
        local _, err = open(("require '%s'"):format(name))
        assert.matches("a module's name is lower%-case", err.message)
      end
    end)

    it("refuses modules that require each other", function()
      local _, err = open("require 'a'", { ["a.lua"] = "require 'b'", ["b.lua"] = "require 'a'" })

      assert.matches("module 'a' requires itself", err.message)
    end)
  end)

  it("gives print and log to the program, with the script's name", function()
    local ffi = require "ffi"
    local lines = {}
    local log = ffi.cast("void (*)(void *, const char *, const char *)", function(_, name, line)
      lines[#lines + 1] = ffi.string(name) .. ": " .. ffi.string(line)
    end)
    local s = script.define("on = { t = function(state, event) print('seen', event.id, {}) log(nil, true) end }", { log = log })
    s:run { {} }
    s:close()
    log:free()

    assert.same({ "projections/p.lua: seen\t1\ttable", "projections/p.lua: nil\ttrue" }, lines)
  end)
end)
