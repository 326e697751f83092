local pg = require "spec.support.pg"

describe("seals", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
    server:psql([[SELECT count(*) FROM moonwake.publish_events((SELECT jsonb_agg(jsonb_build_object('event_type', 'a',
      'aggregate_type', 'b', 'aggregate_id', i % 7, 'data', jsonb_build_object('n', i, 'text', 'é " \ '''))
      ORDER BY i) FROM generate_series(1, 100) i))]], { db = db })
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function sql(text)
    return server:psql(text, { db = db })
  end

  local function tamper(change)
    sql("SET session_replication_role = replica; " .. change)
  end

  it("are made over complete ranges only, each over the one before", function()
    assert.equal("0", sql("SELECT moonwake.seal_events(9, 10)"))
    assert.equal("90", sql("SELECT moonwake.seal_events(99, 10)"))

    assert.equal("9|1|90|90|t", sql([[SELECT count(*), min(from_id), max(to_id), sum(count),
      bool_and(previous = before) FROM (SELECT *, coalesce(lag(digest) OVER (ORDER BY from_id), '') AS before
      FROM moonwake.seals) s]]))
    assert.equal("", sql("SELECT * FROM moonwake.verify_seals()"))
  end)

  it("go on where they ended, ten ranges in a call, also with another size", function()
    assert.equal("10\n20\n90", sql("SELECT moonwake.seal_events(100, 1); SELECT moonwake.seal_events(100, 1);"
      .. "SELECT moonwake.seal_events(100, 35)"))
    assert.equal("", sql("SELECT * FROM moonwake.verify_seals()"))
  end)

  it("count a hole as what it is", function()
    sql("BEGIN; SELECT moonwake.publish_event('a', 'b', 'c'); ROLLBACK; SELECT moonwake.publish_event('a', 'b', 'c')")

    sql("SELECT moonwake.seal_events(102, 51)")

    assert.equal("51\n50", sql("SELECT count FROM moonwake.seals ORDER BY from_id"))
    assert.equal("", sql("SELECT * FROM moonwake.verify_seals()"))
  end)

  it("do not depend on the settings of the session that checks them", function()
    sql("SELECT moonwake.seal_events(100, 10)")

    assert.equal("", sql("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET bytea_output = 'escape'; "
      .. "SET extra_float_digits = -5; SET intervalstyle = 'iso_8601'; SELECT * FROM moonwake.verify_seals()"))
  end)

  for what, change in pairs {
    ["data"] = [[UPDATE moonwake.events SET data = '{"n": 0}' WHERE id = 15]],
    ["a timestamp by a microsecond"] = [[UPDATE moonwake.events SET "timestamp" = "timestamp" + interval '1 microsecond' WHERE id = 15]],
    ["a null"] = "UPDATE moonwake.events SET source = '' WHERE id = 15",
    ["the order of two"] = "UPDATE moonwake.events SET id = 37 - id WHERE id IN (18, 19)",
    ["the aggregate"] = "UPDATE moonwake.events SET aggregate_id = 'x' WHERE id = 15",
  } do
    it("show that somebody altered " .. what, function()
      sql("SELECT moonwake.seal_events(100, 10)")
      tamper(change)

      assert.equal("11|20|an event or the seal is not what it was when it was sealed", sql("SELECT * FROM moonwake.verify_seals()"))
      assert.equal("", sql("SELECT * FROM moonwake.verify_seals(21)"))
    end)
  end

  it("show that an event is gone, and that one was put in", function()
    sql("SELECT moonwake.seal_events(100, 10)")
    tamper("DELETE FROM moonwake.events WHERE id IN (15, 16)")
    tamper("INSERT INTO moonwake.events (id, occurred_at, version, event_type, aggregate_type, aggregate_id) "
      .. "VALUES (30, now(), 1, 'a', 'b', 'c')")

    assert.equal("11|20|2 of 10 events are gone\n21|30|1 events were not there when it was sealed",
      sql("SELECT * FROM moonwake.verify_seals()"))
  end)

  it("show that a seal was made anew, or is missing", function()
    sql("SELECT moonwake.seal_events(100, 10)")
    tamper("UPDATE moonwake.events SET data = '0' WHERE id = 15; UPDATE moonwake.seals s SET digest = d.digest "
      .. "FROM moonwake.range_digest(11, 20, (SELECT digest FROM moonwake.seals WHERE from_id = 1)) d WHERE s.from_id = 11")
    assert.equal("21|30|the seal does not follow from the one before", sql("SELECT * FROM moonwake.verify_seals()"))

    tamper("DELETE FROM moonwake.seals WHERE from_id = 51")
    assert.equal("21\n61", sql("SELECT first_id FROM moonwake.verify_seals()"))
  end)

  it("are themselves append-only", function()
    sql("SELECT moonwake.seal_events(100, 10)")

    for _, change in ipairs { "UPDATE moonwake.seals SET count = 0", "DELETE FROM moonwake.seals", "TRUNCATE moonwake.seals" } do
      assert.equal("MW010", (server:failure(change, { db = db })))
    end
  end)

  it("refuse what cannot be settled yet", function()
    assert.equal("MW009", (server:failure("SELECT moonwake.seal_events(101)", { db = db })))
    assert.equal("MW009", (server:failure("SELECT moonwake.seal_events(-1)", { db = db })))
    assert.equal("MW009", (server:failure("SELECT moonwake.seal_events(100, 0)", { db = db })))
  end)

  it("do not overlap when two daemons seal at once", function()
    local first, second = server:session { db = db }, server:session { db = db }
    finally(function() first:close() second:close() end)
    first:run("BEGIN; SELECT moonwake.seal_events(100, 10)")
    second:send("SELECT moonwake.seal_events(100, 10)")

    first:run("COMMIT")

    assert.equal("100", second:read())
    assert.equal("10", sql("SELECT count(*) FROM moonwake.seals"))
  end)
end)
