local bench_of = require "spec.support.bench_of"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local terminal = require "spec.support.terminal"

local SOAK = os.getenv("MOONWAKE_SOAK") == "1"
local EVENTS = SOAK and 1000000 or 50000
local AGGREGATES = SOAK and 5000 or 500

--- A counter; `more`: further lines of the definition, `step`: what an event adds.
local function counter(version, step, more)
  return ([[projection "counter" {
  version = %d, %s
  columns = { events = "bigint default 0", total = "bigint default 0" },
  on = { ["*"] = function(row, event)
    row.events = row.events + %s
    row.total = row.total + (event.data.n or 0)
  end },
}]]):format(version, more or "", step or "1")
end

local TRUTH = [[SELECT count(*) FROM (
  (SELECT aggregate_id, count(*), sum(coalesce((data->>'n')::bigint, 0)), max(id) FROM moonwake.events GROUP BY 1
    EXCEPT SELECT key, events, total, position FROM moonwake.counter)
  UNION ALL
  (SELECT key, events, total, position FROM moonwake.counter
    EXCEPT SELECT aggregate_id, count(*), sum(coalesce((data->>'n')::bigint, 0)), max(id) FROM moonwake.events GROUP BY 1)) d]]

local LIVE = "SELECT version FROM moonwake.projection_versions WHERE role = 'live' AND name = 'counter'"
local STATE = "SELECT state FROM moonwake.projection_versions WHERE role = 'next' AND name = 'counter'"
local CAUGHT_UP = [[SELECT position = moonwake.log_head() FROM moonwake.consumers WHERE consumer = 'counter']]

local function rebuild(bench, ...)
  return moonwake.run({ "rebuild", "-C", bench.workspace, "counter", ... }, { db = bench.run_dsn })
end

local function fill(bench, count, aggregates)
  while count > 0 do
    bench:publish_many(math.min(count, 5000), aggregates)
    count = count - 5000
  end
end

--- A session that appends one event after another, each in a transaction of its own, until the table `stop` has a row.
local function publisher(bench)
  local session = bench.server:session { db = bench.db }
  session:send(([[DO $do$ BEGIN
    FOR i IN 1 .. 10000000 LOOP
      PERFORM moonwake.publish_event('thing.done', 'thing', 'a' || (i %% %d), '{"n": 1}');
      COMMIT;
      EXIT WHEN EXISTS (SELECT FROM stop);
      PERFORM pg_sleep(0.0005);
      COMMIT;
    END LOOP; END $do$]]):format(AGGREGATES))
  return session
end

--- A session that looks at the table and at a view on it in one transaction, again and again.
local function reader(bench, name, isolation)
  local session = bench.server:session { db = bench.db }
  session:send(([[DO $do$ DECLARE n bigint; t bigint; vn bigint; vt bigint; BEGIN
    COMMIT;
    LOOP
      SET TRANSACTION ISOLATION LEVEL %s;
      SELECT count(*), sum(events) INTO n, t FROM moonwake.counter;
      SELECT count(*), sum(events) INTO vn, vt FROM public.counts;
      INSERT INTO seen (reader, n, t, vn, vt) VALUES ('%s', n, t, vn, vt);
      COMMIT;
      EXIT WHEN EXISTS (SELECT FROM stop);
      COMMIT;
    END LOOP; END $do$]]):format(isolation, name))
  return session
end

local READERS = { rc1 = "READ COMMITTED", rc2 = "READ COMMITTED", rr1 = "REPEATABLE READ", rr2 = "REPEATABLE READ" }

