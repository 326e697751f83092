local engine = require "spec.support.rule_engine"
local duration = require "prelude.duration"


describe("the hash of a rule's meaning", function()
  local function body(source, files)
    local r, why = engine.try(source, files)
    return assert(r, why).spec.body
  end
  local BASE = [[
    local limit, names = 70, { "a", b = { 1, 2 } }
    local function over(v) return v > limit and names[1] ~= nil end
    rule "r" { on = "t", value = "data.v", hold = "2m", when = function(v) return over(v) end, summary = "s", severity = "info" }
  ]]

  --- The text with one part of it exchanged.
  local function with(from, to, text)
    local at, last = (text or BASE):find(from, 1, true)
    return (text or BASE):sub(1, at - 1) .. to .. (text or BASE):sub(last + 1)
  end

  local same = {
    { "another summary", with('"s"', '"t", description = "d", runbook = "r", labels = { a = "b" }') },
    { "another severity", with('"info"', '"error"') },
    { "who is told", with('"s"', '"s", notify = "ops", group = { by = "x" }') },
    { "what it does", with('"s"', '"s", act = webhook { to = "x" },\n emit = function() return event("y") end') },
    { "white space and comments", with("v > limit", "v  -- more\n --[[ and\nmore ]] >\n limit") },
    { "moved lines", "\n\n\n" .. BASE },
    { "another way to write a duration", with('"2m"', "120") },
    { "a function beside others", with("severity", "\nlabels = function() return {} end, severity") },
    { "an unused local", "local x = 5\n" .. BASE },
    { "limits", with('"s"', '"s", max_keys = 5, max_alerts = 3, on_error = "skip", on_change = "keep", since = "now", budget = 5000') },
  }
  for _, case in ipairs(same) do
    it("stays with " .. case[1], function()
      assert.equal(body(BASE), body(case[2]))
    end)
  end

  local other = {
    { "another number in a function", with("= 70", "= 71") },
    { "another operator", with("v > limit", "v >= limit") },
    { "another table in an upvalue", with("{ 1, 2 }", "{ 1, 3 }") },
    { "another function in an upvalue", with("return over(v)", "return not over(v)") },
    { "another hold", with('"2m"', '"3m"') },
    { "another type", with('"t"', '"u"') },
    { "another value", with("data.v", "data.w") },
    { "a clear", with("severity", "clear = function() end, severity") },
    { "where", with("severity", "where = function() return true end, severity") },
    { "by", with("severity", "by = 'type', severity") },
    { "levels", with("when = function(v) return over(v) end", "when = { info = function(v) return over(v) end }", (with(', severity = "info"', ""))) },
    { "a text with white space", with("names[1] ~= nil", "names[1] ~= 'a  b'") },
  }
  for _, case in ipairs(other) do
    it("changes with " .. case[1], function()
      assert.are_not.equal(body(BASE), body(case[2]))
    end)
  end

  it("follows the methods of an object, and a module that is required when the function runs", function()
    local function class(n)
      return body([[local o = require("x").new() rule "r" { on = "t", when = function(e) return o:f(e) end }]], {
        ["scripts/lib/x.lua"] = ("local C = {} C.__index = C function C.f(self) return %d end "
          .. "return { new = function() return setmetatable({}, C) end }"):format(n) })
    end
    local function late(n)
      return body([[rule "r" { on = "t", when = function(e) return require "x" < e.version end }]], {
        ["scripts/lib/x.lua"] = 'return require "y.z"', ["scripts/lib/y/z.lua"] = ("return %d -- %d"):format(n, n) })
    end

    assert.equal(class(1), class(1))
    assert.are_not.equal(class(1), class(2))
    assert.equal(late(1), late(1))
    assert.are_not.equal(late(1), late(2))
  end)

  it("rather changes once too often where functions share their lines", function()
    assert.are_not.equal(body(BASE), body(with("severity", "emit = function() end, severity")))
  end)

  it("is not that of a text that joins to the same", function()
    assert.are_not.equal(body(with("names[1] ~= nil", "names[1] ~= 'a b'")), body(with("names[1] ~= nil", "names[1] ~= 'a  b'")))
  end)

  it("does not depend on the order of what has none", function()
    assert.equal(body [[rule "r" { on = { "a", "b" }, when = print }]], body [[rule "r" { when = print, on = { "b", "a" } }]])
  end)

  it("follows modules, words and closures", function()
    local LIB = "local m = {}\nlocal k = 5\nfunction m.over(n)\n  return function(v) return v > n + k end\nend\nfunction m.other() end\nreturn m\n"
    local function of(lib, n)
      return body(([[local lib = require "lib" rule "r" { on = "t", value = "data.v", when = lib.over(%d) }]]):format(n), { ["scripts/lib/lib.lua"] = lib })
    end

    assert.equal(of(LIB, 1), of("-- a comment\n" .. LIB, 1))
    assert.are_not.equal(of(LIB, 1), of(LIB, 2))
    assert.are_not.equal(of(LIB, 1), of(LIB:gsub("k = 5", "k = 6"), 1))
    assert.are_not.equal(of(LIB, 1), of(LIB:gsub("v > n", "v >= n"), 1))
    assert.equal(of(LIB, 1), of(LIB:gsub("other%(%) end", "other() return 1 end"), 1))
  end)

  it("ends for functions that know each other, and tables that hold themselves", function()
    local text = [[local t = { n = 1 } t.t = t local a, b
      a = function(v) return b and t.n end
      b = function(v) return a and t end
      rule "r" { on = "t", when = a }]]

    assert.is_string(body(text))
    assert.are_not.equal(body(text), body((text:gsub("n = 1", "n = 2"))))
  end)

  it("names projections that functions hold", function()
    local text = [[local sizes = ref "site.size" rule "r" { on = "t", when = function() return sizes.x end }]]

    assert.are_not.equal(body(text), body((text:gsub("site.size", "site.area"))))
  end)

  it("leaves what people are told to a hash of its own", function()
    local function wording(text)
      return assert(engine.try(text)).spec.wording
    end

    assert.equal(wording(BASE), wording(with("= 70", "= 71")))
    assert.are_not.equal(wording(BASE), wording(with('"s"', '"t"')))
    assert.are_not.equal(wording(BASE), wording(with('"info"', '"error"')))
    assert.are_not.equal(wording(BASE), wording(with('"s"', '"s", notify = "ops"')))
  end)
end)


