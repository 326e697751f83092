local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local tables = require "spec.support.tables"

local END = "2026-01-31T12:00:00Z"

local function generate(options)
  return files.command("luajit scripts/demo/fleet.lua " .. options .. " 2>&1")
end

describe("the demo's fleet", function()
  it("is the same whenever it is asked for", function()
    local options = "--devices 5 --events 400 --end " .. END

    assert.equal(generate(options), generate(options))
    assert.not_equal(generate(options), generate(options .. " --seed 2"))
  end)

  it("has as many events as were asked for, in the order of time, the last ones at the end", function()
    local lines = files.lines(generate("--devices 5 --events 400 --end " .. END))

    local last = ""
    for _, line in ipairs(lines) do
      local at = line:match('"occurred_at":"([^"]+)"')
      assert.is_true(last <= at)
      last = at
    end
    assert.equal(400, #lines)
    assert.is_true(last > "2026-01-31T10" and last <= END)
  end)

  it("speaks for so long as it was told, at the rate that it was told", function()
    local lines = files.lines(generate("--devices 5 --live 1 --rate 50"))

    assert.is_true(#lines >= 40 and #lines <= 80)
  end)

  it("refuses what it does not know", function()
    assert.matches("'%-%-device': no such option", generate("--device 5"))
    assert.matches("%-%-events 10: a fleet of 200 has %d+ events", generate("--events 10"))
    assert.matches("%-%-end: 'today' is not a time", generate("--end today"))
  end)
end)

describe("the shipped projections", function()
  local server, dsn, db = pg.shared(), nil, nil

  setup(function()
    dsn, db = moonwake.database(server)
    local history = generate("--devices 30 --events 3000 --end " .. END)
    moonwake.must({ "publish", "-" }, { db = dsn, stdin = history .. "\n" })
    moonwake.must({ "run", "--until-caught-up" }, { db = dsn })
  end)

  teardown(files.clean)

  it("device_summary: one row for each device, as SQL counts it", function()
    tables.assert_equal(server, db, "moonwake.device_summary",
      "device_uuid, name, site, model, os, online, crashes, offlines, cpu, last_seen, tags, position", [[
      WITH mine AS (
        SELECT *, CASE aggregate_type WHEN 'device' THEN aggregate_id ELSE data ->> 'device_uuid' END AS device
        FROM moonwake.events
      )
      SELECT device, max(data ->> 'name') FILTER (WHERE event_type = 'device.provisioned'),
        max(data ->> 'site') FILTER (WHERE event_type = 'device.provisioned'),
        max(data ->> 'model') FILTER (WHERE event_type = 'device.provisioned'),
        (array_agg(data ->> 'os' ORDER BY id DESC) FILTER (WHERE event_type IN ('device.provisioned', 'device.updated')))[1],
        (array_agg(event_type ORDER BY id DESC) FILTER (WHERE event_type IN ('device.online', 'device.offline')))[1]
          = 'device.online',
        count(*) FILTER (WHERE event_type = 'container.crashed'),
        count(*) FILTER (WHERE event_type = 'device.offline'),
        (array_agg(data -> 'cpu_percent' ORDER BY id DESC) FILTER (WHERE event_type = 'device.metrics_reported'))[1]::float8,
        (array_agg(occurred_at ORDER BY id DESC)
          FILTER (WHERE event_type IN ('device.online', 'device.heartbeat', 'device.metrics_reported')))[1],
        (jsonb_agg(data -> 'tags') FILTER (WHERE event_type = 'device.provisioned')) -> 0,
        max(id) FILTER (WHERE event_type IN ('device.provisioned', 'device.online', 'device.offline', 'device.updated',
          'device.heartbeat', 'device.metrics_reported', 'container.crashed'))
      FROM mine WHERE device IS NOT NULL
      GROUP BY device HAVING NOT bool_or(event_type = 'device.deprovisioned')]])
  end)

  it("device_state: target, current state and the difference of the two", function()
    tables.assert_equal(server, db, "moonwake.device_state", "key, state - 'drifting_since', position", [[
      WITH last AS (
        SELECT aggregate_id AS device, max(id) AS position,
          (array_agg(version ORDER BY id DESC) FILTER (WHERE event_type LIKE 'target_state.%'))[1] AS target_version,
          (array_agg(data -> 'new_state' ORDER BY id DESC) FILTER (WHERE event_type LIKE 'target_state.%'))[1] AS target,
          (array_agg(data -> 'new_state' ORDER BY id DESC) FILTER (WHERE event_type LIKE 'current_state.%'))[1] AS current
        FROM moonwake.events
        WHERE event_type LIKE 'target_state.%' OR event_type LIKE 'current_state.%'
        GROUP BY aggregate_id
      )
      SELECT device, jsonb_build_object('target', target, 'target_version', target_version, 'current', current, 'drift',
        coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('app', app, 'want', want, 'have', have)) ORDER BY app)
          FROM (SELECT app, target #>> ARRAY['apps', app, 'image'] AS want, current #>> ARRAY['apps', app, 'image'] AS have
            FROM (SELECT jsonb_object_keys(target -> 'apps' || (current -> 'apps')) AS app) a) d
          WHERE want IS DISTINCT FROM have), '[]')), position
      FROM last WHERE device NOT IN
        (SELECT aggregate_id FROM moonwake.events WHERE event_type = 'device.deprovisioned')]])
  end)

  it("device_state: says since when a device drifts, and nothing where it does not", function()
    assert.equal("0", server:psql([[SELECT count(*) FROM moonwake.device_state
      WHERE (state -> 'drift' = '[]') <> (state -> 'drifting_since' IS NULL)]], { db = db }))
    assert.equal("0", server:psql([[SELECT count(*) FROM moonwake.device_state s WHERE state ? 'drifting_since'
      AND NOT EXISTS (SELECT FROM moonwake.events e WHERE e.aggregate_id = s.key
        AND e.event_type = 'target_state.updated' AND e.occurred_at = (s.state ->> 'drifting_since')::timestamptz)]],
      { db = db }))
  end)

  it("rollout_health: finds the release that one model does not bear", function()
    tables.assert_equal(server, db, "moonwake.rollout_health",
      "image, model, pulls, failed_pulls, started, crashed, verdict, first_start, last_crash, exit_codes, position", [[
      SELECT c.*, (SELECT jsonb_object_agg(code, n) FROM (SELECT data ->> 'exit_code' AS code, count(*) AS n
          FROM moonwake.events e WHERE e.event_type = 'container.crashed' AND e.data ->> 'image' = c.image
          AND e.data ->> 'model' = c.model GROUP BY 1) x), position
      FROM (
        SELECT data ->> 'image' AS image, data ->> 'model' AS model,
          count(*) FILTER (WHERE event_type = 'image.pulled'), count(*) FILTER (WHERE event_type = 'image.pull_failed'),
          count(*) FILTER (WHERE event_type IN ('container.started', 'container.restarted')),
          count(*) FILTER (WHERE event_type = 'container.crashed'),
          CASE WHEN count(*) FILTER (WHERE event_type = 'container.crashed') >= 3
              AND count(*) FILTER (WHERE event_type = 'container.crashed')
                > 0.25 * count(*) FILTER (WHERE event_type IN ('container.started', 'container.restarted')) THEN 'bad'
            WHEN count(*) FILTER (WHERE event_type = 'container.crashed') >= 2
              AND count(*) FILTER (WHERE event_type = 'container.crashed')
                > 0.1 * count(*) FILTER (WHERE event_type IN ('container.started', 'container.restarted')) THEN 'watch'
            ELSE 'good' END,
          min(occurred_at) FILTER (WHERE event_type = 'container.started'),
          max(occurred_at) FILTER (WHERE event_type = 'container.crashed')
        FROM moonwake.events WHERE data ? 'image' AND data ? 'model' GROUP BY 1, 2) c
      JOIN (
        SELECT data ->> 'image' AS image, data ->> 'model' AS model, max(id) AS position FROM moonwake.events
        WHERE event_type IN ('image.pulled', 'image.pull_failed', 'container.started', 'container.restarted',
          'container.crashed') AND data ? 'image' GROUP BY 1, 2) p USING (image, model)]])

    assert.equal("acme/vision:1.0.0|edge-mini",
      server:psql("SELECT image || '|' || model FROM moonwake.rollout_health WHERE verdict = 'bad'", { db = db }))
  end)

  it("leave events alone that do not say which device they are about", function()
    moonwake.must({ "publish", "container.crashed", "container", "stray", "{}" }, { db = dsn })
    local before = server:psql("SELECT count(*) FROM moonwake.device_summary", { db = db })

    moonwake.must({ "run", "--until-caught-up" }, { db = dsn })

    assert.equal(before, server:psql("SELECT count(*) FROM moonwake.device_summary", { db = db }))
    assert.equal("0", server:psql("SELECT count(*) FROM moonwake.event_cursors WHERE state <> 'running'", { db = db }))
  end)
end)
