local ffi = require "ffi"
local script = require "spec.support.script"
local c = require "spec.support.c"
local C = c.load { "lua/lua_map.h" }

local function open(source, options)
  local opts = ffi.new("LuaOptions", options or {})
  local dir = script.workspace { ["scripts/map.lua"] = source }
  opts.workspace = dir
  local out, err = ffi.new("LuaMap *[1]"), ffi.new("Err")
  if not C.lua_map_open(opts, "scripts/map.lua", out, err) then
    return nil, ffi.string(err.message)
  end
  return ffi.gc(out[0], C.lua_map_close)
end

local function map(m, record)
  local buf, err = ffi.gc(ffi.new("Buf"), C.buf_free), ffi.new("Err")
  local ok = C.lua_map_call(m, ffi.new("Str", { record, #record }), buf, err)
  return ok and ffi.string(buf.s, buf.len), not ok and ffi.string(err.message) or nil
end

describe("a mapping script", function()
  teardown(script.clean)

  it("turns a record into an event", function()
    local m = assert(open [[ return function(r)
      return { event_type = "issue." .. r.action, aggregate_id = tostring(r.id), data = r, occurred_at = time(r.at) } end ]])

    assert.equal('{"aggregate_id":"12345678901234567890","data":{"action":"opened","at":"1970-01-01T00:00:01Z","id":12345678901234567890},'
      .. '"event_type":"issue.opened","occurred_at":1}',
      (map(m, '{"id":12345678901234567890,"action":"opened","at":"1970-01-01T00:00:01Z"}')))
  end)

  it("skips a record with nil", function()
    local m = assert(open "return function(r) if r.keep then return r end end")

    assert.same({ "", '{"keep":true}' }, { (map(m, "{}")), (map(m, '{"keep":true}')) })
  end)

  it("fails for one record and goes on with the next", function()
    local m = assert(open "return function(r)\n  return { x = r.a.b }\nend")
    local _, err = map(m, "{}")

    assert.equal("scripts/map.lua:2: attempt to index field 'a' (a nil value)", err)
    assert.equal('{"x":1}', (map(m, '{"a":{"b":1}}')))
  end)

  it("says what it must return", function()
    for body, problem in pairs { ["return 1"] = "a mapping script returns a function%(record%), not a number",
      [""] = "not a nil", ["projection 'x' { on = { t = print } }"] = "this file is to return a function" } do
      local m, err = open(body)
      assert.is_nil(m)
      assert.matches("^scripts/map.lua:?%d*: .*" .. problem, err)
    end
    for body, problem in pairs { ["'text'"] = "the mapping returned a string", ["{ 1 }"] = "returned an array", ["{ f = print }"] = "event.f: a function" } do
      local _, err = map(assert(open("return function() return " .. body .. " end")), "{}")
      assert.matches("^scripts/map.lua:1: .*" .. problem, err)
    end
  end)

  it("is bounded", function()
    local m = assert(open("return function() while true do end end", { budget = 10000 }))

    assert.matches("budget", select(2, map(m, "{}")))
  end)

  it("names a record that is no JSON", function()
    assert.matches("the record: .*line 1", select(2, map(assert(open "return function(r) return r end"), "{")))
  end)
end)
