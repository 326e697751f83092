-- Runs a rule's engine in plain LuaJIT: the prelude's own modules over native functions that stand in for the host's,
-- and a host that fires timers as the contract says (those due before an event first, by due, key and name).
package.path = "runtime/?.lua;" .. package.path
local dkjson = require "dkjson"

local rule_engine = {}

local T0 = 1767225600 -- 2026-01-01T00:00:00Z, a Thursday
rule_engine.T0 = T0


local function deep_copy(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for name, member in pairs(value) do
    copy[name] = deep_copy(member)
  end
  return copy
end
rule_engine.copy = deep_copy


local function iso(seconds)
  local whole = math.floor(seconds)
  local fraction = math.floor((seconds - whole) * 1e6 + 0.5)
  return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (fraction > 0 and (".%06d"):format(fraction) or "") .. "Z"
end
rule_engine.iso = iso


--- "00:10" or seconds after T0, as microseconds.
local function instant(at)
  if type(at) == "string" then
    local h, m, s = at:match("^(%d+):(%d+):?(%d*)$")
    at = h * 3600 + m * 60 + (tonumber(s) or 0)
  end
  return (T0 + at) * 1e6
end
rule_engine.instant = instant


--- The host's functions, as far as rules use them. `files`: path -> text.
local function fake_native(engine, files)
  local native = { delete = newproxy(), kind = "rule", script = engine.name, iso = iso, tostring = tostring }
  native.json = { encode = dkjson.encode, decode = function(text) return (dkjson.decode(text)) end, null = dkjson.null }
  native.pairs = pairs
  function native.array(list) return list or {} end
  function native.hash(text) return "hash of " .. text end
  function native.uuid(text) return "uuid(" .. text .. ")" end
  function native.event_copy(event) return deep_copy(event) end
  function native.raise(record) engine.raised[#engine.raised + 1] = deep_copy(record) end
  function native.ref(index, key) return engine.rows[index] and engine.rows[index][key] end
  function native.source() return files["rules/" .. engine.name .. ".lua"] end
  function native.text(path) return files[path] end
  function native.zone_offset(zone)
    local hours = ({ UTC = 0, ["Europe/Berlin"] = 1, ["America/New_York"] = -5 })[zone]
    return hours and hours * 3600 or error(("no time zone '%s'"):format(zone))
  end
  function native.where(f)
    local info = debug.getinfo(f, "S")
    return info.source:gsub("^@", ""), info.linedefined, info.lastlinedefined
  end
  function native.upvalue(f, n) return debug.getupvalue(f, n) end
  return native
end


local Engine = {}
Engine.__index = Engine


local function environment(words, modules)
  local env = { require = function(name) return modules(name) end }
  for name, word in pairs(words) do
    env[name] = word
  end
  return setmetatable(env, { __index = _G })
end


--- Compiles a rule from the source of its file; nil and the problem where it is refused. `files`: more of the workspace.
function rule_engine.try(source, files, name)
  files = files or {}
  name = name or "r"
  local self = setmetatable({ name = name, raised = {}, rows = {}, states = {}, next_id = 1 }, Engine)
  files["rules/" .. name .. ".lua"] = source
  local native = fake_native(self, files)
  local words, clock, refs, ref_names = require("prelude.rule_words")(native)
  local host = { native = native, json = { decode = native.json.decode, encode = native.json.encode, array = native.array },
    clock = clock, refs = refs, ref_names = ref_names, word_names = {}, tokens = {} }
  local sources = { { path = "rules/" .. name .. ".lua", text = source } }
  function host.sources() return sources end
  local statements = { place = function() end, define = function(def) self.definition = def end }
  local env
  local loaded = {}
  local function modules(module)
    local path = "scripts/lib/" .. module:gsub("%.", "/") .. ".lua"
    if loaded[module] == nil and not files[path] then
      return require(module)
    elseif loaded[module] == nil then
      sources[#sources + 1] = { path = path, text = files[path] }
      loaded[module] = setfenv(assert(loadstring(files[path], "@" .. path)), env)()
    end
    return loaded[module]
  end
  function host.run(path)
    local result
    if not files[path] then
      return nil
    end
    local word = require("prelude.calendar").statement({ place = statements.place, define = function(def) result = def end },
      native)
    setfenv(assert(loadstring(files[path], "@" .. path)), setmetatable({ calendar = word }, { __index = env }))()
    return result
  end
  words.rule = require("prelude.rule")(statements, host)
  env = environment(words, modules)
  for word, value in pairs(words) do
    host.word_names[value] = word
  end
  local chunk = assert(loadstring(source, "@rules/" .. name .. ".lua"))
  local ok, problem = pcall(setfenv(chunk, env))
  if not ok then
    return nil, problem
  end
  self.native, self.engine, self.spec = native, self.definition.engine, self.definition.spec
  return self
end


--- A rule "r" with these fields.
function rule_engine.open(fields, files)
  local self, problem = rule_engine.try(("rule \"r\" {\n%s\n}"):format(fields), files)
  if not self then
    error(problem, 2)
  end
  return self
end


-- The host ----------------------------------------------------------------------------------------------------------

--- The next timer of all keys that is due before `t` (or at all).
local function due_before(self, t)
  local best
  for key, state in pairs(self.states) do
    local due = state.next
    if due and due < t and (not best or due < best.due or (due == best.due and key < best.key)) then
      best = { key = key, due = due, state = state }
    end
  end
  return best
end


local function settle(self, key, state, result)
  if result == self.native.delete then
    self.states[key] = nil
  elseif result ~= false then
    self.states[key] = state
  end
end


--- Fires all timers due before `at`.
function Engine:advance(at)
  local t = instant(at)
  while true do
    local timer = due_before(self, t)
    if not timer then
      return self
    end
    settle(self, timer.key, timer.state, self.engine.fire(timer.state, timer.due, timer.key))
  end
end


--- { type, key, data, field = value … } at an instant, as scripts get it.
function Engine:make(at, event)
  local id = self.next_id
  self.next_id = id + 1
  local made = { id = id, event_id = "e" .. id, type = event[1] or event.type or "t", aggregate_type = "thing",
    aggregate_id = event[2] or "a", version = 1, data = event[3] or {}, metadata = event.metadata or {},
    timestamp = instant(at) / 1e6, occurred_at = (event.occurred and instant(event.occurred) or instant(at)) / 1e6,
    correlation_id = event.correlation_id, source = event.source }
  return made
end


--- One event, at an instant. The key is its aggregate_id, unless `key` says the JSON text.
function Engine:event(at, event, late)
  event = event or {}
  local t = self.engine.clock == "occurred" and instant(event.occurred or at) or instant(at)
  local key = event.key or dkjson.encode(event[2] or "a")
  if self.engine.clock ~= "occurred" then
    self:advance(at)
  end
  local state = self.states[key] or {}
  settle(self, key, state, self.engine.handle(state, self:make(at, event), t, key, late))
  return self
end


function Engine:expect(at, key, present)
  self:advance(at)
  local text = dkjson.encode(key)
  local state = self.states[text] or {}
  settle(self, text, state, self.engine.expect(state, present, instant(at), self:make(at, { "site.changed", key }), text))
  return self
end


--- What was raised since the last call: "00:10:00 firing warning (reason)", of alerts alone unless `kind` is named.
function Engine:said(kind)
  local out = {}
  for _, r in ipairs(self.raised) do
    if r.kind == (kind or "alert") then
      local text = ("%s %s"):format(iso(r.at / 1e6):sub(12, -2), r.transition or r.why or r.type or r.act)
      if kind == nil then
        text = text .. " " .. r.severity .. (r.from and " from " .. r.from or "") .. (r.reason and " (" .. r.reason .. ")" or "")
          .. (r.muted and " muted: " .. r.muted or "")
      end
      out[#out + 1] = text
    end
  end
  self.raised = {}
  return out
end


function Engine:state(key)
  return self.states[dkjson.encode(key or "a")]
end


function Engine:counts()
  return self.engine.memory.counts
end


return rule_engine
