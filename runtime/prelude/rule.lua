-- rule "name" { … }: checks a definition, compiles it into an engine (rule_life), and says to the host and to SQL what
-- they have to know of it.
--
-- A rule watches the events of `on` that pass `where`, key by key (`by`). At most one input says what `when` looks at:
-- nothing (the event, or its `value`), a window, a fold or a score; absent and seq know themselves when they are on.
local api = require "prelude.api"
local calendar = require "prelude.calendar"
local definition = require "prelude.definition"
local digest = require "prelude.rule_digest"
local duration = require "prelude.duration"
local fields = require "prelude.rule_fields"
local life = require "prelude.rule_life"
local raise = require "prelude.rule_raise"
local schema = require "prelude.schema"

local FIELDS = api.definitions.rule.fields
local INPUTS = { "window", "absent", "seq", "fold", "score" }
local STATE, WAITING_STATE, ENTRY = 65536, 4194304, 48 -- bytes: a key's; with waiting events; a window's
-- The module of the prelude that an input is in.
local MODULES = { window = "window", absent = "absent", seq = "seq", fold = "fold", score = "fold" }

local problem = definition.problem


-- What goes together -------------------------------------------------------------------------------------------

--- The one input of the rule, or nil.
local function input_of(raw)
  local found
  for _, name in ipairs(INPUTS) do
    if raw[name] ~= nil then
      if found then
        problem("%s and %s are two inputs (a rule has one; let a second rule look at the events that this one emits)",
          found, name)
      end
      found = name
    end
  end
  return found
end


--- Fields that are said without what they belong to.
local function check_alone(raw, def, input)
  local function needs(name, ok, what)
    if raw[name] ~= nil and not ok then
      problem("%s needs %s", name, what)
    end
  end
  needs("value", input ~= "absent" and input ~= "seq" and input ~= "fold",
    "an input of numbers (none, window or score)")
  needs("on_silence", input == "window" and raw.value ~= nil, "a window and value")
  needs("mode", raw.act ~= nil, "act (what it does when it fires)")
  needs("max", def.mode == "queued" or def.mode == "parallel", "mode = \"queued\" or \"parallel\"")
  needs("lateness", def.clock == "occurred", "clock = \"occurred\"")
  needs("late", def.clock == "occurred", "clock = \"occurred\"")
  if input == "score" and raw.value == nil then
    problem("score needs value (the number that the detector looks at)")
  end
end


local function check_condition(raw, def, input)
  if raw.clear ~= nil and raw.when == nil and input ~= "seq" and input ~= "absent" then
    problem("clear needs when (what turns the condition on)")
  elseif raw.when == nil and input ~= "seq" and input ~= "absent" then
    problem("field 'when' is missing (%s)", FIELDS.when.doc)
  elseif raw.severity ~= nil and type(raw.when) == "table" then
    problem("severity does not go with levels (when names them)")
  end
  if def.kind == "signal" then
    for _, name in ipairs({ "hold", "linger", "flap", "on_silence" }) do
      if raw[name] ~= nil then
        problem("%s does not go with kind = \"signal\" (a signal fires and is over)", name)
      end
    end
  end
end


local function check_since(raw)
  if raw.since == nil or raw.since == "start" or raw.since == "now" then
    return raw.since or "start"
  end
  local us, why = duration.parse(raw.since)
  if not us then
    problem("since %s, nor \"start\" or \"now\"", why)
  end
  return us
end


-- What a rebuild needs -----------------------------------------------------------------------------------------

--- How much history decides what an input's state is and says; nil: all of it. A session's beginning, a first step
--- while another waits, and a window with too few entries depend on what was before, and so on.
local function input_horizon(def)
  if def.input == "plain" then
    return def.kind == "signal" and 0 or def.ttl
  elseif def.window then
    local w = def.window
    if w.kind == "session" or w.min then
      return nil
    elseif def.value and def.on_silence == "hold" then
      return def.ttl and def.ttl + 2 * w.over
    end
    return 2 * w.over
  elseif def.seq and type(def.seq.within) == "number" and def.kind == "signal" and not def.seq.missing then
    return def.seq.within
  elseif def.absent and not def.absent.expect then
    return def.ttl
  end
end


