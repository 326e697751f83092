-- Live equals replay, for rules: what several rules said of a fleet in the course of a month, in a daemon that was killed at
-- random places, restarted and reloaded, is event for event what they say of the same log in one go.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local history = require "spec.support.alert_history"
local pg = require "spec.support.pg"
local publishers = require "spec.support.publishers"

local SOAK = os.getenv("MOONWAKE_SOAK") == "1"
local DAYS = SOAK and 365 or 30
local STEPS = SOAK and 8000 or 350
local LATE = math.floor(STEPS / 3)
local DEVICES = 6
local FAULTS = { "group.before_commit", "group.after_send", "group.after_commit", "group.before_advance",
  "sink.after_raise", "session.released" }

local RULES = {
  crash_loop = [[rule "crash_loop" {
    on = "container.crashed", window = { over = "6h" },
    when = { warning = function(w) return w.count >= 2 end, critical = function(w) return w.count >= 4 end },
    linger = "40m", summary = "{count} crashes",
  }]],
  silent = [[rule "silent" { on = "device.*", absent = { within = "9h" } }]],
  hot = [[rule "hot" {
    on = "device.heartbeat", value = "data.cpu", hold = "2h", cooldown = "3h",
    when = function(v) return v > 70 end, clear = function(v) return v < 55 end,
  }]],
  job_stuck = [[rule "job_stuck" {
    on = { "workflow.started", "workflow.completed" }, by = "data.device",
    seq = { "workflow.started", within = "5h", missing = "workflow.completed" },
  }]],
  busy_day = [[rule "busy_day" {
    on = "device.heartbeat", value = "data.cpu", window = { over = "1d", kind = "tumble" },
    when = function(w) return w.count >= 4 and w.avg > 50 end,
  }]],
  -- Over the alerts of others, and one over that.
  escalated = [[rule "escalated" {
    on = { "alert.firing", "alert.resolved" }, severity = "critical",
    seq = { { on = "alert.firing", where = function(e) return e.data.rule == "silent" or e.data.rule == "crash_loop" end },
      within = "4h", missing = "alert.resolved" },
  }]],
  unstable = [[rule "unstable" {
    on = "alert.firing", where = function(e) return e.data.rule == "silent" end,
    by = function(e) return e.data.key.aggregate_id end, window = { over = "3d" },
    when = function(w) return w.count >= 3 end,
  }]],
  given_up = [[rule "given_up" {
    on = { "alert.firing", "alert.resolved" }, hold = "1h",
    where = function(e) return e.data.rule == "escalated" end,
    when = function(e) return e.type == "alert.firing" end,
  }]],
}

local function save(bench, name, comment)
  files.write(("%s/rules/%s.lua"):format(bench.workspace, name), RULES[name] .. (comment or ""))
end

local function bench_with_rules(server, but)
  local bench = bench_of(nil, server)
  os.execute("mkdir -p " .. bench.workspace .. "/rules")
  for name in pairs(RULES) do
    if name ~= but then
      save(bench, name)
    end
  end
  return bench
end

local function one_event(random)
  local device, dice = "d-" .. random(1, DEVICES), random(1, 10)
  local type, aggregate, id, data = "device.heartbeat", "device", device, ('{"cpu": %d}'):format(random(20, 100))
  if dice <= 2 then
    type, aggregate, data = "container.crashed", "container", '{"app": "web"}'
  elseif dice <= 5 then
    type, aggregate, id = dice <= 4 and "workflow.started" or "workflow.completed", "workflow", "w-" .. random(1, 30)
    data = ('{"device": "%s"}'):format(device)
  end
  return ([[SELECT count(*) FROM moonwake.publish_event('%s', '%s', '%s', '%s')]]):format(type, aggregate, id, data)
end

--- One transaction, or several, of a few events; some come to nothing.
local function publish(session, random)
  for _ = 1, random(1, 2) do
    local words = { "BEGIN" }
    for _ = 1, random(1, 4) do
      words[#words + 1] = one_event(random)
    end
    words[#words + 1] = random(1, 12) == 1 and "ROLLBACK" or "COMMIT"
    session:run(table.concat(words, ";\n"))
  end
end

--- What was said, key by key in the order in which it came. Where an alert's event stands in the log is its own affair.
local SAID = [[SELECT data ->> 'rule', data ->> 'key', event_type, event_id, aggregate_id,
    (extract(epoch FROM occurred_at) * 1000000)::bigint, causation_id, severity,
    data #- '{subject,id}' #- '{subject,timestamp}' #- '{subject,version}'
  FROM moonwake.events WHERE aggregate_type = 'alert' ORDER BY 1, 2, id]]
local EPISODES = [[SELECT rule, key_text, episode, state, severity, started_at, fired_at, ended_at, reason, transitions
  FROM moonwake.alerts ORDER BY rule, key_text, started_at, episode]]
local STATES = [[SELECT rule, key, state FROM moonwake.rule_states
  WHERE part = '' AND rule NOT IN ('escalated', 'unstable', 'given_up') ORDER BY 1, 2]]

describe("rules over a month of a fleet", function()
  it("say the same live, through kills, restarts and reloads, and in one go", function()
    local seed = tonumber(os.getenv("MOONWAKE_SEED") or os.time() % 100000)
    local random = publishers.random(seed)
    local server = pg.start { faketime = true }
    local live = bench_with_rules(server, "silent")
    local session = server:session { db = live.db }
    finally(function()
      session:close()
      live:stop()
      server:stop()
    end)
    local daemon, kills, offset = nil, 0, 0
    for step = 1, STEPS do
      if daemon == nil or daemon:code() then
        kills = kills + (daemon and 1 or 0)
        daemon = live:daemon({ "--linger", "5" }, { MOONWAKE_FAULT = FAULTS[random(1, #FAULTS)] .. ":" .. random(3, 60) })
      end
      offset = offset + random(0, 2 * DAYS * 86400 / STEPS)
      server:clock(("+%ds"):format(offset))
      publish(session, random)
      if random(1, 10) == 1 then
        pg.sleep(0.15) -- a quiet time: the clock goes on by itself
      elseif random(1, 60) == 1 then
        daemon:signal(random(1, 2) == 1 and "KILL" or "TERM")
        daemon:wait()
      elseif random(1, 40) == 1 then
        save(live, "crash_loop", "\n-- saved in step " .. step)
      end
      if step == LATE then -- a new rule goes through history while the others go on
        save(live, "silent")
      end
    end
    server:clock(("+%ds"):format(offset + 86400))
    live:stop()
    local r = live:caught_up()
    assert.equal(0, r.code, r.err)

    local once = bench_with_rules(server)
    history.copy_log(live, once)
    r = once:caught_up()
    assert.equal(0, r.code, r.err)

    local what = ("seed %d, %d kills"):format(seed, kills)
    for name in pairs(RULES) do
      assert.is_true(tonumber(live:psql(("SELECT count(*) FROM moonwake.alerts WHERE rule = '%s'"):format(name))) > 0,
        name .. " never fired: " .. what)
    end
    assert.is_nil(history.compare(live, once, SAID), what)
    assert.is_nil(history.compare(live, once, EPISODES), what)
    assert.is_nil(history.compare(live, once, STATES), what)
    assert.same({}, live:query("SELECT DISTINCT consumer, left(error, 200) FROM moonwake.dead_letters"), what)
    assert.is_true(kills > 2, what)
  end)
end)
