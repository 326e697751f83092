local ffi = require "ffi"
local lua_state = require "spec.support.lua_state"
local pg = require "spec.support.pg"

local lib, str = lua_state.lib, lua_state.str
local err = ffi.new("Err")
local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

local function check(text, depth)
  local ok = lib.json_check(str(text), depth or 0, err)
  return ok, not ok and ffi.string(err.message) or nil
end

local function quote(text)
  return "'" .. text:gsub("'", "''") .. "'"
end

describe("decoding", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  it("keeps [] and {} apart, also when they were emptied", function()
    assert.equal('{"a":[],"b":{},"c":[],"d":{}}', state:eval [[
      local t = json.decode '{"a": [], "b": {}, "c": [1], "d": {"x": 1}}'
      t.c[1], t.d.x = nil, nil
      return json.encode(t)
    ]])
  end)

  it("makes null one value that says its name", function()
    assert.same({ true, "null" }, { state:eval "return json.decode('[null]')[1] == json.null, tostring(json.null)" })
    assert.matches("attempt to index null %(field 'name'%)", select(2, state:run "return json.null.name"))
  end)

  it("takes the last of repeated keys", function()
    assert.same({ 3 }, { state:eval [[return json.decode('{"a": 1, "b": 2, "\\u0061": 3}').a]] })
  end)

  it("fails on a depth bomb without using the stack", function()
    for _, bomb in ipairs { ("["):rep(100000), ('{"a":'):rep(100000) } do
      local ok, message = state:run("return json.decode(...)", bomb)

      assert.is_false(ok)
      assert.matches("nested deeper than 512 levels", message)
    end
    assert.is_true(state:run("return json.encode(json.decode(...))", ("["):rep(512) .. ("]"):rep(512)))
  end)

  it("leaves the stack as it was when it fails", function()
    local L = state.L
    for _, text in ipairs { '{"a": [1, {"b": x}]}', "[1, 2", '"\\x"', "[1e999999]", "" } do
      ffi.C.lua_settop(L, 3)
      assert.is_false(lib.lua_json_decode(L, str(text), err))
      assert.equal(3, ffi.C.lua_gettop(L))
    end
    assert.is_true(lib.lua_json_decode(L, str("[1]"), err))
    assert.equal(4, ffi.C.lua_gettop(L))
  end)
end)