describe("a version that is built beside the live one, under load,", function()
  it("takes its place without an error, a half table or a difference", function()
    local bench = bench_of { counter = counter(1) }
    local sessions = {}
    finally(function()
      bench:stop()
      for _, session in pairs(sessions) do
        session:close()
      end
    end)
    fill(bench, EVENTS, AGGREGATES)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t", SOAK and 600 or 60)
    bench:psql([[CREATE TABLE stop (x int); CREATE TABLE seen (id bigserial, reader text, n bigint, t bigint, vn bigint, vt bigint);
      CREATE VIEW public.counts AS SELECT key, events FROM moonwake.counter]])
    local oid = bench:psql("SELECT 'moonwake.counter'::regclass::oid")
    sessions.publisher = publisher(bench)
    for name, isolation in pairs(READERS) do
      sessions[name] = reader(bench, name, isolation)
    end
    pg.sleep(0.5)

    bench:save("counter", counter(2))
    bench.daemons[1]:expect("version 2 is built beside", "err")
    local before = tonumber(bench:psql("SELECT moonwake.log_head()"))
    bench:eventually(LIVE, "2", SOAK and 900 or 60)
    pg.sleep(0.5)
    bench:psql("INSERT INTO stop VALUES (1)")
    for name, session in pairs(sessions) do
      assert.equal("", session:read(30), name)
    end

    local appended = tonumber(bench:psql("SELECT moonwake.log_head()")) - before
    assert.is_true(appended > 100, "too little was appended meanwhile: " .. appended)
    assert.equal("0", bench:psql("SELECT count(*) FROM seen WHERE n <> " .. AGGREGATES .. " OR vn <> n"), "half a table")
    assert.equal("0", bench:psql("SELECT count(*) FROM seen WHERE vt < t OR reader LIKE 'rr%' AND vt <> t"))
    assert.equal("0", bench:psql([[SELECT count(*) FROM (SELECT t, lag(t) OVER (PARTITION BY reader ORDER BY id) AS before
      FROM seen) s WHERE t < before]]), "a reader went back in time")
    assert.equal("4", bench:psql("SELECT count(DISTINCT reader) FROM seen"))
    bench:eventually(CAUGHT_UP, "t")
    assert.equal("0", bench:psql(TRUTH))
    assert.equal(oid, bench:psql("SELECT 'moonwake.counter'::regclass::oid"))
    local difference = "SELECT difference->>'%s' FROM moonwake.projection_versions WHERE role = 'live' AND name = 'counter'"
    for word, expected in pairs { added = "0", removed = "0", changed = "0", complete = "true", equal = "true" } do
      assert.equal(expected, bench:psql(difference:format(word)), word)
    end
  end)

  for _, fault in ipairs { "build.created", "build.page", "build.caught_up", "promote.before", "promote.after" } do
    it("resumes where it stood after kill -9 at " .. fault, function()
      local bench = bench_of { counter = counter(1) }
      finally(function() bench:stop() end)
      fill(bench, SOAK and 100000 or 12000, 50)
      assert.equal(0, bench:caught_up().code)

      bench:save("counter", counter(2, "1", [[indexes = { "total" },]]))
      local first = bench:daemon({}, { MOONWAKE_FAULT = fault })
      assert.equal(137, first:wait(30))
      bench:publish_many(100, 50)
      local count = tonumber(bench:psql("SELECT count(*) FROM moonwake.counter"))
      assert.equal(50, count)
      bench:daemon()

      bench:eventually(LIVE, "2", 30)
      bench:eventually(CAUGHT_UP, "t")
      assert.equal("0", bench:psql(TRUTH))
      assert.equal("live old", bench:psql("SELECT string_agg(role, ' ' ORDER BY role) FROM moonwake.projection_versions"))
      assert.equal("counter counter:old", bench:psql("SELECT string_agg(consumer, ' ' ORDER BY consumer) FROM moonwake.event_cursors"))
      assert.equal("2", bench:psql([[SELECT count(*) FROM pg_class WHERE relnamespace = 'moonwake_versions'::regnamespace
        AND relkind = 'r']]))
    end)
  end

  it("has one owner among daemons, and all follow when it is promoted", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    fill(bench, 10000, 50)
    bench:daemon()
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")

    bench:save("counter", counter(2))
    bench:eventually(LIVE, "2", 30)
    for i = 1, 5 do
      bench:publish_many(100, 50)
      if i == 2 then
        bench.daemons[1]:signal("KILL")
      end
    end
    bench:eventually(CAUGHT_UP, "t", 30)
    assert.equal("0", bench:psql(TRUTH))
    assert.is_nil(bench.daemons[2]:code())
  end)
end)

