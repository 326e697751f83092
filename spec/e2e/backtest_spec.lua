-- `moonwake backtest`: a rule over real history, compared with what it raised and with other versions of it.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"

--- By the time at which things happened: the episodes are where the readings below put them.
local HOT = [[rule "hot" {
  on = "temp.read", by = { sensor = "aggregate_id" }, value = "data.celsius", clock = "occurred",
  when = function(v) return v > %s end,
  severity = "%s", summary = "{sensor}: {value} degrees",
}
]]

local START = 1767225600 -- 2026-01-01

local function iso(minute)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", START + minute * 60)
end

--- { minute, sensor, celsius }: above 70, a from 10 to 30 and from 60 on, b from 20 to 50 and from 90 on, c from 61 to 70.
local READINGS = { { 0, "a", 60 }, { 10, "a", 75 }, { 20, "b", 90 }, { 30, "a", 65 }, { 50, "b", 50 }, { 60, "a", 72 },
  { 61, "c", 71 }, { 70, "c", 60 }, { 90, "b", 81 }, { 200, "d", 1 } }

local function save(bench, name, source)
  os.execute("mkdir -p " .. bench.workspace .. "/rules")
  return files.write(("%s/rules/%s.lua"):format(bench.workspace, name), source)
end

local function publish(bench, readings)
  local events = {}
  for i, r in ipairs(readings) do
    events[i] = json.encode { event_type = "temp.read", aggregate_type = "sensor", aggregate_id = r[2],
      data = { celsius = r[3] }, occurred_at = iso(r[1]) }
  end
  bench:psql(("SELECT count(*) FROM moonwake.publish_events('[%s]')"):format(table.concat(events, ",")))
end

local function backtest(bench, rule, ...)
  return moonwake.run({ "-C", bench.workspace, "backtest", rule, ... }, { db = bench.dsn, env = { LC_ALL = "C.UTF-8" } })
end

--- The document; fails with what was said where there is none.
local function report(bench, rule, ...)
  local r = backtest(bench, rule, "--json", ...)
  assert.equal("", r.err)
  return json.decode(r.out, 1, nil)
end

--- "a 10-30", "a 60-": by the minute.
local function span(key, e)
  local function minute(text)
    if not text then
      return ""
    end
    local y, mo, d, h, mi = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+)")
    assert(y .. mo == "202601")
    return (tonumber(d) - 1) * 1440 + tonumber(h) * 60 + tonumber(mi)
  end
  return ("%s %s-%s"):format(key, minute(e.fired_at), minute(e.ended_at))
end

