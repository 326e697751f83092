--- A Lua state of its own for specs of runtime/lua: the words of JSON, bounded patterns, and the
-- stock string functions beside them as `stock`.
local ffi = require "ffi"
local c = require "spec.support.c"

local lib = c.load {
  "base/err.h", "base/mem.h", "base/number.h", "base/json.h",
  "lua/lua_json.h", "lua/lua_decimal.h", "lua/lua_pattern.h",
}

ffi.cdef [[
lua_State *luaL_newstate(void);
void luaL_openlibs(lua_State *L);
void lua_close(lua_State *L);
int luaL_loadbuffer(lua_State *L, const char *s, size_t n, const char *name);
int lua_pcall(lua_State *L, int nargs, int nresults, int errfunc);
const char *lua_tolstring(lua_State *L, int index, size_t *len);
int lua_toboolean(lua_State *L, int index);
double lua_tonumber(lua_State *L, int index);
int lua_type(lua_State *L, int index);
int lua_gettop(lua_State *L);
void lua_settop(lua_State *L, int index);
void lua_pushlstring(lua_State *L, const char *s, size_t n);
void lua_pushcclosure(lua_State *L, int (*fn)(lua_State *), int n);
void lua_setfield(lua_State *L, int index, const char *name);
void lua_getfield(lua_State *L, int index, const char *name);
]]

local GLOBALS = -10002
local NIL, BOOLEAN, NUMBER, STRING = 0, 1, 3, 4
local C = ffi.C

local State = {}
State.__index = State


local function str(text)
  return ffi.new("Str", text, #text)
end

local function open_words(L)
  lib.lua_json_setup(L)
  lib.lua_json_open(L)
  C.lua_setfield(L, GLOBALS, "json")
  C.lua_pushcclosure(L, lib.lua_json_array, 0)
  C.lua_setfield(L, GLOBALS, "array")
  C.lua_pushcclosure(L, lib.lua_decimal_new, 0)
  C.lua_setfield(L, GLOBALS, "decimal")
  C.lua_getfield(L, GLOBALS, "tonumber")
  lib.lua_decimal_wrap_tonumber(L)
  C.lua_setfield(L, GLOBALS, "tonumber")
end

local function open_patterns(self)
  local L = self.L
  lib.lua_pattern_budget(L, self.budget)
  C.lua_getfield(L, GLOBALS, "string")
  lib.lua_pattern_open(L)
  C.lua_getfield(L, GLOBALS, "table")
  lib.lua_pattern_open_table(L)
  C.lua_settop(L, 0)
end

--- options.steps: the pattern budget (plenty where it is not given).
local function new(options)
  local self = setmetatable({ owners = {} }, State)
  self.L = C.luaL_newstate()
  self.err = ffi.new("Err")
  self.budget = ffi.new("LuaBudget", (options or {}).steps or 1e15)
  C.luaL_openlibs(self.L)
  assert(self:run "stock = {} for _, t in pairs { string, table } do for k, v in pairs(t) do stock[k] = v end end")
  open_words(self.L)
  open_patterns(self)
  return self
end

local function pop(L, index)
  local type = C.lua_type(L, index)
  local len = ffi.new("size_t[1]")
  if type == NIL then
    return nil
  elseif type == BOOLEAN then
    return C.lua_toboolean(L, index) ~= 0
  elseif type == NUMBER then
    return C.lua_tonumber(L, index)
  end
  assert(type == STRING, "the chunk returned something that cannot leave its state")
  local text = C.lua_tolstring(L, index, len)
  return ffi.string(text, len[0])
end

--- Runs a chunk with string arguments. true and its results (nil, booleans, numbers, strings), or
-- false and the error.
function State:run(chunk, ...)
  local L, results = self.L, {}
  C.lua_settop(L, 0)
  assert(C.luaL_loadbuffer(L, chunk, #chunk, "=chunk") == 0, chunk)
  for i = 1, select("#", ...) do
    local arg = select(i, ...)
    C.lua_pushlstring(L, arg, #arg)
  end
  local ok = C.lua_pcall(L, select("#", ...), -1, 0) == 0
  local n = C.lua_gettop(L)
  for i = 1, n do
    results[i] = pop(L, i)
  end
  C.lua_settop(L, 0)
  return ok, unpack(results, 1, n)
end

--- The results, or an error.
function State:eval(chunk, ...)
  local results = { self:run(chunk, ...) }
  if not results[1] then
    error(results[2], 2)
  end
  return unpack(results, 2, table.maxn(results))
end

--- Adopts the global `name` as the state of `key`: true, or false and the message.
function State:adopt(name, key)
  key = key or name
  self.owners[key] = self.owners[key] or ffi.new("LuaJsonOwner")
  C.lua_getfield(self.L, GLOBALS, name)
  local ok = lib.lua_json_adopt(self.L, -1, self.owners[key], "state", str(key), self.err)
  assert(C.lua_gettop(self.L) == 1, "the stack is not as it was")
  C.lua_settop(self.L, 0)
  return ok, not ok and ffi.string(self.err.message) or nil
end

--- Drops the state of `key`, as a cache does.
function State:disown(key)
  lib.lua_json_disown(self.L, self.owners[key])
end

function State:close()
  C.lua_close(self.L)
end

return { new = new, lib = lib, str = str }