describe("what depends on the table", function()
  it("stays: rights, indexes, views, triggers, policies", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    assert.equal(0, bench:caught_up().code)
    bench:psql([[DROP ROLE IF EXISTS rebuild_spec_reader; CREATE ROLE rebuild_spec_reader;
      GRANT USAGE ON SCHEMA moonwake TO rebuild_spec_reader; GRANT SELECT ON moonwake.counter TO rebuild_spec_reader;
      CREATE INDEX my_index ON moonwake.counter ((total % 7)) WHERE events > 3;
      CREATE VIEW public.totals AS SELECT key, total FROM moonwake.counter;
      CREATE VIEW public.top AS SELECT max(total) AS most FROM public.totals;
      ALTER TABLE moonwake.counter ENABLE ROW LEVEL SECURITY;
      CREATE POLICY some_rows ON moonwake.counter FOR SELECT TO rebuild_spec_reader USING (key <> 'a3');
      CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
      CREATE TRIGGER my_trigger AFTER INSERT ON moonwake.counter FOR EACH ROW EXECUTE FUNCTION public.noted()]])

    bench:save("counter", (counter(2, "1", [[indexes = { "extra" },]]):gsub('total = "big', 'extra = "text", %0')))
    local r = bench:caught_up()
    assert.equal(0, r.code, r.err)

    assert.equal("2", bench:psql(LIVE))
    assert.equal("9", bench:psql("SET ROLE rebuild_spec_reader; SELECT count(*) FROM moonwake.counter"))
    assert.equal("10|10", bench:psql("SELECT count(*), (SELECT count(*) FROM public.totals) FROM moonwake.counter"))
    assert.equal(bench:psql("SELECT max(total) FROM moonwake.counter"), bench:psql("SELECT most FROM public.top"))
    assert.equal("(((total % (7)::bigint))) WHERE (events > 3)\n(extra)\n(key)", bench:psql([[SELECT substring(indexdef FROM '\(.*$')
      FROM pg_indexes WHERE tablename = 'counter' AND schemaname = 'moonwake' ORDER BY 1]]))
    assert.equal("3", bench:psql([[SELECT count(*) FROM pg_indexes WHERE schemaname = 'moonwake_versions'
      AND tablename = (SELECT leaf FROM moonwake.projection_versions WHERE role = 'live')]]))
    assert.equal("my_trigger", bench:psql("SELECT tgname FROM pg_trigger WHERE tgrelid = 'moonwake.counter'::regclass"))
    bench:psql("DROP OWNED BY rebuild_spec_reader; DROP ROLE rebuild_spec_reader")
  end)

  it("is named where it needs what the new version does not have, and the live one goes on", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:psql("CREATE VIEW public.totals AS SELECT key, total FROM moonwake.counter")

    local without = (counter(2):gsub(', total = "bigint default 0"', ""):gsub("row.total = [^\n]*", ""))
    bench:save("counter", without)
    bench:eventually(STATE, "refused", 30)

    local said = "the view public.totals needs the column 'total', which version 2 does not have"
    local status = moonwake.must({ "status" }, { db = bench.run_dsn })
    assert.matches(said, status, 1, true)
    assert.matches(said, bench.daemons[1]:err(), 1, true)
    bench:publish_many(100, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "400")

    bench:psql("DROP VIEW public.totals")
    local r = rebuild(bench, "--promote")
    assert.equal(0, r.code, r.err)
    assert.equal("2", bench:psql(LIVE))
    bench:publish_many(100, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "500")
  end)

  it("may be another key", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    assert.equal(0, bench:caught_up().code)
    bench:psql("GRANT INSERT ON moonwake.counter TO moonwake_publish; CREATE INDEX mine ON moonwake.counter (total, events)")

    bench:save("counter", counter(2, "1", [[key = { "type", "aggregate_id" },]]))
    local r = bench:caught_up()
    assert.equal(0, r.code, r.err)

    assert.equal("10|300", bench:psql("SELECT count(*), sum(events) FROM moonwake.counter WHERE type = 'thing.done'"))
    assert.equal("t|t", bench:psql([[SELECT has_table_privilege('moonwake_publish', 'moonwake.counter', 'INSERT'),
      to_regclass('moonwake.mine') IS NOT NULL]]))
    assert.matches("the key or the form changed", rebuild(bench, "--diff").out, 1, true)
  end)
end)