--- Microseconds of history from which the state comes out the same as from all of it, or nil. What waits for something
--- that may have happened at any time (a latch, a fold, a list of results, a projection, the latest occurred_at) needs
--- all; so does a cooldown, which begins where the one before it ended.
local function horizon(def, refs)
  local base = input_horizon(def)
  if not base or def.clears or def.flap or def.cooldown or def.clock == "occurred" or #refs > 0 then
    return nil
  end
  return base + (def.hold or 0) + (def.linger or 0)
end


-- The definition -----------------------------------------------------------------------------------------------

local function check_durations(def)
  local why = duration.convert(def, FIELDS)
  if why then
    problem("%s", why)
  end
  for _, name in ipairs({ "hold", "linger", "cooldown" }) do
    def[name] = def[name] ~= 0 and def[name] or nil
  end
end


--- The input's own field, checked; def.input names its module.
local function check_input(def, input)
  def.input = input and MODULES[input] or "plain"
  if input == "window" then
    def.window = fields.window(def)
  elseif input == "seq" then
    def.seq = fields.seq(def)
  elseif input == "absent" then
    def.absent = fields.absent(def)
  elseif input then
    def[input] = fields.steps(input, def[input])
  end
  def.asserts = input == "seq" or input == "absent"
end


local function check_texts(def, raw, json)
  def.labels = def.labels and fields.labels(def.labels)
  def.notify = def.notify and json.array(fields.notify(def.notify))
  def.group = raw.group ~= nil and fields.group(def, json) or nil
  if raw.mute ~= nil then
    def.inhibits, def.calendar_name = fields.mute(raw.mute, json)
  end
  def.act = fields.act(def.act)
  def.flap = raw.flap ~= nil and fields.flap(raw.flap) or nil
end


--- "crash_loop: {aggregate_id}", where the rule has no summary.
local function summary_of(def)
  local parts = {}
  for i, name in ipairs(def.key_names) do
    parts[i] = "{" .. name .. "}"
  end
  return def.summary or ("%s: %s"):format(def.name, table.concat(parts, " / "))
end


local function event_fields()
  local known = {}
  for _, field in ipairs(api.event) do
    known[field.name] = field.name ~= "data" and field.name ~= "metadata" or nil
  end
  return known
end


--- The checked fields, as the engine reads them.
local function check(name, raw, host)
  local json = host.json
  local def = definition.check(raw, FIELDS)
  definition.check_name(name)
  def.name = name
  def.since = nil
  check_durations(def)
  def.since = check_since(raw)
  local input = input_of(raw)
  check_alone(raw, def, input)
  check_condition(raw, def, input)
  def.patterns = fields.patterns("on", def.on)
  def.key_names, def.key_paths, def.key_function = fields.key(def.by)
  def.value_path = type(def.value) == "string" and def.value or nil
  check_input(def, input)
  def.levels, def.clears = fields.levels(def), raw.clear ~= nil
  def.value = def.value and fields.value(def.value, host.native)
  check_texts(def, raw, json)
  def.summary = raise.template(summary_of(def))
  def.event_fields = event_fields()
  return def
end


