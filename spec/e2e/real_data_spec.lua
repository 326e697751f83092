-- Files that others wrote: each is imported with its mapping script, run through a projection of the workspace
-- spec/workspaces/real, and the projection's table is compared with an independent query over the events.
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local tables = require "spec.support.tables"

local DATA = "../shared/data/"

local function copy(path)
  local name = path:match("[^/]+$")
  local to = files.dir() .. "/" .. name
  assert(os.execute(("cp %s %s && chmod 644 %s"):format(files.quote(DATA .. path), files.quote(to), files.quote(to))) == 0)
  return to
end

local function unpacked(path)
  local plain = copy(path)
  assert(os.execute("gzip -d " .. files.quote(plain)) == 0)
  return (plain:gsub("%.gz$", ""))
end

--- Imports; returns the summary's figures by their names.
local function import(dsn, path, map, options)
  local args = { "import", "--json", path }
  for _, word in ipairs(map and { "--map", "scripts/import/" .. map .. ".lua" } or {}) do
    args[#args + 1] = word
  end
  for _, word in ipairs(options or {}) do
    args[#args + 1] = word
  end
  local r = moonwake.run(args, { db = dsn, timeout = 300 })
  local summary = { code = r.code, err = r.err }
  for name, value in r.out:gmatch('"(%w+)":([%d.]+)') do
    summary[name] = tonumber(value)
  end
  return summary
end

--- The projections alone: the workspace's reducers are for other specs.
local function workspace()
  local dir = files.dir()
  os.execute(("cp -r spec/workspaces/real/projections %s/"):format(dir))
  return dir
end

local function run(dsn)
  moonwake.must({ "-C", workspace(), "run", "--until-caught-up" }, { db = dsn, timeout = 300 })
end

local function records(path)
  return tonumber(files.command(("gzip -dc %s | wc -l"):format(files.quote(DATA .. path))))
end

--- What holds for every file: all records arrive, and a second import, unpacked, adds nothing.
local function assert_imported_once(server, dsn, db, path, map, expected)
  local first = import(dsn, copy(path), map)
  local again = import(dsn, unpacked(path), map)

  assert.same({ 0, expected, expected, 0, 0 }, { first.code, first.records, first.appended, first.skipped, first.rejected })
  assert.same({ 0, expected, 0, expected, 0 },
    { again.code, again.records, again.appended, again.existing, again.rejected })
  assert.equal(tostring(expected), (server:psql("SELECT count(*) FROM moonwake.events", { db = db })))
end

describe("real data", function()
  local server = pg.shared()

  after_each(files.clean)

  it("an hour of GitHub: what happened in each repository", function()
    local path = "github/gharchive-2015-01-01-0.ndjson.gz"
    local dsn, db = moonwake.database(server)
    assert_imported_once(server, dsn, db, path, "github", records(path))

    run(dsn)

    tables.assert_equal(server, db, "moonwake.repository_activity", [[repository, events, pushes, commits, stars, last_type,
      last_actor, first_at, last_at, types, position]], [[
      SELECT aggregate_id, sum(n)::bigint, coalesce(sum(n) FILTER (WHERE event_type = 'github.push'), 0)::bigint,
        coalesce(sum(commits), 0)::bigint, coalesce(sum(n) FILTER (WHERE event_type = 'github.watch'), 0)::bigint,
        (array_agg(event_type ORDER BY last_id DESC))[1], (array_agg(last_actor ORDER BY last_id DESC))[1],
        min(first_at), max(last_at), jsonb_object_agg(split_part(event_type, '.', 2), n), max(last_id)
      FROM (
        SELECT aggregate_id, event_type, count(*) AS n, max(id) AS last_id, min(occurred_at) AS first_at,
          max(occurred_at) AS last_at, (array_agg(actor_id ORDER BY id DESC))[1] AS last_actor,
          sum((data ->> 'size')::bigint) FILTER (WHERE event_type = 'github.push') AS commits
        FROM moonwake.events GROUP BY 1, 2) by_type
      GROUP BY 1]])
  end)

  it("an incident log: where each incident stands and how it came there", function()
    local path = "process/uci_incident_event_log.csv.gz"
    local dsn, db = moonwake.database(server)
    local first = import(dsn, copy(path), "incidents")
    assert.same({ 0, records(path) - 1, records(path) - 1, 0 }, -- the first line names the fields
      { first.code, first.records, first.appended, first.rejected })

    run(dsn)

    tables.assert_equal(server, db, "moonwake.incident_state", [[incident, state, updates, handovers, most_moves, reopened,
      in_time, priority, group_name, opened_at, resolved_at, states, position]], [[
      SELECT a.aggregate_id, a.state, a.updates, coalesce(g.handovers, 0), a.most_moves, a.reopened, a.in_time, a.priority,
        g.group_name, a.opened_at, a.resolved_at, s.states, a.position
      FROM (
        SELECT aggregate_id, (array_agg(data ->> 'incident_state' ORDER BY id DESC))[1] AS state, count(*)::int AS updates,
          max((data ->> 'reassignment_count')::int) AS most_moves, bool_or((data ->> 'reopen_count')::int > 0) AS reopened,
          (array_agg((data ->> 'made_sla')::boolean ORDER BY id DESC))[1] AS in_time,
          (array_agg(data ->> 'priority' ORDER BY id DESC))[1] AS priority, max(id) AS position,
          (array_agg((data ->> 'opened_at')::timestamptz ORDER BY id) FILTER (WHERE data ? 'opened_at'))[1] AS opened_at,
          (array_agg((data ->> 'resolved_at')::timestamptz ORDER BY id DESC) FILTER (WHERE data ? 'resolved_at'))[1]
            AS resolved_at
        FROM moonwake.events GROUP BY 1) a
      JOIN (
        SELECT aggregate_id, jsonb_agg(state ORDER BY first_id) AS states
        FROM (SELECT aggregate_id, data ->> 'incident_state' AS state, min(id) AS first_id FROM moonwake.events
          GROUP BY 1, 2) f GROUP BY 1) s USING (aggregate_id)
      LEFT JOIN (
        SELECT aggregate_id, (count(*) FILTER (WHERE now <> before))::int AS handovers,
          (array_agg(now ORDER BY id DESC))[1] AS group_name
        FROM (SELECT aggregate_id, id, data ->> 'assignment_group' AS now,
            lag(data ->> 'assignment_group') OVER (PARTITION BY aggregate_id ORDER BY id) AS before
          FROM moonwake.events WHERE data ? 'assignment_group') h GROUP BY 1) g USING (aggregate_id)]])
  end)

  it("a permit process: what was done on each day, and by whom", function()
    local path = "process/receipt.csv.gz"
    local dsn, db = moonwake.database(server)
    assert_imported_once(server, dsn, db, path, "receipt", records(path) - 1)

    run(dsn)

    tables.assert_equal(server, db, "moonwake.permit_activity", "day, activity, done, by, last_at, position", [[
      SELECT day, activity, sum(n)::bigint, jsonb_object_agg(actor_id, n), max(last_at), max(last_id)
      FROM (
        SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, data ->> 'activity' AS activity, actor_id, count(*) AS n,
          max(occurred_at) AS last_at, max(id) AS last_id
        FROM moonwake.events WHERE event_type = 'permit.activity_complete' GROUP BY 1, 2, 3) by_actor
      GROUP BY 1, 2]])
  end)

  it("a help desk: a document for each ticket", function()
    local path = "process/helpdesk.ndjson.gz"
    local dsn, db = moonwake.database(server)
    assert_imported_once(server, dsn, db, path, "helpdesk", records(path))

    run(dsn)

    tables.assert_equal(server, db, "moonwake.helpdesk_ticket", "ticket, state, position", [[
      WITH timed AS (
        SELECT *, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at FROM moonwake.events
      ), steps AS (
        SELECT aggregate_id, jsonb_agg(data -> 'activity' ORDER BY id) AS steps,
          (array_agg(data -> 'customer' ORDER BY id DESC))[1] AS customer,
          (array_agg(jsonb_build_object('by', actor_id, 'activity', data -> 'activity', 'at', at) ORDER BY id DESC))[1] AS last
        FROM timed WHERE event_type <> 'ticket.closed' GROUP BY 1
      ), counts AS (
        SELECT aggregate_id, jsonb_object_agg(event_type, n) AS counts
        FROM (SELECT aggregate_id, event_type, count(*) AS n FROM timed WHERE event_type <> 'ticket.closed' GROUP BY 1, 2) c
        GROUP BY 1
      ), closed AS (
        SELECT aggregate_id, (array_agg(jsonb_build_object('at', at, 'by', actor_id) ORDER BY id DESC))[1] AS closed
        FROM timed WHERE event_type = 'ticket.closed' GROUP BY 1
      )
      SELECT aggregate_id, jsonb_strip_nulls(jsonb_build_object('steps', steps, 'customer', customer, 'last', last,
        'counts', counts, 'closed', closed)), (SELECT max(id) FROM moonwake.events e WHERE e.aggregate_id = a.aggregate_id)
      FROM (SELECT DISTINCT aggregate_id FROM moonwake.events) a
        LEFT JOIN steps USING (aggregate_id) LEFT JOIN counts USING (aggregate_id) LEFT JOIN closed USING (aggregate_id)]])
  end)
end)

describe("CloudEvents samples", function()
  local server = pg.shared()
  local SAMPLES = DATA .. "cloudevents/sdk-java-json/v1/"

  after_each(files.clean)

  local function dry_run(path)
    return moonwake.run { "import", "--format", "cloudevents", "--dry-run", "--rejects", files.dir() .. "/rejects", path }
  end

  --- The specification's examples: those that it marks as whole events, and the others.
  local function examples()
    local whole, others = {}, {}
    for line in io.lines(DATA .. "cloudevents/spec-json-examples.ndjson") do
      local list = line:find('"cloudevent": true', 1, true) and whole or others
      list[#list + 1] = line
    end
    return whole, others
  end

  --- The text of an example, by PostgreSQL's reading of the line.
  local function text_of(line)
    return (server:psql("SELECT ($json$" .. line .. "$json$::jsonb) ->> 'text'"))
  end

  it("are accepted but for those that are to be refused, one by one", function()
    local accepted, refused = 0, 0
    for _, path in ipairs(files.lines(files.command("ls " .. SAMPLES .. "*.json"))) do
      local r = dry_run(path)

      if path:match("/fail_") or path:match("invalid") then
        assert.equal(1, r.code, path .. r.out)
        assert.matches("cloudevent: attribute 'long' is no string, boolean or integer of 32 bits", r.err)
        refused = refused + 1
      else
        assert.equal(0, r.code, path .. r.err)
        assert.matches('"event_type":%s*"mock.test"', r.out)
        accepted = accepted + 1
      end
    end
    assert.is_true(accepted > 0 and refused > 0)
  end)

  it("name the same event by source and id: other content under the same name is refused", function()
    local dsn, db = moonwake.database(server)
    local rejects = { "--rejects", files.dir() .. "/rejects" }

    local first = import(dsn, SAMPLES .. "min.json", nil, rejects)
    local again = import(dsn, SAMPLES .. "min.json", nil, rejects)
    local other = import(dsn, SAMPLES .. "xml_data.json", nil, rejects)

    assert.same({ 0, 1, 0 }, { first.code, first.appended, first.existing })
    assert.same({ 0, 0, 1 }, { again.code, again.appended, again.existing })
    assert.same({ 1, 0, 1 }, { other.code, other.appended, other.rejected })
    assert.equal("1", (server:psql("SELECT count(*) FROM moonwake.events", { db = db })))
  end)

  it("the specification's examples, one by one and as a batch, reach a projection", function()
    local dsn, db = moonwake.database(server)
    local whole, texts = examples(), {}
    for i, line in ipairs(whole) do
      texts[i] = text_of(line)
    end
    local dir = files.dir()
    local lines = files.write(dir .. "/one-after-another.json", table.concat(texts, "\n"))
    local batch = files.gzip(files.write(dir .. "/batch.cloudevents.json", "[" .. table.concat(texts, ",") .. "]"))

    local first = import(dsn, lines, nil, { "--format", "cloudevents" })
    local again = import(dsn, batch)
    run(dsn)

    assert.same({ 0, #whole, #whole }, { first.code, first.records, first.appended }, first.err)
    assert.same({ 0, #whole, 0, #whole }, { again.code, again.records, again.appended, again.existing }, again.err)
    tables.assert_equal(server, db, "moonwake.cloudevent_source", "source, type, events, last_id, subjects, position", [[
      SELECT source, event_type, sum(n)::bigint, (array_agg(last_id ORDER BY last DESC))[1],
        jsonb_object_agg(aggregate_id, n), max(last)
      FROM (SELECT source, event_type, aggregate_id, count(*) AS n, max(id) AS last,
          (array_agg(metadata ->> 'id' ORDER BY id DESC))[1] AS last_id
        FROM moonwake.events WHERE aggregate_type = 'cloudevent' GROUP BY 1, 2, 3) s
      GROUP BY 1, 2]])
  end)

  it("the specification's other examples are refused, each with its reason, and kept", function()
    local _, others = examples()
    for _, line in ipairs(others) do
      local dir = files.dir()
      local path = files.write(dir .. "/example.json", text_of(line))

      local r = moonwake.run { "import", "--format", "cloudevents", "--dry-run", path }

      -- Some hold two events one after the other, which is a file of two events.
      if r.code ~= 0 then
        assert.equal(1, r.code)
        assert.matches("^moonwake: [^\n]*example.json:%d+: [^\n]+", r.err)
        assert.truthy(files.exists(path .. ".rejects.ndjson"))
      else
        assert.matches('"specversion"', text_of(line))
        assert.matches('"event_type"', r.out)
      end
    end
  end)
end)