describe("promotion", function()
  local function waiting(more, step)
    local bench = bench_of { counter = counter(1) }
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:save("counter", counter(2, step, more))
    return bench
  end

  it("by itself when_equal: where no row differs", function()
    local bench = waiting [[promote = "when_equal",]]
    finally(function() bench:stop() end)

    bench:eventually(LIVE, "2", 30)
  end)

  it("waits for approval where rows differ, and shows which, and why", function()
    local bench = waiting([[promote = "when_equal",]], [[(event.id == 290 and 5 or 1)]])
    finally(function() bench:stop() end)

    bench:eventually(STATE, "ready", 30)
    bench:publish_many(10, 10)
    bench:eventually(CAUGHT_UP, "t")
    assert.matches("it is not equal to the live version", moonwake.must({ "status" }, { db = bench.run_dsn }), 1, true)
    local shown = rebuild(bench, "--diff").out
    assert.matches("10 rows compared: 0 added, 0 removed, 1 changed", shown, 1, true)
    assert.matches("events: 31 %-> 35  #3%d%d thing.done, projections/counter.lua:%d+", shown)
    assert.matches("last event 3%d+ thing.done", shown)
    assert.equal("1", bench:psql(LIVE))

    local r = rebuild(bench, "--promote")
    assert.equal(0, r.code, r.err)
    assert.equal("314", bench:psql("SELECT sum(events) FROM moonwake.counter"))
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "324")
  end)

  it("on approval alone where the definition says manual", function()
    local bench = waiting [[promote = "manual",]]
    finally(function() bench:stop() end)

    bench:eventually(STATE, "ready", 30)
    pg.sleep(0.5)
    assert.equal("1", bench:psql(LIVE))
    local json = moonwake.must({ "rebuild", "counter", "--promote", "--json", "-C", bench.workspace }, { db = bench.run_dsn })
    assert.matches('"role":"live","state":"live","promote":"manual"', json, 1, true)
    assert.equal("2", bench:psql(LIVE))
  end)

  it("waits for transactions that began before the version was complete, and names them", function()
    local bench = bench_of { counter = counter(1) }
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    local session = bench.server:session { db = bench.db }
    finally(function() bench:stop(); session:close() end)
    local pid = session:run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT pg_backend_pid()"):match("%d+$")

    bench:save("counter", counter(2))
    bench:eventually(STATE, "waiting", 30)
    assert.matches("pid " .. pid, moonwake.must({ "status" }, { db = bench.run_dsn }), 1, true)
    local r = rebuild(bench, "--promote")
    assert.equal(1, r.code)
    assert.matches("pid " .. pid, r.err, 1, true)
    assert.equal("10|300", session:run("SELECT count(*), sum(events) FROM moonwake.counter"))
    session:run("COMMIT")

    bench:eventually(LIVE, "2", 30)
  end)

  it("now, where somebody says so", function()
    local bench = bench_of { counter = counter(1) }
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    local session = bench.server:session { db = bench.db }
    finally(function() bench:stop(); session:close() end)
    session:run("BEGIN; SELECT pg_current_xact_id()")

    bench:save("counter", counter(2))
    bench:eventually(STATE, "waiting", 30)
    assert.equal(0, rebuild(bench, "--promote", "--now").code)
    assert.equal("2", bench:psql(LIVE))
  end)

  it("never makes readers queue behind a long query", function()
    local bench = bench_of { counter = counter(1) }
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    local slow = bench.server:session { db = bench.db }
    finally(function() bench:stop(); slow:close() end)

    bench:save("counter", counter(2, "1", [[promote = "manual",]]))
    bench:eventually(STATE, "ready", 30)
    slow:run("BEGIN; SELECT count(*) FROM moonwake.counter")
    local promoting = moonwake.spawn({ "rebuild", "counter", "--promote", "-C", bench.workspace }, { db = bench.run_dsn })
    promoting:expect("somebody reads the table", "err")
    for _ = 1, 10 do -- none of them may wait for longer than the exchange waits for its lock
      assert.equal("10", bench:psql("SET statement_timeout = '2s'; SELECT count(*) FROM moonwake.counter"))
    end
    assert.is_nil(promoting:code())
    slow:run("COMMIT")
    assert.equal(0, promoting:wait(20))
  end)
end)