--- The rule's own events, those of the steps of a seq included.
local function own_patterns(def)
  local list, seen = {}, {}
  local function add(patterns)
    for _, pattern in ipairs(patterns) do
      if not seen[pattern] then
        seen[pattern], list[#list + 1] = true, pattern
      end
    end
  end
  add(def.patterns)
  for _, steps in ipairs(def.seq and { def.seq, def.seq.missing or {} } or {}) do
    for _, step in ipairs(steps) do
      add(step.on)
    end
  end
  return list
end


--- Can one of the patterns take the event of an alert?
local function reads_alerts(patterns)
  for _, pattern in ipairs(patterns) do
    local head = pattern:match("^([^*]*)%*")
    if pattern:sub(1, 6) == "alert." or (head and ("alert."):sub(1, #head) == head:sub(1, 6)) then
      return true
    end
  end
  return false
end


--- function(key's JSON text) -> its parts by name: a fresh table, for functions that may keep or change it.
local function key_reader(key_names, json)
  local first, many = key_names[1], #key_names > 1
  return function(text)
    if not many and text:byte(1) == 34 and not text:find("\\", 1, true) then
      return { [first] = text:sub(2, -2) }
    end
    local value, parts = json.decode(text), {}
    for i = 1, #key_names do
      if many then
        parts[key_names[i]] = value[i]
      else
        parts[first] = value
      end
    end
    return parts
  end
end


--- The JSON texts of a list of keys, as the host has them.
local function key_texts(list, key_names, json)
  local out = {}
  for i, key in ipairs(list) do
    local parts = type(key) == "table" and key or { key }
    if #parts ~= #key_names then
      problem("absent: expect: number %d has %d parts, and the key has %d (%s)", i, #parts, #key_names,
        table.concat(key_names, ", "))
    end
    local texts = {}
    for j, part in ipairs(parts) do
      if type(part) ~= "string" and type(part) ~= "number" then
        problem("absent: expect: number %d is no key (texts, or a list of texts each)", i)
      end
      texts[j] = raise.show(part)
    end
    out[i] = json.encode(#texts == 1 and texts[1] or json.array(texts))
  end
  if #out == 0 then
    problem("absent: expect is empty (name keys, or write ref \"projection\")")
  end
  return out
end


--- Sets engine.expect_ref (a place in refs) or engine.expect_keys.
local function expectations(def, engine, host, json)
  local expect = def.absent and def.absent.expect
  if expect == nil then
    return
  end
  local ref = host.ref_names[expect]
  if ref then
    engine.expect_ref = host.refs[ref]
  elseif type(expect) == "table" then
    engine.expect_keys = key_texts(expect, def.key_names, json)
  else
    problem("absent: expect must be ref \"projection\" or a list of keys, not %s", schema.show(expect))
  end
end


--- The projections that the rule reads, in the order of their names; host.refs says where each is.
local function find_refs(host)
  local list = {}
  for i, name in ipairs(digest.refs(host)) do
    local projection, column = name:match("^([^.]+)%.?([^.]*)$")
    if not schema.is_name(projection) or (column ~= "" and not schema.is_name(column)) then
      problem("ref \"%s\" is no projection (write ref \"projection\" or ref \"projection.column\")", name)
    end
    list[i] = { name = projection, column = column ~= "" and column or nil }
    host.refs[name] = i
  end
  return list
end


local function spec_of(def, raw, refs, host, json)
  local key = {}
  for i, name in ipairs(def.key_names) do
    key[i] = { name = name, type = "text" }
  end
  local names = {}
  for i, ref in ipairs(refs) do
    names[i] = ref.name
  end
  return { name = def.name, version = 1, form = "document", key = json.array(key),
    body = digest.body(def, raw, host, names), wording = digest.wording(def, raw, host),
    on_change = def.on_change, since = def.since,
    horizon = horizon(def, refs), kind = def.kind, severity = def.severity, clock = def.clock,
    notify = def.notify or json.array({}), group = def.group, inhibits = def.inhibits, calendar = def.calendar_name,
    refs = json.array(names), mode = def.mode, max = def.max, description = def.description,
    runbook = def.runbook }, key
end


--- The key function, for which there is no instant yet, and no ref: keys are found before earlier events are handled.
local function key_maker(make, clock)
  return make and function(event)
    clock.t, clock.finding_key = nil, true
    return make(event)
  end
end


local function handlers_of(types)
  local list = {}
  for i in ipairs(types) do
    list[i] = function() end
  end
  return list
end


--- What the host takes: the checked definition with its engine, and `spec`, the part that SQL sees. `host` has the
--- words' clock and refs, and native functions.
local function normalise(name, raw, host)
  local json = host.json
  local def = check(name, raw, host)
  local refs = find_refs(host)
  local spec, key = spec_of(def, raw, refs, host, json)
  def.calendar = def.calendar_name and calendar.load(def.calendar_name, host) or nil
  local engine = life.open(def, host.native, host.clock, key_reader(def.key_names, json))
  local types = own_patterns(def)
  engine.own, engine.trusted = fields.matcher(types), def.input ~= "fold"
  engine.clock, engine.lateness = def.clock, def.clock == "occurred" and def.lateness or 0
  engine.max_keys, engine.refs = def.max_keys, refs
  engine.max_state = def.max_state or (def.clock == "occurred" and WAITING_STATE or STATE)
    + (def.window and def.window.max * ENTRY or 0)
  engine.after_alerts = reads_alerts(types)
  expectations(def, engine, host, json)
  return { version = 1, on_error = def.on_error, budget = raw.budget, memory = raw.memory, jit = def.jit,
    form = "document", key = key, key_names = def.key_names, key_paths = def.key_paths,
    key_function = key_maker(def.key_function, host.clock), key_written = def.key_function, columns = {}, types = types,
    handlers = handlers_of(types), spec = spec,
    engine = engine }
end


return function(file, host)
  return definition.statement("rule", function(name, raw) return normalise(name, raw, host) end, file)
end
