-- `state`, `history` and `diff` over logs that others wrote: what they say is compared with SQL over the events, which
-- knows nothing of the reducers.
local json = require "dkjson"
local files = require "spec.support.files"
local leaves = require "spec.support.leaves"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local DATA = "../shared/data/"
local SOAK = os.getenv("MOONWAKE_SOAK") ~= nil
local POINTS = 100

--- The reducers of spec/workspaces/real without its projections.
local function workspace()
  local dir = files.dir()
  os.execute(("mkdir %s/projections && cp -r spec/workspaces/real/scripts %s/"):format(dir, dir))
  return dir
end

local function quoted(words)
  local out = {}
  for i, word in ipairs(words) do
    out[i] = files.quote(word)
  end
  return table.concat(out, " ")
end

--- Runs many commands, two at a time; each is a list of words. Returns what each printed, decoded, in their order.
local function batch(dsn, dir, commands)
  local out = files.dir()
  local lines = {}
  for i, words in ipairs(commands) do
    lines[i] = ("%s -C %s %s --json >%s/%d 2>%s/%d.err"):format(files.quote(moonwake.bin), files.quote(dir), quoted(words),
      out, i, out, i)
  end
  files.write(out .. "/commands", table.concat(lines, "\n") .. "\n")
  os.execute(("DATABASE_URL=%s xargs -d '\\n' -P 2 -I LINE sh -c LINE <%s/commands"):format(files.quote(dsn), out))
  local answers = {}
  for i = 1, #commands do
    local text = files.read(("%s/%d"):format(out, i))
    if text == "" then
      error(table.concat(commands[i], " ") .. ": " .. files.read(("%s/%d.err"):format(out, i)), 2)
    end
    answers[i] = json.decode(text, 1, json.null)
    answers[i].text = text
  end
  return answers
end

--- Compares documents with states that SQL makes: `expected` is a query over p.n, p.id and the events e of that
-- aggregate up to the point. Numbers are compared by value, as jsonb does.
local function assert_states(server, db, points, answers, expected)
  local rows = {}
  for i, point in ipairs(points) do
    rows[i] = ("(%d, '%s', %s, '%s'::timestamptz, $doc$%s$doc$::jsonb)"):format(i, point.id:gsub("'", "''"),
      point.occurred and "true" or "false", point.at, answers[i].text)
  end
  local wrong = server:query(([[WITH points (n, id, occurred, at, got) AS (VALUES %s)
    SELECT p.n, p.id, p.at, p.got -> 'state', x.state FROM points p CROSS JOIN LATERAL (
      WITH e AS (SELECT * FROM moonwake.events e WHERE e.aggregate_type = p.got ->> 'aggregate_type'
        AND e.aggregate_id = p.id AND CASE WHEN p.occurred THEN e.occurred_at ELSE e."timestamp" END <= p.at)
      SELECT (%s) AS state, (SELECT max(version) FROM e) AS version) x
    WHERE p.got -> 'state' <> coalesce(x.state, 'null') OR (p.got ->> 'version')::bigint <> x.version LIMIT 2]])
    :format(table.concat(rows, ",\n"), expected), { db = db })
  assert.same({}, wrong)
end

local function without_cost(answer)
  return { answer.state, answer.version, answer.event_id, answer.timestamp }
end