describe("a version", function()
  it("rolls back at once and goes on by its own text, until somebody rebuilds", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:save("counter", counter(2, "100"))
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "30000", 30)
    bench:publish_many(100, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "40000")

    local r = rebuild(bench, "--rollback")
    assert.equal(0, r.code, r.err)
    assert.equal("1", bench:psql(LIVE))
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "410")
    bench:daemon()
    pg.sleep(0.5)
    assert.equal("", bench:psql(STATE), "the declined file is not built again")
    bench:save("counter", "-- another text of the declined version\n" .. counter(2, "100"))
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "420")
    pg.sleep(1)
    assert.equal("", bench:psql(STATE), "nor is another text of its version")

    assert.equal(0, rebuild(bench, "--rollback").code)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "42000")
    assert.equal(0, rebuild(bench, "--drop-old").code)
    assert.equal(1, rebuild(bench, "--rollback").code)
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "43000")
  end)

  it("that is cancelled is not built again until its file changes", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:save("counter", counter(2, "100", [[promote = "manual",]]))
    bench:eventually(STATE, "ready", 30)

    assert.equal(0, rebuild(bench, "--cancel").code)
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "310")
    pg.sleep(2.5)
    assert.equal("", bench:psql(STATE))
    assert.equal("1", bench:psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'moonwake_versions'::regnamespace AND relkind = 'r'"))

    bench:save("counter", counter(2, "10"))
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "3100", 30)
  end)

  it("pauses and goes on", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:save("counter", counter(2, "100", [[promote = "manual",]]))
    bench:eventually(STATE, "ready", 30)

    assert.equal(0, rebuild(bench, "--pause").code)
    bench:eventually("SELECT state FROM moonwake.consumers WHERE consumer = 'counter:next'", "paused")
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "310")
    assert.equal("300", bench:psql("SELECT position FROM moonwake.consumers WHERE consumer = 'counter:next'"))
    assert.equal(1, rebuild(bench, "--promote").code)
    assert.equal(0, rebuild(bench, "--resume").code)
    bench:eventually(STATE, "ready", 30)
    assert.equal(0, rebuild(bench, "--promote").code)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "31000")
  end)

  it("whose script fails is parked, and the live one goes on; a corrected file takes its place", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:save("counter", counter(2, [[(event.id == 77 and error("no 77") or 1)]]))
    bench:eventually("SELECT state || error_event FROM moonwake.consumers WHERE consumer = 'counter:next'", "parked77", 30)
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "310")
    assert.matches("no 77", moonwake.must({ "status" }, { db = bench.run_dsn }), 1, true)

    bench:save("counter", counter(2, "10"))
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "3100", 30)
  end)

  it("takes the place of a live one that is parked", function()
    local bench = bench_of { counter = counter(1, [[(event.id == 77 and error("no 77") or 1)]]) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually("SELECT state FROM moonwake.consumers WHERE consumer = 'counter'", "parked")

    bench:save("counter", counter(2))
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "300", 30)
    bench:eventually("SELECT state FROM moonwake.consumers WHERE consumer = 'counter'", "running")
  end)

  it("is given up when the file is put back before it is promoted", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    bench:save("counter", counter(2, "100", [[promote = "manual",]]))
    bench:eventually(STATE, "ready", 30)

    bench:save("counter", counter(1))
    bench:eventually("SELECT count(*) FROM moonwake.projection_versions", "1")
    bench:publish_many(10, 10)
    bench:eventually("SELECT sum(events) FROM moonwake.counter", "310")
  end)
end)

