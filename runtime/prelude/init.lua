-- Puts together what a script sees. `native` holds the host's functions.
local native = ...

local api = require "prelude.api"
local modules = require "prelude.modules"
local nearest = require "prelude.nearest"
local projection = require "prelude.projection"
local reducer = require "prelude.reducer"
local strict = require "prelude.strict"
local upcaster = require "prelude.upcaster"

local raw = { setmetatable = setmetatable, pcall = pcall, format = string.format }
local words, environment = {}, nil
local json = { decode = native.json.decode, decimal = native.decimal, array = native.array }

-- Where definitions of a kind are, and the file that is being loaded: what it should define, and did.
local FOLDERS = { projection = "projections", reducer = "scripts/reducers", upcaster = "scripts/upcasters" }
local file = { name = native.script, kind = native.kind }


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


local statements = {}


--- May a definition of this kind stand in the file? Returns what is wrong.
function statements.place(kind)
  if not file.name then
    return "this file is to return a function(record), and defines nothing"
  elseif kind ~= file.kind then
    return ("%s/ is for %ss (move the file to %s/, or write %s \"%s\" { … })"):format(FOLDERS[file.kind], file.kind,
      FOLDERS[kind], file.kind, file.name)
  end
end


--- The one definition of the file; returns what is wrong with it.
function statements.define(def)
  if file.definition then
    return ("'%s' is defined in this file already (one definition per file)"):format(file.definition.name)
  elseif def.name ~= file.name then
    return ("the file's name is not the definition's (rename the file to %s.lua, or write %s \"%s\")"):format(
      def.name, def.kind, file.name)
  end
  file.definition = def
end


--- Runs another upcaster's file; returns its definition, or nil where it concerns none of the types. It has modules
--- of its own, so that those of an upcaster that is not used are no part of the script.
local function load_upcaster(chunk, name, types)
  local script, globals = file, nil
  globals = strict.view(setmetatable({ require = modules(native.module, loadstring, function() return globals end) },
    { __index = words }))
  file = { name = name, kind = "upcaster" }
  setfenv(chunk, globals)()
  local def = file.definition
  file = script
  if not def then
    error(("%s/%s.lua: nothing is defined in it (write upcaster \"%s\" { … })"):format(FOLDERS.upcaster, name, name), 0)
  end
  return upcaster.concerns(def, types) and def or nil
end


local ours = {
  array = native.array, decimal = native.decimal, delete = native.delete, iso = native.iso,
  json = strict.readonly(native.json, "json"), log = log, next = native.next, pairs = native.pairs, print = log,
  projection = projection(statements, json), reducer = reducer(statements, json),
  upcaster = upcaster.statement(statements),
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

return environment, function() return file.definition end, nearest, load_upcaster
