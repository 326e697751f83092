local ffi = require "ffi"
local lua_state = require "spec.support.lua_state"

local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

-- Runs in the state: both implementations with the same arguments, every result told apart.
local COMPARE = [[
  function outcome(f, ...)
    local r = { pcall(f, ...) }
    if not r[1] then
      return "error: " .. tostring(r[2]):gsub("^[^:]+:%d+: ", ""):gsub("bad argument #%d to '.-' ", "bad argument ")
    end
    local shown = {}
    for i = 1, table.maxn(r) do
      shown[i] = type(r[i]) .. ":" .. tostring(r[i])
    end
    return stock.concat(shown, "|")
  end
  function all(gmatch, s, p)
    local found, n = {}, 0
    for a, b, c in gmatch(s, p) do
      n = n + 1
      found[n] = tostring(a) .. "," .. tostring(b) .. "," .. tostring(c)
      if n > 200 then break end
    end
    return stock.concat(found, ";")
  end
  function differ(name, ...)
    local ours, theirs = outcome(string[name], ...), outcome(stock[name], ...)
    local same = ours == theirs or (ours:sub(1, 6) == "error:" and theirs:sub(1, 6) == "error:")
    return not same and stock.format("%s: %s, stock: %s", name, ours, theirs) or nil
  end
]]

