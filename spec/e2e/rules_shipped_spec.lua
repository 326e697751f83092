-- Live equals replay for the rules that come with moonwake, for the worked rules and over real logs: what a daemon said
-- that was killed, stopped and reloaded at random is, event for event, what one run over the same log says.
--
-- MOONWAKE_SEED=N repeats a run.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local history = require "spec.support.alert_history"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local publishers = require "spec.support.publishers"

local SOAK = os.getenv("MOONWAKE_SOAK") == "1"
local SEED = tonumber(os.getenv("MOONWAKE_SEED") or os.time() % 100000)
local MINUTE, HOUR, DAY = 60, 3600, 86400

local function iso(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(seconds))
end

--- Of a time such as iso() writes, from some beginning that is always the same.
local function seconds(text)
  local y, mo, d, h, mi, s = text:match("(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)")
  return os.time { year = y, month = mo, day = d, hour = h, min = mi, sec = 0, isdst = false } + tonumber(s)
end

--- A list of events that is put in the order of time at the end.
local function story(base)
  local events = {}
  local function say(at, event_type, id, data, aggregate_type)
    events[#events + 1] = { at = math.floor(at), order = #events, json = json.encode {
      event_type = event_type, aggregate_type = aggregate_type or event_type:match("^%a+"), aggregate_id = id,
      occurred_at = iso(base + at), data = setmetatable(data or {}, { __jsontype = "object" }) } }
  end
  local function sort()
    table.sort(events, function(a, b)
      if a.at ~= b.at then
        return a.at < b.at
      end
      return a.order < b.order
    end)
    return events
  end
  return events, say, sort
end

local function bench_with(server, from, folders)
  local bench = bench_of(nil, server)
  for _, folder in ipairs(folders) do
    os.execute(("cp -r %s/%s %s/"):format(from, folder, bench.workspace))
  end
  return bench
end

local function names_of(folder)
  return files.lines(files.command(("cd %s && ls *.lua | sed 's/.lua$//'"):format(folder)))
end

--- A file of the workspace with something at its end that means nothing.
local function touch(bench, path, serial)
  local full = bench.workspace .. "/" .. path
  files.write(full, files.read(full) .. "\n-- saved for the " .. serial .. "th time")
end

--- Another wording, which keeps what the rule remembers.
local function reword(bench, path, serial)
  local full = bench.workspace .. "/" .. path
  files.write(full, (files.read(full):gsub('summary = "', ('summary = "%d '):format(serial), 1)))
end

--- Two databases on a server with a clock of its own. `work(live, random)` makes the history.
local function compare(options)
  local random = publishers.random(SEED)
  local server = pg.start { faketime = true }
  local bench = options.bench(server)
  finally(function()
    bench:stop()
    server:stop()
    files.clean()
  end)
  local live = history.live(bench, random, { faults = options.faults, steady = options.steady,
    save = options.save and function(serial) options.save(bench, serial, random) end })
  options.work(live, random)
  live:finish()
  local once = options.bench(server)
  history.copy_log(bench, once)
  local r = once:caught_up()
  local what = live:what(SEED)

  assert.equal(0, r.code, r.err)
  assert.same({}, history.silent(bench, options.rules), "never fired: " .. what)
  assert.is_nil(history.difference(bench, once, options.without), what)
  assert.same({}, bench:query("SELECT DISTINCT consumer, left(error, 200) FROM moonwake.dead_letters"), what)
  assert.same({}, history.backtests(bench, options.rules), what)
  assert.is_true(live.kills + live.stops > 2, what)
  return bench, once, what
end


-- The shipped rules over a fleet.

local IMAGE = "acme/vision:9.9.9"

local function crash(say, at, device, app)
  say(at, "container.crashed", device .. "/" .. app, { device_uuid = device, app = app, image = IMAGE, model = "cam-4",
    exit_code = 137 })
end

