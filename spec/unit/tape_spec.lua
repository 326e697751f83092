local ffi = require "ffi"
local json = require "dkjson"
local flow = require "spec.support.flow"
local script = require "spec.support.script"

local C = flow.C
ffi.cdef "int setenv(const char *, const char *, int); int unsetenv(const char *);"
local SEED = tonumber(os.getenv("SEED") or os.time())

local function some(n)
  local events = {}
  for i = 1, n do
    events[i] = { "t" .. i, "a" .. i % 3, id = i * 10, version = i, timestamp = 1767225600 + i,
      occurred_at = 1767220000 + i, data = { num = i } }
  end
  return events
end

--- The types of what is on the tape, which name its events here.
local function types(tape)
  local list, message, kind = flow.events_on(tape)
  if not list then
    return nil, message, kind
  end
  for i, text in ipairs(list) do
    list[i] = json.decode(text).event_type
  end
  return table.concat(list, " ")
end

--- A tape of `n` events that `overlay` changed before they came.
local function changed(n, overlay)
  local err = ffi.new("Err")
  local tape = ffi.gc(C.tape_open(nil, err), C.tape_close)
  overlay(tape, err)
  assert.equal(0, tonumber(err.kind), flow.message(err))
  local page = script.events(some(n))
  for i = 0, page.count - 1 do
    C.tape_add(tape, page.array[i])
  end
  return tape
end

local function event(tape, number)
  local out, err = ffi.new("Event"), ffi.new("Err")
  assert.is_true(C.tape_event(tape, number, out, err), flow.message(err))
  return json.decode(flow.event_json(out)), out
end

local function insert(tape, err, text)
  return C.tape_insert(tape, flow.str(text), err)
end

local function edit(tape, err, id, patch)
  return C.tape_edit(tape, id, flow.str(patch), err)
end


describe("a tape", function()
  it("gives back every event as it was, in any order and in slices", function()
    math.randomseed(SEED)
    local events = some(2000)
    for i = 1, 60 do
      events[math.random(2000)].data = { big = ("x"):rep(math.random(1, i % 20 == 0 and 3000000 or 90000)) }
    end
    events[7].severity, events[7].source, events[8].correlation_id = "high", "", "c"
    local page = script.events(events)
    local tape = flow.tape(events)
    local out, slice, err = ffi.new("Event"), ffi.new("EventSlice"), ffi.new("Err")

    for _ = 1, 300 do
      local n = math.random(0, 1999)
      assert.is_true(C.tape_event(tape, n, out, err))
      assert.equal(flow.event_json(page.array[n]), flow.event_json(out), "seed " .. SEED)
    end
    local n = 0
    repeat
      assert.is_true(C.tape_slice(tape, n, 300, slice, err))
      for i = 0, tonumber(slice.count) - 1 do
        assert.equal(flow.event_json(page.array[n + i]), flow.event_json(slice.events[i]), "seed " .. SEED)
      end
      n = n + tonumber(slice.count)
    until slice.count == 0
    assert.equal(2000, n)
    assert.is_false(C.tape_event(tape, 2000, out, err))
    assert.equal(0, tonumber(err.kind))
  end)

  it("keeps an event where it is while others come", function()
    local tape = flow.tape(some(1))
    local _, first = event(tape, 0)
    local page = script.events(some(5000))
    for i = 0, page.count - 1 do
      C.tape_add(tape, page.array[i])
    end

    assert.equal("t1", flow.text(first.type))
    assert.equal('{"num":1}', flow.text(first.data))
  end)

  it("finds events by id and by time", function()
    local tape = flow.tape(some(50))
    local number, err = ffi.new("size_t[1]"), ffi.new("Err")
    for id, expected in pairs { [0] = 0, [10] = 0, [11] = 1, [200] = 19, [499] = 49, [500] = 49 } do
      assert.is_true(C.tape_find(tape, id, number, err))
      assert.equal(expected, tonumber(number[0]))
      assert.is_true(C.tape_find_time(tape, (1767225600 + math.ceil(id / 10)) * 1000000LL, number, err))
      assert.equal(math.max(math.ceil(id / 10) - 1, 0), tonumber(number[0]))
    end
    assert.is_true(C.tape_find(tape, 501, number, err))
    assert.equal(-1ULL, ffi.cast("uint64_t", number[0]))
    assert.is_true(C.tape_find_time(tape, 1767225700 * 1000000LL, number, err))
    assert.equal(-1ULL, ffi.cast("uint64_t", number[0]))
  end)

  it("may be empty", function()
    local tape = flow.tape {}
    local count, err = ffi.new("size_t[1]"), ffi.new("Err")

    assert.same({}, flow.events_on(tape))
    assert.is_true(C.tape_all(tape, count, err))
    assert.equal(0, tonumber(count[0]))
    assert.is_false(C.tape_is_changed(tape))
  end)

  it("says where it cannot keep its events", function()
    local before, err = os.getenv("TMPDIR"), ffi.new("Err")
    ffi.C.setenv("TMPDIR", "/nonexistent/folder", 1)
    local tape = C.tape_open(nil, err)
    if before then
      ffi.C.setenv("TMPDIR", before, 1)
    else
      ffi.C.unsetenv("TMPDIR")
    end

    assert.is_true(tape == nil)
    assert.matches("/nonexistent/folder: no temporary file can be made there: .*TMPDIR", flow.message(err))
  end)
end)


