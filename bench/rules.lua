-- The cost of rules: events/s with 1, 20 and 200 of them loaded, of mixed kinds, of which one takes the events of the log;
-- and what a key's state takes. The time that a daemon needs to start is measured apart and taken off.
local files = require "spec.support.files"

local KEYS = 10000
local COUNTS = { 1, 20, 200 }

--- In turn; the first is the one that matches.
local KINDS = {
  [[rule "%s" { on = "%s", window = { over = "10m" }, when = function(w) return w.count > 1000000 end }]],
  [[rule "%s" { on = "%s", absent = { within = "1d" } }]],
  [[rule "%s" { on = "%s", value = "data.cpu", when = function(v) return v > 1000 end, clear = function(v) return v < 10 end, hold = "5m" }]],
  [[rule "%s" { on = "%s", seq = { "%s", within = "1h", missing = "%s.done" } }]],
  [[rule "%s" { on = "%s", fold = { step = function(s, e) s.n = (s.n or 0) + 1 end }, when = function(s) return s.n < 0 end }]],
  [[rule "%s" { on = "%s", value = "data.cpu", window = { over = "1h", kind = "tumble" }, when = function(w) return w.avg > 1000 end }]],
}

local FILL = [[
INSERT INTO moonwake.events (event_id, event_type, aggregate_type, aggregate_id, version, data, source, occurred_at)
SELECT gen_random_uuid(), 'bench.matched', 'device', 'device-' || (i::bigint * 7919 %% %d), 1 + i / %d,
  jsonb_build_object('cpu', i %% 100, 'ok', i %% 3 = 0, 'site', 'site-' || i %% 40, 'message', repeat('lorem ipsum ', 8)),
  'bench', now() FROM generate_series(1, %d) i]]

local function workspace(count)
  local dir = files.dir()
  os.execute(("mkdir -p %s/rules %s/projections"):format(dir, dir))
  for i = 1, count do
    local name, type = ("rule_%d"):format(i), i == 1 and "bench.matched" or ("bench.other_%d"):format(i)
    files.write(("%s/rules/%s.lua"):format(dir, name), KINDS[(i - 1) % #KINDS + 1]:format(name, type, type, type))
  end
  return dir
end

--- `tools`: what bench.lua has. Returns nothing: it prints and notes.
return function(tools, events, rounds)
  local server, db = tools.start()
  print(("rules: filling %d events over %d keys"):format(events, KEYS))
  server:psql(FILL:format(KEYS, KEYS, events), { db = db })
  server:psql("VACUUM ANALYZE moonwake.events", { db = db })

  local spaces, seconds, starts, bytes = {}, {}, {}, 0
  for _, count in ipairs(COUNTS) do
    spaces[count], seconds[count], starts[count] = workspace(count), {}, {}
  end
  for round = 1, rounds do
    for _, count in ipairs(COUNTS) do
      server:createdb("copy", { template = db })
      local all = tools.timed_run(spaces[count], server.dsn("copy"))
      starts[count][round] = tools.timed_run(spaces[count], server.dsn("copy")) -- with nothing to do
      seconds[count][round] = all - starts[count][round]
      bytes = tonumber((server:psql([[SELECT round(avg(octet_length(state::text))) FROM moonwake.rule_states
        WHERE part = '']], { db = "copy" })))
      server:dropdb("copy")
    end
  end
  local fields, alone = { { "events", events }, { "keys", KEYS } }, nil
  for _, count in ipairs(COUNTS) do
    local rate = events / tools.median(seconds[count])
    alone = alone or rate
    print(("  %3d rules, one of which matches %9.0f events/s   ratio %.3f   (start %.2f s)"):format(
      count, rate, rate / alone, tools.median(starts[count])))
    fields[#fields + 1] = { ("rules_%d_per_s"):format(count), rate }
    fields[#fields + 1] = { ("rules_%d_ratio"):format(count), rate / alone }
  end
  print(("  state of a key: %d bytes of JSON (a window with %.0f events)"):format(bytes, events / KEYS))
  fields[#fields + 1] = { "state_bytes_per_key", bytes }
  tools.note("rules", fields)
  server:stop()
end
