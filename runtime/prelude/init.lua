-- Puts together what a script sees. `native` holds the host's functions.
local native = ...

local api = require "prelude.api"
local modules = require "prelude.modules"
local nearest = require "prelude.nearest"
local projection = require "prelude.projection"
local strict = require "prelude.strict"

local raw = { setmetatable = setmetatable, pcall = pcall, format = string.format }
local words, environment, definition = {}, nil, nil


--- Without weak tables: what they hold depends on when memory is collected.
local function checked_setmetatable(t, meta)
  if type(meta) == "table" and rawget(meta, "__mode") ~= nil then
    error("setmetatable: weak tables are not available (a replay would differ)", 2)
  end
  return raw.setmetatable(t, meta)
end


local function handled(handler, ok, ...)
  if ok then
    return true, ...
  end
  return false, handler(...)
end


--- The library's own runs its handler where no budget is counted; this one runs it afterwards.
local function checked_xpcall(f, handler, ...)
  return handled(handler, raw.pcall(f, ...))
end


local function log(...)
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = native.tostring((select(i, ...)))
  end
  native.log(table.concat(parts, "\t"))
end


--- Is nothing among the values whose text would be an address?
local function all_plain(...)
  for i = 1, select("#", ...) do
    local kind = type((select(i, ...)))
    if kind == "table" or kind == "function" or kind == "thread" then
      return false
    end
  end
  return true
end


local function format(text, ...)
  if all_plain(...) then
    return raw.format(text, ...)
  end
  local n, values = select("#", ...), { ... }
  for i = 1, n do
    if not all_plain(values[i]) then
      values[i] = native.tostring(values[i])
    end
  end
  return raw.format(text, unpack(values, 1, n))
end


--- The one definition of the file; returns what is wrong with it.
local function register(def)
  if not native.script then
    return "this file is to return a function(record), and defines nothing"
  elseif definition then
    return ("'%s' is defined in this file already (one definition per file)"):format(definition.name)
  elseif def.name ~= native.script then
    return ("the file's name is not the definition's (rename the file to %s.lua, or write projection \"%s\")"):format(
      def.name, native.script)
  end
  definition = def
end


local ours = {
  array = native.array, decimal = native.decimal, delete = native.delete, iso = native.iso,
  json = strict.readonly(native.json, "json"), log = log, next = native.next, pairs = native.pairs, print = log,
  projection = projection(register, { decode = native.json.decode, decimal = native.decimal, array = native.array }),
  rawset = native.rawset, setmetatable = checked_setmetatable, time = native.time, tostring = native.tostring,
  require = modules(native.module, loadstring, function() return environment end),
  utc_date = native.utc_date, xpcall = checked_xpcall,
}

table.insert, table.sort, string.format = native.insert, native.sort, format
string.dump, math.random, math.randomseed = nil, nil, nil

for _, name in ipairs(api.library) do
  words[name] = ours[name] == nil and _G[name] or ours[name]
end
for _, word in ipairs(api.words) do
  words[word.name] = ours[word.name]
end
words.bit = strict.readonly(bit, "bit")
words.coroutine = strict.readonly(native.coroutine, "coroutine")
words.math = strict.readonly(math, "math", api.absent_members.math)
words.string = strict.readonly(string, "string", api.absent_members.string)
words.table = strict.readonly(table, "table")

getmetatable("").__metatable = false
environment = strict.environment(words)

return environment, function() return definition end, nearest
