local ffi = require "ffi"
local flow = require "spec.support.flow"
local files = require "spec.support.files"
local pg = require "spec.support.pg"
local publishers = require "spec.support.publishers"

local C = flow.C
local SEED = tonumber(os.getenv("SEED") or os.time())

local function connect(server, db, user)
  local dsn, err = server.dsn(db, user), ffi.new("Err")
  local conn = C.pg_db_open(ffi.new("PgTarget", { dsn, "moonwake", "spec" }), err)
  assert(conn ~= nil, flow.message(err))
  return ffi.gc(conn, C.pg_db_close)
end

--- A HistoryFilter of a table, and what it points to.
local function filter_of(f)
  local keep = { types = ffi.new("Str[?]", math.max(#(f.types or {}), 1)) }
  local out = ffi.new("HistoryFilter")
  for name, value in pairs(f) do
    if name == "types" then
      for i, t in ipairs(value) do
        keep.types[i - 1] = flow.str(t)
      end
      out.types, out.ntypes = keep.types, #value
    elseif type(value) == "string" then
      keep[name] = value
      out[name] = value
    else
      out[name] = value
    end
  end
  return out, keep
end

local function open(conn, f)
  local filter, keep = filter_of(f)
  local err = ffi.new("Err")
  local history = C.history_open(conn, filter, err)
  keep[1] = filter
  if history == nil then
    return nil, flow.message(err), flow.kind(err)
  end
  return ffi.gc(history, C.history_close)
end

local function close(history)
  C.history_close(ffi.gc(history, nil))
end

--- What the history gives: what `each` makes of every event, and the pages' sizes.
local function read(history, each)
  local page, err, out, sizes = ffi.new("EventSlice"), ffi.new("Err"), {}, {}
  repeat
    if not C.history_next(history, page, err) then
      return nil, flow.message(err), flow.kind(err)
    end
    for i = 0, tonumber(page.count) - 1 do
      out[#out + 1] = each and each(page.events[i]) or tonumber(page.events[i].id)
    end
    sizes[#sizes + 1] = tonumber(page.count)
  until page.count == 0
  return out, sizes
end

local function quoted(text)
  return "'" .. text:gsub("'", "''") .. "'"
end

local function instant(us)
  return ("timestamptz 'epoch' + %d * interval '1 microsecond'"):format(us)
end

--- The same filter as a condition, written without a look at the statements.
local function condition(f)
  local all = { "true" }
  local function add(format, ...)
    all[#all + 1] = format:format(...)
  end
  if f.aggregate_type then add("aggregate_type = %s", quoted(f.aggregate_type)) end
  if f.aggregate_id then add("aggregate_id = %s", quoted(f.aggregate_id)) end
  if f.correlation then add("correlation_id = %s", quoted(f.correlation)) end
  if f.after then add("id > %d", f.after) end
  if f.upto then add("id <= %d", f.upto) end
  if f.from_us then add('"timestamp" >= %s', instant(f.from_us)) end
  if f.until_us then add('"timestamp" < %s', instant(f.until_us)) end
  if f.until_occurred_us then add("occurred_at <= %s", instant(f.until_occurred_us)) end
  if f.after_version then add("version > %d", f.after_version) end
  if f.upto_version then add("version <= %d", f.upto_version) end
  if f.types and #f.types > 0 then
    local any = {}
    for i, t in ipairs(f.types) do
      any[i] = ("event_type ~ %s"):format(quoted("^" .. t:gsub("[%.%%_\\(){}]", "\\%0"):gsub("%*", ".*") .. "$"))
    end
    add("(%s)", table.concat(any, " OR "))
  end
  return table.concat(all, " AND ")
end

local TYPES = { "device.online", "device.offline", "container.crashed", "container.started", "rare.event", "odd_%\\type",
  'quote".a,{b}' }

--- Events over five days, some of them large, some types rare, with holes between the ids.
local function fill(server, db, count)
  server:psql(([[
    SELECT setseed(%f);
    SELECT moonwake.create_events_partition(current_date - i) FROM generate_series(0, 6) i;
    CREATE TABLE public.src AS
      SELECT i, random() AS r, random() AS r2, random() AS r3, 1 + floor(random() * 20)::int AS agg FROM generate_series(1, %d) i;
    SELECT setval('moonwake.events_id_seq', 10);
    INSERT INTO moonwake.events (id, event_type, aggregate_type, aggregate_id, version, data, metadata, correlation_id,
        causation_id, source, severity, occurred_at, "timestamp")
      SELECT nextval('moonwake.events_id_seq') + 3 * i,
        (ARRAY['device.online', 'device.offline', 'container.crashed', 'container.started', 'rare.event', 'odd_%%\type',
          'quote".a,{b}'])[CASE WHEN r < 0.003 THEN 5 WHEN r < 0.006 THEN 6 WHEN r < 0.009 THEN 7 ELSE 1 + i %% 4 END],
        CASE WHEN agg < 15 THEN 'device' ELSE 'it''s' END, 'a' || agg, row_number() OVER (PARTITION BY agg ORDER BY i),
        jsonb_build_object('n', i, 'text', CASE WHEN r2 < 0.01 THEN
          (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 1000 + i %% 3000) j) ELSE md5(i::text) END),
        CASE WHEN r2 > 0.995 THEN jsonb_build_object('m', (SELECT string_agg(md5(j || 'm'), '') FROM generate_series(1, 800) j))
          ELSE '{}' END,
        CASE WHEN r3 < 0.3 THEN 'c' || floor(r3 * 100) END, CASE WHEN r3 > 0.5 THEN gen_random_uuid() END, 'spec',
        CASE WHEN r3 > 0.8 THEN 'high' END,
        now() - r * interval '5 days', now() - (%d - i) * interval '5 days' / %d - r2 * interval '1 second'
      FROM public.src ORDER BY i;
    SELECT setval('moonwake.events_id_seq', (SELECT max(id) FROM moonwake.events));
    INSERT INTO moonwake.streams (aggregate_type, aggregate_id, version)
      SELECT aggregate_type, aggregate_id, max(version) FROM moonwake.events GROUP BY 1, 2;
    DROP TABLE public.src;
    ANALYZE moonwake.events]]):format(SEED % 1000 / 1000, count, count, count), { db = db })
end

local function bounds(server, db)
  local row = server:query([[SELECT min(id), max(id), (extract(epoch FROM min("timestamp")) * 1000000)::bigint,
    (extract(epoch FROM max("timestamp")) * 1000000)::bigint FROM moonwake.events]], { db = db })[1]
  return { first = tonumber(row[1]), last = tonumber(row[2]), from = tonumber(row[3]), to = tonumber(row[4]) }
end

local function maybe(n, make)
  if math.random(n) == 1 then
    return make()
  end
end

local function random_filter(b)
  local function id() return math.random(b.first - 3, b.last + 3) end
  local function time() return b.from + math.floor(math.random() * (b.to - b.from)) end
  local whole = math.random(2) == 1
  return {
    aggregate_type = (whole or math.random(4) == 1) and (math.random(3) == 1 and "it's" or "device") or nil,
    aggregate_id = whole and "a" .. math.random(20) or maybe(6, function() return "a3" end),
    correlation = maybe(4, function() return "c" .. math.random(0, 30) end),
    after = maybe(4, id), upto = maybe(4, id), from_us = maybe(4, time), until_us = maybe(4, time),
    until_occurred_us = maybe(4, time),
    after_version = maybe(6, function() return math.random(0, 100) end),
    upto_version = maybe(6, function() return math.random(1, 200) end),
    types = maybe(2, function()
      local list = {}
      for i = 1, math.random(1, 3) do
        list[i] = maybe(4, function() return ({ "device.*", "*.event", "*", "odd_%*", "none.*" })[math.random(5)] end)
          or TYPES[math.random(#TYPES)]
      end
      return list
    end),
  }
end

local function show(f)
  local words = { "seed " .. SEED }
  for name, value in pairs(f) do
    words[#words + 1] = name .. "=" .. (type(value) == "table" and table.concat(value, "|") or tostring(value))
  end
  return table.concat(words, " ")
end


describe("a history", function()
  local server, db, conn, b

  setup(function()
    math.randomseed(SEED)
    server = pg.shared()
    db = server:fresh("history")
    server:psql("DO $$ BEGIN CREATE ROLE history_reader LOGIN IN ROLE moonwake_read; EXCEPTION WHEN duplicate_object THEN END $$")
    fill(server, db, 6000)
    b = bounds(server, db)
  end)

  before_each(function()
    conn = connect(server, db, "history_reader")
  end)

  after_each(function()
    C.pg_db_close(ffi.gc(conn, nil))
  end)

  it("has exactly the events that SQL finds by the same filter, in the order of their ids", function()
    local filters, sql = {}, {}
    for i = 1, 150 do
      filters[i] = random_filter(b)
      sql[i] = ("SELECT %d, coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM moonwake.events WHERE %s"):format(i,
        condition(filters[i]))
    end
    local expected = server:query(table.concat(sql, "\nUNION ALL\n") .. " ORDER BY 1", { db = db })
    local any = 0
    for i, f in ipairs(filters) do
      local history = open(conn, f)
      local ids = read(history)
      assert.equal(expected[i][2], table.concat(ids, " "), show(f))
      assert.equal(#ids, tonumber(C.history_read(history)))
      local expects = tonumber(C.history_expected(history))
      assert.is_true(expects == -1 or expects >= #ids, show(f))
      any = any + (#ids > 0 and 1 or 0)
      close(history)
    end
    assert.is_true(any > 35)
  end)

  it("gives every member of every event, large documents included", function()
    local found = read(open(conn, {}), flow.event_json)
    assert.equal(6000, #found)

    -- both through jsonb, so that only the values count
    server:psql("CREATE TABLE public.found (n int, j jsonb)", { db = db })
    local session = server:session { db = db }
    for i, text in ipairs(found) do
      session:send(("INSERT INTO public.found VALUES (%d, %s)"):format(i, quoted(text)))
    end
    session:read(60)
    session:close()
    assert.equal("6000", server:psql("SELECT count(*) FROM public.found", { db = db }))
    assert.equal("", server:psql([[SELECT coalesce(string_agg(e.id::text, ' '), '')
      FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM moonwake.events) e LEFT JOIN public.found f USING (n)
      WHERE f.j - 'occurred_at' - 'timestamp' IS DISTINCT FROM to_jsonb(e) - 'n' - 'occurred_at' - 'timestamp'
        OR (f.j ->> 'occurred_at')::timestamptz <> e.occurred_at OR (f.j ->> 'timestamp')::timestamptz <> e."timestamp"]],
      { db = db }))
  end)

  it("reads a few large documents at a time, and never fewer than one", function()
    local big = server:fresh("history_large")
    server:psql([[INSERT INTO moonwake.events (event_type, aggregate_type, aggregate_id, version, data, occurred_at)
      SELECT 't', 'a', 'b', i, CASE WHEN i IN (1, 200, 201, 400) THEN '{}' WHEN i = 7 THEN
        jsonb_build_object('x', (SELECT string_agg(md5(j::text), '') FROM generate_series(1, 700000) j))
        ELSE jsonb_build_object('x', (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 2000) j)) END, now()
      FROM generate_series(1, 400) i]], { db = big })
    local reader = connect(server, big, "history_reader")
    local bytes = 0
    local ids, sizes = read(open(reader, { aggregate_type = "a", aggregate_id = "b" }), function(e)
      bytes = bytes + tonumber(e.data.len)
      return tonumber(e.id)
    end)

    assert.equal(400, #ids)
    assert.is_true(bytes > 40e6)
    for i, size in ipairs(sizes) do
      assert.is_true(size <= 64, "page " .. i)
    end
    for i, id in ipairs(ids) do
      assert.equal(i, id)
    end
  end)

  it("may be left in the middle, and another begun", function()
    for _ = 1, 20 do
      local history, page, err = open(conn, {}), ffi.new("EventSlice"), ffi.new("Err")
      assert.is_true(C.history_next(history, page, err))
      assert.is_true(page.count > 0)
      close(history)
    end
    assert.equal(6000, #read(open(conn, {})))
  end)

  it("is read by a tape as far as anybody looks", function()
    local history, err = open(conn, {}), ffi.new("Err")
    ffi.gc(history, nil)
    local tape = ffi.gc(C.tape_open(history, err), C.tape_close)
    local event, number = ffi.new("Event"), ffi.new("size_t[1]")

    assert.is_true(C.tape_event(tape, 3, event, err))
    assert.is_true(tonumber(C.history_read(history)) < 3000)
    assert.is_true(C.tape_find(tape, b.last, number, err))
    assert.equal(5999, tonumber(number[0]))
    C.tape_close(ffi.gc(tape, nil))
  end)

  it("is refused with an empty type", function()
    local history, message, kind = open(conn, { types = { "device.online", "" } })

    assert.is_nil(history)
    assert.matches("event types: one of them is empty", message)
    assert.equal("usage", kind)
  end)
end)


describe("a history while others append", function()
  local server = pg.shared()

  it("ends before an event that is under way, and does not wait for it long", function()
    local db = server:fresh("history_open")
    local publish = "SELECT id FROM moonwake.publish_event('t', 'a', '%s', '{}')"
    for i = 1, 5 do
      server:psql(publish:format("x" .. i), { db = db })
    end
    local held = server:session { db = db }
    held:run("BEGIN; " .. publish:format "held")
    server:psql(publish:format "later", { db = db })
    local conn = connect(server, db, "moonwake_run")

    assert.same({ 1, 2, 3, 4, 5 }, (read(open(conn, {}))))
    assert.same({ 5 }, (read(open(conn, { after = 4, upto = 100 }))))
    held:run("COMMIT")
    assert.same({ 1, 2, 3, 4, 5, 6, 7 }, (read(open(conn, {}))))
    held:run("BEGIN; " .. publish:format "never")
    server:psql(publish:format "behind a hole", { db = db })
    held:run("ROLLBACK")
    held:close()
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 9 }, (read(open(conn, {}))))
  end)

  it("misses nothing below its end, and shows nothing beyond", function()
    local db = server:fresh("history_busy")
    local writers = publishers.start(server.dsn(db), 6, SEED, 20)
    local conn = connect(server, db, "moonwake_run")
    local seen = {}
    pg.eventually(function() return server:psql("SELECT count(*) > 50 FROM moonwake.events", { db = db }) == "t" end, 20)
    for i = 1, 12 do
      local f = i % 3 == 0 and { types = { "torture.odd" } } or {}
      local history = open(conn, f)
      local upto, ids = tonumber(C.history_upto(history)), (read(history))
      close(history)
      seen[i] = { upto = upto, ids = ids, types = f.types }
      pg.sleep(0.1)
    end
    publishers.stop(writers, pg, function() end)

    for i, look in ipairs(seen) do
      local expected = server:psql(([[SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM moonwake.events
        WHERE id <= %d %s]]):format(look.upto, look.types and "AND event_type = 'torture.odd'" or ""), { db = db })
      assert.equal(expected, table.concat(look.ids, " "), ("look %d, seed %d"):format(i, SEED))
    end
    assert.is_true(#seen[1].ids > 50 and #seen[11].ids >= #seen[1].ids)
  end)

  it("says that the server went away, and keeps what it had", function()
    local own = pg.start()
    local db = own:createdb("gone")
    own:migrate(db)
    fill(own, db, 6000)
    local conn = connect(own, db, "moonwake_run")
    local history, page, err = open(conn, {}), ffi.new("EventSlice"), ffi.new("Err")
    assert.is_true(C.history_next(history, page, err))
    own:psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spec'")
    local ids, message, kind
    for _ = 1, 3 do
      ids, message, kind = read(history)
    end

    assert.is_nil(ids)
    assert.matches("connection lost", message)
    assert.equal("connection", kind)
    close(history)
    own:stop()
  end)

  it("cannot be read from a standby", function()
    local own = pg.start { settings = { hot_standby = "on" } }
    local db = own:createdb("standby")
    own:migrate(db)
    own:halt()
    os.execute(("touch %s/standby.signal && chmod 644 %s/standby.signal"):format(own.data, own.data))
    own:start()
    local conn = connect(own, db, "moonwake_run")
    local history, message = open(conn, {})

    assert.is_nil(history)
    assert.matches("^log: this server is a standby %(.*read from the primary", message)
    own:stop()
  end)
end)


-- Which index each way of reading goes by, where there is something to read.

local function statement(name)
  return assert(files.read("sql/queries/" .. name .. ".sql"))
end

--- The scans of a plan that read rows, each named by its index without the partition, or as "seq".
local function scans(plan)
  local found, list = {}, {}
  for line in plan:gmatch("[^\n]+") do
    local rows = tonumber(line:match("actual rows=(%d+)") or 0)
    local name = line:match("Index Scan using events_%d+_(%S+)") or line:match("Index Only Scan using events_%d+_(%S+)")
      or line:match("Bitmap Index Scan on events_%d+_(%S+)") or line:match("Seq Scan") and "seq"
    if name and rows > 0 and not found[name] then
      found[name] = true
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return table.concat(list, " ")
end

describe("the statements of a history", function()
  local server = pg.shared()
  local db

  setup(function()
    db = server:fresh("history_plans")
    server:psql([[SELECT moonwake.create_events_partition(current_date - i) FROM generate_series(0, 9) i;
      INSERT INTO moonwake.events (event_type, aggregate_type, aggregate_id, version, data, correlation_id, occurred_at, "timestamp")
        SELECT 'type.' || CASE WHEN i % 5000 = 0 THEN 'rare' ELSE (i % 10)::text END, 'device', 'd' || i % 400, i / 400 + 1,
          jsonb_build_object('i', i, 'text', repeat(md5(i::text), 8)), 'c' || i / 5, now(),
          now() - (60000 - i) * interval '12 seconds'
        FROM generate_series(1, 60000) i;
      ANALYZE moonwake.events]], { db = db })
  end)

  local ANY = "500, 'infinity', 'infinity', NULL, NULL"
  local PLANS = {
    { "history_page", "1000, 51000, '-infinity', 500, 'infinity', 'infinity', '{type.1}', '{}', NULL, NULL, NULL, 0, 1e18::bigint",
      "pkey" },
    { "history_types", "1000, 60000, '-infinity', 500, 'infinity', 'infinity', '{type.rare}', '{}', NULL, NULL, NULL, 0, 1e18::bigint",
      "event_type_id_idx" },
    { "events_page_sparse", "1000, 60000, '-infinity', 500, '{type.rare}', '{}'", "event_type_id_idx" },
    { "history_aggregate", "1000, 60000, '-infinity', " .. ANY .. ", 'device', 'd17', NULL, 10, 1e18::bigint",
      "aggregate_type_aggregate_id_version_idx" },
    { "history_correlation", "1000, 60000, '-infinity', " .. ANY .. ", NULL, NULL, 'c777', 0, 1e18::bigint", "correlation_id_idx" },
    { "history_large", "'{500,40000,59000}', '-infinity', 'infinity', 16777216", "pkey" },
    { "history_span", "0, 60000, now() - interval '30 hours', now() - interval '26 hours'", "pkey" },
    { "history_version", "'device', 'd17'", "" },
  }

  for _, mode in ipairs { "force_generic_plan", "force_custom_plan" } do
    for _, case in ipairs(PLANS) do
      it(("read by the index that serves them: %s, %s"):format(case[1], mode), function()
        local plan = server:psql(("SET plan_cache_mode = %s; PREPARE q AS %s; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE q(%s)")
          :format(mode, statement(case[1]), case[2]), { db = db })

        assert.equal(case[3], scans(plan), plan)
      end)
    end

    it("touch only the days that are asked for, " .. mode, function()
      local plan = server:psql(("SET plan_cache_mode = %s; PREPARE q AS %s; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE q(%s)")
        :format(mode, statement "history_page", [[0, 60000, (current_date - 2)::timestamp AT TIME ZONE 'UTC', 20000,
          (current_date - 1)::timestamp AT TIME ZONE 'UTC', 'infinity', NULL, NULL, NULL, NULL, NULL, 0, 1e18::bigint]]), { db = db })
      local days = {}
      for day in plan:gmatch("Scan[%a ]* on events_(%d+)") do
        days[#days + 1] = day
      end

      assert.is_true(#days == 1 or #days == 0 and select(2, plan:gsub("events_%d+_pkey", "")) == 1, plan)
    end)
  end
end)
