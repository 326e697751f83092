-- The words of rules: what `emit` and `act` return, now(), and ref "projection.column".
local nearest = require "prelude.nearest"
local raise = require "prelude.rule_raise"
local schema = require "prelude.schema"

local EVENT = { __metatable = raise.EMITTED }
local ACTION = { __metatable = raise.ACTION }

local STREAM = { aggregate_type = true, aggregate_id = true }
local DELIVERY = { to = true, data = true }


local function is_type(text)
  return type(text) == "string" and text ~= "" and #text <= 255 and not text:match("[%z%c*]")
end


--- The checked parts of event(…) and publish(…).
local function appended(word, type_, data, options)
  if not is_type(type_) then
    error(("%s: an event type is expected, not %s"):format(word, schema.show(type_)), 3)
  elseif data ~= nil and type(data) ~= "table" then
    error(("%s '%s': data must be a table, not %s"):format(word, type_, schema.show(data)), 3)
  elseif options ~= nil and type(options) ~= "table" then
    error(("%s '%s': the options must be a table, not %s"):format(word, type_, schema.show(options)), 3)
  end
  for name, value in pairs(options or {}) do
    if not STREAM[name] then
      error(("%s '%s': unknown option %s%s"):format(word, type_, schema.show(name),
        nearest(name, schema.sorted_keys(STREAM))), 3)
    elseif type(value) ~= "string" or value == "" then
      error(("%s '%s': %s must be a text, not %s"):format(word, type_, name, schema.show(value)), 3)
    end
  end
  local stream = options or {}
  if (stream.aggregate_type == nil) ~= (stream.aggregate_id == nil) then
    error(("%s '%s': aggregate_type and aggregate_id go together"):format(word, type_), 3)
  end
  return { type = type_, data = data or {}, aggregate_type = stream.aggregate_type, aggregate_id = stream.aggregate_id }
end


local function delivery(word, options)
  if type(options) ~= "table" then
    error(("%s: { to = \"receiver\", data = { … } } is expected, not %s"):format(word, schema.show(options)), 3)
  end
  for name in pairs(options) do
    if not DELIVERY[name] then
      error(("%s: unknown option %s%s"):format(word, schema.show(name), nearest(name, schema.sorted_keys(DELIVERY))), 3)
    end
  end
  if not schema.is_name(options.to) then
    error(("%s: to must be a receiver's name, not %s"):format(word, schema.show(options.to)), 3)
  end
  return setmetatable({ act = word, to = options.to, data = options.data }, ACTION)
end


local words = {}


function words.event(type_, data, options)
  local made = appended("event", type_, data, options)
  return setmetatable(made, EVENT)
end


function words.publish(type_, data, options)
  local made = appended("publish", type_, data, options)
  return setmetatable({ act = "publish", data = made }, ACTION)
end


function words.webhook(options)
  local made = delivery("webhook", options)
  return made
end


function words.command(options)
  local made = delivery("command", options)
  return made
end


--- The words, and what belongs to them: `clock`, whose `t` is the instant at work (nil: none is), and `refs`, name ->
--- place in the definition's list, `names`: what ref() made -> its name.
return function(native)
  local clock, refs, names, made = {}, {}, {}, {}
  local ours = { event = words.event, publish = words.publish, webhook = words.webhook, command = words.command }

  function ours.sql(text, ...)
    if type(text) ~= "string" or not text:match("%S") then
      error(("sql: a statement is expected, not %s"):format(schema.show(text)), 2)
    end
    local args = native.array {}
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      args[i] = value == nil and native.json.null or value
    end
    return setmetatable({ act = "sql", data = { text = text, args = args } }, ACTION)
  end

  function ours.pg_notify(channel, payload)
    if type(channel) ~= "string" or channel == "" or #channel > 63 then
      error(("pg_notify: a channel's name is expected, not %s"):format(schema.show(channel)), 2)
    end
    return setmetatable({ act = "notify", to = channel, data = payload }, ACTION)
  end

  function ours.now()
    if not clock.t then
      error("now() is the instant at work in a rule, and none is (use event.timestamp)", 2)
    end
    return clock.t / 1e6
  end

  --- Rows come from native.ref(); here is only which of them, and which column.
  function ours.ref(name)
    local projection, column
    if made[name] then
      return made[name]
    end
    if type(name) == "string" then
      projection, column = name:match("^([^.]+)%.?([^.]*)$")
    end
    if not schema.is_name(projection) or (column ~= "" and not schema.is_name(column)) then
      error(("ref: \"projection\" or \"projection.column\" is expected, not %s"):format(schema.show(name)), 2)
    elseif native.kind ~= "rule" then
      error("ref is a word for rules (a projection's handler sees its own row only)", 2)
    end
    local function row_at(_, key)
      if not refs[name] then
        error(("ref \"%s\" was not found when the rule was loaded (write its name as a text in the file)"):format(
          name), 2)
      end
      if clock.finding_key then
        error(("ref \"%s\" is not known yet where the key is made (by depends on the event alone)"):format(name), 2)
      end
      local row = native.ref(refs[name], key)
      if row == nil or column == "" then
        return row
      end
      return row[column]
    end
    local proxy = setmetatable({}, { __index = row_at, __metatable = false,
      __newindex = function() error(("ref \"%s\" cannot be changed by a rule"):format(name), 2) end })
    made[name], names[proxy] = proxy, name
    return proxy
  end

  return ours, clock, refs, names
end
