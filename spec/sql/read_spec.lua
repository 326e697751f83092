local pg = require "spec.support.pg"

describe("reading", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)
  after_each(function()
    server:dropdb(db)
  end)

  local function sql(text)
    return server:psql(text, { db = db })
  end

  local function publish(id, type)
    return ("SELECT id FROM moonwake.publish_event('%s', 'b', '%s')"):format(type or "a", id)
  end

  local function session()
    return server:session { db = db }
  end

  local function fill(count, rare_every)
    sql(([[SELECT count(*) FROM moonwake.publish_events((SELECT jsonb_agg(jsonb_build_object(
      'event_type', CASE WHEN i %% %d = 0 THEN 'rare.' || i %% 3 ELSE 'often' END, 'aggregate_type', 'b', 'aggregate_id', i %% 100)
      ORDER BY i) FROM generate_series(1, %d) i))]]):format(rare_every or 1000000, count))
  end

  describe("with read_events", function()
    local function read(arguments)
      return ("SELECT coalesce(id::text, 'none'), scanned_to FROM moonwake.read_events(%s)"):format(arguments)
    end

    it("returns all fields of an event", function()
      sql([[SELECT moonwake.publish_event('order.paid', 'order', 'o-7', '{"cents": 12}', '{"m": 1}',
        'c0ffee00-0000-4000-8000-000000000001', NULL, 4, 'shop', 'corr', 'c0ffee00-0000-4000-8000-000000000002', 'user', 'u-1',
        'info', 'low', '2020-02-03 04:05:06+00')]])

      assert.equal("t", sql([[SELECT to_jsonb(r) - 'scanned_to' = to_jsonb(e)
        FROM moonwake.read_events(0) r, moonwake.events e]]))
    end)

    it("says how far it scanned, with or without a match", function()
      assert.equal("none|0", sql(read "0"))
      fill(3)
      sql(publish("x", "b"))

      assert.equal("1|1\n2|2\n3|3\n4|4", sql(read "0"))
      assert.equal("2|2\n3|3", sql(read "1, max => 2"))
      assert.equal("1|1\n2|2\n3|4", sql(read "0, ARRAY['often']"))
      assert.equal("none|4", sql(read "0, ARRAY['nothing']"))
      assert.equal("none|4", sql(read "4"))
    end)

    it("takes globs, in which nothing but * is special", function()
      for _, type in ipairs { "container.crashed", "container_x.crashed", "containerxcrashed", "image.pull_failed", "image.pullxfailed", "a%b" } do
        sql(publish("x", type))
      end

      assert.equal("1|6", sql(read "0, ARRAY['container.*']"))
      assert.equal("1|1\n2|6", sql(read "0, ARRAY['*.crashed']"))
      assert.equal("4|6", sql(read "0, ARRAY['image.pull_failed']"))
      assert.equal("6|6", sql(read "0, ARRAY['a%*']"))
      assert.equal("1|1\n4|6", sql(read "0, ARRAY['container.*', 'image.pull_*']"))
      assert.equal(6, select(2, sql(read "0, ARRAY['*']"):gsub("|", "")))
    end)

    it("never misses or repeats, with any page size and any types", function()
      fill(12000, 700)

      for _, case in ipairs { { "NULL", 1000 }, { "NULL", 12000 }, { "ARRAY['rare.*']", 1 }, { "ARRAY['rare.*']", 5 }, { "ARRAY['rare.1','rare.2']", 7 },
        { "ARRAY['rare.*','often']", 5000 }, { "ARRAY['often']", 4000 }, { "ARRAY['no.*']", 10 } } do
        local types, max = case[1], case[2]
        assert.equal("t", sql(([[
          CREATE TEMP TABLE seen (n serial, id bigint);
          DO $$ DECLARE position bigint := 0; was bigint := -1; BEGIN
            WHILE position <> was LOOP was := position;
              WITH page AS (SELECT * FROM moonwake.read_events(was, %s, %d)), kept AS (
                INSERT INTO seen (id) SELECT id FROM page WHERE id IS NOT NULL ORDER BY id)
              SELECT max(scanned_to) INTO position FROM page;
            END LOOP;
            IF position <> 12000 THEN RAISE 'stopped at %%', position; END IF; END $$;
          SELECT array_agg(s.id ORDER BY s.n) IS NOT DISTINCT FROM (SELECT array_agg(e.id ORDER BY e.id) FROM moonwake.events e
            WHERE %s IS NULL OR e.event_type LIKE ANY (SELECT replace(t, '*', '%%') FROM unnest(%s::text[]) t)) FROM seen s]]
          ):format(types, max, types, types)), types)
      end
    end)

    it("reaches rare types far away in one call", function()
      fill(30000, 14000)

      assert.equal("14000|14000\n28000|30000", sql(read "0, ARRAY['rare.*'], 10"))
    end)

    it("does not pass a transaction that drew an id and is open, and reads on when it ended", function()
      local slow = session()
      finally(function() slow:close() end)
      sql(publish "x")
      slow:run("BEGIN; " .. publish "y")
      sql(publish "z")

      assert.equal("1|1", sql(read "0"))
      assert.equal("none|1", sql(read "1"))
      assert.equal("none|1", sql(read "1, ARRAY['nothing']"))
      slow:run("COMMIT")

      assert.equal("2|2\n3|3", sql(read "1"))
    end)

    it("goes over the hole of one that rolled back", function()
      local slow = session()
      finally(function() slow:close() end)
      slow:run("BEGIN; " .. publish "y")
      sql(publish "z")
      assert.equal("none|0", sql(read "0"))

      slow:run("ROLLBACK")

      assert.equal("2|2", sql(read "0"))
    end)

    it("does not wait for what was rolled back to a savepoint, but for what was not", function()
      local slow = session()
      finally(function() slow:close() end)
      slow:run("BEGIN; SAVEPOINT s; " .. publish "y" .. "; ROLLBACK TO s")
      sql(publish "z")
      assert.equal("2|2", sql(read "0"))

      slow:run(publish "y" .. "; SAVEPOINT s; " .. publish "y" .. "; ROLLBACK TO s")
      sql(publish "z")
      assert.equal("none|2", sql(read "2"))
      slow:run("COMMIT")
      assert.equal("3|3\n5|5", sql(read "2"))
    end)

    it("waits for exactly the appends under way, and for no unrelated transaction", function()
      sql("CREATE TABLE unrelated (x int)")
      local other, slow, reader = session(), session(), session()
      finally(function() other:close() slow:close() reader:close() end)
      other:run("BEGIN; INSERT INTO unrelated VALUES (1); SELECT txid_current()")
      slow:run("BEGIN; " .. publish "y")
      sql(publish "z")
      reader:send(read "0, wait_ms => 20000")
      pg.sleep(0.2)
      assert.is_true(reader:busy())

      slow:run("COMMIT")

      assert.equal("1|1\n2|2", reader:read(5))
    end)

    it("does not wait for those that begin to append later", function()
      local slow, reader, later = session(), session(), session()
      finally(function() slow:close() reader:close() later:close() end)
      slow:run("BEGIN; " .. publish "x")
      reader:send(read "0, wait_ms => 20000")
      pg.sleep(0.2)
      later:run("BEGIN; " .. publish "y")

      slow:run("COMMIT")

      assert.equal("1|1", reader:read(5))
      later:run("ROLLBACK")
    end)

    it("waits for a transaction that was prepared, also while it waits", function()
      local slow, reader = session(), session()
      finally(function() slow:close() reader:close() end)
      slow:run("BEGIN; SET LOCAL moonwake.ring = off; " .. publish "x")
      sql(publish "y")
      reader:send(read "0, wait_ms => 20000")
      pg.sleep(0.1)
      slow:run(("PREPARE TRANSACTION '%s'"):format(db))
      pg.sleep(0.2)
      assert.is_true(reader:busy())
      assert.equal("none|0", sql(read "0, wait_ms => 50"))

      sql(("COMMIT PREPARED '%s'"):format(db))

      assert.equal("1|1\n2|2", reader:read(5))
    end)

    it("waits for an insert into a leaf too", function()
      local slow = session()
      finally(function() slow:close() end)
      slow:run([[BEGIN; DO $$ BEGIN EXECUTE format('INSERT INTO moonwake.events_%s (occurred_at, version, event_type,
        aggregate_type, aggregate_id) VALUES (now(), 1, ''a'', ''b'', ''c'')', to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'));
        END $$]])
      sql(publish "y")

      assert.equal("none|0", sql(read "0, wait_ms => 20"))

      slow:run("COMMIT")
    end)

    it("loses nothing under publishers that commit late and roll back", function()
      local sessions = {}
      for i = 1, 5 do
        sessions[i] = session()
        sessions[i]:send(([[DO $$ BEGIN PERFORM setseed(0.%d); FOR i IN 1 .. 120 LOOP
          PERFORM moonwake.publish_event('a', 'b', '%d'); PERFORM pg_sleep(random() * 0.01);
          IF random() < 0.2 THEN ROLLBACK; ELSE COMMIT; END IF; END LOOP; END $$]]):format(i, i))
      end
      local position, seen = 0, {}
      local function page(wait)
        for _, row in ipairs(server:query(read(("%d, NULL, 50, %d"):format(position, wait)), { db = db })) do
          if row[1] ~= "none" then
            seen[#seen + 1] = row[1]
          end
          position = tonumber(row[2])
        end
      end
      local running = true
      while running do
        page(5)
        running = false
        for _, publisher in ipairs(sessions) do
          running = running or publisher:busy()
        end
      end
      for _, publisher in ipairs(sessions) do
        assert.equal("", publisher:read())
        publisher:close()
      end
      for _ = 1, 30 do
        page(100)
      end

      assert.equal(sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM moonwake.events"), table.concat(seen, " "))
    end)

    it("refuses where its reasoning would not hold", function()
      local function refused(text)
        local state, message = server:failure(text, { db = db })
        assert.equal("MW008", state)
        return message
      end
      sql(publish "x")

      assert.matches("needs READ COMMITTED, not repeatable read", refused("BEGIN ISOLATION LEVEL REPEATABLE READ; " .. read "0"))
      assert.matches("needs READ COMMITTED, not serializable", refused("BEGIN ISOLATION LEVEL SERIALIZABLE; " .. read "0"))
      assert.matches("this transaction has appended", refused("BEGIN; " .. publish "y" .. ";" .. read "0"))
      assert.matches("after_id 77 is above %d+, the last id drawn", refused(read "77"))
      sql("ALTER SEQUENCE moonwake.events_id_seq CACHE 10")
      assert.matches("events_id_seq has a CACHE", refused(read "0"))
      sql("ALTER SEQUENCE moonwake.events_id_seq CACHE 1;" .. publish "z" .. "; SELECT setval('moonwake.events_id_seq', 1)")
      assert.matches("stands at 1, below id %d+ that exists", refused(read "0"))
    end)

    it("refuses arguments out of range", function()
      for _, arguments in ipairs { "-1", "NULL", "0, NULL, 0", "0, NULL, 100001", "0, NULL, 1, -1", "0, NULL, 1, 60001" } do
        assert.equal("MW009", (server:failure(read(arguments), { db = db })))
      end
    end)
  end)

  describe("who writes", function()
    it("names the open and the prepared transactions that have appended", function()
      local slow = server:session { db = db }
      finally(function() slow:close() end)
      slow:run("SET application_name = 'slow one'; BEGIN; " .. publish "x")
      sql("BEGIN; SET LOCAL moonwake.ring = off; " .. publish "y" .. "; PREPARE TRANSACTION 'lost one'")

      assert.equal("slow one|t|t|\n|f|t|lost one", sql([[SELECT application, pid IS NOT NULL, age >= '0', gid FROM moonwake.log_writers() ORDER BY gid NULLS FIRST]]))
      assert.equal("2", sql("SELECT moonwake.log_head()"))

      sql("ROLLBACK PREPARED 'lost one'")
      slow:run("ROLLBACK")
      assert.equal("0", sql("SELECT count(*) FROM moonwake.log_writers()"))
    end)

    it("tells the daemon's login since when, without a superuser's rights", function()
      local slow = server:session { db = db }
      finally(function() slow:close() end)
      slow:run("BEGIN; " .. publish "x")

      assert.equal("t", server:psql("SELECT age IS NOT NULL FROM moonwake.log_writers()", { db = db, user = "moonwake_run" }))
    end)

    it("is nobody at first, with a head of 0", function()
      assert.equal("0|0", sql("SELECT moonwake.log_head(), (SELECT count(*) FROM moonwake.log_writers())"))
    end)
  end)

  describe("an aggregate", function()
    it("gives its events in version order, after an id", function()
      sql(table.concat({ publish "x", publish "y", publish "x", publish "x" }, ";"))

      assert.equal("1|1\n3|2\n4|3", sql("SELECT id, version FROM moonwake.get_aggregate_events('b', 'x')"))
      assert.equal("4|3", sql("SELECT id, version FROM moonwake.get_aggregate_events('b', 'x', 3)"))
      assert.equal("4|3", sql("SELECT id, version FROM moonwake.get_aggregate_events(type => 'b', id => 'x', since_id => 3)"))
      assert.equal("", sql("SELECT id FROM moonwake.get_aggregate_events('b', 'nobody')"))
    end)
  end)

  describe("a chain", function()
    local U = "c0ffee00-0000-4000-8000-00000000000%s"

    local function link(n, cause, correlation)
      return ("SELECT id FROM moonwake.publish_event('t%s', 'b', '%s', event_id => '%s', causation_id => %s, correlation_id => '%s')")
        :format(n, n, U:format(n), cause and "'" .. U:format(cause) .. "'" or "NULL", correlation or "chain")
    end

    local function chain(correlation)
      return sql(("SELECT depth, event_type FROM moonwake.get_event_chain('%s')"):format(correlation or "chain"))
    end

    it("comes as a tree: each event after its cause", function()
      sql(table.concat({ link(1), link(2, 1), link(3, 1), link(4, 2), link(5), link(6, 3), link(7, 2), link(8, 1, "elsewhere") }, ";"))

      assert.equal("0|t1\n1|t2\n2|t4\n2|t7\n1|t3\n2|t6\n0|t5", chain())
      assert.equal("0|t8", chain "elsewhere")
    end)

    it("keeps what causes itself, what is its own cause's cause, and what was caused elsewhere", function()
      sql(table.concat({ link(1, 1), link(2, 3), link(3, 2), link(4, 9) }, ";"))

      assert.equal("0|t1\n0|t2\n1|t3\n0|t4", chain())
    end)

    it("is found by a uuid too", function()
      local id = U:format("a")
      sql(link(1, nil, id))

      assert.equal("1", sql(("SELECT count(*) FROM moonwake.get_event_chain('%s'::uuid)"):format(id)))
      assert.equal("1", sql(("SELECT count(*) FROM moonwake.get_event_chain('%s')"):format(id)))
      assert.equal(id, sql(("SELECT correlation_id FROM moonwake.get_event_chain('%s')"):format(id)))
    end)
  end)

  describe("statistics", function()
    it("equal one's own SQL over the events", function()
      fill(2000, 7)

      assert.equal("t", sql([[SELECT
        s.total_events = (SELECT count(*) FROM moonwake.events)
        AND s.aggregates = (SELECT count(DISTINCT (aggregate_type, aggregate_id)) FROM moonwake.events)
        AND s.event_types = (SELECT count(DISTINCT event_type) FROM moonwake.events)
        AND (s.first_id, s.last_id) = (SELECT min(id), max(id) FROM moonwake.events)
        AND (s.first_at, s.last_at) = (SELECT min("timestamp"), max("timestamp") FROM moonwake.events)
        AND s.by_type = (SELECT jsonb_object_agg(event_type, n) FROM
          (SELECT event_type, count(*) AS n FROM moonwake.events GROUP BY 1) t)
        AND (SELECT sum(value::int) FROM jsonb_each_text(s.by_day)) = s.total_events
        FROM moonwake.get_event_stats() s]]))
    end)

    it("leave out what is older than the days asked for", function()
      sql([[INSERT INTO moonwake.events ("timestamp", occurred_at, version, event_type, aggregate_type, aggregate_id)
        SELECT now() - d * interval '24 hours', now(), 1, 'a', 'b', d FROM unnest(ARRAY[0.5, 1.5, 6.9, 7.1]) d]])

      assert.equal("1|2|3|4", sql([[SELECT (SELECT total_events FROM moonwake.get_event_stats(1)),
        (SELECT total_events FROM moonwake.get_event_stats(2)), (SELECT total_events FROM moonwake.get_event_stats()),
        (SELECT total_events FROM moonwake.get_event_stats(30))]]))
    end)

    it("of an empty log are one row of zeros", function()
      assert.equal("0|0|0||{}|{}", sql(
        "SELECT total_events, aggregates, event_types, first_id, by_type, by_day FROM moonwake.get_event_stats()"))
    end)
  end)
end)