--- What befalls a device, so that each rule has something to tell; some of it ends, some does not.
local MISFORTUNES = {
  function(say, at, device, random) -- too hot, and critically so now and then
    for i = 0, random(8, 20) do
      say(at + i * 50, "device.metrics_reported", device, { temperature_c = random(77, 92), disk_percent = random(20, 40) })
    end
    for i = 0, random(0, 9) do
      say(at + 1100 + i * 60, "device.metrics_reported", device, { temperature_c = random(50, 69) })
    end
  end,
  function(say, at, device, random) -- crashes again and again
    for i = 0, random(3, 9) do
      crash(say, at + i * random(20, 170), device, "vision")
    end
  end,
  function(say, at, device, random) -- its connection comes and goes, and that is told late
    for i = 0, random(5, 10) do
      local loss = at + i * 240
      say(loss - random(0, 4) * 30, "device.offline", device, { reason = "timeout" })
      say(loss + 60, "device.online", device, { ip = "10.0.0.1" })
    end
  end,
  function(say, at, device, random) -- its key is used elsewhere
    for i = 1, random(3, 5) do
      say(at + i * 100, "device.online", device, { ip = "10.0.0." .. i })
    end
    if random(1, 2) == 1 then
      say(at + random(1000, 9000), "device.key_rotated", device)
    end
  end,
  function(say, at, device, random) -- its disk fills up
    for i = 0, 16 do
      say(at + i * 1500, "device.metrics_reported", device, { disk_percent = 64 + 1.4 * i + random(), temperature_c = 45 })
    end
  end,
  function(say, at, device, random) -- its job fails, the target is not reached
    say(at, "target_state.updated", device, { new_state = { apps = { vision = { image = IMAGE } } } })
    say(at + 9, "reconciliation.failed", device, { app = "vision", error = "no space left on device" })
    if random(1, 2) == 1 then
      say(at + random(2000, 9000), "reconciliation.completed", device, { app = "vision" })
      say(at + 9001, "current_state.updated", device, { new_state = { apps = { vision = { image = IMAGE } } } })
    end
  end,
  function(say, at, device, random) -- its job goes on and on
    say(at, "reconciliation.started", device, { app = "broker", timeout = random(1, 2) == 1 and "5m" or nil })
    if random(1, 3) > 1 then
      say(at + random(200, 3000), "reconciliation.cancelled", device, { app = "broker" })
    end
  end,
}