describe("rebuild", function()
  it("does the work itself where no daemon does, and says how to promote", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    fill(bench, 10000, 50)
    assert.equal(0, bench:caught_up().code)
    bench:psql("UPDATE moonwake.counter SET events = events + 1000 WHERE key = 'a7'")

    local r = rebuild(bench)
    assert.equal(0, r.code, r.err)
    assert.matches("50 rows compared: 0 added, 0 removed, 1 changed", r.out, 1, true)
    assert.matches("--promote", r.out, 1, true)
    assert.is_true(bench:psql(TRUTH) ~= "0")
    assert.equal(0, rebuild(bench, "--promote").code)
    assert.equal("0", bench:psql(TRUTH))
    assert.equal(0, rebuild(bench, "--yes").code)
    assert.equal("0", bench:psql(TRUTH))
  end)

  it("needs no workspace: the live version's text is kept", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(300, 10)
    assert.equal(0, bench:caught_up().code)
    bench:psql("DELETE FROM moonwake.counter WHERE key = 'a7'")

    local r = moonwake.run({ "rebuild", "counter", "--yes", "-C", "/" }, { db = bench.run_dsn })
    assert.equal(0, r.code, r.err)
    assert.equal("0", bench:psql(TRUTH))
  end)

  it("lets a daemon do it, and shows that it goes on when it is interrupted", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    fill(bench, 10000, 50)
    bench:daemon()
    bench:eventually(CAUGHT_UP, "t")
    local session = bench.server:session { db = bench.db }
    session:run("BEGIN; SELECT pg_current_xact_id()") -- so that it cannot be over too early

    local watching = moonwake.spawn({ "rebuild", "counter", "--yes", "-C", bench.workspace }, { db = bench.run_dsn })
    bench:eventually(STATE, "waiting", 30)
    watching:signal("INT")
    assert.equal(1, watching:wait(20))
    assert.matches("a daemon goes on building", watching:err(), 1, true)
    session:close()
    bench:eventually("SELECT count(*) FROM moonwake.projection_versions WHERE role = 'old'", "1", 30)
    assert.equal("0", bench:psql(TRUTH))
  end)

  it("goes on where it was interrupted", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    fill(bench, 5000, 50)
    assert.equal(0, bench:caught_up().code)
    local session = bench.server:session { db = bench.db }
    session:run("BEGIN; SELECT pg_current_xact_id()") -- so that it cannot be over too early

    local first = moonwake.spawn({ "rebuild", "counter", "--yes", "-C", bench.workspace }, { db = bench.run_dsn })
    bench:eventually(STATE, "waiting", 30)
    first:signal("INT")
    assert.equal(1, first:wait(20))
    assert.matches("building stopped where it is", first:err(), 1, true)
    local build = bench:psql("SELECT build FROM moonwake.projection_versions WHERE role = 'next'")
    session:close()
    assert.equal(0, rebuild(bench, "--yes").code)
    assert.equal(build, bench:psql("SELECT build FROM moonwake.projection_versions WHERE role = 'live'"))
    assert.equal("0", bench:psql(TRUTH))
  end)

  it("shows the difference and asks, on a terminal", function()
    local bench = bench_of { counter = counter(1) }
    local opened = {}
    finally(function()
      bench:stop()
      for _, t in ipairs(opened) do
        t:close()
      end
    end)
    bench:publish_many(300, 10)
    assert.equal(0, bench:caught_up().code)
    bench:save("counter", counter(2, "(event.id == 290 and 5 or 1)"))
    local function answer(text)
      local t = terminal.open({ "rebuild", "counter", "-C", bench.workspace }, { db = bench.run_dsn })
      opened[#opened + 1] = t
      t:expect("1 changed")
      t:expect("events: 30 %-> 34")
      t:expect("Promote it%? %[y/N%]")
      t:type(text)
      assert.equal(0, t:wait())
      return t:screen()
    end

    assert.matches("beside the live one", answer("n\r"), 1, true)
    assert.equal("1", bench:psql(LIVE))
    assert.matches("is live now", answer("y\r"), 1, true)
    assert.equal("2", bench:psql(LIVE))
    assert.equal("304", bench:psql("SELECT sum(events) FROM moonwake.counter"))
  end)

  it("says what is wrong", function()
    local bench = bench_of { counter = counter(1) }
    finally(function() bench:stop() end)
    bench:publish_many(10, 10)
    assert.equal(0, bench:caught_up().code)

    local function fails(code, pattern, ...)
      local r = moonwake.run({ "rebuild", "-C", bench.workspace, ... }, { db = bench.run_dsn })
      assert.equal(code, r.code, r.err)
      assert.matches(pattern, r.err)
    end
    fails(2, "takes the name of one consumer")
    fails(2, "one thing at a time", "counter", "--cancel", "--pause")
    fails(2, "%-%-now with %-%-promote", "counter", "--now")
    fails(1, "'nothing' has never been started", "nothing", "--yes")
    fails(1, "no version is being built", "counter", "--promote")
    fails(1, "no version is being built", "counter", "--cancel")
    fails(1, "no earlier version is kept", "counter", "--rollback")
    fails(1, "has no versions", "../counter", "--pause")
  end)
end)
