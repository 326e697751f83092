-- The measured promises, as ratios within one run: luajit bench/bench.lua BUILD [replay] [debugger] [rules] [doorbell]
-- Writes BUILD/bench.json. Every figure is the median of ROUNDS alternating runs, on a PostgreSQL of its own.
package.path = "./?.lua;" .. package.path
local pg = require "spec.support.pg"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local ffi = require "ffi"

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time;
int clock_gettime(int clock, bench_time *out);
]]

local BUILD = arg[1] or "build"
local ROUNDS = tonumber(os.getenv("BENCH_ROUNDS") or "5")
local EVENTS = tonumber(os.getenv("BENCH_EVENTS") or "1000000")
local SECONDS = tonumber(os.getenv("BENCH_SECONDS") or "5")
local AGGREGATES = 5000
local wanted = {}
for i = 2, #arg do
  wanted[arg[i]] = true
end

local results = {}

local function now()
  local t = ffi.new("bench_time")
  ffi.C.clock_gettime(1, t)
  return tonumber(t.sec) + tonumber(t.nsec) / 1e9
end

local function median(list)
  local sorted = { unpack(list) }
  table.sort(sorted)
  return sorted[math.floor((#sorted + 1) / 2)]
end

local function note(name, fields)
  local words = {}
  for _, field in ipairs(fields) do
    words[#words + 1] = ('"%s": %s'):format(field[1],
      type(field[2]) == "number" and ("%.4g"):format(field[2]) or '"' .. field[2] .. '"')
  end
  results[#results + 1] = ('  "%s": { %s }'):format(name, table.concat(words, ", "))
end

local function write_results()
  files.write(BUILD .. "/bench.json", "{\n" .. table.concat(results, ",\n") .. "\n}\n")
  print("written: " .. BUILD .. "/bench.json")
end


-- About 450 bytes of data, 5,000 aggregates, four types; numbers as devices send them.
local FILL = [[
INSERT INTO moonwake.events (event_id, event_type, aggregate_type, aggregate_id, version, data, metadata, source, occurred_at)
SELECT gen_random_uuid(), (ARRAY['device.heartbeat', 'container.crashed', 'device.online', 'current_state.updated'])[1 + i %% 4],
  'device', 'device-' || (i::bigint * 7919 %% %d), 1 + i / %d,
  jsonb_build_object('site', 'site-' || i %% 40, 'cpu', round((i %% 1000) / 10.0, 1),
    'memory', jsonb_build_object('used', i %% 4096, 'total', 4096), 'ip', '10.0.' || i %% 250 || '.' || i %% 199,
    'firmware', '2.' || i %% 17 || '.0', 'uptime', i, 'ok', i %% 3 = 0,
    'tags', jsonb_build_array('a' || i %% 10, 'b' || i %% 7, 'edge'), 'message', repeat('lorem ipsum ', 14),
    'temperature', round(20 + (i %% 300) / 10.0, 1), 'disk', jsonb_build_object('free', i %% 65536, 'mount', '/var/lib/data'),
    'seq', i),
  '{"actor": "agent"}', 'bench', now() - (%d - i) * interval '1 second'
FROM generate_series(1, %d) i]]

local function start()
  local server = pg.start { settings = { shared_buffers = "1GB", fsync = "on", max_wal_size = "8GB" } }
  local db = server:createdb("bench")
  moonwake.must({ "migrate" }, { db = server.dsn(db) })
  return server, db
end

--- Peak memory of a run, from the process table while it runs: KB.
local function timed_run(workspace, dsn)
  local began = now()
  local run = moonwake.spawn({ "run", "-C", workspace, "--no-supervisor", "--until-caught-up", "-q" }, { db = dsn })
  local peak, half = 0, 0
  while not run:code() do
    local status = files.read("/proc/" .. run.pid .. "/status")
    local rss = tonumber(status and status:match("VmRSS:%s+(%d+)") or 0)
    peak = math.max(peak, rss)
    if now() - began < 1.5 then
      half = peak
    end
    ffi.C.poll(nil, 0, 5)
  end
  assert(run:code() == 0, run:err())
  return now() - began, peak, half
end

local function replay()
  local server, db = start()
  local dsn = server.dsn(db)
  print(("replay: filling %d events over %d aggregates"):format(EVENTS, AGGREGATES))
  server:psql(FILL:format(AGGREGATES, AGGREGATES, EVENTS, EVENTS), { db = db })
  server:psql("VACUUM ANALYZE moonwake.events", { db = db })
  local bytes = server:psql("SELECT round(avg(octet_length(data::text))) FROM moonwake.events", { db = db })
  local floor, data, columns, peaks, halves = {}, {}, {}, {}, {}
  for round = 1, ROUNDS do
    floor[round] = tonumber(files.command(("%s/bench/read_floor '%s'"):format(BUILD, dsn)):match("(%S+)$"))
    data[round], peaks[round], halves[round] = timed_run("bench/data", dsn)
    columns[round] = timed_run("bench/columns", dsn)
    -- in place: `rebuild` would do the work itself
    server:psql("SELECT moonwake.rebuild_consumer('keyed_data'), moonwake.rebuild_consumer('keyed_columns')", { db = db })
    server:psql("VACUUM moonwake.keyed_data, moonwake.keyed_columns", { db = db })
    print(("  round %d: floor %.2f s, reads data %.2f s, columns only %.2f s, peak %d MB"):format(
      round, floor[round], data[round], columns[round], peaks[round] / 1024))
  end
  local f, d, c = median(floor), median(data), median(columns)
  print(("replay of %d events of %s bytes of data, pages of up to 10000 rows:"):format(EVENTS, bytes))
  print(("  floor (libpq, single-row binary, thrown away)  %8.0f events/s"):format(EVENTS / f))
  print(("  keyed projection that reads event.data         %8.0f events/s   ratio %.3f"):format(EVENTS / d, f / d))
  print(("  keyed projection that reads columns only       %8.0f events/s   ratio %.3f"):format(EVENTS / c, f / c))
  print(("  peak memory %d MB (%d MB after 1.5 s)"):format(median(peaks) / 1024, median(halves) / 1024))
  note("replay", { { "events", EVENTS }, { "page_rows", 10000 }, { "floor_per_s", EVENTS / f }, { "data_per_s", EVENTS / d },
    { "columns_per_s", EVENTS / c }, { "data_ratio", f / d }, { "columns_ratio", f / c },
    { "peak_mb", median(peaks) / 1024 }, { "early_peak_mb", median(halves) / 1024 } })
  server:stop()
end


--- Pairs of a and b in alternating order: medians, and the median of the pairs' ratios.
local function pairs_of(a, b)
  local as, bs, ratios = {}, {}, {}
  for round = 1, ROUNDS do
    if round % 2 == 0 then
      bs[round] = b()
      as[round] = a()
    else
      as[round] = a()
      bs[round] = b()
    end
    ratios[round] = as[round] / bs[round]
  end
  return median(as), median(bs), median(ratios)
end

--- `replay --quiet`, which keeps its states in memory, against `run --until-caught-up`, each over a copy of one log.
local function debugger()
  local server, db = start()
  print(("debugger: filling %d events over %d aggregates"):format(EVENTS, AGGREGATES))
  server:psql(FILL:format(AGGREGATES, AGGREGATES, EVENTS, EVENTS), { db = db })
  server:psql("VACUUM ANALYZE moonwake.events", { db = db })
  local function on_a_copy(measure)
    server:createdb("copy", { template = db })
    local seconds = measure(server.dsn("copy"))
    server:dropdb("copy")
    return seconds
  end
  local function once(name, fields)
    local ran, replayed, ratio = pairs_of(function()
      return on_a_copy(function(dsn) return (timed_run("bench/" .. name, dsn)) end)
    end, function()
      return on_a_copy(function(dsn)
        local began = now()
        moonwake.must({ "replay", "keyed_" .. name, "-C", "bench/" .. name, "--quiet" }, { db = dsn })
        return now() - began
      end)
    end)
    print(("  keyed projection, %-8s run %8.0f events/s, replay --quiet %8.0f events/s   ratio %.3f"):format(
      name .. ":", EVENTS / ran, EVENTS / replayed, ratio))
    fields[#fields + 1] = { name .. "_run_per_s", EVENTS / ran }
    fields[#fields + 1] = { name .. "_replay_per_s", EVENTS / replayed }
    fields[#fields + 1] = { name .. "_ratio", ratio }
  end
  local fields = { { "events", EVENTS } }
  once("data", fields)
  once("columns", fields)
  note("debugger", fields)
  server:stop()
end


local PUBLISH = [[\set a random(1, 2000)
SELECT 1 FROM moonwake.publish_event('device.heartbeat', 'device', 'device-' || :a, '{"cpu": 12.5, "site": "north"}');
]]

local function tps(server, db, script)
  local out = files.command(("%s/pgbench -n -c 32 -j 2 -T %d -f %s '%s' 2>&1"):format(
    server.bin, SECONDS, script, server.dsn(db)))
  return tonumber(out:match("tps = ([%d.]+)")) or error(out)
end

local function doorbell()
  local server, db = start()
  local dsn = server.dsn(db)
  local script = files.write(files.dir() .. "/publish.sql", PUBLISH)
  local function sql(text)
    return server:psql(text, { db = db })
  end
  local function bell(on)
    sql(("ALTER TABLE moonwake.events %s TRIGGER events_bell"):format(on and "ENABLE" or "DISABLE"))
  end
  local function with_daemon(args, publish)
    local daemon = moonwake.spawn(args, { db = dsn })
    ffi.C.poll(nil, 0, 1500)
    local rate = publish()
    daemon:signal("TERM")
    daemon:wait()
    return rate
  end
  local run = { "run", "-C", "bench/data", "--no-supervisor", "-q" }
  local poll = { "run", "-C", "bench/data", "--no-supervisor", "-q", "--poll", "5" }

  tps(server, db, script) -- warm
  print("doorbell: 32 publishers of one event per transaction")
  local held, none, held_ratio = pairs_of(function()
    bell(true)
    local holder = server:session { db = db }
    holder:run("SELECT pg_advisory_lock(moonwake.bell_key(), 1)")
    local rate = tps(server, db, script)
    holder:close()
    return rate
  end, function()
    bell(false)
    return tps(server, db, script)
  end)
  print(("  bell held by an idle session %6.0f tps, no trigger %6.0f tps                ratio %.3f"):format(held, none, held_ratio))
  local live, polling, live_ratio = pairs_of(function()
    bell(true)
    return with_daemon(run, function() return tps(server, db, script) end)
  end, function()
    bell(false)
    return with_daemon(poll, function() return tps(server, db, script) end)
  end)
  print(("  live daemon with the bell    %6.0f tps, polling every 5 ms without it %6.0f tps  ratio %.3f"):format(
    live, polling, live_ratio))
  sql([[CREATE FUNCTION always() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('moonwake', ''); RETURN NULL; END $$;
    CREATE TRIGGER always AFTER INSERT ON moonwake.events FOR EACH STATEMENT EXECUTE FUNCTION always()]])
  local always, never, always_ratio = pairs_of(function()
    sql("ALTER TABLE moonwake.events ENABLE TRIGGER always")
    return tps(server, db, script)
  end, function()
    sql("ALTER TABLE moonwake.events DISABLE TRIGGER always")
    return tps(server, db, script)
  end)
  print(("  NOTIFY in every commit       %6.0f tps, no trigger %6.0f tps                ratio %.3f"):format(always, never, always_ratio))
  note("doorbell", { { "held_tps", held }, { "no_trigger_tps", none }, { "held_ratio", held_ratio },
    { "live_tps", live }, { "polling_tps", polling }, { "live_ratio", live_ratio },
    { "notify_always_tps", always }, { "notify_always_ratio", always_ratio } })
  server:stop()
end

local all = next(wanted) == nil
if all or wanted.replay then
  replay()
end
if all or wanted.debugger then
  debugger()
end
if all or wanted.rules then
  require "bench.rules"({ start = start, timed_run = timed_run, median = median, note = note }, EVENTS / 5, ROUNDS)
end
if all or wanted.doorbell then
  doorbell()
end
write_results()
files.clean()
