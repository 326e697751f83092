-- reducer "name" { … }: checks a definition and gives it the shape that the host takes.
local api = require "prelude.api"
local definition = require "prelude.definition"
local transitions = require "prelude.transitions"

local FIELDS = api.definitions.reducer.fields


--- A reducer's state is a document under its aggregate's id.
local function normalise(name, raw, json)
  local def = definition.check(raw, FIELDS)
  definition.check_name(name)
  if def.aggregate == "" then
    definition.problem("field 'aggregate' is empty (name the aggregate type of the events)")
  end
  local out = { version = def.version, on_error = def.on_error, budget = raw.budget, memory = raw.memory,
    jit = def.jit, form = "document", aggregate = def.aggregate, snapshot_every = def.snapshot_every,
    initial = def.initial, key_paths = { "aggregate_id" }, key = { { name = "key", type = "text" } }, columns = {} }
  out.types, out.handlers = definition.handlers(def.on, "state")
  out.transitions = def.transitions and transitions(def.transitions)
  out.spec = { name = name, version = def.version, form = out.form, key = json.array(out.key),
    aggregate = def.aggregate, snapshot_every = def.snapshot_every }
  return out
end


return function(file, json)
  return definition.statement("reducer", function(name, raw) return normalise(name, raw, json) end, file)
end
