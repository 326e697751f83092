local pg = require "spec.support.pg"

describe("what consumers were given", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function sql(text)
    return (server:psql(text, { db = db }))
  end

  local function tamper(change)
    sql("SET session_replication_role = replica; " .. change)
  end

  local function consumer(name, position)
    sql(("INSERT INTO moonwake.event_cursors (consumer, kind, version, digest, position) VALUES ('%s', 'projection', 1, 'd', %d)")
      :format(name, position or 0))
  end

  local function publish(n)
    sql(([[SELECT count(*) FROM moonwake.publish_events((SELECT jsonb_agg(jsonb_build_object(
      'event_type', (ARRAY['a.x', 'a.y', 'b%%_\.z', 'c'])[1 + i %% 4], 'aggregate_type', (ARRAY['s', 't'])[1 + i %% 2],
      'aggregate_id', i %% 7) ORDER BY i) FROM generate_series(1, %d) i))]]):format(n))
  end

  local function note(name, types, aggregate)
    sql(([[SELECT moonwake.note_types('[{"consumer":"%s","types":%s,"aggregate":%s,"digest":"d"}]')]])
      :format(name, types, aggregate and '"' .. aggregate .. '"' or "null"))
  end

  --- Gives a consumer the events that a condition chooses, in pieces, as commits of a daemon do.
  local function give(name, condition, pieces)
    sql(([[DO $$ DECLARE part record; BEGIN
      FOR part IN SELECT id >> 16 AS range, count(*) AS n, moonwake.rolling_hash(id ORDER BY id) AS hash, min(id) AS first,
          max(id) AS last FROM (SELECT id, ntile(%d) OVER (ORDER BY id) AS piece FROM moonwake.events WHERE %s) e
        GROUP BY range, piece ORDER BY first LOOP
        PERFORM moonwake.add_deliveries(ARRAY['%s'], ARRAY[part.range], ARRAY[part.n], ARRAY[part.hash],
          ARRAY[(SELECT moonwake.rolling_hash(CASE i WHEN 0 THEN 1 ELSE 0 END ORDER BY i) FROM generate_series(0, part.n) i)],
          ARRAY[part.first], ARRAY[part.last]);
      END LOOP; END $$]]):format(pieces or 1, condition, name))
  end

  --- Ranges that differ: "range:expected:given".
  local function differences(name)
    local last = tonumber(sql("SELECT moonwake.log_head() >> 16"))
    return sql(([[SELECT coalesce(string_agg(r || ':' || expected || ':' || events, ' ' ORDER BY r), '')
      FROM generate_series(0, %d) r, moonwake.audit_range('{%s}', r)
      WHERE (expected, expected_hash) IS DISTINCT FROM (events, hash)]]):format(last, name))
  end

  it("is hashed as the definition says, in exact numbers, and in the order asked for", function()
    local by_definition = [[WITH RECURSIVE l AS (SELECT id, row_number() OVER (ORDER BY n) AS n FROM (VALUES
        (1, 5::bigint), (2, 4398046511093), (3, 9000000000000000000), (4, 1), (5, 0), (6, 70000000000)) v (n, id)),
      h AS (SELECT 0::bigint AS n, 0::numeric AS hash
        UNION ALL SELECT l.n, (h.hash * 1048573 + l.id) % 4398046511093 FROM h JOIN l ON l.n = h.n + 1)
      SELECT hash FROM h ORDER BY n DESC LIMIT 1]]
    local list = "unnest('{5,4398046511093,9000000000000000000,1,0,70000000000}'::bigint[]) WITH ORDINALITY u (id, n)"

    assert.equal(sql(by_definition), sql("SELECT moonwake.rolling_hash(id ORDER BY n) FROM " .. list))
    assert.not_equal(sql(by_definition), sql("SELECT moonwake.rolling_hash(id ORDER BY n DESC) FROM " .. list))
    assert.equal("0", sql("SELECT moonwake.rolling_hash(id) FROM moonwake.events"))
  end)

  for _, pieces in ipairs { 1, 2, 17, 400 } do
    it("adds up to the same in " .. pieces .. " commits", function()
      publish(400)
      consumer("all", 400)
      give("all", "true", pieces)

      assert.equal("0|400|1|400|t", sql([[SELECT range, events, first_id, last_id,
        hash = (SELECT moonwake.rolling_hash(id ORDER BY id) FROM moonwake.events) FROM moonwake.deliveries]]))
    end)
  end

  it("agrees with the log over several ranges, for patterns, for an aggregate type, up to the position only", function()
    publish(900)
    sql("SELECT setval('moonwake.events_id_seq', 65530)") -- a hole up to the end of the first range
    publish(20)
    sql("SELECT setval('moonwake.events_id_seq', 200000)")
    publish(300)
    consumer("globs", 200150)
    consumer("reducer", 200300)
    consumer("other", 200300)
    note("globs", [=[["a.*", "b%_\\.z"]]=])
    tamper("UPDATE moonwake.consumer_types SET since = 0")
    note("reducer", '["*"]', "t")
    tamper("UPDATE moonwake.consumer_types SET since = 0 WHERE consumer = 'reducer'")

    give("globs", [[(event_type LIKE 'a.%' OR event_type = 'b%_\.z') AND id <= 200150]], 11)
    give("reducer", "aggregate_type = 't'", 3)
    assert.equal("", differences("globs"))
    assert.equal("", differences("reducer"))
    assert.equal("3|3|4", sql([[SELECT count(*) FILTER (WHERE consumer = 'globs'), count(*) FILTER (WHERE consumer = 'reducer'),
      max(range) + 1 FROM moonwake.deliveries]]))
    assert.equal("t", sql("SELECT recorded_after IS NULL FROM moonwake.audit_range('{other}', 0)"))
    assert.equal(sql([[SELECT string_agg(id::text, ' ' ORDER BY id) FROM moonwake.events
        WHERE (event_type LIKE 'a.%' OR event_type = 'b%_\.z') AND id BETWEEN 131072 AND 200150]]),
      sql("SELECT string_agg(id::text, ' ') FROM generate_series(2, 3) r, moonwake.audit_ids('globs', r) id"))
  end)

  for what, change in pairs {
    ["an event is gone"] = "DELETE FROM moonwake.events WHERE id = 50",
    ["an event was put in"] = "INSERT INTO moonwake.events (id, occurred_at, version, event_type, aggregate_type, aggregate_id) "
      .. "VALUES (50, now(), 1, 'a.x', 's', 'new')",
    ["an event has another type"] = "UPDATE moonwake.events SET event_type = 'q' WHERE id = 50",
    ["an event has another id"] = "UPDATE moonwake.events SET id = id + 1000 WHERE id = 50",
    ["a count was altered"] = "UPDATE moonwake.deliveries SET events = events + 1",
    ["a hash was altered"] = "UPDATE moonwake.deliveries SET hash = hash + 1",
    ["a row is gone"] = "DELETE FROM moonwake.deliveries",
    ["the position was moved on"] = "UPDATE moonwake.event_cursors SET position = position + 2",
    ["the position was moved back"] = "UPDATE moonwake.event_cursors SET position = position - 2",
    ["it was given something once more"] = "SELECT moonwake.add_deliveries('{c}', '{0}', '{1}', '{7}', '{1048573}', '{7}', '{7}')",
  } do
    it("differs when " .. what, function()
      publish(200)
      consumer("c", 100)
      note("c", '["a.*", "b*", "c"]')
      tamper("UPDATE moonwake.consumer_types SET since = 0")
      give("c", "id <= 100")
      assert.equal("", differences("c"))

      tamper(change)
      assert.matches("^0:", differences("c"))
    end)
  end

  it("follows from the types that a consumer had at each position", function()
    publish(300)
    consumer("c")
    note("c", '["a.x"]')
    note("c", '["c", "a.x", "c"]') -- before it has moved: in place of the first
    sql("UPDATE moonwake.event_cursors SET position = 100")
    note("c", '["a.x", "c"]') -- nothing new
    sql("UPDATE moonwake.event_cursors SET position = 120")
    note("c", '["*"]')
    sql("UPDATE moonwake.event_cursors SET position = 250")
    note("c", '["*"]', "s")
    sql("UPDATE moonwake.event_cursors SET position = 300")

    assert.equal("0|{a.x,c}|\n120|{*}|\n250|{*}|s",
      sql("SELECT since, types, aggregate FROM moonwake.consumer_types ORDER BY since"))
    give("c", [[CASE WHEN id <= 120 THEN event_type IN ('a.x', 'c') WHEN id <= 250 THEN true ELSE aggregate_type = 's' END]], 5)
    assert.equal("", differences("c"))
  end)

  it("is not expected of what came before it was recorded", function()
    publish(300)
    consumer("old", 200)
    note("old", '["*"]')
    sql("UPDATE moonwake.event_cursors SET position = 300")
    give("old", "id > 200")

    assert.equal("200|100|100", sql("SELECT recorded_after, expected, events FROM moonwake.audit_range('{old}', 0)"))
    assert.equal("", differences("old"))
  end)

  it("counts for the position of the group that the consumer is in", function()
    publish(40)
    consumer("c")
    sql([[SELECT * FROM moonwake.claim_consumers('[{"consumer":"c","kind":"projection","version":1,"digest":"d"}]', 'x', 1)]])
    note("c", '["*"]')
    sql("SELECT moonwake.advance_cursor(group_id, epoch, 0, 30) FROM moonwake.consumer_groups")
    give("c", "id <= 30")

    assert.equal("30|30|30", sql("SELECT position, expected, events FROM moonwake.audit_range('{c}', 0)"))
    assert.equal("30", sql("SELECT count(*) FROM moonwake.audit_ids('c', 0)"))
    assert.equal("0", sql("SELECT since FROM moonwake.consumer_types"))
  end)

  it("is forgotten by a rebuild, follows a version that is promoted, and goes with its consumer", function()
    publish(10)
    for _, name in ipairs { "a", "b:next", "b" } do
      consumer(name, 10)
      note(name, '["*"]')
      give(name, name == "b" and "id > 5" or "true")
    end
    sql("SELECT moonwake.rebuild_consumer('a')")
    assert.equal("b|5\nb:next|10", sql("SELECT consumer, events FROM moonwake.deliveries ORDER BY 1"))
    assert.equal("b,b:next", sql("SELECT string_agg(consumer, ',' ORDER BY consumer) FROM moonwake.consumer_types"))

    sql("SELECT moonwake.rename_consumer('b:next', 'b')")
    assert.equal("b|10", sql("SELECT consumer, events FROM moonwake.deliveries"))
    assert.equal("b", sql("SELECT string_agg(consumer, ',') FROM moonwake.consumer_types"))

    sql("DELETE FROM moonwake.event_cursors WHERE consumer = 'b'")
    assert.equal("0", sql("SELECT count(*) FROM moonwake.deliveries"))
    assert.equal("0", sql("SELECT count(*) FROM moonwake.consumer_types"))
  end)
end)