local ISO = [[to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')]]

local LOGS = {
  {
    name = "an hour of GitHub", path = "github/gharchive-2015-01-01-0.ndjson.gz", map = "github", type = "repository",
    reducers = {
      repository = ([[SELECT jsonb_build_object('pushes', count(*) FILTER (WHERE event_type = 'github.push'),
          'commits', coalesce(sum((data ->> 'size')::bigint) FILTER (WHERE event_type = 'github.push'), 0),
          'types', (SELECT jsonb_object_agg(event_type, n) FROM (SELECT event_type, count(*) AS n FROM e GROUP BY 1) t),
          'actors', (SELECT jsonb_object_agg(actor_id, n) FROM (SELECT actor_id, count(*) AS n FROM e GROUP BY 1) t),
          'issues', (SELECT coalesce(jsonb_object_agg(issue ->> 'number', jsonb_build_object('title', issue -> 'title',
              'state', issue -> 'state')), '{}')
            FROM (SELECT DISTINCT ON (data #> '{issue,number}') data -> 'issue' AS issue FROM e WHERE data ? 'issue'
              ORDER BY data #> '{issue,number}', version DESC) i),
          'last', (SELECT jsonb_build_object('type', event_type, 'by', actor_id, 'at', %s) FROM e ORDER BY version DESC LIMIT 1))
          || coalesce((SELECT jsonb_build_object('head', data -> 'head') FROM e WHERE event_type = 'github.push'
            ORDER BY version DESC LIMIT 1), '{}') FROM e HAVING count(*) > 0]]):format(ISO),
    },
  },
  {
    name = "an incident log", path = "process/uci_incident_event_log.csv.gz", map = "incidents", type = "incident",
    lines = not SOAK and 12000,
    reducers = {
      incident = ([[SELECT jsonb_strip_nulls(jsonb_build_object('updates', count(*),
          'moves', max((data ->> 'reassignment_count')::int),
          'status', (array_agg(data -> 'incident_state' ORDER BY version DESC))[1],
          'priority', (array_agg(data -> 'priority' ORDER BY version DESC))[1],
          'in_time', (array_agg(data -> 'made_sla' ORDER BY version DESC))[1],
          'times', (SELECT jsonb_object_agg(status, at) FROM (SELECT DISTINCT ON (data ->> 'incident_state')
              data ->> 'incident_state' AS status, %s AS at FROM e ORDER BY data ->> 'incident_state', version DESC) t),
          'groups', (SELECT coalesce(jsonb_agg(now ORDER BY version), '[]') FROM (SELECT version,
              data ->> 'assignment_group' AS now, lag(data ->> 'assignment_group') OVER (ORDER BY version) AS before
            FROM e WHERE data ? 'assignment_group') g WHERE now IS DISTINCT FROM before)))
        FROM e HAVING count(*) > 0]]):format(ISO),
    },
  },
  {
    name = "a help desk", path = "process/helpdesk.ndjson.gz", map = "helpdesk", type = "ticket",
    reducers = {
      ticket = [[SELECT jsonb_strip_nulls(jsonb_build_object(
          'steps', jsonb_agg(jsonb_build_object('activity', data -> 'activity', 'by', actor_id) ORDER BY version)
            FILTER (WHERE event_type <> 'ticket.closed'),
          'customer', (array_agg(data -> 'customer' ORDER BY version DESC) FILTER (WHERE event_type <> 'ticket.closed'))[1],
          'product', (array_agg(data -> 'product' ORDER BY version DESC) FILTER (WHERE event_type <> 'ticket.closed'))[1],
          'counts', (SELECT jsonb_object_agg(event_type, n) FROM (SELECT event_type, count(*) AS n FROM e
            WHERE event_type <> 'ticket.closed' GROUP BY 1) t),
          'closed_by', (array_agg(actor_id ORDER BY version DESC) FILTER (WHERE event_type = 'ticket.closed'))[1]))
        FROM e HAVING count(*) > 0]],
      open_ticket = [[SELECT jsonb_build_object('n', count(*), 'last', (array_agg(data -> 'activity' ORDER BY version DESC))[1])
        FROM e WHERE version > coalesce((SELECT max(version) FROM e WHERE event_type = 'ticket.closed'), 0)
        HAVING count(*) > 0]],
    },
  },
}

describe("state over", function()
  local server = pg.shared()

  teardown(files.clean)

  for _, log in ipairs(LOGS) do
    describe(log.name, function()
      local dsn, db, dir

      setup(function()
        dsn, db = moonwake.database(server)
        dir = workspace()
        local plain = files.dir() .. "/" .. log.path:match("[^/]+$"):gsub("%.gz$", "")
        assert(os.execute(("gzip -dc %s | head -n %d >%s"):format(DATA .. log.path, log.lines or 1e9, plain)) == 0)
        moonwake.must({ "import", "--map", "scripts/import/" .. log.map .. ".lua", plain }, { db = dsn, timeout = 500 })
        moonwake.must({ "-C", dir, "run", "--until-caught-up" }, { db = dsn, timeout = 500 })
        server:psql("ANALYZE moonwake.events", { db = db })
      end)

      --- Random points in the histories of random aggregates: at an event or a moment before one.
      local function points_in_time(n, seed, occurred)
        local column = occurred and "occurred_at" or '"timestamp"'
        local points = {}
        for _, row in ipairs(server:query(([[SELECT e.aggregate_id, to_char((e.%s
              - CASE WHEN e.version > 1 AND hashtext(e.id || '%s') > 0 THEN interval '1 microsecond' ELSE interval '0' END)
              AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            FROM moonwake.events e JOIN moonwake.streams s USING (aggregate_type, aggregate_id)
            WHERE s.version > 4 AND EXISTS (SELECT FROM moonwake.events f WHERE f.aggregate_type = e.aggregate_type
              AND f.aggregate_id = e.aggregate_id AND f.%s < e.%s)
            ORDER BY md5(e.id || '%s') LIMIT %d]]):format(column, seed, column, column, seed, n), { db = db })) do
          points[#points + 1] = { id = row[1], at = row[2], occurred = occurred }
        end
        assert.equal(n, #points)
        return points
      end

      local function commands(points, reducer, more)
        local list = {}
        for i, p in ipairs(points) do
          list[i] = { "state", log.type, p.id, p.occurred and "--occurred-at" or "--at", p.at, "--reducer", reducer, more }
        end
        return list
      end

      for reducer, expected in pairs(log.reducers) do
        it(("at 100 points in time is what SQL makes of the events (%s)"):format(reducer), function()
          local points = points_in_time(POINTS, "seed 1")
          local answers = batch(dsn, dir, commands(points, reducer))

          assert_states(server, db, points, answers, expected)
          local some = { unpack(points, 1, SOAK and POINTS or 15) }
          local from_snapshot = 0
          for i, from_zero in ipairs(batch(dsn, dir, commands(some, reducer, "--no-snapshots"))) do
            assert.same(without_cost(answers[i]), without_cost(from_zero))
            assert.equal(0, from_zero.snapshot_version)
            from_snapshot = from_snapshot + (answers[i].snapshot_version > 0 and 1 or 0)
          end
          assert.is_true(from_snapshot > 0)
        end)

        it(("of what had happened is what SQL makes of those events (%s)"):format(reducer), function()
          local points = points_in_time(SOAK and POINTS or 12, "seed 2", true)
          local answers = batch(dsn, dir, commands(points, reducer))

          assert_states(server, db, points, answers, expected)
          for i, from_zero in ipairs(batch(dsn, dir, commands(points, reducer, "--no-snapshots"))) do
            assert.same(without_cost(answers[i]), without_cost(from_zero))
          end
        end)

        it(("is kept by the daemon as a fold from the first event gives it (%s)"):format(reducer), function()
          local kept = server:query(([[SELECT aggregate_id, version, event_id, state FROM moonwake.snapshots
            WHERE reducer = '%s' ORDER BY md5(aggregate_id || version) LIMIT %d]]):format(reducer, SOAK and 300 or 20),
            { db = db })
          local current = server:query(([[SELECT aggregate_id, version, position, state FROM moonwake.aggregate_states
            WHERE reducer = '%s' ORDER BY md5(aggregate_id) LIMIT %d]]):format(reducer, SOAK and 300 or 10), { db = db })
          assert.is_true(#kept > 0 and #current > 0)
          for _, row in ipairs(current) do
            kept[#kept + 1] = row
          end
          local list = {}
          for i, row in ipairs(kept) do
            list[i] = { "state", log.type, row[1], "--version", row[2], "--reducer", reducer, "--no-snapshots" }
          end
          for i, answer in ipairs(batch(dsn, dir, list)) do
            assert.equal(tonumber(kept[i][3]), answer.event_id)
            assert.same(json.decode(kept[i][4], 1, json.null), answer.state)
          end
        end)
      end

      it("differs between two points as the two states do, and names the events", function()
        local reducer = next(log.reducers)
        local pairs_of = {}
        for _, row in ipairs(server:query(([[SELECT aggregate_id, 1 + (version * a)::int, 1 + ((version - 1) * b)::int FROM
            (SELECT *, 0.3 * (hashtext(aggregate_id) & 1) AS a, 0.7 + 0.3 * (hashtext(aggregate_id) & 1) AS b
              FROM moonwake.streams WHERE version > 3) s ORDER BY md5(aggregate_id) LIMIT %d]])
            :format(SOAK and 100 or 10), { db = db })) do
          pairs_of[#pairs_of + 1] = { id = row[1], a = row[2], b = row[3] }
        end
        local list = {}
        for i, p in ipairs(pairs_of) do
          list[3 * i - 2] = { "state", log.type, p.id, "--version", p.a, "--reducer", reducer }
          list[3 * i - 1] = { "state", log.type, p.id, "--version", p.b, "--reducer", reducer }
          list[3 * i] = { "diff", log.type, p.id, p.a, "v" .. p.b, "--reducer", reducer }
        end
        local answers = batch(dsn, dir, list)
        local changed = 0

        for i, p in ipairs(pairs_of) do
          local before, after, diff = answers[3 * i - 2].state, answers[3 * i - 1].state, answers[3 * i]
          local found = {}
          for _, change in ipairs(diff.changes) do
            found[change.path] = { leaves.readable(change.before), leaves.readable(change.after) }
            changed = changed + 1
            assert.is_true(change.event.version > tonumber(p.a) and change.event.version <= tonumber(p.b))
          end
          assert.same(leaves.difference(before, after), found)
        end
        assert.is_true(changed > 0)
      end)
    end)
  end
end)

describe("the event behind a difference", function()
  local server = pg.shared()

  after_each(files.clean)

  it("is the last one between the points that changed the field, found by looking at every state", function()
    local dsn, db = moonwake.database(server)
    local dir = files.dir()
    files.write(dir .. "/scripts/reducers/box.lua", [[
      reducer "box" { aggregate = "box", snapshot_every = 7, on = { set = function(state, event)
        state[event.data.field] = event.data.value ~= json.null and event.data.value or nil end } }]])
    local seed = os.time()
    math.randomseed(seed)
    server:psql(([[SELECT setseed(%g); SELECT count(moonwake.publish_event(CASE WHEN random() < 0.1 THEN 'look' ELSE 'set' END,
      'box', 'b', jsonb_build_object('field', (ARRAY['a', 'b', 'c', 'd e', 'f'])[1 + floor(random() * 5)],
      'value', (ARRAY['null', '1', '2', '"x"', '[]', '[1, 2]', '{"y": 1}', '{"y": {"z": 2}}'])[1 + floor(random() * 8)]::jsonb)))
      FROM generate_series(1, 60) i]]):format(math.random()), { db = db })

    local list = {}
    for v = 1, 60 do
      list[v] = { "state", "box", "b", "--version", tostring(v) }
    end
    local states = batch(dsn, dir, list)
    local spans, diffs = {}, {}
    for i = 1, 25 do
      local a, b = math.random(0, 60), math.random(0, 60)
      spans[i] = { a, b }
      diffs[i] = { "diff", "box", "b", tostring(a), tostring(b) }
    end
    local function state(v)
      return v > 0 and states[v].state or json.null
    end
    for i, diff in ipairs(batch(dsn, dir, diffs)) do
      local a, b = spans[i][1], spans[i][2]
      local found, expected = {}, {}
      for _, change in ipairs(diff.changes) do
        found[change.path] = { leaves.readable(change.before), leaves.readable(change.after), change.event.version }
      end
      for path, values in pairs(leaves.difference(state(a), state(b))) do
        local last
        for v = math.min(a, b) + 1, math.max(a, b) do
          if leaves.difference(state(v - 1), state(v))[path] then
            last = v
          end
        end
        expected[path] = { values[1], values[2], last }
      end
      assert.same(expected, found, ("seed %d, versions %d and %d"):format(seed, a, b))
    end
  end)
end)
