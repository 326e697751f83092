-- Rules at work: alerts at once, timers in a quiet log and in a busy one, over restarts and downtime, and rules over the
-- alerts of others.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local CRASH_LOOP = [[rule "crash_loop" {
  on = "container.crashed",
  window = { over = "10m" },
  when = function(w) return w.count >= 3 end,
  summary = "{aggregate_id} crashed {count} times",
}]]
local SILENT = [[rule "silent" {
  on = "device.heartbeat",
  absent = { within = %s },
  summary = "{aggregate_id} is silent",
}]]
-- Fires where nobody takes care of an alert of `silent` in time.
local UNACKED = [[rule "unacked" {
  on = { "alert.firing", "alert.acked", "alert.resolved" },
  seq = { { on = "alert.firing", where = function(e) return e.data.rule == "silent" end }, within = %s,
    missing = { "alert.acked", "alert.resolved" } },
  summary = "nobody took care of it",
}]]

local function bench_with(rules)
  local bench = bench_of()
  os.execute("mkdir -p " .. bench.workspace .. "/rules")
  for name, source in pairs(rules) do
    files.write(("%s/rules/%s.lua"):format(bench.workspace, name), source)
  end
  return bench
end

--- What the log says of a rule: transition, and seconds between an event's time and what it led to.
local TOLD = [[SELECT string_agg(e.event_type || ' ' || round(extract(epoch FROM e.occurred_at - c."timestamp"), 3), ' ' ORDER BY e.id)
  FROM moonwake.events e LEFT JOIN moonwake.events c ON c.event_id = e.causation_id WHERE e.data ->> 'rule' = '%s']]

describe("a rule", function()
  it("raises an alert as an event, caused by the event that made it, and as a row", function()
    local bench = bench_with { crash_loop = CRASH_LOOP }
    finally(function() bench:stop() end)
    bench:daemon()
    for _ = 1, 2 do
      bench:publish("container.crashed", "c-1")
    end
    bench:publish("container.crashed", "c-2")
    local third = bench:publish("container.crashed", "c-1")

    bench:eventually("SELECT rule || ' ' || state || ' ' || summary FROM moonwake.alerts",
      "crash_loop firing c-1 crashed 3 times")
    assert.same({ { "alert.firing", tostring(third), "t", "c-1" } }, bench:query([[
      SELECT e.event_type, c.id, e.occurred_at = c."timestamp", e.data #>> '{key,aggregate_id}'
      FROM moonwake.events e JOIN moonwake.events c ON c.event_id = e.causation_id WHERE e.aggregate_type = 'alert']]))
    assert.equal("crash_loop rule", bench:psql("SELECT consumer || ' ' || kind FROM moonwake.consumers"))
  end)

  it("hears at once what others raise, while the daemon holds the bell", function()
    local bench = bench_with { crash_loop = CRASH_LOOP, paged = [[rule "paged" { on = "alert.firing", by = "data.key.aggregate_id",
      kind = "signal", when = function(e) return e.data.rule == "crash_loop" end }]] }
    finally(function() bench:stop() end)
    bench:daemon { "--slow-poll", "0", "--linger", "60000" }
    for _ = 1, 3 do
      bench:publish("container.crashed", "c-1")
    end

    bench:eventually("SELECT string_agg(rule, ' ' ORDER BY rule) FROM moonwake.alerts", "crash_loop paged")
  end)
end)

