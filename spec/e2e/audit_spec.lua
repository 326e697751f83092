local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

--- A projection that counts; events whose data says `bad` fail while `fails` says so.
local function counting(name, types, on_error, fails)
  local handlers = {}
  for _, event_type in ipairs(types) do
    handlers[#handlers + 1] = ('[%q] = count,'):format(event_type)
  end
  return ([[
local function count(row, event)
  row.events = row.events + 1
  if event.data.bad and %s then error("cannot stand it") end
end
projection "%s" {
  version = 1, on_error = "%s",
  columns = { events = "bigint default 0" },
  on = { %s },
}
]]):format(fails and "true" or "false", name, on_error or "stop", table.concat(handlers, " "))
end

local BY_SQL = [[
projection "by_sql" {
  version = 1, sql = true, on_error = "skip",
  tables = { audit_seen = "id bigint primary key" },
  on = { %s = function(db, event)
    if event.data.bad then error("cannot stand it") end
    db:exec("INSERT INTO moonwake_tables.audit_seen VALUES ($1)", event.id)
  end },
}
]]

local REDUCER = [[
reducer "order" {
  aggregate = "order", version = 1,
  initial = function() return { n = 0 } end,
  on = { ["*.made"] = function(state) state.n = state.n + 1 end },
}
]]

--- Some events of four types and two aggregate types, every `bad`th one bad; some under ids that their publisher gave.
local function publish(bench, n, bad)
  bench:psql(([[SELECT count(*) FROM moonwake.publish_events((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
    'event_type', (ARRAY['thing.made', 'thing.moved', 'order.made', 'x_y'])[1 + i %% 4], 'aggregate_type', (ARRAY['thing', 'order'])[1 + i / 7 %% 2],
    'aggregate_id', 'a' || i %% 13, 'event_id', CASE WHEN i %% 3 = 0 THEN gen_random_uuid() END,
    'data', jsonb_build_object('n', i, 'bad', CASE WHEN i %% %d = 0 THEN true END))) ORDER BY i)
    FROM generate_series(1, %d) i))]]):format(bad or 1000000, n))
end

