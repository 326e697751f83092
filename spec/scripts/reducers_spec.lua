local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local script = require "spec.support.script"
local tables = require "spec.support.tables"

describe("the shipped reducer", function()
  local open = {}
  local function load(name)
    local s, err = script.open("scripts/reducers/" .. name, { dir = "." })
    assert(s, err and err.message)
    open[#open + 1] = s
    return s
  end

  --- Events of one aggregate, with versions in their order: { type, data, actor_id = }.
  local function aggregate(kind, id, events)
    for version, e in ipairs(events) do
      e.aggregate_type, e.aggregate_id, e.version, e.data, e.timestamp = kind, id, version, e[2], nil
      e.type, e[1], e[2] = e[1], nil, nil
      e.occurred_at = 1767225600 + version
    end
    return events
  end

  after_each(function()
    for _, s in ipairs(open) do
      s:close()
    end
    open = {}
  end)
  teardown(files.clean)

  describe("device", function()
    local function state(events)
      local s = load "device"
      assert(s:run(aggregate("device", "d", events)))
      return s:row("d").state
    end

    it("knows what a device is, and where it is in its life", function()
      local first = { "device.provisioned", { name = "gate", site = "lisbon", model = "gw-200", os = "12.4", tags = { "stable" } } }
      local s = state { first }
      assert.same({ lifecycle = "provisioned", online = false, offlines = 0, drift = {}, name = "gate", site = "lisbon",
        model = "gw-200", os = "12.4", tags = { "stable" } }, s)

      s = state { { "device.provisioned", { name = "gate" } }, { "device.online" }, { "device.offline" }, { "device.online" },
        { "device.renamed", { name = "gate 2" } }, { "device.updated", { from = "1", os = "2" } } }
      assert.same({ "active", true, 1, "gate 2", "2", "2026-01-01T00:00:04.000000Z" },
        { s.lifecycle, s.online, s.offlines, s.name, s.os, s.last_seen })

      s = state { { "device.online" }, { "device.deprovisioned" } }
      assert.same({ "retired", false }, { s.lifecycle, s.online })
    end)

    it("tells where what runs is not what should run", function()
      local function apps(versions)
        local list = {}
        for app, version in pairs(versions) do
          list[app] = { image = app .. ":" .. version }
        end
        return { new_state = { apps = list } }
      end
      local s = state { { "target_state.created", apps { a = 1, b = 1 } } }
      assert.same({ { app = "a", want = "a:1" }, { app = "b", want = "b:1" } }, s.drift)

      s = state { { "target_state.created", apps { a = 1, b = 1 } }, { "current_state.updated", apps { a = 1, b = 1, c = 1 } },
        { "target_state.updated", apps { a = 2, b = 1 } } }
      assert.same({ { app = "a", want = "a:2", have = "a:1" }, { app = "c", have = "c:1" } }, s.drift)
      assert.same({ 3, 2 }, { s.target_version, s.current_version })

      s = state { { "target_state.created", apps { a = 1 } }, { "current_state.reported", apps { a = 1 } } }
      assert.same({}, s.drift)
      s = state { { "target_state.created", apps { a = 1 } }, { "target_state.cleared" } }
      assert.same({}, s.drift)
      assert.is_nil(s.target)
    end)

    it("tells how the last reconciliation went", function()
      local s = state { { "reconciliation.started", { app = "a" } }, { "reconciliation.failed", { app = "a", error = "full" } } }

      assert.same({ result = "failed", app = "a", error = "full" }, s.reconciliation)
    end)
  end)

  describe("app", function()
    local function run(s, events)
      assert(s:run(aggregate("container", "d/vision", events)))
      local row = s:row("d/vision")
      return row and row.state
    end

    it("knows what runs, what ran before, and how it fell", function()
      local function data(image, more)
        local d = { device_uuid = "d", app = "vision", image = image }
        for name, value in pairs(more or {}) do
          d[name] = value
        end
        return d
      end
      local s = run(load "app", { { "container.started", data("v:1") }, { "container.crashed", data("v:1", { exit_code = 137 }) },
        { "container.restarted", data("v:1") }, { "container.stopped", data("v:1", { reason = "update" }) },
        { "container.started", data("v:2") }, { "container.crashed", data("v:2", { exit_code = 139 }) } })

      assert.same({ device = "d", app = "vision", status = "crashed", since = "2026-01-01T00:00:06.000000Z", image = "v:2",
        previous_image = "v:1", images = { "v:1", "v:2" }, starts = 3, crashes = 2, crashes_of_image = 1, reason = "update",
        last_crash = { at = "2026-01-01T00:00:06.000000Z", cause = "segfault", exit_code = 139, image = "v:2" } }, s)
    end)

    it("keeps the last five images, and nothing of an app that was removed", function()
      local events = {}
      for i = 1, 7 do
        events[i] = { "container.started", { device_uuid = "d", app = "vision", image = "v:" .. i } }
      end
      local s = load "app"
      assert.same({ "v:3", "v:4", "v:5", "v:6", "v:7" }, run(s, events).images)
      assert.is_nil(run(s, { { "container.removed", {} } }))
    end)
  end)

  describe("upcaster container_crashed_v2", function()
    it("says what an exit code means, and leaves newer events alone", function()
      local s = load "app"
      local function cause(code, version)
        local e = aggregate("container", "d/x", { { "container.crashed", { exit_code = code, cause = version and "as said" } } })
        e[1].schema_version = version or 1
        s:forget()
        s.rows = {}
        assert(s:run(e))
        return s:row("d/x").state.last_crash.cause
      end

      assert.same({ "killed", "segfault", "error", "as said" }, { cause(137), cause(139), cause(1), cause(137, 2) })
    end)

    it("belongs to the scripts that read such events, and to no other", function()
      local function has(name)
        local s = assert(script.open(name, { dir = "." }))
        open[#open + 1] = s
        return script.text(s:definition().files):find("container_crashed_v2", 1, true) ~= nil
      end

      assert.same({ true, false, true, true, false }, { has "scripts/reducers/app", has "scripts/reducers/device",
        has "projections/rollout_health", has "projections/device_summary", has "projections/device_state" })
    end)
  end)

  describe("workflow", function()
    local function play(...)
      local events = {}
      for i, name in ipairs { ... } do
        events[i] = { "workflow." .. name, { title = "T" .. i }, actor_id = "mira" }
      end
      local s = load "workflow"
      local fx, err = s:run(aggregate("workflow", "w", events))
      return fx and s:row("w").state, err and err.message
    end

    it("goes along the declared ways", function()
      assert.same({ status = "draft", title = "T1", owner = "mira", revision = 1 }, (play("created")))
      assert.equal("done", play("created", "submitted", "approved", "completed").status)
      local s = play("created", "submitted", "rejected", "revised", "submitted", "cancelled")
      assert.same({ "cancelled", 2, "T4" }, { s.status, s.revision, s.title })
    end)

    it("refuses every other", function()
      for _, case in ipairs {
        { { "created", "approved" }, "from 'draft' to 'approved', which is no declared transition (from 'draft': submitted, cancelled)" },
        { { "created", "submitted", "approved", "rejected" }, "from 'approved' to 'rejected', which is no declared transition (from 'approved': done)" },
        { { "created", "cancelled", "revised" }, "from 'cancelled' to 'draft', which is no declared transition (from 'cancelled': none; it is a final state)" },
      } do
        local _, message = play(unpack(case[1]))
        assert.matches(case[2], message, 1, true)
        assert.matches("scripts/reducers/workflow.lua:%d+: reducer 'workflow': state.status went ", message)
      end
    end)
  end)
end)

describe("the shipped reducers, live", function()
  local server = pg.shared()
  local dsn, db

  setup(function()
    dsn, db = moonwake.database(server)
    local history = files.command("luajit scripts/demo/fleet.lua --devices 25 --events 4000 --end 2026-01-31T12:00:00Z")
    moonwake.must({ "publish", "-" }, { db = dsn, stdin = history .. "\n" })
    for _, name in ipairs { "created", "approved", "submitted", "approved" } do
      moonwake.must({ "publish", "workflow." .. name, "workflow", "w-1", "{}" }, { db = dsn })
    end
    moonwake.must({ "run", "--until-caught-up" }, { db = dsn })
  end)
  teardown(files.clean)

  it("app: what SQL says about each container", function()
    tables.assert_equal(server, db, "(SELECT * FROM moonwake.aggregate_states WHERE reducer = 'app') s",
      [[aggregate_id, version, state ->> 'device', state ->> 'app', state ->> 'status', state ->> 'image',
        (state -> 'starts')::int, (state -> 'crashes')::int, state #>> '{last_crash,cause}', position]], [[
      SELECT aggregate_id, max(version), max(data ->> 'device_uuid'), max(data ->> 'app'),
        (array_agg(CASE event_type WHEN 'container.crashed' THEN 'crashed' WHEN 'container.stopped' THEN 'stopped'
          ELSE 'running' END ORDER BY id DESC))[1],
        (array_agg(data ->> 'image' ORDER BY id DESC) FILTER (WHERE event_type = 'container.started'))[1],
        (count(*) FILTER (WHERE event_type IN ('container.started', 'container.restarted')))::int,
        (count(*) FILTER (WHERE event_type = 'container.crashed'))::int,
        (array_agg(CASE data ->> 'exit_code' WHEN '137' THEN 'killed' WHEN '139' THEN 'segfault' ELSE 'error' END
          ORDER BY id DESC) FILTER (WHERE event_type = 'container.crashed'))[1], max(id)
      FROM moonwake.events WHERE aggregate_type = 'container' AND event_type LIKE 'container.%' GROUP BY aggregate_id]])
  end)

  it("device: a snapshot at each 50 versions, of the state that it had", function()
    assert.equal("0", server:psql([[SELECT count(*) FROM (
        SELECT aggregate_id, max(version) / 50 AS want FROM moonwake.events WHERE aggregate_type = 'device' GROUP BY 1) e
      JOIN (SELECT aggregate_id, count(DISTINCT version / 50) AS have FROM moonwake.snapshots WHERE reducer = 'device'
        GROUP BY 1) s USING (aggregate_id) WHERE have <> want]], { db = db }))
    assert.equal("t", server:psql("SELECT count(*) > 25 FROM moonwake.snapshots WHERE reducer = 'device'", { db = db }))
  end)

  it("workflow: the event that broke the rules is among the dead letters, and the others went on", function()
    assert.equal("approved", server:psql([[SELECT state ->> 'status' FROM moonwake.aggregate_states WHERE reducer = 'workflow'
      AND aggregate_id = 'w-1']], { db = db }))
    assert.matches("^workflow|f|.*went from 'draft' to 'approved', which is no declared transition",
      server:psql("SELECT consumer, parked, error FROM moonwake.dead_letters", { db = db }))
  end)
end)