describe("tokens of Lua", function()
  local tokens = require "prelude.tokens"

  local function texts(source)
    local out = {}
    for i, token in ipairs(tokens.read(source)) do
      out[i] = token.text
    end
    return table.concat(out, " ")
  end

  it("are what is left without comments and white space", function()
    assert.equal('a = "b -- c" .. [[d\n--]] .. \'e\\\'f\' x == 1e-5 .. .5 ... 0xFFp+1 y ~= z [ 1 ]',
      texts('a="b -- c"..--x\n[[d\n--]]..\'e\\\'f\' --[==[ long\n ]] ]==] x==1e-5 .. .5 ... 0xFFp+1 y~=z[1]'))
  end)

  it("find functions by their lines", function()
    local list = tokens.read("local f = function() if x then return function() end end end\nlocal t = { ['end'] = 1, y = t.repeat_ }\n"
      .. "function g()\n  repeat local x = 1 until x\n  for i = 1, 2 do end\n  while x do end\nend")
    local found = tokens.functions(list)

    assert.equal(2, #found["1:1"])
    assert.equal(1, #found["3:7"])
  end)
end)


describe("durations", function()
  it("are seconds, or numbers with units", function()
    for text, us in pairs { ["90s"] = 90e6, ["5m"] = 300e6, ["1h30m"] = 5400e6, ["2d"] = 172800e6, ["1w"] = 604800e6, ["250ms"] = 250e3, ["1.5h"] = 5400e6,
      [0.25] = 250e3, [60] = 60e6, [0] = 0 } do
      assert.equal(us, duration.parse(text), tostring(text))
    end
  end)

  it("are shown the shortest way", function()
    for us, text in pairs { [90e6] = "1m30s", [300e6] = "5m", [5400e6] = "1h30m", [86400e6] = "1d", [250e3] = "250ms", [0] = "0s", [1500e3] = "1s500ms" } do
      assert.equal(text, duration.show(us))
    end
  end)
end)