describe("what if", function()
  it("an event had not been", function()
    local tape = changed(5, function(tape) C.tape_drop(tape, 20) C.tape_drop(tape, 50) end)

    assert.is_true(C.tape_is_changed(tape))
    assert.equal("t1 t3 t4", types(tape))
  end)

  it("it had said something else: a JSON Patch or a merge patch of what tail --json shows", function()
    local tape = changed(3, function(tape, err)
      edit(tape, err, 10, ' [{"op":"replace","path":"/data/num","value":5},{"op":"add","path":"/data/m","value":[1.50]}]')
      edit(tape, err, 30, '{"severity":"high","data":{"num":null},"occurred_at":"2026-05-06T07:08:09Z"}')
      edit(tape, err, 30, '{"source":"again"}')
    end)
    local first, last = event(tape, 0), event(tape, 2)

    assert.same({ num = 5, m = { 1.5 } }, first.data)
    assert.equal("t1", first.event_type)
    assert.same({ "high", "again", 30, "2026-05-06T07:08:09.000000Z" },
      { last.severity, last.source, last.id, last.occurred_at })
    assert.is_nil(next(last.data))
  end)

  it("another had happened in between: it stands where it is told to, with its neighbour's place in time", function()
    local tape = changed(3, function(tape, err)
      insert(tape, err, '{"event_type":"x","aggregate_type":"thing","aggregate_id":"a1","after":20,"data":{"k":1}}')
      insert(tape, err, '{"event_type":"y","aggregate_type":"thing","aggregate_id":"a1","after":20,"occurred_at":5}')
      insert(tape, err, '{"event_type":"z","aggregate_type":"thing","aggregate_id":"a1"}')
      insert(tape, err, '{"event_type":"a","aggregate_type":"thing","aggregate_id":"a1","after":0}')
    end)

    assert.equal("a t1 t2 x y t3 z", types(tape))
    local neighbour, x, y = event(tape, 2), event(tape, 3), event(tape, 4)
    assert.same({ 20, 2, neighbour.timestamp, neighbour.timestamp }, { x.id, x.version, x.timestamp, x.occurred_at })
    assert.equal("1970-01-01T00:00:05.000000Z", y.occurred_at)
    assert.equal(30, event(tape, 6).id)
    assert.equal(0, event(tape, 0).id)
  end)

  it("two had come the other way round", function()
    assert.equal("t1 t4 t3 t2 t5", types(changed(5, function(tape) C.tape_swap(tape, 20, 40) end)))
    assert.equal("t2 t3 t1", types(changed(3, function(tape)
      C.tape_swap(tape, 20, 10)
      C.tape_swap(tape, 10, 30)
    end)))
    local tape = changed(2, function(tape) C.tape_swap(tape, 10, 20) end)
    assert.same({ 20, 2 }, { event(tape, 0).id, event(tape, 0).version })
  end)

  it("there were only what is inserted", function()
    assert.equal("a b", types(changed(0, function(tape, err)
      insert(tape, err, '{"event_type":"b","aggregate_type":"thing","aggregate_id":"a1"}')
      insert(tape, err, '{"event_type":"a","aggregate_type":"thing","aggregate_id":"a1","after":0}')
    end)))
  end)

  it("everything at once: as a list that is changed by hand", function()
    math.randomseed(SEED)
    for round = 1, 200 do
      local n = math.random(1, 30)
      local list, named = {}, {}
      for i = 1, n do
        list[i] = { id = i * 10, type = "t" .. i }
      end
      local function pick()
        local i = math.random(n)
        if not named[i] then
          named[i] = true
          return i
        end
      end
      local overlays, drops, swaps, inserts, edits = {}, {}, {}, {}, {}
      for k = 1, math.random(0, 8) do
        local what, i = math.random(4), pick()
        if i and what == 1 then
          drops[i] = true
          overlays[#overlays + 1] = function(tape) C.tape_drop(tape, i * 10) end
        elseif i and what == 2 then
          edits[i] = "e" .. k
          overlays[#overlays + 1] = function(tape, err)
            edit(tape, err, i * 10, '[{"op":"replace","path":"/event_type","value":"e' .. k .. '"}]')
          end
        elseif i and what == 3 then
          inserts[i] = "i" .. k
          overlays[#overlays + 1] = function(tape, err)
            insert(tape, err, ('{"event_type":"i%d","aggregate_type":"x","aggregate_id":"y","after":%d}'):format(k, i * 10))
          end
        elseif i then
          local j = pick()
          if j then
            swaps[#swaps + 1] = { i, j }
            overlays[#overlays + 1] = function(tape) C.tape_swap(tape, i * 10, j * 10) end
          end
        end
      end

      for i, name in pairs(edits) do
        list[i].type = name
      end
      for _, pair in ipairs(swaps) do
        list[pair[1]], list[pair[2]] = list[pair[2]], list[pair[1]]
      end
      local expected = {}
      for i = 1, n do
        expected[#expected + 1] = not drops[i] and list[i].type or nil
        expected[#expected + 1] = inserts[i]
      end
      assert.equal(table.concat(expected, " "), types(changed(n, function(tape, err)
        for _, overlay in ipairs(overlays) do
          overlay(tape, err)
        end
      end)), ("round %d, seed %d"):format(round, SEED))
    end
  end)

  it("is refused where it names an event that is not there", function()
    for message, overlay in pairs {
      ["--drop 12: the history has no event 12 %(it goes from 10 to 30"] = function(tape) C.tape_drop(tape, 12) end,
      ["--edit 400: the history has no event 400"] = function(tape, err) edit(tape, err, 400, "{}") end,
      ["--insert: after 11: the history has no event 11"] = function(tape, err)
        insert(tape, err, '{"event_type":"x","aggregate_type":"a","aggregate_id":"b","after":11}')
      end,
      ["--swap 10,35: the history has no event 35"] = function(tape) C.tape_swap(tape, 10, 35) end,
      ["--swap 5,10: the history has no event 5 "] = function(tape) C.tape_swap(tape, 5, 10) end,
    } do
      local list, got, kind = types(changed(3, overlay))
      assert.is_nil(list)
      assert.matches(message, got)
      assert.equal("usage", kind)
    end
    assert.matches("it has no events at all", select(2, types(changed(0, function(tape) C.tape_drop(tape, 1) end))))
  end)

  it("is refused where it is none", function()
    local tape, err = flow.tape(some(2)), ffi.new("Err")
    for patch, message in pairs { ["["] = "--edit 10: invalid JSON", ["5"] = "--edit 10: neither a JSON Patch",
      ['[{"op":"add"}]'] = '--edit 10: operation 1: it needs a string "path"' } do
      assert.is_false(edit(tape, err, 10, patch))
      assert.matches(message, flow.message(err))
      assert.equal("usage", flow.kind(err))
    end
    for text, message in pairs { ["{"] = "--insert: invalid JSON", ["{}"] = "--insert: event_type: is missing",
      ['{"event_type":"x","aggregate_type":"a","aggregate_id":"b","after":"x"}'] = "--insert: after: not the id",
      ['{"event_type":"x","aggregate_type":"a","aggregate_id":"b","aftr":1}'] = "--insert: unknown member 'aftr'" } do
      assert.is_false(insert(tape, err, text))
      assert.matches(message, flow.message(err))
      assert.equal("usage", flow.kind(err))
    end
  end)

  it("is refused where the event would be none afterwards", function()
    for patch, message in pairs { ['{"aggregate_id":null}'] = "--edit 20: aggregate_id: is missing",
      ['[{"op":"remove","path":"/data/x"}]'] = "--edit 20: operation 1, remove \"/data/x\": there is no 'x'",
      ['{"version":"x"}'] = '--edit 20: version: "x" is not a whole number',
      ['{"extra":1}'] = "--edit 20: unknown member 'extra'",
      ['[{"op":"replace","path":"","value":5}]'] = "--edit 20: an event is a JSON object" } do
      local list, got, kind = types(changed(3, function(tape, err) edit(tape, err, 20, patch) end))
      assert.is_nil(list)
      assert.matches(message, got)
      assert.equal("usage", kind)
    end
  end)
end)