describe("an event that cannot be as it was published", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
    -- Half of them under ids that the publisher gave, with and without a time.
    server:psql([[SELECT count(*) FROM generate_series(1, 60) i, moonwake.publish_event('a', 'thing', 'k' || i % 5,
      jsonb_build_object('n', i), event_id => CASE WHEN i % 2 = 0 THEN ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid END,
      occurred_at => CASE WHEN i % 4 = 0 THEN now() - interval '1 day' END)]], { db = db })
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function suspects(change, gone)
    server:psql("SET session_replication_role = replica; " .. change, { db = db })
    return (server:psql(("SELECT id, problem FROM moonwake.suspect_events(1, 100, %s)"):format(gone or "true"), { db = db }))
  end

  it("is none of those that were published", function()
    assert.equal("", suspects("SELECT WHERE false"))
    assert.equal("", (server:psql("SELECT * FROM moonwake.suspect_events(23, 41, true)", { db = db })))
  end)

  it("is named where its data, type or time is not what its publisher's event_id stands for", function()
    for _, change in ipairs { "data = '{}'", "event_type = 'b'", "occurred_at = occurred_at + interval '1 s'", "severity = 'x'" } do
      assert.equal("20|is not what was published under its event_id",
        suspects("UPDATE moonwake.events SET " .. change .. " WHERE id = 20; "), change)
    end
  end)

  it("is named where it is gone, with the one that follows it", function()
    assert.equal("20|is gone; it was published as 00000000-0000-0000-0000-000000000020\n"
      .. "25|version 4 of thing/k0, which comes before it, is missing", suspects("DELETE FROM moonwake.events WHERE id = 20"))
    assert.equal("25|version 4 of thing/k0, which comes before it, is missing", suspects("SELECT WHERE false", "false"))
  end)

  it("is named where it was put in, or stands in another place", function()
    assert.equal("70|is version 1 of thing/k0, behind version 12", suspects(
      "INSERT INTO moonwake.events (id, occurred_at, version, event_type, aggregate_type, aggregate_id) "
      .. "VALUES (70, now(), 1, 'a', 'thing', 'k0')"))
    assert.matches("31|is there twice", suspects("INSERT INTO moonwake.events (id, occurred_at, version, event_type, aggregate_type, "
      .. "aggregate_id) VALUES (31, now(), 1, 'a', 'thing', 'new')"), 1, true)
  end)
end)

