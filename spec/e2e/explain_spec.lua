-- `moonwake explain`: what was behind an alert, and why there is none.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"

local CRASH_LOOP = [[rule "crash_loop" {
  on = { "container.crashed", "container.started" }, by = { device = "aggregate_id", app = "data.app" },
  where = function(event) return event.type == "container.crashed" and event.data.code ~= 0 end,
  window = { over = "10m" }, clock = "occurred",
  when = function(w) return w.count >= %d end, hold = "2m",
  summary = "{app} on {device}: {count} crashes", labels = { site = "north" }, notify = "ops",
}
]]

local START = 1767225600 -- 2026-01-01

local function iso(minute)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", START + minute * 60)
end

--- { minute, device, app, type, code }
local function publish(bench, list)
  local events = {}
  for i, e in ipairs(list) do
    events[i] = json.encode { event_type = "container." .. (e[4] or "crashed"), aggregate_type = "device",
      aggregate_id = e[2], data = { app = e[3], code = e[5] or 1 }, occurred_at = iso(e[1]) }
  end
  bench:psql(("SELECT count(*) FROM moonwake.publish_events('[%s]')"):format(table.concat(events, ",")))
end

local function save(bench, name, source)
  os.execute("mkdir -p " .. bench.workspace .. "/rules/receivers")
  return files.write(("%s/rules/%s.lua"):format(bench.workspace, name), source)
end

local function explain(bench, ...)
  return moonwake.run({ "-C", bench.workspace, "explain", ... }, { db = bench.dsn })
end

local function document(bench, ...)
  local r = explain(bench, "--json", ...)
  assert.equal("", r.err)
  return json.decode(r.out, 1, nil)
end


describe("explain", function()
  local bench

  local function episode_of(device)
    return bench:psql(("SELECT episode FROM moonwake.alerts WHERE key ->> 'device' = '%s'"):format(device))
  end

  setup(function()
    bench = bench_of {}
    save(bench, "crash_loop", CRASH_LOOP:format(3))
    files.write(bench.workspace .. "/rules/receivers/ops.lua", [[receiver "ops" { kind = "webhook", url = "https://ops.example.com/hook" }]])
    publish(bench, { { 0, "d-1", "agent" }, { 1, "d-1", "agent" }, { 1.5, "d-1", "agent", "started" }, { 2, "d-1", "agent" },
      { 3, "d-1", "proxy" }, { 30, "d-3", "agent", "crashed", 0 }, { 40, "d-2", "agent" }, { 41, "d-2", "agent" },
      { 42, "d-2", "agent" }, { 50, "d-4", "agent" } })
    local r = bench:caught_up()
    assert.same({ 0, "2" }, { r.code, bench:psql("SELECT count(*) FROM moonwake.alerts") }, r.err)
  end)

  teardown(function()
    bench:stop()
    files.clean()
  end)

  it("tells each step of an episode, with what the rule saw and asked there", function()
    local doc = document(bench, episode_of("d-1"):sub(1, 8))

    local steps = {}
    for i, step in ipairs(doc.transitions) do
      local e = step.evaluation or {}
      steps[i] = { step.type, step.at:sub(12, 19), e.what, e.subject and e.subject.count, e.before, e.after }
    end
    assert.same({ { "alert.pending", "00:02:00", "timer buffer", 3, "inactive", "pending" },
      { "alert.firing", "00:04:00", "timer hold", 3, "pending", "firing" },
      { "alert.resolved", "00:10:00", "timer i.leave", 2, "firing", "inactive" } }, steps)
    assert.same({ true, false, "resolved", "cleared" }, { doc.reproduced, doc.changed, doc.state, doc.reason })
    assert.same({ device = "d-1", app = "agent" }, doc.key)
  end)

  it("names the events that led to it, and no others", function()
    local doc = document(bench, episode_of("d-1"))

    local times = {}
    for i, e in ipairs(doc.contributed_events) do
      times[i] = e.event_type .. " " .. e.occurred_at:sub(12, 19)
    end
    assert.equal(3, doc.contributed)
    assert.same({ "container.crashed 00:00:00", "container.crashed 00:01:00", "container.crashed 00:02:00" }, times)
  end)

  it("tells it in words, with who took it, who was told and how that went", function()
    local episode = episode_of("d-2")
    bench:psql(("SELECT moonwake.ack_alert('%s', 'ada', 'on it')"):format(episode))
    bench:psql(("UPDATE moonwake.outbox SET state = 'done', tries = 2 WHERE episode = '%s'"):format(episode))
    bench:psql(([[INSERT INTO moonwake.outbox_tries (outbox_id, try, status, error)
      SELECT id, n, CASE n WHEN 1 THEN 503 ELSE 200 END, CASE n WHEN 1 THEN 'try later' END
        FROM moonwake.outbox, generate_series(1, 2) n WHERE episode = '%s']]):format(episode))

    local out = explain(bench, episode).out
    local doc = document(bench, episode)

    assert.matches("^crash_loop  agent/d%-2  warning, firing\n", out)
    assert.matches("agent on d%-2: 3 crashes", out)
    assert.matches("00:42:00.000  pending    #9 container.crashed\n", out)
    assert.matches("00:44:00.000  firing     timer hold, warning", out)
    assert.matches("count = 3", out)
    assert.matches("acked  .-by ada, on it", out)
    assert.matches("because of 3 events\n.-container.crashed  device/d%-2 v1\n", out)
    assert.matches("alert ops, firing: done at .-; 2 tries: 503 try later, 200", out)
    assert.same({ "done", 503, 200 }, { doc.deliveries[1].state, doc.deliveries[1].tries[1].status, doc.deliveries[1].tries[2].status })
  end)

  it("says so where the rule has changed since, and explains it as it ran", function()
    save(bench, "crash_loop", CRASH_LOOP:format(5))

    local doc = document(bench, episode_of("d-1"))
    local out = explain(bench, episode_of("d-1")).out

    assert.is_true(doc.changed)
    assert.matches("the workspace has another version", out)
    assert.is_true(doc.reproduced)
    assert.equal(3, doc.contributed)
    save(bench, "crash_loop", CRASH_LOOP:format(3))
  end)

  it("takes the beginning of an id, if only one begins so", function()
    local function says(pattern, ...)
      local r = explain(bench, ...)
      assert.same({ 2, "" }, { r.code, r.out })
      assert.matches(pattern, r.err)
    end

    says("no episode begins with 00000000", "00000000")
    says("is no id of an episode", "xyz")
    says("is no id of an episode", "0")
    says("takes one episode")
    says("%-%-at goes with %-%-why%-not", "00000000", "--at", "now")
  end)
end)