describe("encoding", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  it("orders members by the bytes of their keys", function()
    local keys = { "b", "a", "ab", "", "Z", "aaaaaaaaab", "aaaaaaaaaa", "aaaaaaaa", "é", "10", "9", "~" }
    for i = 1, 40 do
      keys[#keys + 1] = ("k%d"):format(i)
    end
    local parts = {}
    for i, key in ipairs(keys) do
      parts[i] = ('"%s":1'):format(key)
    end
    local text = "{" .. table.concat(parts, ",") .. "}"
    table.sort(keys)
    for i, key in ipairs(keys) do
      parts[i] = ('"%s":1'):format(key)
    end

    assert.equal("{" .. table.concat(parts, ",") .. "}", state:eval("return json.encode(json.decode(...))", text))
    assert.equal('{"a":1,"b":2}', state:eval "return json.encode { b = 2, a = 1 }")
  end)

  it("tells arrays from objects", function()
    assert.equal('[[],{},[1,2],{"1":1},[null,true]]', state:eval [[
      local back = {} back[3] = 1 back[2] = 1 back[1] = 1
      assert(json.encode(back) == "[1,1,1]")
      return json.encode { array(), {}, { 1, 2 }, { ["1"] = 1 }, array { json.null, true } }
    ]])
    assert.same({ true, false, true, false }, { state:eval [[
      return json.is_array(array()), json.is_array({}), json.is_array(json.decode "[]"), json.is_array(3)
    ]] })
  end)

  local refused = {
    { "local t = { 1 } return { a = { x = t, y = t } }", "%.a%.[xy]: a table is reached twice" },
    { "local t = {} t.a = { b = t } return t", "value%.a%.b: a cycle" },
    { "return { a = { b = { 1, 2, print } } }", "value%.a%.b%[3%]: a function is no JSON value" },
    { "return { a = { 1, 2, x = 3 } }", "value%.a: a table has both positions and names" },
    { "return { a = { [1] = 1, [3] = 3 } }", "value%.a: the positions up to 3 have holes" },
    { "return { a = { [0] = 1 } }", "value%.a: the key 0 is no position" },
    { "return { a = { [1.5] = 1 } }", "value%.a: the key 1%.5 is no position" },
    { "return { a = { [-1] = 1 } }", "value%.a: the key %-1 is no position" },
    { "return { [1/0] = 1 }", "value: the key inf is no position" },
    { "return { a = { [true] = 1 } }", "value%.a: a key is a boolean" },
    { "return { a = { [json.null] = 1 } }", "value%.a: a key is a userdata" },
    { "return { a = { [{}] = 1 } }", "value%.a: a key is a table" },
    { "return { ['odd key'] = { 0/0 } }", 'value%["odd key"%]%[1%]: NaN is no JSON value' },
    { "return { 1/0 }", "value%[1%]: infinity is no JSON value" },
    { "return { -1/0 }", "value%[1%]: %-infinity is no JSON value" },
    { "return { coroutine.create(print) }", "value%[1%]: a thread is no JSON value" },
    { "return { io.stdout }", "value%[1%]: an object of type userdata is no JSON value" },
    { "return { newproxy() }", "value%[1%]: an object of type userdata is no JSON value" },
    { "return { 'a\\0b' }", "value%[1%]: a string holds a NUL %(byte 1%)" },
    { "return { '\\255' }", "value%[1%]: a string is not UTF%-8 %(byte 0%)" },
    { "return { ['\\255'] = 1 }", "value: a string is not UTF%-8" },
    { "return { ['a\\0'] = 1 }", "value: a string holds a NUL" },
    { "return { setmetatable({}, {}) }", "value%[1%]: a table with a metatable" },
    { "local t = {} for i = 1, 600 do t = { t } end return t", "nested deeper than 512 levels" },
    { "local t = array() t.x = 1 return t", "value: an array cannot have names" },
    { "local s, t = ('x'):rep(2^20), {} for i = 1, 20 do t[i] = s end return t", "value%[16%]: more than 16777216 bytes" },
    { "return print", "value: a function is no JSON value" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function()
      local ok, message = state:run(("local f = function() %s end json.encode(f())"):format(case[1]))

      assert.is_false(ok)
      assert.matches(case[2], message)
    end)
  end

  it("leaves what was written before as it was when it fails", function()
    local buf = ffi.new("Buf")
    lib.buf_adds(buf, "before")
    state:eval "bad = { a = 1, b = print }"
    ffi.C.lua_getfield(state.L, -10002, "bad")

    assert.is_false(lib.lua_json_encode(state.L, -1, buf, "state", err))
    assert.equal("before", ffi.string(buf.s))
    assert.matches("^state%.b: ", ffi.string(err.message))
    assert.equal(1, ffi.C.lua_gettop(state.L))
    lib.buf_free(buf)
  end)

  it("writes -0 as 0 and every length of string", function()
    assert.equal("[0,0]", state:eval "return json.encode { -0, 0 * -1 }")
    assert.is_true(state:eval [[
      for n = 0, 40 do
        for _, odd in ipairs { "", '"', "\\", "\n", "\194\128", "\226\130\172" } do
          local s = ("x"):rep(n) .. odd
          assert(json.decode(json.encode { s })[1] == s)
        end
      end
      return true
    ]])
  end)
end)


describe("a round trip", function()
  local state

  setup(function() state = lua_state.new() end)
  teardown(function() state:close() end)

  local PIECES = { "a", "id", "é", "€", "𝄞", [[\"]], [[\\]], [[\/]], [[\n]], [[\u0001]], [[\u00e9]], [[\ud834\udd1e]],
    " ", "0", "key", ("long"):rep(9), "'", "\127" }
  local NUMBERS = { "0", "-0", "1", "-17", "2.50", "1e3", "1E-2", "123456789012345678901", "0.1", "1e400", "1e-300",
    "9007199254740993", "1.0", "3.14159265358979323846", "18446744073709551616", "0.000001" }

  local function text_of(pieces)
    local out = {}
    for i = 1, math.random(0, pieces) do
      out[i] = PIECES[math.random(#PIECES)]
    end
    return '"' .. table.concat(out) .. '"'
  end

  local function value(depth)
    local space = ({ "", " ", "\n\t" })[math.random(3)]
    local kind = math.random(depth > 0 and 7 or 5)
    if kind <= 2 then
      return text_of(5)
    elseif kind == 3 then
      return NUMBERS[math.random(#NUMBERS)]
    elseif kind <= 5 then
      return ({ "true", "false", "null" })[math.random(3)]
    end
    local parts = {}
    for i = 1, math.random(0, 6) do
      parts[i] = space .. (kind == 7 and text_of(3) .. space .. ":" or "") .. value(depth - 1) .. space
    end
    return (kind == 6 and "[" or "{") .. table.concat(parts, ",") .. space .. (kind == 6 and "]" or "}")
  end

  it("keeps every value, as PostgreSQL reads it", function()
    local sql = {}
    math.randomseed(8259)
    for _ = 1, 800 * SOAK do
      local text = value(5)
      local once, twice = state:eval([[
        local once = json.encode(json.decode(...))
        return once, json.encode(json.decode(once))
      ]], text)
      assert.equal(once, twice)
      assert.is_true(check(once))
      sql[#sql + 1] = ("SELECT %s WHERE %s::jsonb IS DISTINCT FROM %s::jsonb;"):format(quote(text), quote(text), quote(once))
      -- and the text as jsonb writes it
      sql[#sql + 1] = ("SELECT %s::jsonb;"):format(quote(text))
    end
    local n = 0
    for line in pg.shared():psql(table.concat(sql, "\n")):gmatch("[^\n]+") do
      n = n + 1
      assert.is_true(check(line), line)
    end

    assert.equal(800 * SOAK, n) -- a difference would have added a line
  end)

  it("survives every mutation of a text with a value or a clear error", function()
    math.randomseed(4627)
    local accepted, refused = 0, 0
    for _ = 1, 4000 * SOAK do
      local text = value(4)
      for _ = 1, math.random(1, 3) do
        local at = math.random(0, #text)
        text = text:sub(1, at) .. string.char(math.random(0, 255)) .. text:sub(at + 1 + math.random(0, 2))
      end
      local ok, message = check(text)
      local decoded = state:run("json.decode(...)", text)
      assert.equal(ok, decoded, text)
      if ok then
        accepted = accepted + 1
      else
        refused = refused + 1
        assert.matches("^invalid JSON at line %d+, column %d+ %(byte %d+%): .", message)
      end
    end

    assert.is_true(accepted > 100 and refused > 1000)
  end)
end)