describe("a page of seals", function()
  local server = pg.shared()

  it("tells of each range whether the log is as it was", function()
    local db = server:fresh()
    finally(function() server:dropdb(db) end)
    local function sql(text)
      return (server:psql(text, { db = db }))
    end
    sql([[SELECT count(*) FROM generate_series(1, 100) i, moonwake.publish_event('a', 'b', 'c' || i)]])
    sql("SELECT moonwake.seal_events(100, 10)")
    sql([[SET session_replication_role = replica; UPDATE moonwake.events SET data = '0' WHERE id = 15;
      DELETE FROM moonwake.events WHERE id = 35; DELETE FROM moonwake.seals WHERE from_id = 51]])

    assert.equal("1|10|10|\n11|20|10|an event or the seal is not what it was when it was sealed\n21|30|10|",
      sql("SELECT * FROM moonwake.audit_seals(0, 3)"))
    assert.equal("31|40|9|1 of 10 events are gone\n41|50|10|\n61|70|10|the seal of ids 51 to 60 is missing\n71|80|10|",
      sql("SELECT * FROM moonwake.audit_seals(30, 4)"))
    assert.equal(sql("SELECT first_id FROM moonwake.verify_seals()"),
      sql("SELECT from_id FROM moonwake.audit_seals(0, 100) WHERE problem IS NOT NULL"))
  end)
end)

