local bench_of = require "spec.support.bench_of"
local moonwake = require "spec.support.moonwake"
local files = require "spec.support.files"

local CYCLES = os.getenv("MOONWAKE_SOAK") == "1" and 20000 or 2000

--- Publishes, waits until the event is handled, and publishes again after a short while of its own, so that the
-- daemon is at every stage of falling asleep when the next event comes.
local CYCLE = [[
DO $$
DECLARE
  published bigint;
  since timestamptz;
BEGIN
  FOR i IN 1..%d LOOP
    SELECT id INTO published FROM moonwake.publish_event('bell.rung', 'thing', 'a', '{"n":1}');
    COMMIT;
    since := clock_timestamp();
    WHILE (SELECT position FROM moonwake.consumers) < published LOOP
      IF clock_timestamp() - since > interval '20 seconds' THEN
        RAISE EXCEPTION 'event %% was not heard', published;
      END IF;
      COMMIT;
      PERFORM pg_sleep(0.0002);
    END LOOP;
    COMMIT;
    PERFORM pg_sleep(random() * 0.003);
  END LOOP;
END $$]]

local function sleeps(daemon)
  daemon:signal("USR1")
  return tonumber(daemon:expect("fell asleep (%d+) times", "err"))
end

describe("the doorbell", function()
  it("wakes a sleeping daemon thousands of times, without any poll behind it", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    local daemon = bench:daemon { "--slow-poll", "0", "--linger", "0" }
    bench:publish("bell.rung", "a", '{"n":1}')
    bench:eventually("SELECT events FROM moonwake.counter", "1")

    bench:psql(CYCLE:format(CYCLES))
    assert.equal(tostring(CYCLES + 1), bench:psql("SELECT events FROM moonwake.counter"))
    local slept = sleeps(daemon)
    assert.is_true(slept > CYCLES / 2, "it fell asleep only so often: " .. slept)
  end)

  it("is answered under 32 publishers", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:daemon { "--slow-poll", "0" }
    bench:publish("bell.rung", "a", '{"n":1}')
    bench:eventually("SELECT count(*) FROM moonwake.counter", "1")
    local script = files.write(files.dir() .. "/publish.sql",
      [[\set a random(1, 20)
SELECT 1 FROM moonwake.publish_event('bell.rung', 'thing', 'a' || :a, '{"n":1}');]])

    files.command(("%s/pgbench -n -c 32 -j 2 -t 100 -f %s '%s' >/dev/null 2>&1; echo $?"):format(
      bench.server.bin, script, bench.dsn))
    bench:eventually("SELECT sum(events) = (SELECT count(*) FROM moonwake.events) FROM moonwake.counter", "t")
    assert.equal("3201", bench:psql("SELECT count(*) FROM moonwake.events"))
  end)

  it("is answered while one who rang idles in its transaction", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:daemon { "--slow-poll", "0", "--linger", "0" }
    bench:publish("bell.rung", "a", '{"n":1}')
    bench:eventually("SELECT events FROM moonwake.counter", "1")
    local idle = bench.server:session { db = bench.db }
    idle:run("BEGIN; SELECT id FROM moonwake.publish_event('bell.rung', 'thing', 'b', '{\"n\":1}')")

    bench:publish("bell.rung", "a", '{"n":1}')
    idle:run("COMMIT")
    bench:eventually("SELECT string_agg(key || events, ' ' ORDER BY key) FROM moonwake.counter", "a2 b1")
    bench:publish("bell.rung", "a", '{"n":1}')
    bench:eventually("SELECT string_agg(key || events, ' ' ORDER BY key) FROM moonwake.counter", "a3 b1")
    idle:close()
  end)

  it("may be lost with the connection that listens", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:daemon { "--slow-poll", "0" }
    bench:publish("bell.rung", "a", '{"n":1}')
    bench:eventually("SELECT events FROM moonwake.counter", "1")

    for i = 2, 6 do
      bench:psql("SELECT pg_terminate_backend(pid) FROM moonwake.consumer_groups")
      bench:publish("bell.rung", "a", '{"n":1}')
      bench:eventually("SELECT events FROM moonwake.counter", tostring(i))
    end
  end)

  it("is not needed by one who polls", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:daemon { "--poll", "5" }
    bench:psql("ALTER TABLE moonwake.events DISABLE TRIGGER events_bell")
    bench:publish("bell.rung", "a", '{"n":1}')

    bench:eventually("SELECT events FROM moonwake.counter", "1")
    assert.equal(0, moonwake.run({ "status" }, { db = bench.run_dsn }).code)
  end)
end)