describe("a timer", function()
  it("fires in a log that is quiet, with its own time, and wakes a daemon that sleeps", function()
    local bench = bench_with { silent = SILENT:format("1.5") }
    finally(function() bench:stop() end)
    bench:daemon { "--slow-poll", "0", "--linger", "0" }
    bench:publish("device.heartbeat", "d-1")

    bench:eventually(TOLD:format("silent"), "alert.firing 1.500")
    bench:publish("device.heartbeat", "d-1")
    bench:eventually("SELECT string_agg(event_type, ' ' ORDER BY id) FROM moonwake.events WHERE aggregate_type = 'alert'",
      "alert.firing alert.resolved alert.firing")
    assert.equal("0", bench:psql("SELECT count(*) FROM moonwake.timers"))
  end)

  it("fires while events of others keep the log busy", function()
    local bench = bench_with { silent = SILENT:format("1"), crash_loop = CRASH_LOOP }
    local busy = bench.server:session { db = bench.db }
    finally(function()
      busy:close()
      bench:stop()
    end)
    bench:daemon()
    bench:publish("device.heartbeat", "d-1")
    busy:send([[DO $$ BEGIN FOR i IN 1 .. 5000 LOOP
      PERFORM moonwake.publish_event('container.crashed', 'container', 'c-' || i, '{}'); COMMIT; PERFORM pg_sleep(0.002);
      EXIT WHEN EXISTS (SELECT FROM moonwake.alerts); END LOOP; END $$]])

    bench:eventually(TOLD:format("silent"), "alert.firing 1.000")
    busy:read()
    assert.is_true(tonumber(bench:psql("SELECT count(*) FROM moonwake.events")) < 5000)
  end)

  it("waits for a transaction that may still bring an older event", function()
    local bench = bench_with { silent = SILENT:format("0.5") }
    local late = bench.server:session { db = bench.db }
    finally(function()
      late:close()
      bench:stop()
    end)
    bench:daemon()
    bench:publish("device.heartbeat", "d-1")
    late:run("BEGIN; SELECT 1 FROM moonwake.publish_event('device.heartbeat', 'thing', 'd-1', '{}')")
    pg.sleep(1.5)

    assert.equal("0", bench:psql("SELECT count(*) FROM moonwake.alerts"))
    late:run("COMMIT")
    bench:eventually(TOLD:format("silent"), "alert.firing 0.500")
    assert.equal("2", bench:psql("SELECT position FROM moonwake.alerts"))
  end)

  it("outlives the daemon, and fires with its true time when that comes back", function()
    local bench = bench_with { silent = SILENT:format("1.25") }
    finally(function() bench:stop() end)
    bench:publish("device.heartbeat", "d-1")
    bench:publish("device.heartbeat", "d-2")
    local daemon = bench:daemon()
    bench:eventually("SELECT count(*) FROM moonwake.timers", "2")
    daemon:signal("KILL")
    daemon:wait()
    pg.sleep(1.3)

    assert.equal("0", bench:psql("SELECT count(*) FROM moonwake.alerts"))
    assert.equal(0, bench:caught_up().code) -- which fires what is overdue before it ends
    assert.equal("alert.firing 1.250 alert.firing 1.250", bench:psql(TOLD:format("silent")))
    assert.equal("2|t", bench:psql([[SELECT count(*), bool_and(started_at = (SELECT e."timestamp" FROM moonwake.events e
      WHERE e.aggregate_id = a.key ->> 'aggregate_id' AND e.event_type = 'device.heartbeat') + interval '1.25 s') FROM moonwake.alerts a]]))
  end)

  it("of a rule over alerts sees the alerts that came before it, in history too", function()
    local bench = bench_with { silent = SILENT:format("0.5"), unacked = UNACKED:format("0.5") }
    finally(function() bench:stop() end)
    -- d-1 comes back before anybody is missed, and is silent once more
    bench:psql([[INSERT INTO moonwake.events (event_id, event_type, aggregate_type, aggregate_id, version, data, occurred_at, "timestamp")
      SELECT gen_random_uuid(), 'device.heartbeat', 'device', x.id, x.version, '{}', now(), now() - x.age * interval '1 s'
      FROM (VALUES ('d-1', 1, 10.0), ('d-2', 1, 9.9), ('d-1', 2, 9.2)) x (id, version, age)]])
    local r = bench:caught_up()

    assert.equal(0, r.code, r.err)
    assert.same({ { "silent", "d-1", "3" }, { "silent", "d-2", "1" }, { "unacked", "d-1", "1" }, { "unacked", "d-2", "1" } },
      bench:query([[
      SELECT a.rule, coalesce(s.key, a.key) ->> 'aggregate_id', count(*)
      FROM moonwake.alerts a LEFT JOIN moonwake.alerts s ON s.episode::text = a.key ->> 'aggregate_id', moonwake.events e
      WHERE e.aggregate_id = a.episode::text GROUP BY 1, 2 ORDER BY 1, 2]]))
    assert.equal("2|t", bench:psql([[SELECT count(*), bool_and(s.ended_at IS NULL AND u.started_at = s.started_at + interval '0.5 s')
      FROM moonwake.alerts u JOIN moonwake.alerts s ON s.episode::text = u.key ->> 'aggregate_id' WHERE u.rule = 'unacked']]))
  end)
end)

