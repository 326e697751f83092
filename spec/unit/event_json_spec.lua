local ffi = require "ffi"
local flow = require "spec.support.flow"

local C = flow.C

--- The event that a text is, as JSON again; or nil and what is wrong.
local function read(text)
  local arena = ffi.gc(C.arena_new(4096), C.arena_free)
  local event, err = ffi.new("Event", C.event_blank()), ffi.new("Err")
  if not C.event_from_json(flow.str(text), arena, event, err) then
    return nil, flow.message(err), flow.kind(err)
  end
  return flow.event_json(event)
end

local FULL = '{"id":7,"event_id":"00112233-4455-6677-8899-aabbccddeeff","event_type":"device.online",'
  .. '"aggregate_type":"device","aggregate_id":"d \\"1\\"","version":3,"schema_version":2,"data":{"n": [1, 2.50, null]},'
  .. '"metadata":{"m":"ä"},"source":"agent","correlation_id":"c1",'
  .. '"causation_id":"ffeeddcc-bbaa-9988-7766-554433221100","actor_type":"user","actor_id":"","severity":"high",'
  .. '"impact":"low","occurred_at":"2026-01-02T03:04:05.678901Z","timestamp":"2026-01-02T03:04:06.000000Z",'
  .. '"occurrences":4}'

local MINIMAL = '{"event_type":"t","aggregate_type":"a","aggregate_id":"1"%s}'

local WRONG = {
  { '{"event_type":"t"}', "aggregate_type: is missing" },
  { '{"aggregate_type":"a","aggregate_id":"1"}', "event_type: is missing" },
  { MINIMAL:format ',"datta":1', "unknown member 'datta' %(did you mean 'data'" },
  { MINIMAL:format ',"zzzzzzzzzz":1', "unknown member 'zzzzzzzzzz' %(an event has the members" },
  { MINIMAL:format ',"id":"7"', 'id: "7" is not a whole number' },
  { MINIMAL:format ',"id":1.5', "id: 1.5 is not a whole number" },
  { MINIMAL:format ',"id":99999999999999999999', "id: 9+ is not a whole number" },
  { MINIMAL:format ',"id":-1', "id: %-1 is not" },
  { MINIMAL:format ',"version":null', "version: must not be null" },
  { MINIMAL:format ',"schema_version":0', "schema_version: 0 is not a whole number from 1 on" },
  { MINIMAL:format ',"occurrences":3000000000', "occurrences: 3000000000 is not" },
  { MINIMAL:format ',"source":5', "source: 5 is not a string" },
  { MINIMAL:format ',"event_id":"0011"', 'event_id: "0011" is not a uuid' },
  { MINIMAL:format ',"causation_id":"00112233-4455-6677-8899-aabbccddeefg"', "causation_id: .* is not a uuid" },
  { MINIMAL:format ',"event_id":null', "event_id: must not be null" },
  { MINIMAL:format ',"occurred_at":"soon"', 'occurred_at: "soon" is not a time' },
  { MINIMAL:format ',"timestamp":true', "timestamp: true is not a time" },
  { MINIMAL:format ',"timestamp":1e300', "timestamp: 1e300 is not a time" },
  { MINIMAL:format ',"data":{"a":"\\u0000"}', "jsonb cannot hold" },
  { "[]", "an event is a JSON object" },
  { '"{}"', "an event is a JSON object" },
  { "", "invalid JSON" },
  { "{", "invalid JSON" },
}


describe("an event as JSON", function()
  it("comes back as it was, to the byte", function()
    assert.equal(FULL, (read(FULL)))
    assert.equal(FULL, (read((FULL:gsub(",", " ,\n ")))) and FULL)
  end)

  it("needs no more than a type and an aggregate", function()
    assert.equal('{"id":0,"event_id":"00000000-0000-0000-0000-000000000000","event_type":"t","aggregate_type":"a",'
      .. '"aggregate_id":"1","version":1,"schema_version":1,"data":{},"metadata":{},"source":null,"correlation_id":null,'
      .. '"causation_id":null,"actor_type":null,"actor_id":null,"severity":null,"impact":null,'
      .. '"occurred_at":"1970-01-01T00:00:00.000000Z","timestamp":"1970-01-01T00:00:00.000000Z","occurrences":1}',
      (read(MINIMAL:format "")))
    assert.matches('"event_type":"t"', (read '{"type":"t","aggregate_type":"a","aggregate_id":"1"}'))
  end)

  it("takes times as text of any zone, or as seconds", function()
    for text, expected in pairs { ['"2026-01-02T03:04:05+02:00"'] = "2026-01-02T01:04:05.000000Z",
      ['"2026-01-02"'] = "2026-01-02T00:00:00.000000Z", ["1767225600.5"] = "2026-01-01T00:00:00.500000Z",
      ["-1"] = "1969-12-31T23:59:59.000000Z" } do
      assert.matches('"occurred_at":"' .. expected:gsub("%-", "%%-"), (read(MINIMAL:format(',"occurred_at":' .. text))))
    end
  end)

  it("keeps a time beyond the year 9999, as seconds", function()
    local text = read(MINIMAL:format ',"occurred_at":300000000000')

    assert.matches('"occurred_at":300000000000,', text)
    assert.equal(text, (read(text)))
  end)

  it("says which member is wrong, and how", function()
    for _, case in ipairs(WRONG) do
      local got, message, kind = read(case[1])
      assert.is_nil(got, case[1])
      assert.matches(case[2], message)
      assert.equal("data", kind)
    end
  end)
end)