local function fleet(base, days, count, random)
  local path = files.dir() .. "/fleet.ndjson"
  files.command(("luajit scripts/demo/fleet.lua --devices 20 --events %d --days %g --seed %d --end %s > %s"):format(
    count, days, random(1, 1000), iso(base + days * DAY), path))
  local events, say, sort = story(base)
  for line in io.lines(path) do
    local at = seconds(line:match('"occurred_at":"([^"]+)"')) - seconds(iso(base))
    events[#events + 1] = { at = math.ceil(at), order = #events, json = line }
  end
  local span = days * DAY
  for n = 1, 6 do
    local device = "unlucky-" .. n
    say(n, "device.provisioned", device, { name = device, model = "cam-4", site = "osaka", os = "12.4" })
    say(n + 50, "target_state.created", device, { new_state = { apps = { vision = { image = "acme/vision:1" } } } })
    say(n + 60, "current_state.updated", device, { new_state = { apps = { vision = { image = "acme/vision:1" } } } })
    for i = 1, 20 do -- it is heard of, and then it is not
      say(n + i * random(300, 2500), "device.heartbeat", device)
    end
    for kind, befall in ipairs(MISFORTUNES) do
      if n <= 2 or random(1, 3) > 1 then
        befall(say, random(kind * HOUR, math.floor(span * 0.7)), device, random)
      end
    end
  end
  for n = 1, 4 do -- the release that does not suit cam-4
    crash(say, span * 0.4 + n * 200, "unlucky-" .. n, "vision")
  end
  say(span * 0.9, "device.deprovisioned", "unlucky-6")
  return sort()
end

local SHIPPED = { "rules/crash_loop.lua", "rules/silent_device.lua", "rules/state_drift.lua", "rules/hot_device.lua",
  "projections/device_summary.lua", "projections/device_state.lua" }


-- The worked rules: references, facts, rules over alerts, a ledger that forgets after a week.

local RECEIVERS = { -- nobody listens there
  alertmanager = [[receiver "alertmanager" { alertmanager = "http://127.0.0.1:9", allow_private = true }]],
  ops_hook = [[receiver "ops_hook" { webhook = "http://127.0.0.1:9", allow_private = true, retry = { 0 } }]],
  pager = [[receiver "pager" { webhook = "http://127.0.0.1:9", allow_private = true, retry = { 0 } }]],
}

local function worked_bench(server)
  local bench = bench_with(server, "spec/workspaces/worked_rules", { "projections", "rules" })
  os.execute(("cp -r scripts/lib %s/scripts/"):format(bench.workspace))
  for name, source in pairs(RECEIVERS) do
    files.write(("%s/rules/receivers/%s.lua"):format(bench.workspace, name), source)
  end
  return bench
end

local AFFAIRS = {
  function(say, at, device, random) -- crash_loop, bad_rollout, auto_restart
    say(at - random(0, 20) * MINUTE, "device.updated", device, { os = "12.5" })
    for i = 0, random(3, 12) do
      say(at + i * random(40, 400), "container.crashed", device .. "/web", { device_uuid = device, app = "web" })
    end
  end,
  function(say, at, device, random) -- hot
    for i = 0, random(5, 25) do
      say(at + i * 45, "device.metrics_reported", device, { temperature_c = random(60, 88), mount = "/" })
    end
  end,
  function(say, at, device, random) -- disk_fills
    local free = random(100, 4000)
    for i = 0, 20 do
      say(at + i * 10 * MINUTE, "device.metrics_reported", device, { disk_free = free - i * random(1, 8), mount = "/data" })
    end
  end,
  function(say, at, device, random) -- odd_traffic
    for i = 0, 140 do
      say(at + i * 30, "device.metrics_reported", device, { mount = "/", kbps = i > 120 and i % 9 == 0 and 900 or random(90, 110) })
    end
  end,
  function(say, at, device, random) -- job_stuck, with deadlines of its own
    for i = 1, 6 do
      local job = ("%s-%d-%d"):format(device, at, i)
      say(at + i * 100, "job.started", job, { timeout = random(1, 2) == 1 and random(60, 3000) or nil })
      if random(1, 4) > 1 then
        say(at + i * 100 + random(30, 2000), random(1, 2) == 1 and "job.finished" or "job.failed", job)
      end
    end
  end,
  function(say, at, device, random) -- drift
    for i = 1, random(6, 14) do
      say(at + i * random(20, 95), "current_state.drifted", device)
    end
  end,
  function(say, at, device, random) -- order_ledger
    local order = ("o-%s-%d"):format(device, at)
    for _ = 1, random(1, 3) do
      say(at + random(0, DAY), "order.shipped", order)
      say(at + random(0, DAY), "order.paid", order)
    end
  end,
  function(say, at, _, random) -- site_down
    local site = random(0, 2)
    for n = 1, 9 do
      if n % 3 == site then
        say(at + random(0, 500), "device.offline", "w-" .. n, { site = "s" .. site })
      end
    end
  end,
}

local function worked_story(base, days, random)
  local _, say, sort = story(base)
  for n = 1, 9 do
    local device = "w-" .. n
    say(n, "device.provisioned", device, { site = "s" .. n % 3 })
    say(n + 10, "device.tagged", device, { team = random(1, 2) == 1 and "blue" or "red" })
    for _ = 1, 3 * days do
      local at = random(100, days * DAY)
      say(at, "device.online", device)
      for i = 1, random(1, 8) do
        say(at + i * random(60, 200), "device.heartbeat", device)
      end
    end
  end
  for round = 1, days do
    for kind, affair in ipairs(AFFAIRS) do
      affair(say, random((round - 1) * DAY + HOUR, round * DAY), "w-" .. (kind + round) % 9 + 1, random)
    end
  end
  say(days * DAY * 0.6, "device.moved", "w-1", { site = "s2" })
  say(days * DAY * 0.8, "device.deprovisioned", "w-2", { site = "s2" })
  return sort()
end


-- Real logs, by the time at which things happened. They come in the order of time but for a disorder that the rules'
-- `lateness` allows for, in pieces.

local DATA = "../shared/data/"
local LOGS = {
  { path = "github/gharchive-2015-01-01-0.ndjson.gz", map = "github", disorder = 4 * MINUTE, limit = SOAK and 10000 or 4000,
    time = function(line) return seconds(line:match('.*"public":%a+,"created_at":"([^"]+)"')) end,
    last = { "github.push", "repository" } },
  { path = "process/helpdesk.ndjson.gz", map = "helpdesk", disorder = 20 * HOUR, limit = SOAK and 30000 or 2500,
    time = function(line) return seconds(line:match('"time:timestamp":"([^"]+)"')) end,
    last = { "ticket.assign_seriousness", "ticket" } },
  { path = "process/uci_incident_event_log.csv.gz", map = "incidents", disorder = 10 * HOUR, limit = SOAK and 150000 or 3000,
    header = true, time = function(line)
      local d, mo, y, h, mi = line:match("Updated by %d+,(%d+)/(%d+)/(%d+) (%d+):(%d+)")
      return seconds(("%d-%d-%dT%d:%d:00"):format(y, mo, d, h, mi))
    end,
    last = { "incident.new", "incident" } },
}

--- The log's lines in about the order of time; ties stay as they are.
local function lines_of(log, random)
  local plain, list = files.dir() .. "/log", {}
  files.command(("gzip -dc %s > %s"):format(DATA .. log.path, plain))
  for line in io.lines(plain) do
    if log.header and not log.first_line then
      log.first_line = line
    elseif #list < (log.limit or math.huge) then
      list[#list + 1] = { line = line, order = #list, at = log.time(line) + random() * log.disorder }
    end
  end
  table.sort(list, function(a, b)
    if a.at ~= b.at then
      return a.at < b.at
    end
    return a.order < b.order
  end)
  return list
end

--- The files to import, in an order that leaves each log's own order as it is.
local function pieces(random)
  local all = {}
  for _, log in ipairs(LOGS) do
    local list, first, cuts = lines_of(log, random), 1, { random(), random(), random(), random(), random(), random(), 1 }
    table.sort(cuts)
    for n, cut in ipairs(cuts) do
      local words = { log.first_line }
      for i = first, math.floor(cut * #list) do
        words[#words + 1], first = list[i].line, i + 1
      end
      local path = files.dir() .. "/piece" .. (log.header and ".csv" or ".ndjson")
      all[#all + 1] = { at = n + random(), log = log, path = files.write(path, table.concat(words, "\n") .. "\n"),
        records = #words - (log.header and 1 or 0) }
    end
  end
  table.sort(all, function(a, b) return a.at < b.at end)
  return all
end

local function import(live)
  for _, piece in ipairs(pieces(live.random)) do
    live:alive()
    if piece.records > 0 then
      local out = moonwake.must({ "import", "--json", piece.path, "--map", "scripts/import/" .. piece.log.map .. ".lua" },
        { db = live.bench.dsn })
      assert(tonumber(out:match('"appended":(%d+)')) == piece.records, out)
    end
    live:chance()
  end
  live:alive()
  for _, log in ipairs(LOGS) do -- much later: whatever waits for the time has its time
    live.bench:psql(([[SELECT count(*) FROM moonwake.publish_events(jsonb_build_array(jsonb_build_object(
      'event_type', '%s', 'aggregate_type', '%s', 'aggregate_id', 'the end', 'occurred_at', '2020-01-01T00:00:00Z')))]])
      :format(log.last[1], log.last[2]))
  end
  live:chance()
end

--- When an open run of a key begins (the first event of `opens`) and which event ends it (`closes`); an alert where that
-- takes longer than `limit`.
local STAYS_OPEN = [[WITH e AS (
    SELECT aggregate_id AS k, occurred_at AS t, id, event_type IN (%s) AS closes, %s AS opens,
      count(*) FILTER (WHERE event_type IN (%s)) OVER (PARTITION BY aggregate_id ORDER BY occurred_at, id) AS n
    FROM moonwake.events WHERE aggregate_type = '%s' AND aggregate_id <> 'the end')
  SELECT o.k, o.t + interval '%s', c.t
  FROM (SELECT k, n, min(t) AS t FROM e WHERE opens AND NOT closes GROUP BY k, n) o
  LEFT JOIN e c ON c.k = o.k AND c.closes AND c.n = o.n + 1
  WHERE c.t IS NULL OR c.t > o.t + interval '%s' ORDER BY 1, 2]]

--- Spans in which the fifth last push is no more than 10 minutes old.
local BURSTS = [[WITH p AS (
    SELECT aggregate_id AS k, occurred_at AS t, id,
      lag(occurred_at, 4) OVER (PARTITION BY aggregate_id ORDER BY occurred_at, id) + interval '10 minutes' AS till
    FROM moonwake.events WHERE event_type = 'github.push' AND aggregate_id <> 'the end'),
  spans AS (SELECT *, (t > lag(till) OVER (PARTITION BY k ORDER BY t, id)) IS NOT FALSE AS begins FROM p WHERE t <= till),
  numbered AS (SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY k ORDER BY t, id) AS n FROM spans)
  SELECT k, min(t), max(till) FROM numbered GROUP BY k, n ORDER BY 1, 2]]

local function stays_open(aggregate, opens, closes, limit)
  return STAYS_OPEN:format(closes, opens, closes, aggregate, limit, limit)
end

local IN_SQL = {
  push_burst = BURSTS,
  ticket_stuck = stays_open("ticket", "event_type = 'ticket.assign_seriousness'", "'ticket.closed'", "45 days"),
  incident_unresolved = stays_open("incident", "true", "'incident.resolved', 'incident.closed'", "5 days"),
}
local RAISED = [[SELECT key ->> (SELECT min(name) FROM jsonb_object_keys(key) name), fired_at, ended_at
  FROM moonwake.alerts WHERE rule = '%s' AND fired_at IS NOT NULL ORDER BY 1, 2]]


describe("rules that are killed, stopped and reloaded", function()
  it("say the same as in one go: the shipped workspace over a fleet", function()
    local rules = names_of("rules")
    local base = os.time()
    local days = SOAK and 60 or 2
    compare {
      rules = rules,
      bench = function(server) return bench_with(server, ".", { "projections", "rules", "scripts" }) end,
      -- The summary is what `reword` changes.
      without = { "summary" },
      save = function(bench, serial, random)
        if random(1, 3) == 1 then
          reword(bench, random(1, 2) == 1 and "rules/job_stuck.lua" or "rules/flapping_connectivity.lua", serial)
        else
          touch(bench, SHIPPED[random(1, #SHIPPED)], serial)
        end
      end,
      work = function(live, random)
        local held = {}
        for i = 1, 3 do
          held[i] = json.encode { event_type = "device.heartbeat", aggregate_type = "device", aggregate_id = "held-" .. i }
        end
        history.publish(live, fleet(base, days, SOAK and 40000 or 1400, random), held)
        live:clock((days + 2) * DAY)
      end,
    }
  end)

  it("say the same as in one go: the worked rules, with references and over alerts", function()
    local rules = names_of("spec/workspaces/worked_rules/rules")
    local base = os.time()
    local days = SOAK and 60 or 5
    compare {
      rules = rules,
      bench = worked_bench,
      save = function(bench, serial, random)
        local name = random(1, 3) == 1 and "projections/devices" or "rules/" .. rules[random(1, #rules)]
        touch(bench, name .. ".lua", serial)
      end,
      work = function(live, random)
        local held = { json.encode { event_type = "device.heartbeat", aggregate_type = "device", aggregate_id = "held" } }
        history.publish(live, worked_story(base, days, random), held)
        live:clock((days + 9) * DAY)
      end,
    }
  end)

  it("say the same as in one go, and as SQL: rules over real logs, by the time at which things happened", function()
    local bench, _, what = compare {
      rules = names_of("spec/workspaces/real/rules"),
      bench = function(server) return bench_with(server, "spec/workspaces/real", { "rules" }) end,
      faults = 5, steady = 3,
      work = import,
    }
    for rule, sql in pairs(IN_SQL) do
      assert.is_nil(history.compare(bench, bench, RAISED:format(rule), sql), rule .. ": " .. what)
    end
  end)
end)