describe("explain --why-not", function()
  local bench

  setup(function()
    bench = bench_of {}
    save(bench, "crash_loop", CRASH_LOOP:format(3))
    save(bench, "hot", [[rule "hot" {
      on = "temp.read", by = { sensor = "aggregate_id" }, value = "data.celsius",
      window = { over = "1h", min = 3 }, cooldown = "1h", kind = "signal", clock = "occurred",
      when = function(w) return w.avg > 70 end,
    }]])
    save(bench, "brittle", [[rule "brittle" { on = "temp.read", by = { sensor = "aggregate_id" },
      when = function(event) error("boom") end }]])
    publish(bench, { { 0, "d-1", "agent" }, { 1, "d-1", "agent" }, { 2, "d-1", "agent" }, { 5, "d-2", "agent" },
      { 6, "d-2", "agent", "started" }, { 7, "d-3", "agent", "crashed", 0 }, { 30, "d-4", "agent" }, { 31, "d-5", nil } })
    local readings = {}
    for i, r in ipairs({ { 0, "a", 90 }, { 1, "a", 90 }, { 0, "b", 90 }, { 1, "b", 90 }, { 2, "b", 90 }, { 0, "c", 20 },
      { 1, "c", 20 }, { 2, "c", 30 }, { 0, "d", "hot" }, { 30, "z", 1 } }) do
      readings[i] = json.encode { event_type = "temp.read", aggregate_type = "sensor", aggregate_id = r[2],
        data = { celsius = r[3] }, occurred_at = iso(r[1]) }
    end
    bench:psql(("SELECT count(*) FROM moonwake.publish_events('[%s]')"):format(table.concat(readings, ",")))
  end)

  teardown(function()
    bench:stop()
    files.clean()
  end)

  local function why(...)
    local doc = document(bench, "--why-not", ...)
    return doc.why, doc
  end

  it("says which condition is not fulfilled, with its values", function()
    assert.matches("^when is false for warning: .*count = 1", (why("crash_loop", "agent", "d-2", "--at", iso(8))))
    assert.matches("^the window has 2 of at least 3 entries", (why("hot", "a")))
    assert.matches("^when is false for warning: avg = 23.3", (why("hot", "c")))
  end)

  it("says what kept the events from counting", function()
    assert.matches("^`where` was false for its 1 event, the last one #6 container.crashed", (why("crash_loop", "agent", "d-3")))
    assert.matches("^no own event of the rule has this key; it reads container.crashed, container.started", (why("crash_loop", "agent", "d-9")))
    assert.matches("1 event had no value", (why("hot", "d")))
    assert.matches("1 event had no key: .-key 'data.app': text expected", explain(bench, "--why-not", "crash_loop", "agent", "d-5").out)
  end)

  it("says that it fires, or is on the way to it, at that time", function()
    local _, now = why("crash_loop", "agent", "d-1", "--at", iso(5))
    local pending = why("crash_loop", "agent", "d-1", "--at", iso(2.5))
    local early = why("crash_loop", "agent/d-1", "--at", iso(1.5))

    assert.is_true(now.fires)
    assert.matches("^hold: on since 2026%-01%-01T00:02:00.000000Z, and fires at 2026%-01%-01T00:04:00", pending)
    assert.matches("^when is false for warning: count = 2", early)
  end)

  it("says where the rule failed", function()
    local text = why("brittle", "a")

    assert.matches("^the rule failed at event #%d+, and the key is parked there: .-boom", text)
  end)

  it("tells a person the last looks, and how the rule stands live", function()
    local out = explain(bench, "--why-not", "crash_loop", "agent", "d-2", "--at", iso(8)).out

    assert.matches("^crash_loop  agent/d%-2  does not fire at ", out)
    assert.matches("#4 container.crashed  count = 1, rate = 0.00166667, span = 0; when warning false\n", out)
    assert.matches("#5 container.started  where: it does not take this event\n", out)
    assert.matches("2 own events of the key; `where` did not take 1, the last #5\n", out)
    assert.matches("live: no daemon has ever run the rule", out)
  end)

  it("refuses what is no rule and no key of it", function()
    local function says(pattern, ...)
      local r = explain(bench, "--why-not", ...)
      assert.same({ 2, "" }, { r.code, r.out })
      assert.matches(pattern, r.err)
    end

    says("did you mean 'hot'", "hit", "a")
    says("the key has 2 parts: app, device", "crash_loop", "d-2")
    says("takes a rule and a key", "hot")
    says("'soon' is no time", "hot", "a", "--at", "soon")
  end)
end)
