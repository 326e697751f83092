-- Drives a script's handler as the daemon does, against a table in memory in place of the database.
--
-- A rule has more than rows; all of it is kept like them, so that forget() can be called at any time:
--
--   local s = script.define_rule [[ on = "hello", absent = { within = "1m" }, … ]]      -- rule "r"
--   local fx = s:run { { "hello", "a", timestamp = 1767225600 }, { "hello", "b", timestamp = 1767225601.5 } }
--   fx.raised   -- what it did, as tables, parts of its own memory apart; fx.raw: their JSON texts
--   fx.timers   -- { { key = '"a"', due = 1767225660000000, name = "…" }, … }: those that changed
--   fx.dead     -- letters: { event_id, key, error, parked }
--   s:advance(1767225700)         -- no event older than this comes: fires timers until then; effects as of run()
--   s:advance(1767225700, true)   -- the same up to the first instant at which something was raised
--   s.timers    -- all of them: key text -> { key, due, name }
--   s.parts     -- part -> key -> state: "memory" (under ""), "ref NAME"
--   s:row("a")  -- the key's row: { key = '"a"', state = { … }, position, updated_at }
--   s:memory()  -- the rule's memory document: counts, and the host's own notes
--
-- Events of a rule have an event_id of their own, and occurred when they were appended, unless they say otherwise.
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
    dir = dir, timers = {}, parts = {}, rule = handler.ops.definition(handler).has_clock }, Script)
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


--- The same for a rule "r".
function script.define_rule(fields, more, options)
  local files = { ["rules/r.lua"] = ("rule \"r\" {\n%s\n}\n"):format(fields) }
  for path, source in pairs(more or {}) do
    files[path] = source
  end
  local s, err = script.open("rules/r", files, options)
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

local function microseconds(seconds)
  return ffi.cast("int64_t", math.floor(seconds * 1e6 + 0.5))
end


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
    out.timestamp_us = microseconds(e.timestamp or 1767225600) + (e.us or 0)
    out.occurred_us = microseconds(e.occurred_at or counter.rule and e.timestamp or 1767225600) + (e.us or 0)
    for b = 0, 15 do
      out.event_id[b] = counter.rule and b > 11 and bit.band(bit.rshift(id, 8 * (15 - b)), 255) or b
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
  if not self.names and self.rule then
    self.names = { "key" }
  elseif not self.names then
    self.names = {}
    for i, column in ipairs(json.decode(text(self:definition().spec)).key) do
      self.names[i] = column.name
    end
  end
  return self.names
end


--- restore(): what a rule keeps beside its rows comes from self.timers and self.parts.
function Script:restore()
  local keep, err, json_text = {}, ffi.new("Err"), nil
  if not self.ops.wants(self.handler) then
    return true
  end
  if next(self.timers) or next(self.parts) then
    local timers, memory, refs = {}, self.parts.memory and self.parts.memory[""] or "null", {}
    for _, timer in pairs(self.timers) do
      timers[#timers + 1] = timer.raw
    end
    for part, rows in pairs(self.parts) do
      local list = {}
      for key, state in pairs(rows) do
        list[#list + 1] = ('{"key": %s, "state": %s}'):format(json.encode(key), state)
      end
      if part ~= "memory" then
        refs[#refs + 1] = ("%s: [%s]"):format(json.encode(part:match("^ref (.*)")), table.concat(list, ", "))
      end
    end
    json_text = ('{"timers": [%s], "memory": %s, "refs": {%s}}'):format(table.concat(timers, ", "), memory,
      table.concat(refs, ", "))
  end
  if not self.ops.restore(self.handler, str(json_text, keep), err) then
    return nil, failure(err)
  end
  return true
end


--- need() and load(): what is missing comes from self.rows.
function Script:prepare(page, from, to)
  local missing = ffi.new("Str[1]")
  local restored, why = self:restore()
  if not restored then
    return nil, why
  end
  self.ops.need(self.handler, page.slice, from or 0, to or page.count, missing)
  return self:load(missing, page.keep)
end


function Script:load(missing, keep)
  local err = ffi.new("Err")
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
      if not self.ops.load(self.handler, wanted.n, str(state, keep), err) then
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
  local out = { text = text(fx.upserts), upserts = {}, deletes = {}, dead = {}, sql = {}, raised = {}, raw = {},
    timers = {}, nraised = tonumber(fx.nraised),
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
    out.dead[i + 1] = { event_id = tonumber(fx.dead[i].event_id), key = text(fx.dead[i].key),
      error = self.rule and text(fx.dead[i].error) or nil, parked = fx.dead[i].parked }
  end
  for i = 0, tonumber(fx.nsql) - 1 do
    out.sql[i + 1] = script.statement(fx.sql[i])
  end
  self:take_timers(text(fx.timers), out)
  self:take_raised(text(fx.raised), out)
  return out
end


function Script:take_timers(raw, out)
  for i, timer_text in ipairs(raw ~= "" and parts(raw) or {}) do
    local timer = json.decode(timer_text)
    timer.raw = timer_text
    out.timers[i] = timer
    self.timers[timer.key] = timer.due and timer or nil
  end
end


function Script:take_raised(raw, out)
  for _, item in ipairs(raw ~= "" and parts(raw) or {}) do
    local effect = json.decode(item)
    if effect.kind == "part" then
      local rows = self.parts[effect.part] or {}
      self.parts[effect.part] = rows
      rows[effect.key] = effect.state and parts(item).state or nil
    else
      out.raised[#out.raised + 1] = effect
      out.raw[#out.raw + 1] = item
    end
  end
end


--- due(), load() and advance() until nothing is due before the horizon (seconds), committed: the effects. `once`: the
-- first step alone.
function Script:advance(horizon, once)
  local us, err, missing, keep = microseconds(horizon), ffi.new("Err"), ffi.new("Str[1]"), {}
  local ok, why = self:restore()
  if not ok then
    return nil, why
  end
  local turns = 0
  while self.ops.next_due(self.handler) <= us do
    self.ops.due(self.handler, us, 100, missing)
    ok, why = self:load(missing, keep)
    if not ok then
      return nil, why
    elseif not self.ops.advance(self.handler, us, once or false, err) then
      self:forget()
      return nil, failure(err)
    elseif once then
      break
    end
    turns = turns + 1
    assert(turns < 100000, "the clock stands still")
  end
  local fx, problem = self:collect()
  self:settled()
  return fx, problem
end


function Script:memory()
  local raw = self.parts.memory and self.parts.memory[""]
  return raw and json.decode(raw)
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
  return self.rows[key or "a"] or self.rows[json.encode(key or "a")]
end


function Script:close()
  self.ops.close(self.handler)
end


return script
