local json = require "dkjson"
local pg = require "spec.support.pg"

describe("reducers", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function sql(text, user)
    return server:psql(text, { db = db, user = user })
  end

  local function ensure(version, digest, name)
    local row = server:query(("SELECT table_name, load_sql, upsert_sql, delete_sql, created, rebuild, note "
      .. "FROM moonwake.reducer_ensure('%s', %d, '%s')"):format(name or "device", version, digest),
      { db = db, user = "moonwake_run" })[1]
    return { table = row[1], load = row[2], upsert = row[3], delete = row[4], created = row[5], rebuild = row[6], note = row[7] }
  end

  --- Runs a statement as the daemon does: prepared, with one JSON text.
  local function run(statement, rows)
    return server:query(("PREPARE s (text) AS %s; EXECUTE s ('%s')"):format(statement, json.encode(rows):gsub("'", "''")),
      { db = db, user = "moonwake_run" })
  end

  local function state(key, version, value)
    return { key = key, version = version, position = 10 * version, state = value, updated_at = 1767225600.25 + version }
  end

  it("are registered once, and the same one again changes nothing", function()
    local first, second = ensure(1, "aa"), ensure(1, "aa")

    assert.same({ "t", "f", "" }, { first.created, first.rebuild, first.note })
    assert.same({ "f", "f", "" }, { second.created, second.rebuild, second.note })
    assert.equal("moonwake.aggregate_states", first.table)
    assert.equal(first.upsert, second.upsert)
    assert.equal("device|1|aa|", sql("SELECT name, version, digest, pending_digest FROM moonwake.reducers"))
  end)

  it("keep the states of aggregates, each reducer its own", function()
    local device, other = ensure(1, "aa"), ensure(1, "bb", "other")

    run(device.upsert, { state("d'1", 1, { n = 1 }), state('d"2', 1, { n = "é" }) })
    run(other.upsert, { state("d'1", 7, { other = true }) })
    run(device.upsert, { state("d'1", 2, { n = 2, deep = { 1, json.null } }) })

    local loaded = run(device.load, { { n = 4, key = "d'1" }, { n = 9, key = 'd"2' }, { n = 5, key = "none" } })
    table.sort(loaded, function(a, b) return a[1] < b[1] end)
    assert.equal(2, #loaded)
    assert.same({ version = 2, state = { n = 2, deep = { 1 } } }, json.decode(loaded[1][2]))
    assert.same({ version = 1, state = { n = "é" } }, json.decode(loaded[2][2]))
    assert.equal("device|20|2026-01-01 00:00:02.25+00", sql([[SET timezone = 'UTC'; SELECT reducer, position, updated_at
      FROM moonwake.aggregate_states WHERE aggregate_id = 'd''1' AND reducer = 'device']]))

    run(device.delete, { { n = 0, key = "d'1" } })
    assert.equal('device|d"2\nother|d\'1', sql(
      "SELECT reducer, aggregate_id FROM moonwake.aggregate_states ORDER BY 1"))
  end)

  it("ask for a rebuild when version or text changed, and change nothing until it", function()
    run(ensure(1, "aa").upsert, { state("d1", 1, { n = 1 }) })

    local changed, newer = ensure(1, "bb"), ensure(2, "cc")

    assert.same({ "f", "t", "the script changed" }, { changed.created, changed.rebuild, changed.note })
    assert.same({ "t", "version 1 became 2" }, { newer.rebuild, newer.note })
    assert.equal("1|aa|2|cc", sql("SELECT version, digest, pending_version, pending_digest FROM moonwake.reducers"))
    assert.equal("1", sql("SELECT count(*) FROM moonwake.aggregate_states"))

    sql("SELECT moonwake.reducer_reset('device')", "moonwake_run")
    assert.equal("2|cc||", sql("SELECT version, digest, pending_version, pending_digest FROM moonwake.reducers"))
    assert.equal("0", sql("SELECT count(*) FROM moonwake.aggregate_states"))
    assert.equal("f", ensure(2, "cc").rebuild)
  end)

  it("need no rebuild when the script was put back before it", function()
    ensure(1, "aa")
    ensure(1, "bb")

    assert.equal("f", ensure(1, "aa").rebuild)
    assert.equal("aa|", sql("SELECT digest, pending_digest FROM moonwake.reducers"))
  end)

  it("keep snapshots, each once", function()
    local snapshots = json.encode { { aggregate_id = "d'1", version = 50, event_id = 77, state = { count = 50 } },
      { aggregate_id = "d'1", version = 100, event_id = 170, state = { count = 100 } } }
    local add = ("SELECT moonwake.add_snapshots('device', 1, 'aa', '%s')"):format(snapshots:gsub("'", "''"))

    assert.equal("2\n0", sql(add .. ";" .. add, "moonwake_run"))
    assert.equal("2", sql(add:gsub("'aa'", "'bb'"), "moonwake_run"))
    assert.equal('77|1|{"count": 50}', sql([[SELECT event_id, reducer_version, state FROM moonwake.snapshots
      WHERE digest = 'aa' AND version = 50]]))
  end)

  it("keep the snapshots of the script before, and drop those of older ones", function()
    local function cycle(version, digest)
      ensure(version, digest)
      sql("SELECT moonwake.reducer_reset('device')")
      sql(("SELECT moonwake.add_snapshots('device', %d, '%s', '[{\"aggregate_id\": \"a\", \"version\": 5, "
        .. "\"event_id\": 5, \"state\": {}}]')"):format(version, digest))
    end
    local function digests()
      return sql("SELECT string_agg(digest, ' ' ORDER BY digest) FROM moonwake.snapshots")
    end

    cycle(1, "aa")
    cycle(1, "aa")
    assert.equal("aa", digests())
    cycle(2, "bb")
    assert.equal("aa bb", digests())
    cycle(3, "cc")
    assert.equal("bb cc", digests())
    cycle(2, "bb")
    assert.equal("bb cc", digests())
  end)

  it("refuse what is no reducer", function()
    for _, arguments in ipairs { "'', 1, 'a'", "NULL, 1, 'a'", "'Device', 1, 'a'", "'a;b', 1, 'a'", "'a', 0, 'a'",
      "'a', NULL, 'a'", "'a', 1, ''", "'a', 1, NULL" } do
      assert.equal("MW006", (server:failure(("SELECT moonwake.reducer_ensure(%s)"):format(arguments), { db = db })))
    end
    assert.equal("MW006", (server:failure("SELECT moonwake.reducer_reset('none')", { db = db })))
  end)

  it("are written by the daemon and nobody else", function()
    server:psql("ALTER ROLE moonwake_read LOGIN")
    finally(function() server:psql("ALTER ROLE moonwake_read NOLOGIN") end)
    ensure(1, "aa")

    assert.equal("1", sql("SELECT count(*) FROM moonwake.reducers", "moonwake_read"))
    assert.equal("0|0", sql("SELECT (SELECT count(*) FROM moonwake.aggregate_states), count(*) FROM moonwake.snapshots",
      "moonwake_read"))
    for _, statement in ipairs { "SELECT moonwake.reducer_reset('device')", "SELECT moonwake.reducer_ensure('a', 1, 'a')",
      "SELECT moonwake.add_snapshots('a', 1, 'a', '[]')", "DELETE FROM moonwake.aggregate_states" } do
      assert.equal("42501", (server:failure(statement, { db = db, user = "moonwake_read" })))
    end
    assert.equal("42501", (server:failure("DELETE FROM moonwake.snapshots", { db = db, user = "moonwake_run" })))
  end)
end)

describe("the version of an aggregate at a time", function()
  local server = pg.shared()
  local db

  setup(function()
    db = server:fresh()
  end)
  teardown(function()
    server:dropdb(db)
  end)

  local function sql(text)
    return server:psql(text, { db = db })
  end

  --- Puts events into the log behind the publishers' back, because a publisher cannot choose the timestamp.
  local function insert(id, n, from, step)
    sql(([[SELECT moonwake.create_events_partition(d::date) FROM generate_series(date '2026-03-01', date '2026-03-04',
        interval '1 day') d;
      INSERT INTO moonwake.events (event_type, aggregate_type, aggregate_id, version, occurred_at, "timestamp")
        SELECT 't', 'thing', '%s', i, now(), timestamptz '%s' + (i - 1) * interval '%s' FROM generate_series(1, %d) i]])
      :format(id, from, step, n))
  end

  local function compare(id, times)
    return sql(([[SELECT count(*), coalesce(sum((moonwake.version_at('thing', '%s', t) <> (SELECT coalesce(max(version), 0)
        FROM moonwake.events WHERE aggregate_type = 'thing' AND aggregate_id = '%s' AND "timestamp" <= t))::int), 0)
      FROM %s]]):format(id, id, times))
  end

  it("is the last one that was appended by then, in long and in short histories", function()
    insert("long", 9000, "2026-03-01 20:00Z", "10 seconds")
    insert("short", 7, "2026-03-01 23:59:58Z", "1 second")
    sql("ANALYZE moonwake.events")

    assert.equal("400|0", compare("long", [[(SELECT timestamptz '2026-03-01 19:00Z' + random() * interval '28 hours' AS t
      FROM generate_series(1, 300) UNION ALL SELECT "timestamp" FROM (SELECT "timestamp" FROM moonwake.events
      WHERE aggregate_id = 'long' ORDER BY random() LIMIT 100) e) x]]))
    assert.equal("100|0", compare("short", [[(SELECT timestamptz '2026-03-01 23:59:55Z' + i * interval '150 milliseconds' AS t
      FROM generate_series(1, 100) i) x]]))
    assert.equal("0", sql("SELECT moonwake.version_at('thing', 'none', now())"))
  end)

  it("is right where the clock was set back for a while", function()
    insert("back", 3000, "2026-03-03 10:00Z", "1 second")
    sql([[SET session_replication_role = replica; UPDATE moonwake.events SET "timestamp" = "timestamp" - interval '5 minutes'
      WHERE aggregate_id = 'back' AND version BETWEEN 2000 AND 2400]])

    assert.equal("200|0", compare("back", [[(SELECT timestamptz '2026-03-03 09:59Z' + random() * interval '52 minutes' AS t
      FROM generate_series(1, 200)) x]]))
  end)
end)
