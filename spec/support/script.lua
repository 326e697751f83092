-- Drives a script's handler as the daemon does, against a table in memory in place of the database.
local ffi = require "ffi"
local json = require "dkjson"
local c = require "spec.support.c"

local C = c.load { "base/err.h", "base/mem.h", "model/event.h", "model/handler.h", "lua/lua_host.h",
  "lua/lua_handler.h" }
ffi.cdef "char *mkdtemp(char *);"

local script = { C = C }
local Script = {}
Script.__index = Script


local function text(s)
  return s.s ~= nil and ffi.string(s.s, s.len) or nil
end
script.text = text


--- A Str that keeps its Lua string alive as long as `keep` lives.
local function str(s, keep)
  if s == nil then
    return ffi.new("Str")
  end
  keep[#keep + 1] = s
  return ffi.new("Str", { ffi.cast("const char *", s), #s })
end


--- A folder with these files (name -> source), removed by script.clean().
local folders = {}
function script.workspace(files)
  local dir = ffi.string(ffi.C.mkdtemp(ffi.new("char[?]", 64, (os.getenv("TMPDIR") or "/tmp") .. "/moonwake-XXXXXX")))
  folders[#folders + 1] = dir
  for name, source in pairs(files) do
    os.execute(("mkdir -p '%s/%s'"):format(dir, name:match("^(.*)/") or "."))
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(source)
    file:close()
  end
  return dir
end


function script.clean()
  for _, dir in ipairs(folders) do
    os.execute(("rm -rf '%s'"):format(dir))
  end
  folders = {}
end


local function failure(err)
  return { message = ffi.string(err.message), trace = ffi.string(err.trace), event_id = tonumber(err.event_id),
    kind = ffi.string(C.err_kind_name(err.kind)) }
end


--- Opens a script of these files (path -> source): projections/NAME.lua, or what `name` says with a folder, such as
-- "scripts/reducers/x". `files` may be the source itself, or { dir = a folder that is there already }, or { bundle = the
-- JSON of Definition.files }. nil and the failure where it does not load.
function script.open(name, files, options)
  local path = (name:find("/", 1, true) and name or "projections/" .. name) .. ".lua"
  local keep, dir, bundle = {}, "/nowhere", nil
  if type(files) == "table" and (files.dir or files.bundle) then
    dir, bundle = files.dir or dir, files.bundle
  else
    dir = script.workspace(type(files) == "string" and { [path] = files } or files)
  end
  local opts = ffi.new("LuaOptions", options or {})
  opts.workspace, opts.files = dir, str(bundle, keep)
  local err = ffi.new("Err")
  local handler = C.lua_handler_open(opts, path, err)
  if handler == nil then
    return nil, failure(err)
  end
  return setmetatable({ handler = handler, ops = handler.ops, rows = {}, snapshots = {}, next_id = 1, dead = {}, sql = {},
    dir = dir }, Script)
end


--- A projection "p" with the fields of its definition.
function script.define(fields, options)
  local s, err = script.open("p", ("projection \"p\" {\n%s\n}\n"):format(fields), options)
  if not s then
    error(err.message, 2)
  end
  return s
end


--- The same for a reducer "r" of the aggregate type "thing"; `more` are other files of its workspace.
function script.define_reducer(fields, more, options)
  local files = { ["scripts/reducers/r.lua"] = ("reducer \"r\" { aggregate = \"thing\",\n%s\n}\n"):format(fields) }
  for path, source in pairs(more or {}) do
    files[path] = source
  end
  local s, err = script.open("scripts/reducers/r", files, options)
  if not s then
    error(err.message, 2)
  end
  return s
end


function Script:definition()
  return self.ops.definition(self.handler)
end


local STRINGS = { "type", "aggregate_type", "aggregate_id", "data", "metadata", "source", "correlation_id",
  "actor_type", "actor_id", "severity", "impact" }

--- An EventSlice of events given as tables; ids rise by one, from 1 or `counter.next_id`, unless they are given.
function script.events(events, counter)
  local keep = {}
  local array = ffi.new("Event[?]", math.max(#events, 1))
  counter = counter or { next_id = 1 }
  for i, e in ipairs(events) do
    local out = array[i - 1]
    local id = e.id or counter.next_id
    counter.next_id = id + 1
    out.id, out.version, out.schema_version, out.occurrences = id, e.version or 1,
      e.schema_version or 1, e.occurrences or 1
    out.timestamp_us = (e.timestamp or 1767225600) * 1000000LL + (e.us or 0)
    out.occurred_us = (e.occurred_at or 1767225600) * 1000000LL + (e.us or 0)
    for b = 0, 15 do
      out.event_id[b] = b
    end
    for _, field in ipairs(STRINGS) do
      local value = e[field]
      if field == "type" then
        value = value or e[1] or "t"
      elseif field == "aggregate_id" then
        value = value or e[2] or "a"
      elseif field == "aggregate_type" then
        value = value or "thing"
      elseif field == "data" or field == "metadata" then
        value = type(value) == "table" and json.encode(value) or value or "{}"
      end
      out[field] = str(value, keep)
    end
  end
  return { slice = ffi.new("EventSlice", { array, #events }), array = array, keep = keep, count = #events }
end


function Script:page(events)
  return script.events(events, self)
end


--- The texts of a JSON array's items, or of an object's values by name, as they stand: no number loses a digit.
local function parts(raw)
  local out, depth, start, name, at = {}, 0, 2, nil, 2
  local is_object = raw:sub(1, 1) == "{"
  local function add(stop)
    if stop >= start then
      out[name or #out + 1] = raw:sub(start, stop)
    end
    start, name = stop + 2, nil
  end
  while at < #raw do
    local ch = raw:sub(at, at)
    if ch == '"' then
      local from = at
      at = at + 1
      while raw:sub(at, at) ~= '"' do
        at = at + (raw:sub(at, at) == "\\" and 2 or 1)
      end
      if is_object and depth == 0 and not name then
        name = json.decode(raw:sub(from, at))
        at = at + 1
        start = at + 1
      end
    elseif ch == "{" or ch == "[" then
      depth = depth + 1
    elseif ch == "}" or ch == "]" then
      depth = depth - 1
    elseif ch == "," and depth == 0 then
      add(at - 1)
    end
    at = at + 1
  end
  add(#raw - 1)
  return out
end


local function key_of_row(row, names)
  local values = {}
  for i, name in ipairs(names) do
    values[i] = tostring(row[name])
  end
  return table.concat(values, "|")
end


function Script:key_names()
  if not self.names then
    self.names = {}
    for i, column in ipairs(json.decode(text(self:definition().spec)).key) do
      self.names[i] = column.name
    end
  end
  return self.names
end


--- need() and load(): what is missing comes from self.rows.
function Script:prepare(page, from, to)
  local missing, err = ffi.new("Str[1]"), ffi.new("Err")
  self.ops.need(self.handler, page.slice, from or 0, to or page.count, missing)
  self.missing = text(missing[0])
  for _, wanted in ipairs(self.missing ~= "" and json.decode(self.missing) or {}) do
    local row = self.rows[key_of_row(wanted, self:key_names())]
    if row then
      local raw = getmetatable(row) and getmetatable(row).raw or json.encode(row)
      local members = parts(raw)
      local state = members.state or raw
      if self:definition().kind == C.KIND_REDUCER then
        state = ('{"version": %s, "state": %s}'):format(members.version, members.state)
      end
      if not self.ops.load(self.handler, wanted.n, str(state, page.keep), err) then
        return nil, failure(err)
      end
    end
  end
  return true
end


--- run() from event `at` on. "done" | "query" | "failed", where it stopped, and why.
function Script:step(page, at, careful)
  local err, stop = ffi.new("Err"), ffi.new("size_t[1]", at or 0)
  local result = self.ops.run(self.handler, page.slice, stop, page.count, careful or false, err)
  if result == C.RUN_DONE then
    return "done", tonumber(stop[0])
  elseif result == C.RUN_QUERY then
    return "query", tonumber(stop[0])
  end
  return "failed", tonumber(stop[0]), failure(err)
end


--- collect(): the effects as Lua tables; they are applied to self.rows.
function Script:collect()
  local fx, err = ffi.new("Effects"), ffi.new("Err")
  if not self.ops.collect(self.handler, fx, err) then
    return nil, failure(err)
  end
  local out = { text = text(fx.upserts), upserts = {}, deletes = {}, dead = {}, sql = {},
    snapshots = text(fx.snapshots) ~= "" and parts(text(fx.snapshots)) or {} }
  for _, snapshot in ipairs(out.snapshots) do
    self.snapshots[#self.snapshots + 1] = snapshot
  end
  if fx.upserts.len > 0 then
    out.upserts = json.decode(text(fx.upserts), 1, json.null)
  end
  if fx.deletes.len > 0 then
    out.deletes = json.decode(text(fx.deletes))
  end
  local raw = fx.upserts.len > 0 and parts(out.text) or {}
  for i, row in ipairs(out.upserts) do
    setmetatable(row, { raw = raw[i] })
    self.rows[key_of_row(row, self:key_names())] = row
  end
  for _, row in ipairs(out.deletes) do
    self.rows[key_of_row(row, self:key_names())] = nil
  end
  for i = 0, tonumber(fx.ndead) - 1 do
    out.dead[i + 1] = { event_id = tonumber(fx.dead[i].event_id), key = text(fx.dead[i].key), parked = fx.dead[i].parked }
  end
  for i = 0, tonumber(fx.nsql) - 1 do
    out.sql[i + 1] = script.statement(fx.sql[i])
  end
  return out
end


function script.statement(st)
  local params = { n = tonumber(st.nparams) }
  for i = 0, params.n - 1 do
    params[i + 1] = text(st.params[i])
  end
  return { sql = text(st.sql), params = params }
end


function Script:settled()
  self.ops.settled(self.handler)
end


function Script:forget()
  self.ops.forget(self.handler)
end


--- One batch, committed: the effects, or nil and the failure (then nothing of it happened).
function Script:run(events, careful)
  local page = self:page(events)
  local ok, err = self:prepare(page)
  if not ok then
    return nil, err
  end
  local result, _, why = self:step(page, 0, careful)
  if result ~= "done" then
    self:forget()
    return nil, why
  end
  local fx, problem = self:collect()
  self:settled()
  return fx, problem
end


--- The failure of one event, given to a fresh copy of the state.
function Script:fails(event)
  local fx, err = self:run { event or {} }
  if fx then
    error("the handler did not fail", 2)
  end
  return err
end


--- The row of a key as the table holds it.
function Script:row(key)
  return self.rows[key or "a"]
end


function Script:close()
  self.ops.close(self.handler)
end


return script
