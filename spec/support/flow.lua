-- flow/ as specs drive it: events as Lua tables onto a tape, walks and replays over it, rows as Lua tables.
local ffi = require "ffi"
local c = require "spec.support.c"
local script = require "spec.support.script"

local C = c.load { "base/err.h", "base/mem.h", "model/event.h", "model/handler.h", "pg/pg_rows.h", "pg/sql_text.h",
  "pg/pg_db.h", "flow/history.h", "flow/memory_table.h", "flow/tape.h", "flow/replay.h", "flow/walk.h",
  "flow/event_json.h" }
ffi.cdef "void free(void *);"

local flow = { C = C }

--- A Str of a Lua string that the caller keeps.
function flow.str(s)
  return ffi.new("Str", { ffi.cast("const char *", s), #s })
end

function flow.text(s)
  return s.s ~= nil and ffi.string(s.s, s.len) or nil
end

function flow.message(err)
  return ffi.string(err.message)
end

function flow.kind(err)
  return ffi.string(C.err_kind_name(err.kind))
end

--- The rows of a memory table, in the order of their keys.
function flow.rows(t)
  local n = ffi.new("size_t[1]")
  local array = C.memory_table_rows(t, n)
  local out = {}
  for i = 0, tonumber(n[0]) - 1 do
    out[i + 1] = { key = flow.text(array[i].key), state = flow.text(array[i].state),
      position = tonumber(array[i].position), updated_us = tonumber(array[i].updated_us) }
  end
  ffi.C.free(array)
  return out
end

--- The same as one string, to be compared quickly.
function flow.dump(t)
  local out = {}
  for i, row in ipairs(flow.rows(t)) do
    out[i] = ("%s=%s@%d,%d"):format(row.key, row.state, row.position, row.updated_us)
  end
  return table.concat(out, "\n")
end

--- The event as one JSON text.
function flow.event_json(event)
  local buf = ffi.new("Buf")
  C.event_to_json(buf, event)
  local text = ffi.string(buf.s, buf.len)
  C.buf_free(buf)
  return text
end

--- A tape of its own with these events (as script:page() takes them).
function flow.tape(events)
  local err = ffi.new("Err")
  local tape = C.tape_open(nil, err)
  assert(tape ~= nil, flow.message(err))
  local page = script.events(events)
  for i = 0, page.count - 1 do
    C.tape_add(tape, page.array[i])
  end
  return ffi.gc(tape, C.tape_close)
end

--- Everything on the tape, each as JSON; or nil, the message and the kind of what is wrong.
function flow.events_on(tape)
  local event, err, out = ffi.new("Event"), ffi.new("Err"), {}
  while C.tape_event(tape, #out, event, err) do
    out[#out + 1] = flow.event_json(event)
  end
  if err.kind ~= 0 then
    return nil, flow.message(err), flow.kind(err)
  end
  return out
end

return flow
