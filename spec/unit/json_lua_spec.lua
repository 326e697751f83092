-- JSON as Lua text: what Lua reads of it is the JSON value again.
local ffi = require "ffi"
local json = require "dkjson"
local c = require "spec.support.c"

local lib = c.load { "base/mem.h", "base/json_lua.h" }
local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

local function lua_of(text)
  local buf = ffi.new("Buf")
  lib.json_add_lua(buf, ffi.new("Str", text, #text))
  local out = ffi.string(buf.s, buf.len)
  lib.buf_free(buf)
  return out
end

--- What the text is to Lua, as JSON: with the words that specs have.
local function read_back(lua)
  local array = function(t) return setmetatable(t, { __jsontype = "array" }) end
  local chunk = assert(loadstring("return " .. lua), lua)
  setfenv(chunk, { json = { null = json.null }, array = array, decimal = function(digits)
    return setmetatable({}, { __tojson = function() return digits end })
  end })
  local function marked(value)
    if type(value) == "table" and value ~= json.null then
      if not getmetatable(value) then
        setmetatable(value, { __jsontype = #value > 0 and "array" or "object" })
      end
      for _, item in pairs(value) do
        marked(item)
      end
    end
    return value
  end
  return json.encode(marked(chunk()), { keyorder = {} })
end

local function random_value(depth)
  local kind = math.random(depth > 4 and 6 or 8)
  if kind == 1 then
    return json.null
  elseif kind == 2 then
    return math.random(2) == 1
  elseif kind == 3 then
    return math.random(-1000, 1000) / 8
  elseif kind <= 6 then
    local bytes = {}
    for i = 1, math.random(0, 8) do
      bytes[i] = string.char(math.random(1, 126))
    end
    return table.concat(bytes) .. (math.random(3) == 1 and "é😀" or "")
  elseif kind == 7 then
    local list = setmetatable({}, { __jsontype = "array" })
    for i = 1, math.random(0, 4) do
      list[i] = random_value(depth + 1)
    end
    return list
  end
  local object = setmetatable({}, { __jsontype = "object" })
  for _ = 1, math.random(0, 4) do
    object[({ "a", "end", "b c", "1x", "_y", 'q"\\', "ü" })[math.random(7)]] = random_value(depth + 1)
  end
  return object
end

local function canonical(text)
  local function sorted(value)
    if type(value) ~= "table" or value == json.null then
      return json.encode(value)
    end
    local parts = {}
    if (getmetatable(value) or {}).__jsontype == "array" then
      for i, item in ipairs(value) do
        parts[i] = sorted(item)
      end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for name, item in pairs(value) do
      parts[#parts + 1] = json.encode(name) .. ":" .. sorted(item)
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
  end
  return sorted((json.decode(text, 1, json.null)))
end

describe("JSON as Lua text", function()
  it("is what a person would write", function()
    assert.equal('{ site = "lisbon", tags = { "a", 2 }, none = json.null, list = array {}, ["end"] = {} }',
      lua_of('{"site":"lisbon","tags":["a",2],"none":null,"list":[],"end":{}}'))
    assert.equal('"a\\"b\\\\\\n\\001é"', lua_of('"a\\"b\\\\\\n\\u0001\\u00e9"'))
    assert.equal('{ true, false, -1.5, decimal "9007199254740993" }', lua_of("[true, false, -1.50, 9007199254740993]"))
  end)

  it("reads back as the same value", function()
    local seed = os.time()
    math.randomseed(seed)
    for round = 1, 400 * SOAK do
      local text = json.encode(random_value(0))
      local lua = lua_of(text)
      assert.equal(canonical(text), canonical(read_back(lua)), ("seed %d, round %d: %s"):format(seed, round, lua))
    end
  end)
end)