describe("the right to audit", function()
  local server = pg.shared()
  local db

  setup(function()
    db = server:fresh()
    server:psql("ALTER ROLE moonwake_read LOGIN; ALTER ROLE moonwake_publish LOGIN")
  end)
  teardown(function()
    server:psql("ALTER ROLE moonwake_read NOLOGIN; ALTER ROLE moonwake_publish NOLOGIN")
    server:dropdb(db)
  end)

  it("is the readers' and the daemon's; to record is the daemon's alone", function()
    local look = { "TABLE moonwake.deliveries", "TABLE moonwake.consumer_types", "SELECT * FROM moonwake.audit_range('{a}', 0)",
      "SELECT * FROM moonwake.audit_ids('a', 0)", "SELECT * FROM moonwake.audit_seals(0, 1)",
      "SELECT * FROM moonwake.suspect_events(1, 2, true)", "SELECT moonwake.rolling_hash(1)" }
    local record = { "SELECT moonwake.add_deliveries('{}', '{}', '{}', '{}', '{}', '{}', '{}')", "SELECT moonwake.note_types('[]')",
      "SELECT moonwake.deliveries_reset('a')" }
    local function may(user, statement)
      local out, err = server:psql(statement, { db = db, user = user, fail_ok = true })
      assert.is_true(out ~= nil or err:find("permission denied", 1, true) ~= nil, err)
      return out ~= nil
    end

    for _, statement in ipairs(look) do
      assert.same({ true, true, false }, { may("moonwake_run", statement), may("moonwake_read", statement),
        may("moonwake_publish", statement) }, statement)
    end
    for _, statement in ipairs(record) do
      assert.same({ true, false, false }, { may("moonwake_run", statement), may("moonwake_read", statement),
        may("moonwake_publish", statement) }, statement)
    end
    for _, statement in ipairs { "DELETE FROM moonwake.deliveries", "UPDATE moonwake.consumer_types SET since = 0" } do
      assert.is_false(may("moonwake_run", statement), statement)
    end
  end)
end)
