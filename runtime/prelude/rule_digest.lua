-- The hash of what a rule means. Its state is made anew when that changes, so it must not change with anything else:
-- texts, labels, whom to tell, what to do, comments, white space, the lines that things stand on.
--
-- A function means its tokens and the values of its upvalues, and these in the same way; one of a module too, and what
-- it requires only when it is called. A projection that is read means its file, with the modules that this requires. Of
-- the host it needs native.where(f) -> path, first line, last line, native.upvalue(f, n) -> name, value, and
-- native.text(path).
local tokens = require "prelude.tokens"

local digest = {}

-- Raised when the engine comes to read the same definition in another way.
local ENGINE = 1


local function text_of(host, path)
  for _, source in ipairs(host.sources()) do
    if source.path == path then
      return source.text
    end
  end
  return host.native.text(path)
end


--- The tokens of a file of the script, and its functions by their lines; read once.
local function source_of(host, path)
  local known = host.tokens[path]
  if not known then
    local text = text_of(host, path)
    if text then
      local list = tokens.read(text)
      known = { list = list, functions = tokens.functions(list) }
      host.tokens[path] = known
    end
  end
  return known
end


-- Names of projections -----------------------------------------------------------------------------------------

local function unquote(token)
  return token and token.kind == "string"
    and (token.text:match("^[\"'](.*)[\"']$") or token.text:match("^%[=*%[(.*)%]=*%]$"))
end


--- The text behind a word that stands at this place: word "text", word("text").
local function said(word, list, i)
  local before, at = list[i - 1], i + 1
  local field = before and (before.text == "." or before.text == ":")
  if list[i].kind == "name" and list[i].text == word and not field then
    if list[at] and list[at].text == "(" then
      at = at + 1
    end
    return unquote(list[at])
  end
end


local function refs_in(list, found)
  for i = 1, #list do
    local name = said("ref", list, i)
    if name then
      found[name] = true
    end
  end
end


--- What stands behind the word `ref` in the script's files, sorted.
function digest.refs(host)
  local found, names = {}, {}
  for _, source in ipairs(host.sources()) do
    refs_in(source_of(host, source.path).list, found)
  end
  for name in pairs(found) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end


-- Values as text -----------------------------------------------------------------------------------------------

local write


local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then
      return a < b
    end
    return type(a) < type(b)
  end)
  return keys
end


--- Of an object its methods count, too. A key that is an object has no place among the others: only that it is there.
local function write_table(w, t)
  w:put("{")
  for _, key in ipairs(sorted_keys(t)) do
    if type(key) == "table" or type(key) == "function" or type(key) == "userdata" then
      w:put("a " .. type(key))
    else
      write(w, key)
      w:put("=")
      write(w, t[key])
    end
  end
  w:put("}")
  local meta = getmetatable(t)
  if type(meta) == "table" then
    write(w, meta)
  end
end


local write_file


local function write_range(w, list, from, to)
  for i = from, to do
    w:put(list[i].text)
    local module = said("require", list, i)
    if module then
      write_file(w, ("scripts/lib/%s.lua"):format((module:gsub("%.", "/"))))
    end
  end
end


--- All of a file, once.
function write_file(w, path)
  local source = not w.files[path] and source_of(w.host, path)
  w:put(path)
  w.files[path] = true
  if source then
    write_range(w, source.list, 1, #source.list)
  end
end


--- The tokens of the function. Which of several that begin and end on the same lines it is cannot be told: all of them
--- count, so that the state is rather made anew once too often.
local function write_tokens(w, path, first, last)
  local source = source_of(w.host, path)
  for _, range in ipairs(source and source.functions[("%d:%d"):format(first, last)] or {}) do
    write_range(w, source.list, range[1], range[2])
  end
end


local function write_function(w, f)
  local native = w.host.native
  local path, first, last = native.where(f)
  if first < 0 then
    w:put("native")
    return
  end
  write_tokens(w, path, first, last)
  for n = 1, math.huge do
    local name, value = native.upvalue(f, n)
    if not name then
      break
    end
    w:put(name)
    write(w, value)
  end
end


function write(w, value)
  local kind = type(value)
  local name = (kind == "table" or kind == "function") and (w.host.word_names[value] or w.host.ref_names[value])
  if name then
    w:put("word " .. name)
  elseif kind ~= "table" and kind ~= "function" then
    local text = kind == "number" and ("%.17g"):format(value) or tostring(value)
    w:put(kind .. " " .. (kind == "userdata" and text:gsub("0x%x+", "") or text)) -- no address
  elseif w.seen[value] then
    w:put("seen " .. w.seen[value])
  else
    w.count = w.count + 1
    w.seen[value] = w.count
    if kind == "table" then
      write_table(w, value)
    else
      write_function(w, value)
    end
  end
end


--- `projections`: names of those that count with all that they are made of.
local function hash(value, host, projections)
  local parts = {}
  local writer = { host = host, seen = {}, files = {}, count = 0 }
  function writer.put(_, text)
    parts[#parts + 1] = text
  end
  write(writer, value)
  for _, name in ipairs(projections or {}) do
    write_file(writer, ("projections/%s.lua"):format(name))
  end
  return host.native.hash(table.concat(parts, "\n"))
end


local function steps(list)
  local out = {}
  for i, step in ipairs(list or {}) do
    out[i] = { step.on, step.where or false }
  end
  return out
end


--- What decides which episodes there are, and when. `projections`: the names of those that it reads.
function digest.body(def, raw, host, projections)
  local on = { unpack(def.patterns) }
  table.sort(on)
  return hash({ engine = ENGINE, on = on, where = def.where, names = def.key_names, paths = def.key_paths,
    by = def.key_function, ttl = def.ttl, value = raw.value, window = def.window,
    absent = def.absent, seq = def.seq and { steps(def.seq), steps(def.seq.missing), def.seq.within },
    fold = def.fold, score = def.score, levels = def.levels, hold = def.hold, linger = def.linger,
    cooldown = def.cooldown, on_silence = def.on_silence, flap = def.flap, kind = def.kind, clock = def.clock,
    late = def.clock == "occurred" and { def.lateness, def.late } or nil }, host, projections)
end


--- All the rest: what people and receivers are told, and what is done.
function digest.wording(def, raw, host)
  return hash({ def.severity, raw.summary or false, raw.description or false, raw.runbook or false,
    raw.labels or false, def.notify or false, def.group or false, def.inhibits or false, def.calendar_name or false,
    raw.emit or false, raw.act or false, def.mode, def.max }, host)
end


return digest