--- Runs `audit --json`: its exit code, and the answer to SQL over its lines, the column `line`.
local function audit(bench, sql, args)
  local words = { "audit", "--json" }
  for _, word in ipairs(args or {}) do
    words[#words + 1] = word
  end
  local r = moonwake.run(words, { db = bench.run_dsn })
  assert.equal("", r.err)
  return r.code, bench:psql(([[WITH audit AS (SELECT line::json FROM unnest(string_to_array(trim($json$%s$json$, E'\n'), E'\n')) line)
    %s]]):format(r.out, sql))
end

local FAULTS = "SELECT string_agg(concat_ws(' ', line->>'consumer', line#>>'{first_bad,from}', line#>>'{first_bad,fault}', "
  .. "line#>>'{first_bad,first_event}', line#>>'{first_bad,last_event}', line#>>'{first_bad,count}', line->>'bad_ranges'), "
  .. "E'\\n' ORDER BY line->>'consumer') FROM audit WHERE (line->>'bad_ranges')::int > 0"
local LOG = "SELECT concat_ws(' ', line#>>'{log,first_bad,from}', line#>>'{log,first_bad,to}', line#>>'{log,first_bad,problem}') "
  .. "FROM audit WHERE line->'log' IS NOT NULL"
local SUSPECTS = "SELECT coalesce(string_agg(s->>'event', ' ' ORDER BY (s->>'event')::bigint), '') "
  .. "FROM audit, json_array_elements(line#>'{log,suspects}') s"
local SEEN = "SELECT string_agg((line->>'consumer') || ' ' || (line->>'events') || ' ' || (line->>'verdict'), E'\\n' "
  .. "ORDER BY line->>'consumer') FROM audit WHERE line->'consumer' IS NOT NULL"

local function tamper(bench, change)
  bench:psql("SET session_replication_role = replica; " .. change)
end

local function must_catch_up(bench)
  local r = bench:caught_up()
  assert.equal(0, r.code, r.err)
end

describe("the audit after real work", function()
  it("is clean, and counts what SQL counts over the log", function()
    local bench = bench_of {
      all = true,
      things = counting("things", { "thing.*" }),
      made = counting("made", { "*.made", "thing.made" }),
      skips = counting("skips", { "order.*", "x_y" }, "skip", true),
      parks = counting("parks", { "*" }, "park_key", true),
      stops = counting("stops", { "thing.moved" }, "stop", true),
      by_sql = BY_SQL:format '["thing.moved"]',
    }
    finally(function() bench:stop() end)
    files.write(bench.workspace .. "/scripts/reducers/order.lua", REDUCER)

    -- killed wherever a commit stands, and taken over
    for i, fault in ipairs { "before_commit:2", "after_send:3", "after_commit:2", "after_send:1" } do
      publish(bench, 400, i == 2 and 97)
      local first = bench:daemon({ "--takeover-after", "1" }, { MOONWAKE_FAULT = "group." .. fault })
      local owner = ("SELECT count(*) > 0 FROM moonwake.consumers WHERE daemon LIKE '%%:%d%%'"):format(first.pid)
      pg.eventually(function()
        return first:code() or bench:psql(owner) == "t"
      end, 60)
      local second = i % 2 == 0 and bench:daemon { "--takeover-after", "1" }
      pg.eventually(function()
        publish(bench, 20)
        return first:code()
      end, 60)
      if second then
        second:signal("KILL")
        second:wait()
      end
    end
    bench:daemon()
    bench:eventually("SELECT min(position) = moonwake.log_head() FROM moonwake.consumers WHERE consumer <> 'stops'", "t", 30)

    -- what failed is mended and tried again; other types are taken from here on
    bench:save("parks", counting("parks", { "*" }, "park_key"))
    bench:save("stops", counting("stops", { "thing.moved" }))
    bench:save("by_sql", BY_SQL:format '["thing.*"]')
    bench:eventually("SELECT min(position) = moonwake.log_head() FROM moonwake.consumers", "t", 30)
    assert.equal(0, moonwake.run({ "dead-letters", "retry", "parks" }, { db = bench.run_dsn }).code)
    publish(bench, 500, 101)
    bench:eventually("SELECT min(position) = moonwake.log_head() AND count(*) >= 8 FROM moonwake.consumers", "t", 30)
    assert.equal(bench:psql("SELECT count(*) FROM moonwake.events"), bench:psql("SELECT sum(events) FROM moonwake.parks"))

    local code, seen = audit(bench, SEEN)
    assert.equal(bench:psql([[
      SELECT string_agg(concat_ws(' ', c, n, 'proved'), E'\n' ORDER BY c) FROM (
        SELECT 'all' AS c, count(*) AS n FROM moonwake.events
        UNION ALL SELECT 'parks', count(*) FROM moonwake.events
        UNION ALL SELECT 'things', count(*) FROM moonwake.events WHERE event_type LIKE 'thing.%'
        UNION ALL SELECT 'made', count(*) FROM moonwake.events WHERE event_type LIKE '%.made'
        UNION ALL SELECT 'skips', count(*) FROM moonwake.events WHERE event_type LIKE 'order.%' OR event_type = 'x_y'
        UNION ALL SELECT 'stops', count(*) FROM moonwake.events WHERE event_type = 'thing.moved'
        UNION ALL SELECT 'order', count(*) FROM moonwake.events WHERE event_type LIKE '%.made' AND aggregate_type = 'order'
        UNION ALL SELECT 'by_sql', count(*) FROM moonwake.events WHERE event_type = 'thing.moved'
          OR event_type LIKE 'thing.%' AND id > (SELECT max(since) FROM moonwake.consumer_types WHERE consumer = 'by_sql')) t]]), seen)
    assert.equal(0, code)
    assert.equal("2", bench:psql("SELECT count(*) FROM moonwake.consumer_types WHERE consumer = 'by_sql'"))
  end)

  it("is clean while daemons work and publishers publish, and after a rebuild", function()
    local bench = bench_of { all = true, made = counting("made", { "*.made" }) }
    finally(function() bench:stop() end)
    publish(bench, 3000)
    bench:daemon()
    local busy = bench.server:session { db = bench.db }
    finally(function() busy:close() bench:stop() end)
    busy:send([[DO $$ BEGIN FOR i IN 1 .. 3000 LOOP
      PERFORM moonwake.publish_event('order.made', 'thing', 'b' || i % 50); COMMIT; END LOOP; END $$]])
    local audits = 0
    repeat
      local code, faults = audit(bench, FAULTS)
      assert.equal("", faults)
      assert.equal(0, code)
      audits = audits + 1
    until not busy:busy()
    busy:read()
    assert.is_true(audits > 0)

    bench:psql("SELECT moonwake.rebuild_consumer('made')")
    bench:eventually("SELECT min(position) = moonwake.log_head() FROM moonwake.consumers", "t", 30)
    local code, seen = audit(bench, SEEN)
    local made = bench:psql("SELECT count(*) FROM moonwake.events WHERE event_type LIKE '%.made'")
    assert.same({ 0, "all 6000 proved\nmade " .. made .. " proved" }, { code, seen })
  end)

  it("is clean after a changed projection was built beside the live one and has taken its place", function()
    local bench = bench_of { all = true, made = counting("made", { "*.made" }) }
    finally(function() bench:stop() end)
    publish(bench, 1000)
    bench:daemon()
    bench:eventually("SELECT min(position) = moonwake.log_head() FROM moonwake.consumers", "t", 30)
    bench:save("made", (counting("made", { "thing.*" }):gsub("version = 1", "version = 2")))
    publish(bench, 1000)
    bench:eventually("SELECT version FROM moonwake.consumers WHERE consumer = 'made'", "2", 60)
    publish(bench, 500)
    bench:eventually("SELECT min(position) = moonwake.log_head() FROM moonwake.consumers WHERE consumer IN ('all', 'made')", "t", 30)

    local code, seen = audit(bench, SEEN, { "made", "all" })
    local things = bench:psql("SELECT count(*) FROM moonwake.events WHERE event_type LIKE 'thing.%'")
    assert.same({ 0, "all 2500 proved\nmade " .. things .. " proved" }, { code, seen })
    assert.equal(0, (audit(bench, SEEN))) -- the version before too, as far as it came
  end)

  it("needs no more than the right to read", function()
    local bench = bench_of { all = true }
    finally(function() bench.server:psql("ALTER ROLE moonwake_read NOLOGIN") end)
    bench.server:psql("ALTER ROLE moonwake_read LOGIN")
    publish(bench, 100)
    must_catch_up(bench)
    bench:psql("SELECT moonwake.seal_events(100, 10)")

    local out = moonwake.must({ "audit" }, { db = bench.server.dsn(bench.db, "moonwake_read") })
    assert.matches("all +100 +100 +1 +proved", out)
    assert.matches("log: head 100, sealed up to 100; 10 seals over 100 events: proved", out, 1, true)
  end)

  it("says what was not recorded", function()
    local bench = bench_of { all = true }
    publish(bench, 50)
    must_catch_up(bench)
    bench:psql("DELETE FROM moonwake.deliveries; DELETE FROM moonwake.consumer_types") -- as of a version before
    assert.matches("all +50 +0 +0 +not recorded\n", moonwake.must({ "audit" }, { db = bench.run_dsn }))

    publish(bench, 30)
    must_catch_up(bench)
    local out = moonwake.must({ "audit" }, { db = bench.run_dsn })
    assert.matches("all +80 +30 +1 +proved\n", out)
    assert.matches("all: what it was given up to event 50 was not recorded", out, 1, true)
  end)
end)

describe("the audit finds that", function()
  local bench

  --- Events in four ranges of 65,536 ids, all given to two consumers, and sealed.
  before_each(function()
    bench = bench_of { all = true, made = counting("made", { "*.made" }) }
    for range = 0, 3 do
      if range > 0 then
        bench:psql(("SELECT setval('moonwake.events_id_seq', %d)"):format(range * 65536 + 1000))
      end
      publish(bench, 400)
      must_catch_up(bench)
    end
    bench:psql("SELECT moonwake.seal_events(moonwake.log_head(), 1000) FROM generate_series(1, 30)")
    local code, seen = audit(bench, SEEN)
    assert.same({ 0, "all 1600 proved\nmade 800 proved" }, { code, seen })
  end)
  after_each(function()
    bench:stop()
  end)

  local function told(args)
    local r = moonwake.run({ "audit", unpack(args or {}) }, { db = bench.run_dsn })
    assert.equal("", r.err)
    return r.code, r.out
  end

  it("an event was deleted, and which", function()
    local id = 2 * 65536 + 1000 + 102 -- order.made, 102 % 3 = 0: its publisher gave an id
    assert.equal("order.made", bench:psql("SELECT event_type FROM moonwake.events WHERE id = " .. id))
    tamper(bench, "DELETE FROM moonwake.events WHERE id = " .. id)

    local code, faults = audit(bench, FAULTS)
    assert.equal(1, code)
    assert.equal(("all 131072 gone %d %d 1 1\nmade 131072 gone %d %d 1 1"):format(id, id, id, id), faults)
    local _, log = audit(bench, LOG)
    assert.equal("132001 133000 1 of 400 events are gone", log)
    local _, suspects = audit(bench, SUSPECTS)
    assert.matches("^" .. id .. " ", suspects)
    local _, out = told()
    assert.matches(("made: ids 131072 to 196607: event %d, which it was given, is not in the log any more"):format(id), out, 1, true)
    assert.matches("all +%S+ +1,600 +4 +DIFFERS\n", out)
  end)

  it("an event's data was changed, and in which range", function()
    local id = 65536 + 1000 + 100 -- no id was given for it: only the seal can tell
    tamper(bench, ("UPDATE moonwake.events SET data = data || '{\"n\":0}' WHERE id = %d"):format(id))

    local code, faults = audit(bench, FAULTS)
    assert.same({ 1, "" }, { code, faults })
    local _, log = audit(bench, LOG)
    assert.equal("66001 67000 an event or the seal is not what it was when it was sealed", log)

    tamper(bench, ("UPDATE moonwake.events SET data = data || '{\"n\":0}' WHERE id IN (%d, %d)"):format(id + 2, id + 5))
    assert.same({ 1, (id + 2) .. " " .. (id + 5) }, { audit(bench, SUSPECTS) })
  end)

  it("what was recorded was deleted or altered", function()
    tamper(bench, "DELETE FROM moonwake.deliveries WHERE consumer = 'made' AND range = 1")
    tamper(bench, "UPDATE moonwake.deliveries SET hash = hash - 1 WHERE consumer = 'all' AND range IN (2, 3)")

    local code, faults = audit(bench, FAULTS)
    assert.equal(1, code)
    local first, last = unpack(bench:query("SELECT min(id), max(id) FROM moonwake.events WHERE id >> 16 = 1 AND event_type LIKE '%.made'")[1])
    assert.matches("^all 131072 ", faults)
    assert.matches(" 2\n", faults, 1, true)
    assert.matches(("\nmade 65536 missed %s %s 200 1$"):format(first, last), faults)
    local _, log = audit(bench, LOG)
    assert.equal("", log)
  end)

  it("a cursor was moved forward past events", function()
    local head = tonumber(bench:psql("SELECT moonwake.log_head()"))
    publish(bench, 100)
    tamper(bench, ("UPDATE moonwake.event_cursors SET position = %d WHERE consumer = 'all'"):format(head + 40))
    tamper(bench, "UPDATE moonwake.event_cursors c SET position = g.position FROM moonwake.consumer_groups g "
      .. "WHERE g.group_id = c.group_id AND consumer <> 'all'; UPDATE moonwake.event_cursors SET group_id = NULL; "
      .. "DELETE FROM moonwake.consumer_groups")
    must_catch_up(bench)

    local code, faults = audit(bench, FAULTS)
    assert.same({ 1, ("all 196608 missed %d %d 40 1"):format(head + 1, head + 40) }, { code, faults })
    local _, out = told { "all" }
    assert.matches(("all: ids 196608 to 262143: 40 events from %d to %d were not given to it"):format(head + 1, head + 40), out, 1, true)
  end)

  it("a cursor was moved back, and events were given twice", function()
    local head = tonumber(bench:psql("SELECT moonwake.log_head()"))
    publish(bench, 100)
    must_catch_up(bench)
    tamper(bench, ("UPDATE moonwake.event_cursors SET group_id = NULL, position = %d; DELETE FROM moonwake.consumer_groups"):format(head + 70))
    must_catch_up(bench)

    local code, faults = audit(bench, FAULTS, { "all" })
    assert.same({ 1, ("all 196608 doubled %d %d 30 1"):format(head + 71, head + 100) }, { code, faults })
  end)

  it("an event was put in below the positions", function()
    tamper(bench, "INSERT INTO moonwake.events (id, occurred_at, version, event_type, aggregate_type, aggregate_id) "
      .. "VALUES (131072 + 500, now(), 1, 'thing.made', 'thing', 'new')")

    local code, faults = audit(bench, FAULTS)
    assert.same({ 1, "all 131072 missed 131572 131572 1 1\nmade 131072 missed 131572 131572 1 1" }, { code, faults })
    local _, log = audit(bench, LOG)
    assert.equal("131001 132000 1 events were not there when it was sealed", log)
  end)

  it("a position lies above the head", function()
    tamper(bench, "UPDATE moonwake.event_cursors SET group_id = NULL, position = 9000000000000000 WHERE consumer = 'made'")

    local code, out = told()
    assert.equal(1, code)
    assert.matches("made: stands at 9,000,000,000,000,000, above the log's head 198,008", out, 1, true)
    assert.matches("all +%S+ +1,600 +4 +proved\n", out)
  end)

  it("what it was asked about is in order, and where it is not asked it does not look", function()
    tamper(bench, "DELETE FROM moonwake.events WHERE id = 50; DELETE FROM moonwake.deliveries WHERE consumer = 'made' AND range = 3")

    assert.same({ 0, "all 800 proved" }, { audit(bench, SEEN, { "all", "--from", "70000", "--to", "190000" }) })
    assert.same({ 1, "all 0 gone 50 50 1 1" }, { audit(bench, FAULTS, { "all" }) })
    local code, faults = audit(bench, FAULTS, { "made", "--from", "196608" })
    assert.equal(1, code)
    assert.matches("^made 196608 missed %d+ %d+ 200 1$", faults)
  end)
end)

describe("the audit", function()
  it("names the consumer that was probably meant, and refuses bounds that make no sense", function()
    local bench = bench_of { counter = true }
    publish(bench, 5)
    must_catch_up(bench)

    local r = moonwake.run({ "audit", "conuter" }, { db = bench.run_dsn })
    assert.equal(2, r.code)
    assert.matches("consumer 'conuter': has never been started (did you mean 'counter'?)", r.err, 1, true)
    assert.equal(2, moonwake.run({ "audit", "--from", "9", "--to", "8" }, { db = bench.run_dsn }).code)
    assert.equal(2, moonwake.run({ "audit", "--from", "x" }, { db = bench.run_dsn }).code)
    assert.matches("no consumer has been started yet", moonwake.must({ "audit" }, { db = bench_of {}.run_dsn }))
  end)

  it("proves nothing when it is interrupted", function()
    local bench = bench_of { counter = true }
    publish(bench, 5)
    must_catch_up(bench)
    local holder = bench.server:session { db = bench.db }
    finally(function() holder:close() end)
    holder:run("BEGIN; LOCK moonwake.deliveries IN ACCESS EXCLUSIVE MODE")
    local r = moonwake.spawn({ "audit" }, { db = bench.run_dsn })
    bench:eventually("SELECT count(*) FROM pg_locks WHERE NOT granted", "1")

    r:signal("INT")
    holder:run("COMMIT")
    assert.equal(1, r:wait())
    assert.equal("", r:out())
    assert.matches("moonwake: audit: stopped, nothing is proved", r:err(), 1, true)
  end)
end)
