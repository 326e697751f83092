local lua_state = require "spec.support.lua_state"

local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

describe("adopting a state", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  local function refuses(chunk, pattern)
    state:eval(chunk)
    local ok, message = state:adopt("a")
    assert.is_false(ok)
    assert.matches(pattern, message)
  end

  it("takes a JSON tree, again and again", function()
    state:eval [[a = { n = 1, s = "x", t = { 1, 2, { deep = json.null } }, e = {}, l = array(), d = decimal "9007199254740993" }]]
    assert.is_true(state:adopt("a"))
    assert.is_true(state:adopt("a"))
    state:eval [[a.t[4], a.e.new, a.l[1] = {}, { x = {} }, "y"]]
    assert.is_true(state:adopt("a"))

    assert.equal([[{"d":9007199254740993,"e":{"new":{"x":{}}},"l":["y"],"n":1,"s":"x","t":[1,2,{"deep":null},{}]}]],
      state:eval "return json.encode(a)")
  end)

  it("remembers what was an array when it is emptied", function()
    state:eval "a = { list = { 1, 2 }, map = { x = 1 }, later = {} }"
    assert.is_true(state:adopt("a"))
    state:eval "a.list[1], a.list[2], a.map.x, a.later[1] = nil, nil, nil, 7"
    assert.is_true(state:adopt("a"))
    state:eval "a.later[1] = nil"
    assert.is_true(state:adopt("a"))

    assert.equal('{"later":[],"list":[],"map":{}}', state:eval "return json.encode(a)")
  end)

  it("turns -0 into 0", function()
    assert.is_true(state:eval "a = { x = -0, l = { 0 * -1 } } return 1 / a.l[1] < 0")
    assert.is_true(state:adopt("a"))

    assert.same({ math.huge, math.huge }, { state:eval "return 1 / a.x, 1 / a.l[1]" })
  end)

  it("refuses what is no tree", function()
    refuses("a = {} a.x = { y = a }", "^state%.x%.y: a cycle")
    refuses("a = {} local t = {} a.x, a.y = { t }, { t }", "^state%.[xy]%[1%]: a table is reached twice")
  end)

  it("refuses what encoding refuses, and names the path", function()
    refuses("a = { x = { 1, { f = print } } }", "^state%.x%[2%]%.f: a function is no JSON value")
    refuses("a = { x = 0/0 }", "^state%.x: NaN")
    refuses("a = { x = '\\255' }", "^state%.x: a string is not UTF%-8")
    refuses("a = { x = 'a\\0' }", "^state%.x: a string holds a NUL")
    refuses("a = { x = { [7] = 1 } }", "^state%.x: the positions up to 7 have holes")
    refuses("a = { x = { 1, y = 2 } }", "^state%.x: a table has both")
    refuses("a = { x = setmetatable({}, {}) }", "^state%.x: a table with a metatable")
    refuses("a = { x = setmetatable({}, { true, 'key', {} }) }", "^state%.x: a table with a metatable")
    refuses("a = { x = newproxy() }", "^state%.x: an object of type userdata")
    refuses("a = { [false] = 1 }", "^state: a key is a boolean")
    refuses("a = {} local t = a for _ = 1, 600 do t.x = {} t = t.x end", "nested deeper than 512")
  end)

  it("refuses a name in an array, also when all positions are gone", function()
    state:eval "a = { l = { 1 } }"
    assert.is_true(state:adopt("a"))
    refuses("a.l[1], a.l.x = nil, 2", "^state%.l: an array cannot have names")
  end)

  it("refuses a table of another state, and names its key", function()
    state:eval "a = { sub = { 1 } } b = {}"
    assert.is_true(state:adopt("a", "device-7"))
    assert.is_true(state:adopt("b", "device-8"))

    state:eval "b.stolen = a.sub"
    local ok, message = state:adopt("b", "device-8")
    assert.is_false(ok)
    assert.matches("^state%.stolen: .* it also belongs to the state of key device%-7 %(copy the table%)", message)
  end)

  it("refuses another state as a whole, within a state or in its place", function()
    state:eval "a = { x = 1 } b = { y = 2 }"
    assert.is_true(state:adopt("a"))
    assert.is_true(state:adopt("b"))

    state:eval "b.whole = a"
    assert.matches("^state%.whole: .* belongs to another state", select(2, state:adopt("b")))
    assert.matches("^state: .* belongs to another state", select(2, state:adopt("a", "b")))
  end)

  it("refuses a table whose state was dropped", function()
    state:eval "a = { sub = {} } kept = a.sub"
    assert.is_true(state:adopt("a"))
    state:disown("a")
    state:eval "a = nil collectgarbage() collectgarbage() b = { kept = kept }"

    assert.is_false((state:adopt("b")))
  end)

  it("lets tables move within their state, and the state into a new one", function()
    state:eval "a = { x = { 1 }, y = {} }"
    assert.is_true(state:adopt("a"))
    state:eval "a.y.moved, a.x = a.x, nil"
    assert.is_true(state:adopt("a"))
    state:eval "a = { old = a, n = 1 }"
    assert.is_true(state:adopt("a"))
    assert.equal('{"n":1,"old":{"y":{"moved":[1]}}}', state:eval "return json.encode(a)")

    state:eval "a = a.old.y"
    assert.is_true(state:adopt("a"))
    assert.is_true(state:adopt("a"))
    assert.equal('{"moved":[1]}', state:eval "return json.encode(a)")
  end)

  it("takes an array as the whole state, and keeps it one", function()
    state:eval "a = { 1 }"
    assert.is_true(state:adopt("a"))
    state:eval "a[1] = nil"
    assert.is_true(state:adopt("a"))

    assert.equal("[]", state:eval "return json.encode(a)")
  end)

  it("hides its marks from scripts", function()
    state:eval "a = { sub = {} }"
    assert.is_true(state:adopt("a"))

    assert.same({ false, false, false, false }, { state:eval [[
      return getmetatable(a), getmetatable(a.sub), (pcall(setmetatable, a, {})), (pcall(setmetatable, a.sub, nil))
    ]] })
  end)

  it("does not let the word array hide whose a table is", function()
    state:eval "a = { sub = {} } b = {}"
    assert.is_true(state:adopt("a"))
    state:eval "b.l = array(a.sub)"
    assert.matches("belongs to the state of key a", select(2, state:adopt("b")))
    assert.is_true(state:adopt("a"))
    assert.equal('{"sub":[]}', state:eval "return json.encode(a)")
  end)

  it("gives the same as reading the state again, over random changes", function()
    math.randomseed(77)
    state:eval [[
      function mutate(t, random, depth)
        local keys = {}
        for k in pairs(t) do keys[#keys + 1] = k end
        table.sort(keys, function(x, y) return tostring(x) < tostring(y) end)
        local is_list = json.is_array(t) or #t > 0
        local inner = keys[random(#keys)]
        if inner and type(t[inner]) == "table" and depth < 5 and random(3) > 1 then
          return mutate(t[inner], random, depth + 1)
        end
        local fresh = { function() return random(9) - 5 end, function() return "s" .. random(9) end,
          function() return {} end, function() return array() end, function() return { random(3), -0 } end,
          function() return { x = random(3) } end, function() return json.null end, function() return true end,
          function() return decimal "12345678901234567890" end }
        local make = fresh[random(#fresh)]
        if is_list then
          if random(3) == 1 then t[#t] = nil else t[#t + 1] = make() end
        elseif random(3) == 1 and inner then
          t[inner] = nil
        else
          t["k" .. random(6)] = make()
        end
      end
      function generator(seed)
        return function(n)
          if n < 1 then return 0 end
          seed = (seed * 1103515245 + 12345) % 2147483648
          return math.floor(seed / 65536) % n + 1
        end
      end
      a, b = {}, {}
      one, two = generator(1), generator(1)
    ]]
    for _ = 1, 600 * SOAK do
      state:eval "mutate(a, one, 1) mutate(b, two, 1)"
      assert.is_true(state:adopt("a"))
      assert.is_true(state:adopt("b"))
      local cached, read_again = state:eval "return json.encode(a), json.encode(b)"
      assert.equal(cached, read_again)
      state:disown("b")
      state:eval("b = json.decode(...)", read_again)
    end
  end)
end)
