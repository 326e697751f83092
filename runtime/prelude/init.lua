-- Puts together what a script sees. `native` holds the host's functions.
local native = ...

local api = require "prelude.api"
local calendar = require "prelude.calendar"
local modules = require "prelude.modules"
local nearest = require "prelude.nearest"
local projection = require "prelude.projection"
local receiver = require "prelude.receiver"
local reducer = require "prelude.reducer"
local rule = require "prelude.rule"
local rule_words = require "prelude.rule_words"
local strict = require "prelude.strict"
local upcaster = require "prelude.upcaster"

local raw = { setmetatable = setmetatable, pcall = pcall, format = string.format }
local words, environment = {}, nil
local json = { decode = native.json.decode, encode = native.json.encode, decimal = native.decimal,
  array = native.array }

-- Where definitions of a kind are, and the file that is being loaded: what it should define, and did.
local FOLDERS = { projection = "projections", reducer = "scripts/reducers", upcaster = "scripts/upcasters",
  rule = "rules", receiver = "rules/receivers", calendar = "rules/calendars" }
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


--- Runs another definition's file; returns what it defines. It has modules of its own, so that those of a definition
--- that is not used are no part of the script.
local function load_other(chunk, kind, name)
  local script, globals = file, nil
  globals = strict.view(setmetatable({ require = modules(native.module, loadstring, function() return globals end) },
    { __index = words }))
  file = { name = name, kind = kind }
  setfenv(chunk, globals)()
  local def = file.definition
  file = script
  if not def then
    error(("%s/%s.lua: nothing is defined in it (write %s \"%s\" { … })"):format(FOLDERS[kind], name, kind, name), 0)
  end
  return def
end


--- An upcaster's definition, or nil where it concerns none of the types.
local function load_upcaster(chunk, name, types)
  local def = load_other(chunk, "upcaster", name)
  return upcaster.concerns(def, types) and def or nil
end


--- What a rule needs to know of the script that it is in.
local function rule_host(clock, refs, ref_names)
  local host = { native = native, json = json, clock = clock, refs = refs, ref_names = ref_names, word_names = {},
    tokens = {}, modules = {} }

  function host.sources()
    local list = { { path = ("rules/%s.lua"):format(native.script), text = native.source() } }
    for i, source in ipairs(host.modules) do
      list[i + 1] = source
    end
    return list
  end

  --- The definition in another file of the workspace, which is part of the script from then on; nil: no such file.
  function host.run(path, kind, name)
    local text = native.text(path)
    if not text then
      return nil
    end
    local chunk, why = loadstring(text, "@" .. path)
    if not chunk then
      error(why, 0)
    end
    return load_other(chunk, kind, name)
  end

  return host
end


--- Scripts' words by value, for who finds one in a variable.
local function name_words(names)
  for name, value in pairs(words) do
    if type(value) == "function" or type(value) == "table" then
      names[value] = name
    end
  end
  for _, name in ipairs({ "bit", "coroutine", "math", "string", "table" }) do
    for member, value in pairs(_G[name] or native[name]) do
      if type(value) == "function" then
        names[value] = name .. "." .. member
      end
    end
  end
end


local rule_ours, clock, refs, ref_names = rule_words(native)
local host = rule_host(clock, refs, ref_names)


local ours = {
  array = native.array, decimal = native.decimal, delete = native.delete, iso = native.iso,
  json = strict.readonly(native.json, "json"), log = log, next = native.next, pairs = native.pairs, print = log,
  projection = projection(statements, json), reducer = reducer(statements, json),
  upcaster = upcaster.statement(statements), rule = rule(statements, host), receiver = receiver(statements),
  calendar = calendar.statement(statements, native),
  rawset = native.rawset, setmetatable = checked_setmetatable, time = native.time, tostring = native.tostring,
  require = modules(native.module, loadstring, function() return environment end, function(path, text)
    host.modules[#host.modules + 1] = { path = path, text = text }
  end),
  utc_date = native.utc_date, xpcall = checked_xpcall,
}

table.insert, table.sort, string.format = native.insert, native.sort, format
string.dump, math.random, math.randomseed = nil, nil, nil

for _, name in ipairs(api.library) do
  words[name] = ours[name] == nil and _G[name] or ours[name]
end
for _, word in ipairs(api.words) do
  words[word.name] = ours[word.name] or rule_ours[word.name]
end
words.bit = strict.readonly(bit, "bit")
words.coroutine = strict.readonly(native.coroutine, "coroutine")
words.math = strict.readonly(math, "math", api.absent_members.math)
words.string = strict.readonly(string, "string", api.absent_members.string)
words.table = strict.readonly(table, "table")

name_words(host.word_names)

getmetatable("").__metatable = false
environment = strict.environment(words)

return environment, function() return file.definition end, nearest, load_upcaster