describe("patterns", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  it("do what the manual says", function()
    local manual = {
      { "return ('hello world'):find('o w')", 5, 7 },
      { "return ('hello'):find('l', 1, true)", 3, 3 },
      { "return ('a.b'):find('.', 2, true)", 2, 2 },
      { "return ('hello'):find('')", 1, 0 },
      { "return ('hello'):find('', 10)", 6, 5 },
      { "return ('hello'):find('xyz')", nil },
      { "return ('key = value'):match('^(%w+)%s*=%s*(%w+)$')", "key", "value" },
      { "return ('flaaap'):match('()aa()')", 3, 5 },
      { "return ('THE (quick) fox'):find('%((%a+)%)')", 5, 11, "quick" },
      { "return ('x(a(b)c)y'):match('%b()')", "(a(b)c)" },
      { "return ('THE (quick) fox'):gsub('%f[%a]%a+', '<%0>')", "<THE> (<quick>) <fox>", 3 },
      { [[return ("it's 'all' good"):match("(['\"])(.-)%1")]], "'", "s " },
      { "return ('hello world'):gsub('(%w+)', '%1 %1')", "hello hello world world", 2 },
      { "return ('hello world'):gsub('%w+', '%0 %0', 1)", "hello hello world", 1 },
      { "return ('$name is $age'):gsub('%$(%w+)', { name = 'moon', age = 4 })", "moon is 4", 2 },
      { "return ('4+5'):gsub('%d', function(d) return d * 2 end)", "8+10", 2 },
      { "return ('abc'):gsub('', '-')", "-a-b-c-", 4 },
      { "return ('abc'):gsub('%w', '%%%0')", "%a%b%c", 3 },
      { "return ('a\\0b'):find('\\0')", 2, 2 },
      { "return ('a\\0b'):match('%z')", "\0" },
      { "return ('é'):match('^%a') == nil", true },
    }
    for _, case in ipairs(manual) do
      assert.same({ unpack(case, 2, table.maxn(case)) }, { state:eval(case[1]) }, case[1])
    end
  end)

  it("take what looks like a pattern error as one", function()
    for _, pattern in ipairs { "%", "[a", "[", "[^", "[%", "(", "(a", "%1", "(a)%2", "(%1)", "a+)", "%b", "%bx",
      "%f", "%fa", ("()"):rep(33) } do
      local ok, message = state:run("local p = ... return ('aab'):find(p)", pattern)
      assert.is_false(ok, pattern)
      assert.matches("pattern", message .. " capture pattern")
      assert.equal(ok, (state:run("local p = ... return stock.find('aab', p)", pattern)), pattern)
    end
    assert.matches("pattern too complex", select(2, state:run("return ('x'):rep(300):find(('x?'):rep(250))")))
  end)

  it("answer like the stock functions, over thousands of generated ones", function()
    state:eval(COMPARE)
    local problem = state:eval([=[
      local rounds = tonumber((...))
      math.randomseed(1993)
      local letters = { "a", "b", "c", "A", "0", "7", " ", "(", ")", "[", "]", "x", "_", ".", "-", "%", "^", "$", "\n", "\200" }
      local items = { "a", "b", ".", "%a", "%d", "%s", "%w", "%p", "%u", "%l", "%x", "%c", "%A", "%S", "%%", "%.",
        "[abc]", "[^a]", "[a-c]", "[%a_]", "[^%d%s]", "[]]", "[a-]", "[%-x]", "x", "-", " " }
      local repeats = { "", "", "", "*", "+", "-", "?" }
      local odd = { "()", "%b()", "%bab", "%f[%w]", "%f[^%a]", "$", "^", "%1", "%", "[", "(", ")", "%2" }
      local function subject()
        local out = {}
        for i = 1, math.random(0, 14) do out[i] = letters[math.random(#letters)] end
        return stock.concat(out)
      end
      local function pattern(depth)
        local out = {}
        for i = 1, math.random(depth == 0 and 0 or 1, 4) do
          local dice = math.random(20)
          if dice == 1 then
            out[i] = odd[math.random(#odd)]
          elseif dice <= 4 and depth < 3 then
            out[i] = "(" .. pattern(depth + 1) .. ")"
          else
            out[i] = items[math.random(#items)] .. repeats[math.random(#repeats)]
          end
        end
        local p = stock.concat(out)
        return depth == 0 and math.random(8) == 1 and "^" .. p or p
      end
      local templates = { "", "<%0>", "%1", "%2%1", "x%%y", "%9", "é" }
      for i = 1, rounds do
        local s, p = subject(), pattern(0)
        local at = math.random(-4, 16)
        local template = templates[math.random(#templates)]
        local function twice(a, b) return a == "a" and false or tostring(a) .. tostring(b) end
        local bad = differ("find", s, p) or differ("find", s, p, at) or differ("find", s, p, at, true)
          or differ("match", s, p, at) or differ("gsub", s, p, template) or differ("gsub", s, p, twice)
          or differ("gsub", s, p, { a = "1", b = 2, c = false }) or differ("gsub", s, p, template, at)
        local ours, theirs = outcome(all, string.gmatch, s, p), outcome(all, stock.gmatch, s, p)
        if not bad and ours ~= theirs and not (ours:find("^error") and theirs:find("^error")) then
          bad = "gmatch: " .. ours .. ", stock: " .. theirs
        end
        if bad then
          return stock.format("%q with %q at %d: %s", s, p, at, bad)
        end
      end
      return "the same"
    ]=], tostring(8000 * SOAK))

    assert.equal("the same", problem)
  end)

  it("answer like the stock functions where the arguments are wrong", function()
    state:eval(COMPARE)
    for _, call in ipairs { "differ('find')", "differ('find', 'a')", "differ('find', {}, 'a')", "differ('find', 'a', {})",
      "differ('find', 12, 2)", "differ('match', 'a', 'a', {})", "differ('gsub', 'a', 'a')", "differ('gsub', 'a', 'a', true)",
      "differ('gsub', 'abc', '%w', type)", "differ('gsub', 'abc', '%w', function() return {} end)",
      "differ('gsub', 'abc', '%w', function() error('mine') end)", "differ('gsub', 'a', 'a', 12)",
      "differ('gmatch')", "differ('rep', 'x')", "differ('rep', 'x', 3)", "differ('rep', 'x', 3, ', ')", "differ('rep', 'x', -1)",
      "differ('format', '%d %s %5.2f %q', 3, 'x', 1.5, 'a\\nb')", "differ('format', '%d', 'x')", "differ('format', '%y', 1)",
      "differ('format')", "differ('format', '%%p %s', 'x')", "differ('upper', 'abC')", "differ('lower', 'ABc')",
      "differ('reverse', 'abc')", "differ('lower')",
    } do
      assert.is_nil((state:eval("return " .. call)), call)
    end
    assert.equal("a, b, 3", state:eval "return table.concat({ 'a', 'b', 3 }, ', ')")
    assert.equal("b", state:eval "return table.concat({ 'a', 'b', 'c' }, '-', 2, 2)")
    assert.equal("", state:eval "return table.concat({}, '-')")
    assert.matches("invalid value", select(2, state:run "return table.concat({ 'a', {} })"))
    assert.is_false(state:run "return table.concat({ 'a' }, '', -1e300)")
  end)

  it("run nested replacements and survive an error within one", function()
    assert.same({ "[A][B]", 2 }, { state:eval [[
      return ("a b"):gsub("%a ?", function(x) return (x:gsub("%a", function(y) return "[" .. y:upper() .. "]" end):gsub(" ", "")) end)
    ]] })
    assert.same({ false, "xx", 1 }, { state:eval [[
      local ok = pcall(string.gsub, "abc", "%w", function() error "no" end)
      return ok, ("ax"):gsub("a", "x")
    ]] })
  end)
end)


describe("the pattern budget", function()
  local function spend(steps, chunk)
    local state = lua_state.new { steps = steps }
    local ok, message = state:run(chunk)
    local left = tonumber(state.budget.steps)
    state:close()
    return ok, message, left
  end

  local runaways = {
    "return (('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(30) .. 'b')",
    "return (('a'):rep(5000)):find('.-.-.-.-b')",
    "return (('a'):rep(5000)):match('(.*)(.*)(.*)(.*)b')",
    "return (('('):rep(100000)):gsub('%b()', '')",
    "for _ in (('x'):rep(1000000)):gmatch('[abcdefghijkl]*y') do end",
    "return (('ab'):rep(50000)):find('(.*)%1%1%1c')",
    "for i = 1, 1e9 do ('abc'):find('c') end",
    "for i = 1, 1e9 do ('abc'):find('c', 1, true) end",
    "for i = 1, 1e9 do ('abc'):upper() end",
    "for i = 1, 1e9 do json.decode('[]') end",
    "for i = 1, 1e9 do json.encode(1) end",
    "for i = 1, 1e9 do ('x'):rep(10) end",
    "for i = 1, 1e9 do table.concat({ 'a', 'b' }) end",
  }
  for _, chunk in ipairs(runaways) do
    it("ends " .. chunk, function()
      local started = os.clock()
      local ok, message = spend(2e6, chunk)

      assert.is_false(ok)
      assert.matches("pattern budget exceeded", message)
      assert.is_true(os.clock() - started < 5)
    end)
  end

  it("stays used up, so that pcall hides nothing", function()
    local ok, message = spend(1000, [[
      for _ = 1, 1e9 do pcall(string.find, ("a"):rep(100), ".-.-.-b") end
    ]])

    assert.is_false(ok)
    assert.matches("pattern budget exceeded", message)
  end)

  it("is taken in proportion to the work, and can be refilled", function()
    local state = lua_state.new { steps = 1000 }
    assert.is_true(state:run "return ('hello'):find('l+')")
    assert.is_true(state.budget.steps > 900 and state.budget.steps < 1000)
    assert.is_false(state:run "return (('a'):rep(1000)):find('.-.-b')")
    assert.is_false(state:run "return ('a'):find('a')")

    state.budget.steps = 1000
    assert.is_true(state:run "return ('a'):find('a')")
    state:close()
  end)

  it("keeps its functions' originals out of reach", function()
    local state = lua_state.new()
    assert.is_nil((state:eval "return string.gfind"))
    state:close()
  end)
end)


describe("results", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  local too_long = {
    { "return ('x'):rep(2^24 + 1)", "rep: the result is longer than 16777216 bytes" },
    { "return ('x'):rep(1e300)", "rep: the result" },
    { "return ('x'):rep(2^23, 'yy')", "rep: the result" },
    { "return (('x'):rep(2^13)):gsub('x', ('y'):rep(2^12))", "gsub: the result" },
    { "return (('x'):rep(2^13)):gsub('x', function() return ('y'):rep(2^12) end)", "gsub: the result" },
    { "local s = ('x'):rep(2^23) return ('%s%s%s'):format(s, s, s)", "format: the result" },
    { "return ('%q'):format(('\\0'):rep(2^23))", "format: the result" },
    { "local s = ('x'):rep(2^23) return table.concat({ s, s, s })", "concat: the result" },
    { "local t = {} for i = 1, 300 do t[i] = i end return table.concat(t, ('x'):rep(2^17))", "concat: the result" },
  }
  for _, case in ipairs(too_long) do
    it("are bounded in " .. case[1], function()
      local ok, message = state:run(case[1])

      assert.is_false(ok)
      assert.matches(case[2], message)
    end)
  end

  it("may be as long as the bound", function()
    assert.equal(2 ^ 24, state:eval "return #('x'):rep(2^24)")
    assert.equal(2 ^ 24, state:eval "return #(('x'):rep(2^12):gsub('x', ('y'):rep(2^12)))")
  end)

  it("hold no addresses", function()
    for _, format in ipairs { "%p", "%-20p", "%5d %p" } do
      local ok, message = state:run("local f = ... return f:format({}, {})", format)
      assert.is_false(ok)
      assert.matches("%%p is not available", message)
    end
  end)

  it("cost nothing where no budget was set", function()
    local L = ffi.C.luaL_newstate()
    lua_state.lib.lua_pattern_spend(L, 1e9)
    assert.equal(0, ffi.C.lua_gettop(L))
    ffi.C.lua_close(L)
  end)
end)