local function spans(doc, side)
  local out = {}
  for _, pair in ipairs(doc.episodes) do
    if pair[side] then
      out[#out + 1] = span(pair.key, pair[side])
    end
  end
  return out
end

--- { ["a 10-30"] = "longer, severity" } of those that are not the same.
local function changes(doc)
  local out = {}
  for _, pair in ipairs(doc.episodes) do
    if #pair.changes > 0 then
      out[span(pair.key, pair.now or pair.before)] = table.concat(pair.changes, ", ")
    end
  end
  return out
end


describe("backtest", function()
  local bench

  setup(function()
    bench = bench_of {}
    save(bench, "hot", HOT:format("70", "warning"))
    publish(bench, READINGS)
  end)

  teardown(function()
    bench:stop()
    files.clean()
  end)

  it("finds the episodes that a rule raises over the log, and writes nothing", function()
    local before = bench:psql("SELECT count(*), max(id) FROM moonwake.events")

    local doc = report(bench, "hot")

    assert.same({ "a 10-30", "b 20-50", "a 60-", "c 61-70", "b 90-" }, spans(doc, "now"))
    assert.same({ "none", 5, 36 }, { doc.against, doc.summary.episodes, math.floor(doc.summary.per_day + 0.5) })
    assert.equal("a: 75 degrees", doc.episodes[1].now.summary)
    assert.same({ #READINGS, 0 }, { doc.now.events, doc.now.refused })
    assert.is_true(doc.now.keys >= 2 and doc.now.state_bytes_per_key > 0 and doc.now.ns_per_event > 0)
    assert.equal(before, bench:psql("SELECT count(*), max(id) FROM moonwake.events"))
    assert.equal("0", bench:psql("SELECT count(*) FROM moonwake.rules"))
  end)

  it("compares with another file, episode by episode", function()
    local other = files.write(files.dir() .. "/other.lua", HOT:format("(k and k.sensor == 'b' and 85 or 71.5)", "critical")
      :gsub("function%(v%)", "function(v, k)"))

    local doc = report(bench, "hot", "--against", other)

    assert.same({ ["a 10-30"] = "severity", ["b 20-50"] = "severity", ["a 60-"] = "severity", ["c 61-70"] = "added",
      ["b 90-"] = "added" }, changes(doc))
    assert.same({ 0, 2, 0, 3, 5, 3 }, { doc.summary.same, doc.summary.added, doc.summary.removed, doc.summary.severity,
      doc.summary.episodes, doc.summary.before })
    assert.equal("critical", doc.episodes[1].before.severity)
    assert.are_not.equal(doc.now.digest, doc.before.digest)
  end)

  it("compares with a revision of git, and with what the rule required then", function()
    local git = ("cd %s && git -c init.defaultBranch=main -c user.name=x -c user.email=x@x -c commit.gpgsign=false "):format(
      bench.workspace)
    local function commit()
      assert.equal(0, os.execute(git .. "init -q . && " .. git .. "add -A && " .. git .. "commit -qm x"))
    end
    local path = bench.workspace .. "/scripts/lib/limits.lua"
    local with_module = 'local limit = require "limits"\n' .. HOT:format("limit", "warning")
    files.write(path, "return 80")
    save(bench, "hot", with_module)
    commit()
    files.write(path, "return 70")

    local doc = report(bench, "hot", "--against", "HEAD")
    local unknown = backtest(bench, "hot", "--against", "no_such_revision")

    assert.same({ ["a 10-30"] = "added", ["a 60-"] = "added", ["c 61-70"] = "added" }, changes(doc))
    assert.same({ "b 20-50", "b 90-" }, spans(doc, "before"))
    assert.equal(2, unknown.code)
    assert.matches("'no_such_revision' is no file, and no revision that git knows", unknown.err)
    save(bench, "hot", HOT:format("70", "warning"))
  end)

  it("gives what a whole replay gives from --since on, and runs timers up to --until", function()
    local doc = report(bench, "hot", "--since", iso(55), "--until", iso(65))

    assert.same({ "a 60-", "c 61-" }, spans(doc, "now"))
    assert.same({ 2, iso(55):sub(1, -2) .. ".000000Z" }, { doc.summary.episodes, doc.since })
    assert.equal(300, doc.episodes[1].now.seconds)
  end)

  it("goes on to --until without events", function()
    save(bench, "silent", [[rule "silent" { on = "temp.read", absent = { within = "1h" } }]])

    local doc = report(bench, "silent", "--until", "2099-01-01")
    local none = report(bench, "silent", "--until", "2026-01-01")

    assert.same({ 4, 0 }, { doc.summary.episodes, none.summary.episodes })
    assert.equal(os.date("!%Y") .. "", doc.episodes[1].now.fired_at:sub(1, 4))
  end)

  it("narrows to a key, lists and draws", function()
    local r = backtest(bench, "hot", "--key", "a", "--timeline")
    local plain = moonwake.run({ "-C", bench.workspace, "backtest", "hot", "--timeline" }, { db = bench.dsn, env = { LC_ALL = "C" } })

    assert.equal("", r.err)
    assert.matches("2 episodes", r.out)
    assert.matches("\na    2026%-01%-01 00:10:00.000 +20m  warning   a: 75 degrees\n", r.out)
    assert.matches("\na +%.+#+%.+#+\n", (r.out:gsub("·", "."):gsub("█", "#")))
    assert.is_nil(r.out:match("\nb "))
    assert.matches("\nc +%.+#+%.+\n", plain.out)
    for line in plain.out:gmatch("[^\n]+") do
      assert.is_true(#line <= 100, line)
    end
  end)

  it("says what a rule refused, and goes on with the rest", function()
    save(bench, "brittle", [[rule "brittle" {
      on = "temp.read", value = "data.celsius", clock = "occurred",
      when = function(v) if v == 75 then error("boom") end return v > 70 end,
    }]])

    local doc = report(bench, "brittle")
    local text = backtest(bench, "brittle").out

    assert.same({ "b 20-50", "a 60-", "c 61-70", "b 90-" }, spans(doc, "now"))
    assert.equal(1, doc.now.refused)
    assert.matches("boom", doc.now.errors[1].error)
    assert.matches("errors: 1 refused.-\n  #%d+: .-boom", text)
  end)

  it("refuses what it cannot do", function()
    save(bench, "broken", "rule \"broken\" {")
    local function says(pattern, code, ...)
      local r = backtest(bench, ...)
      assert.same({ code, "" }, { r.code, r.out })
      assert.matches(pattern, r.err)
    end

    says("did you mean 'hot'", 2, "hut")
    says("rules/broken.lua:1: ", 1, "broken")
    says("has never been run by a daemon", 2, "hot", "--against", "live")
    says("%-%-since 2026%-01%-02 is not before %-%-until 2026%-01%-01", 2, "hot", "--since", "2026-01-02", "--until", "2026-01-01")
    says("'soon' is no time", 2, "hot", "--since", "soon")
    os.remove(bench.workspace .. "/rules/broken.lua")
  end)
end)


describe("backtest against what was raised live", function()
  local bench

  setup(function()
    bench = bench_of {}
    save(bench, "hot", HOT:format("70", "warning"))
    save(bench, "escalate", [[rule "escalate" {
      on = "alert.firing", where = function(event) return event.data.rule == "hot" end, by = "data.key.sensor", kind = "signal", when = function() return true end,
    }]])
    publish(bench, READINGS)
    assert.equal(0, bench:caught_up().code)
    bench:caught_up() -- what the first rule said, for the second
  end)

  teardown(function()
    bench:stop()
    files.clean()
  end)

  it("finds the same: ids, times, severities", function()
    local doc = report(bench, "hot")

    assert.equal("live", doc.against)
    assert.same({}, changes(doc))
    assert.same({ 5, 5, 5 }, { doc.summary.episodes, doc.summary.before, doc.summary.same })
    for _, pair in ipairs(doc.episodes) do
      pair.before.summary = pair.now.summary -- the table has that of the last transition
      assert.same(pair.before, pair.now)
    end
  end)

  it("reads the recorded alerts of other rules, and not the rule's own", function()
    local doc = report(bench, "escalate")

    assert.equal("5", bench:psql("SELECT count(*) FROM moonwake.events WHERE event_type = 'alert.firing' AND actor_id = 'hot'"))
    assert.same({ 5, 5, 5 }, { doc.summary.episodes, doc.summary.before, doc.summary.same })
  end)

  it("shows what a changed file would do otherwise", function()
    save(bench, "hot", HOT:format("74", "warning"))

    local doc = report(bench, "hot")
    local text = backtest(bench, "hot").out

    assert.same({ ["a 60-"] = "removed", ["c 61-70"] = "removed" }, changes(doc))
    assert.matches("3 same, 0 added, 2 removed, 0 moved", text)
    assert.equal("5", bench:psql("SELECT count(*) FROM moonwake.alerts WHERE rule = 'hot'"))
  end)
end)


describe("backtest over an hour of GitHub", function()
  local WINDOW, LEAST, LATENESS = 600, 8, 300

  --- When a repository had LEAST pushes within WINDOW, from the log alone: "repository from-to" by the second.
  local function expected(rows, horizon)
    local out = {}
    for repository, times in pairs(rows) do
      local steps, count, from = {}, 0, nil
      for _, t in ipairs(times) do
        if t < horizon then
          steps[#steps + 1] = { t, 1 }
          steps[#steps + 1] = t + WINDOW < horizon and { t + WINDOW, -1 } or nil
        end
      end
      table.sort(steps, function(a, b)
        if a[1] ~= b[1] then
          return a[1] < b[1]
        end
        return a[2] > b[2] -- an event at the instant at which an entry leaves still sees it
      end)
      for _, step in ipairs(steps) do
        count = count + step[2]
        if count >= LEAST and not from then
          from = step[1]
        elseif count < LEAST and from then
          out[#out + 1] = ("%s %d-%d"):format(repository, from, step[1])
          from = nil
        end
      end
      out[#out + 1] = from and ("%s %d-"):format(repository, from) or nil
    end
    table.sort(out)
    return out
  end

  local function seconds(text)
    if not text then
      return ""
    end
    local y, mo, d, h, mi, sec = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
    return ("%d"):format(os.time { year = y, month = mo, day = d, hour = h, min = mi, sec = sec, isdst = false })
  end

  it("finds what a count over the log finds", function()
    finally(files.clean)
    local bench = bench_of {}
    save(bench, "push_burst", ([[rule "push_burst" {
      on = "github.push", by = { repository = "aggregate_id" }, window = { over = %d }, clock = "occurred", max_state = 1000000,
      when = function(w) return w.count >= %d end,
    }]]):format(WINDOW, LEAST))
    moonwake.must({ "import", "../shared/data/github/gharchive-2015-01-01-0.ndjson.gz", "--map", "scripts/import/github.lua" },
      { db = bench.dsn })
    local rows, last = {}, 0
    for repository, at in bench:psql([[SELECT aggregate_id, to_char(occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS')
      FROM moonwake.events WHERE event_type = 'github.push' ORDER BY occurred_at, id]]):gmatch("([^|\n]+)|([^\n]+)") do
      local t = tonumber(seconds(at))
      rows[repository] = rows[repository] or {}
      table.insert(rows[repository], t)
      last = math.max(last, t)
    end

    local doc = report(bench, "push_burst")

    local got = {}
    for i, pair in ipairs(doc.episodes) do
      got[i] = ("%s %s-%s"):format(pair.key, seconds(pair.now.fired_at), seconds(pair.now.ended_at))
    end
    table.sort(got)
    assert.same(expected(rows, last - LATENESS), got)
    assert.is_true(#got > 5)
    assert.same({ #got, 0 }, { doc.summary.episodes, doc.now.refused })
    local drawn = backtest(bench, "push_burst", "--timeline").out
    assert.matches("\nKenanSulayman/heartbeat +%.+#+\n", (drawn:gsub("·", "."):gsub("█", "#")))
  end)
end)