describe("a rule whose body changes", function()
  local HISTORY = "SELECT string_agg(event_type || coalesce(' ' || (data ->> 'reason'), ''), ', ' ORDER BY id) "
    .. "FROM moonwake.events WHERE aggregate_type = 'alert' AND data #>> '{key,aggregate_id}' = '%s'"

  it("goes through history again in silence: what still holds goes on, what does not is resolved, what is new fires", function()
    local rule = [[rule "crashes" { on = "container.crashed", window = { over = "1d" }, when = function(w) return %s end }]]
    local bench = bench_with { crashes = rule:format("w.count >= 2") }
    finally(function() bench:stop() end)
    bench:daemon()
    for _, container in ipairs { "c-1", "c-1", "c-1", "c-2", "c-2", "c-3" } do
      bench:publish("container.crashed", container)
    end
    bench:eventually("SELECT count(*) FROM moonwake.alerts", "2")
    local episode = bench:psql("SELECT episode FROM moonwake.alerts WHERE key_text LIKE '%c-1%'")

    files.write(bench.workspace .. "/rules/crashes.lua", rule:format("w.count ~= 2"))
    bench:eventually("SELECT string_agg((key ->> 'aggregate_id') || ' ' || state, ', ' ORDER BY started_at, 1) FROM moonwake.alerts",
      "c-1 firing, c-2 resolved, c-3 firing")
    assert.equal(episode, bench:psql("SELECT episode FROM moonwake.alerts WHERE key_text LIKE '%c-1%'"))
    bench:publish("container.crashed", "c-2")
    bench:eventually(HISTORY:format("c-2"), "alert.firing, alert.resolved rule-changed, alert.firing")
    assert.equal("alert.firing", bench:psql(HISTORY:format("c-1")))
  end)

  it("fires its timers on the way: an alert that a timer had raised goes on", function()
    local bench = bench_with { silent = SILENT:format("0.3") }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:publish("device.heartbeat", "d-1")
    bench:eventually("SELECT state FROM moonwake.alerts", "firing")

    files.write(bench.workspace .. "/rules/silent.lua", SILENT:format("0.4"))
    bench:eventually("SELECT count(*) FROM moonwake.rules WHERE live_from IS NULL AND updated_at > created_at", "1")
    assert.equal("alert.firing", bench:psql(HISTORY:format("d-1")))
    bench:publish("device.heartbeat", "d-1")
    bench:eventually(HISTORY:format("d-1"), "alert.firing, alert.resolved cleared, alert.firing")
  end)
end)

describe("what the server refuses of a rule", function()
  local REFUSE = [[CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.rule = 'bad' AND NEW.key ->> 'aggregate_id' = 'd-2' THEN RAISE 'no alert of this rule'; END IF; RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON moonwake.alerts FOR EACH ROW EXECUTE FUNCTION refuse()]]

  it("costs it the event, and others nothing", function()
    local any = [[rule "%s" { on = "device.heartbeat", when = function(e) return e.data.n > 1 end }]]
    local bench = bench_with { bad = any:format("bad"), good = any:format("good") }
    finally(function() bench:stop() end)
    bench:psql(REFUSE)
    for n = 1, 5 do
      bench:publish("device.heartbeat", "d-" .. n, ('{"n": %d}'):format(n))
    end
    local r = bench:caught_up()

    assert.equal(0, r.code, r.err)
    assert.equal("bad 3 good 4", bench:psql([[SELECT string_agg(rule || ' ' || n, ' ' ORDER BY rule)
      FROM (SELECT rule, count(*) AS n FROM moonwake.alerts GROUP BY 1) a]]))
    assert.same({ { "bad", "2" } }, bench:query("SELECT consumer, event_id FROM moonwake.dead_letters"))
  end)

  it("stops it where no event but its clock brought it", function()
    local any = [[rule "%s" { on = "device.heartbeat", absent = { within = "1s" } }]]
    local bench = bench_with { bad = any:format("bad"), good = any:format("good") }
    finally(function() bench:stop() end)
    bench:psql(REFUSE)
    bench:daemon()
    bench:publish("device.heartbeat", "d-1")
    bench:publish("device.heartbeat", "d-2")

    bench:eventually("SELECT string_agg(consumer || ' ' || state, ' ' ORDER BY consumer) FROM moonwake.consumers",
      "bad parked good running")
    assert.truthy(bench:psql("SELECT error FROM moonwake.consumers WHERE consumer = 'bad'"):find("no alert of this rule", 1, true))
    bench:eventually("SELECT count(*) FROM moonwake.alerts WHERE rule = 'good'", "2")
  end)
end)

describe("audit", function()
  it("proves of rules, too, that they saw every event once", function()
    local bench = bench_with { silent = SILENT:format("0.2"), unacked = UNACKED:format("60"), crash_loop = CRASH_LOOP }
    finally(function() bench:stop() end)
    bench:publish_many(300, 7, "device.heartbeat")
    local daemon = bench:daemon()
    bench:publish_many(300, 7, "container.crashed")
    bench:eventually("SELECT count(*) FROM moonwake.alerts", "14")
    daemon:signal("KILL")
    daemon:wait()
    bench:publish_many(100, 7, "device.heartbeat")
    assert.equal(0, bench:caught_up().code)

    local r = moonwake.run({ "audit", "-C", bench.workspace }, { db = bench.run_dsn })
    assert.equal(0, r.code, r.out .. r.err)
    for _, name in ipairs { "silent", "unacked", "crash_loop" } do
      assert.truthy(r.out:find(name, 1, true), r.out)
    end
  end)
end)
