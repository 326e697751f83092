-- What a debugger asks a handler (runtime/model/handler.h), over an opened spec.support.script.
local ffi = require "ffi"
local json = require "dkjson"
local script = require "spec.support.script"

local C, text = script.C, script.text
local debugger = {}


local function str(s)
  return s and ffi.new("Str", { s, #s }) or ffi.new("Str")
end


local function failure(err)
  return { message = ffi.string(err.message), trace = ffi.string(err.trace), event_id = tonumber(err.event_id),
    kind = ffi.string(C.err_kind_name(err.kind)) }
end


--- The JSON text of a key's state, or nil; false and the failure.
function debugger.state(s, key)
  local out, err = ffi.new("Str[1]"), ffi.new("Err")
  if not s.ops.state(s.handler, str(key), out, err) then
    return false, failure(err)
  end
  return text(out[0])
end


--- The number of an expression, or nil and the failure.
function debugger.expression(s, source, subject)
  local err = ffi.new("Err")
  local n = s.ops.expression(s.handler, subject or "--break", str(source), err)
  if n == 0 then
    return nil, failure(err)
  end
  return n
end


--- The JSON text and the truth of an expression (its number or its text); nil and the failure.
--- `on` has event (a table as for Script:page), key, before and state (JSON texts).
function debugger.evaluate(s, expression, on)
  if type(expression) == "string" then
    local n, why = debugger.expression(s, expression)
    if not n then
      return nil, why
    end
    expression = n
  end
  on = on or {}
  local truth, out, err = ffi.new("bool[1]"), ffi.new("Str[1]"), ffi.new("Err")
  local page = s:page { on.event }
  local ok = s.ops.evaluate(s.handler, expression, on.event and page.array or nil, str(on.key), str(on.before),
    str(on.state), truth, out, err)
  if not ok then
    return nil, failure(err)
  end
  return text(out[0]), truth[0]
end


--- Traces the one event: its steps { file, line, key, before, after }, "done" or "failed", and the failure.
function debugger.trace(s, event, most)
  local page = s:page { event }
  assert(s:prepare(page))
  local at, n, err = ffi.new("size_t[1]"), ffi.new("size_t[1]"), ffi.new("Err")
  local steps = ffi.new("const TraceStep *[1]")
  local result = s.ops.trace(s.handler, page.slice, at, most or 100000, steps, n, err)
  local list = {}
  for i = 0, tonumber(n[0]) - 1 do
    local step = steps[0][i]
    list[i + 1] = { file = ffi.string(step.file), line = step.line, key = text(step.key),
      before = text(step.before), after = text(step.after) }
  end
  if result == C.RUN_DONE then
    assert(at[0] == 1)
    return list, "done"
  end
  return list, "failed", failure(err)
end


function debugger.coverage(s)
  local out = text(s.ops.coverage(s.handler))
  return out and json.decode(out)
end


return debugger
