local json = require "dkjson"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local script = require "spec.support.script"

local FLEET = "luajit scripts/demo/fleet.lua --devices 15 --events 2500 --end 2026-01-31T12:00:00Z"

describe("rebuild_device_state", function()
  local server = pg.shared()
  local dsn, db

  before_each(function()
    dsn, db = moonwake.database(server)
  end)
  after_each(function()
    server:dropdb(db)
  end)
  teardown(files.clean)

  local function sql(text, user)
    return server:psql(text, { db = db, user = user })
  end

  local function quoted(text)
    return (text:gsub("'", "''"))
  end

  local function publish(events)
    sql(("SELECT count(*) FROM moonwake.publish_events('%s')"):format(quoted(json.encode(events))))
  end

  --- Every device event of the log, as the handler takes them.
  local function log()
    local list = {}
    for line in sql([[SELECT json_build_object('id', id, 'type', event_type, 'aggregate_type', aggregate_type, 'aggregate_id',
        aggregate_id, 'version', version, 'schema_version', schema_version, 'data', data::text,
        'occurred_at', floor(extract(epoch FROM occurred_at))::bigint,
        'us', (extract(microseconds FROM occurred_at)::bigint % 1000000))
        FROM moonwake.events WHERE aggregate_type = 'device' ORDER BY id]]):gmatch("[^\n]+") do
      list[#list + 1] = json.decode(line)
    end
    return list
  end

  --- Folds the log with the shipped reducer, in batches of random size, and compares each device with SQL.
  local function compare()
    local s = assert(script.open("scripts/reducers/device", { dir = "." }))
    local events, at = log(), 1
    while at <= #events do
      local stop = math.min(#events, at + math.random(1, 200) - 1)
      local fx, err = s:run { unpack(events, at, stop) }
      assert(fx, err and err.message)
      at = stop + 1
    end
    local ids, wrong = {}, {}
    for _, e in ipairs(events) do
      ids[e.aggregate_id] = true
    end
    local count = 0
    for id in pairs(ids) do
      local row = s:row(id)
      local state = row and getmetatable(row).raw:match('"state":(.*),"version":%d+,"position":')
      local same = sql(("SELECT moonwake.rebuild_device_state('%s') IS NOT DISTINCT FROM %s"):format(quoted(id),
        state and ("'%s'::jsonb"):format(quoted(state)) or "NULL::jsonb"))
      if same ~= "t" then
        wrong[#wrong + 1] = ("%s\n  reducer %s\n  sql     %s"):format(id, tostring(state),
          sql(("SELECT moonwake.rebuild_device_state('%s')"):format(quoted(id))))
      end
      count = count + 1
    end
    s:close()
    assert.same({}, wrong)
    return count
  end

  it("gives what the reducer `device` gives, over a fleet's history", function()
    moonwake.must({ "publish", "-" }, { db = dsn, stdin = files.command(FLEET) .. "\n" })

    assert.equal(15, compare())
  end)

  it("gives what the reducer gives for events in any order, with anything left out", function()
    local seed = tonumber(os.getenv("SEED")) or os.time()
    print("seed " .. seed)
    math.randomseed(seed)
    local TYPES = { "device.provisioned", "device.renamed", "device.moved", "device.tagged", "device.updated", "device.online",
      "device.offline", "device.heartbeat", "device.metrics_reported", "device.deprovisioned", "device.rebooted",
      "device.key_rotated", "target_state.created", "target_state.updated", "target_state.cleared", "target_state.applied",
      "current_state.updated", "current_state.reported", "current_state.drifted", "reconciliation.started",
      "reconciliation.completed", "reconciliation.failed", "reconciliation.cancelled", "reconciliation.step_completed",
      "container.crashed" }
    local function one_of(list)
      return list[math.random(#list)]
    end
    local function maybe(value)
      if math.random(4) > 1 then
        return math.random(12) > 1 and value or json.null
      end
    end
    local function apps()
      local list = setmetatable({}, { __jsontype = "object" })
      for _ = 1, math.random(0, 4) do
        list[one_of { "agent", "broker", "Vision", "10", "9", "ä" }] =
          setmetatable({ image = maybe(one_of { "a:1", "a:2", 3 }) }, { __jsontype = "object" })
      end
      return list
    end
    local events = {}
    for i = 1, 1500 do
      local state
      if math.random(8) > 1 then
        state = setmetatable({ apps = math.random(8) > 1 and apps() or nil }, { __jsontype = "object" })
      end
      events[i] = { event_type = one_of(TYPES), aggregate_type = math.random(12) > 1 and "device" or "gadget",
        aggregate_id = "d'" .. math.random(60), occurred_at = 1767225600 + math.random(10 ^ 6) + math.random(10 ^ 6) / 10 ^ 6,
        data = setmetatable({ name = maybe("n" .. math.random(9)), site = maybe("s"), model = maybe("m"), os = maybe("1"),
          tags = maybe { "x" }, app = maybe("agent"), error = maybe("full"), new_state = state }, { __jsontype = "object" }) }
    end
    publish(events)

    assert.is_true(compare() > 40)
  end)

  it("is NULL for a device without events, and for one of which no event says anything", function()
    publish { { event_type = "device.rebooted", aggregate_type = "device", aggregate_id = "quiet" },
      { event_type = "device.online", aggregate_type = "gadget", aggregate_id = "other" } }

    assert.equal("||", sql([[SELECT concat_ws('|', coalesce(moonwake.rebuild_device_state('none')::text, ''),
      coalesce(moonwake.rebuild_device_state('quiet')::text, ''), coalesce(moonwake.rebuild_device_state('other')::text, ''))]]))
    assert.equal("t", sql("SELECT moonwake.rebuild_device_state(NULL) IS NULL"))
  end)

  it("is what the daemon keeps", function()
    moonwake.must({ "publish", "-" }, { db = dsn, stdin = files.command(FLEET) .. "\n" })
    moonwake.must({ "run", "--until-caught-up" }, { db = dsn })

    assert.equal("15|0", sql([[SELECT count(*) || '|' || count(*) FILTER (WHERE state <> moonwake.rebuild_device_state(aggregate_id))
      FROM moonwake.aggregate_states WHERE reducer = 'device']]))
  end)

  it("belongs to readers and the daemon", function()
    server:psql("ALTER ROLE moonwake_publish LOGIN; ALTER ROLE moonwake_read LOGIN")
    finally(function()
      server:psql("ALTER ROLE moonwake_publish NOLOGIN; ALTER ROLE moonwake_read NOLOGIN")
    end)
    for _, call in ipairs { "rebuild_device_state('x')", "device_fields('x')", "device_drift('{}', '{}')" } do
      assert.is_string(sql("SELECT * FROM moonwake." .. call, "moonwake_read"))
      assert.is_string(sql("SELECT * FROM moonwake." .. call, "moonwake_run"))
      assert.equal("42501", (server:failure("SELECT * FROM moonwake." .. call, { db = db, user = "moonwake_publish" })))
    end
  end)

  it("explains itself", function()
    assert.equal("3", sql([[SELECT count(*) FROM pg_proc p WHERE pronamespace = 'moonwake'::regnamespace
      AND proname IN ('rebuild_device_state', 'device_fields', 'device_drift') AND obj_description(oid) LIKE '%Example: SELECT%']]))
  end)
end)
