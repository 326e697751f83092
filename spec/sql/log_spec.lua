local files = require "spec.support.files"
local pg = require "spec.support.pg"

local PUBLISH = "SELECT id FROM moonwake.publish_event('a', 'b', 'c')"

describe("the log", function()
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

  describe("its head", function()
    local HEAD = files.read("sql/queries/frontier_head.sql")

    -- Each of three transactions draws numbers in a loop; nextval shows one up to 32 ahead while it logs.
    it("never goes back, however fast numbers are drawn", function()
      local writers = {}
      for n = 1, 3 do
        writers[n] = server:session { db = db }
        writers[n]:send([[DO $$ DECLARE till timestamptz := clock_timestamp() + interval '3 s'; BEGIN
          WHILE clock_timestamp() < till LOOP PERFORM nextval('moonwake.events_id_seq'); END LOOP; END $$]])
      end
      finally(function() for n = 1, 3 do writers[n]:close() end end)

      for _, head in ipairs { "moonwake.log_head()", "(SELECT h.head FROM (" .. HEAD .. ") h)" } do
        assert.equal("0", sql(([[
          CREATE TEMP TABLE back (n int);
          DO $$ DECLARE till timestamptz := clock_timestamp() + interval '1 s'; seen bigint := 0; head bigint; n int := 0; BEGIN
            WHILE clock_timestamp() < till LOOP
              head := %s;
              n := n + (head < seen)::int; seen := head;
            END LOOP;
            INSERT INTO back VALUES (n); END $$;
          SELECT n FROM back]]):format(head)))
      end
    end)
  end)

  describe("in partitions", function()
    it("has 30 days behind and 7 ahead when it is installed, without a default", function()
      assert.equal("38|-30|7|0", sql([[
        SELECT count(*), min(day - today), max(day - today),
          count(*) FILTER (WHERE pg_get_expr(bound, leaf) = 'DEFAULT')
        FROM (SELECT c.oid AS leaf, c.relpartbound AS bound, to_date(substr(c.relname, 8), 'YYYYMMDD') AS day,
            (now() AT TIME ZONE 'UTC')::date AS today
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'moonwake.events'::regclass) d]]))
    end)

    it("cuts days in UTC, whatever the session's zone and date style", function()
      sql("SET timezone = 'Pacific/Kiritimati'; SET datestyle = 'SQL, DMY'; SELECT moonwake.create_events_partition('2031-03-04')",
        "moonwake_run")

      assert.equal("FOR VALUES FROM ('2031-03-04 00:00:00+00') TO ('2031-03-05 00:00:00+00')", sql([[
        SET timezone = 'UTC'; SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'events_20310304']]))
    end)

    it("says whether it made one, and refuses what is no day", function()
      assert.equal("t\nf", sql("SELECT moonwake.create_events_partition('2031-03-04'); SELECT moonwake.create_events_partition('2031-03-04')"))
      assert.equal("MW009", (server:failure("SELECT moonwake.create_events_partition('infinity')", { db = db })))
      assert.equal("MW009", (server:failure("SELECT moonwake.ensure_events_partitions(-1)", { db = db })))
    end)

    it("makes one while a publisher's transaction is open, and publishers go on meanwhile", function()
      local publisher = server:session { db = db }
      local maker = server:session { db = db }
      finally(function() publisher:close() maker:close() end)
      publisher:run("BEGIN; " .. PUBLISH)

      assert.equal("t", maker:run("BEGIN; SELECT moonwake.create_events_partition('2031-03-04')", 5))
      assert.equal("2", publisher:run(PUBLISH, 5))
      assert.equal("3", sql("SELECT id FROM moonwake.publish_event('a', 'b', 'other')"))

      maker:run("COMMIT")
      publisher:run("COMMIT")
      assert.equal("3", sql("SELECT count(*) FROM moonwake.events"))
    end)

    it("is the same on every leaf: indexes, triggers, grants", function()
      sql("SELECT moonwake.create_events_partition('2031-03-04')")

      assert.equal("4|2|t", sql([[
        SELECT (SELECT count(*) FROM pg_index WHERE indrelid = c.oid),
          (SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid AND tgfoid = 'moonwake.refuse_change'::regproc),
          has_table_privilege('moonwake_read', c.oid, 'SELECT') FROM pg_class c WHERE relname = 'events_20310304']]))
    end)

    it("is topped up by a publisher that finds fewer than two days ahead", function()
      sql([[DO $$ DECLARE leaf text; BEGIN
        FOR leaf IN SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{8}$'
          AND to_date(substr(relname, 8), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date + 1
        LOOP EXECUTE 'DROP TABLE moonwake.' || leaf; END LOOP; END $$]])

      sql(PUBLISH, "moonwake_run")

      assert.equal("7", sql([[SELECT max(to_date(substr(relname, 8), 'YYYYMMDD') - (now() AT TIME ZONE 'UTC')::date)
        FROM pg_class WHERE relname ~ '^events_[0-9]{8}$']]))
    end)

    it("does not make a publisher wait for another that tops up, while tomorrow is there", function()
      sql([[DO $$ DECLARE leaf text; BEGIN
        FOR leaf IN SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{8}$'
          AND to_date(substr(relname, 8), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date + 1
        LOOP EXECUTE 'DROP TABLE moonwake.' || leaf; END LOOP; END $$]])
      local slow = server:session { db = db }
      finally(function() slow:close() end)
      slow:run("BEGIN; " .. PUBLISH)

      assert.equal("2", sql("SET lock_timeout = '2s'; SELECT id FROM moonwake.publish_event('a', 'b', 'other')"))

      slow:run("ROLLBACK")
    end)

    it("does not make a publisher wait for a partition that is being detached, while tomorrow is there", function()
      sql([[DO $$ DECLARE leaf text; BEGIN
        FOR leaf IN SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{8}$'
          AND to_date(substr(relname, 8), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date + 1
        LOOP EXECUTE 'DROP TABLE moonwake.' || leaf; END LOOP; END $$]])
      local detaching = server:session { db = db }
      finally(function() detaching:close() end)
      detaching:run("BEGIN; LOCK TABLE ONLY moonwake.events IN SHARE UPDATE EXCLUSIVE MODE")

      assert.equal("1", sql("SET lock_timeout = '2s'; " .. PUBLISH))

      detaching:run("ROLLBACK")
    end)

    it("loses no append of concurrent publishers when not even today's is there", function()
      sql("DO $$ DECLARE leaf text; BEGIN FOR leaf IN SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{8}$' "
        .. "LOOP EXECUTE 'DROP TABLE moonwake.' || leaf; END LOOP; END $$")
      local sessions = {}
      for i = 1, 12 do
        sessions[i] = server:session { db = db, user = "moonwake_run" }
      end

      for i, session in ipairs(sessions) do
        session:send(("SELECT version FROM moonwake.publish_event('a', 'b', '%d')"):format(i))
        session:send([[SELECT version FROM moonwake.publish_events('[{"event_type": "a", "aggregate_type": "b", "aggregate_id": "x"}]')]])
      end
      local answers = {}
      for i, session in ipairs(sessions) do
        answers[i] = session:read(20)
        session:close()
      end

      for i = 1, #sessions do
        assert.matches("^1\n%d+$", answers[i])
      end
      assert.equal("24", sql("SELECT count(*) FROM moonwake.events"))
      assert.equal("8", sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'moonwake.events'::regclass"))
    end)

    it("makes today's anew when the publisher that made it rolls back", function()
      sql("DO $$ DECLARE leaf text; BEGIN FOR leaf IN SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{8}$' "
        .. "LOOP EXECUTE 'DROP TABLE moonwake.' || leaf; END LOOP; END $$")
      local first, second = server:session { db = db }, server:session { db = db }
      finally(function() first:close() second:close() end)
      first:run("BEGIN; " .. PUBLISH)
      second:send("SELECT version FROM moonwake.publish_event('a', 'b', 'd')")
      pg.sleep(0.2)
      assert.is_true(second:busy())

      first:run("ROLLBACK")

      assert.equal("1", second:read(10))
    end)

    it("takes appends across midnight and after a month without anybody", function()
      local own = pg.start { faketime = true }
      finally(function() own:stop() end)
      own:clock("@2031-01-31 23:00:00")
      own:migrate(own:createdb("night"))

      local sessions = {}
      for i = 1, 4 do
        sessions[i] = own:session { db = "night" }
        sessions[i]:send(([[DO $$ BEGIN FOR i IN 1 .. 300 LOOP
          PERFORM moonwake.publish_event('a', 'b', 'night-%d'); COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$]]):format(i))
      end
      pg.eventually(function()
        return own:psql("SELECT count(*) > 20 FROM moonwake.events", { db = "night" }) == "t"
      end)
      own:clock("@2031-02-01 00:00:00")
      for _, session in ipairs(sessions) do
        assert.equal("", session:read(60))
      end
      own:clock("@2031-03-20 12:00:00")
      for i, session in ipairs(sessions) do
        session:send(("SELECT version FROM moonwake.publish_event('a', 'b', 'night-%d')"):format(i))
      end

      for _, session in ipairs(sessions) do
        assert.equal("301", session:read(20))
        session:close()
      end
      assert.equal("2031-01-31|t\n2031-02-01|t\n2031-03-20|t", own:psql([[SET timezone = 'UTC';
        SELECT "timestamp"::date, count(*) > 3 FROM moonwake.events GROUP BY 1 ORDER BY 1]], { db = "night" }))
    end)
  end)

  describe("with a floor", function()
    it("stamps nothing below it, though the clock be behind", function()
      sql("SELECT moonwake.raise_floor(now() + interval '3 hours')", "moonwake_run")

      sql(PUBLISH)
      sql([[SELECT moonwake.publish_events('[{"event_type": "a", "aggregate_type": "b", "aggregate_id": "c"}]')]])

      assert.equal("2|t|t", sql([[SELECT count(*), bool_and("timestamp" >= now() + interval '2 hours 59 minutes'),
        bool_and("timestamp" = occurred_at) FROM moonwake.events]]))
    end)

    it("only ever raises it, by microseconds, and says where it stands", function()
      local high = sql("SET timezone = 'UTC'; SELECT moonwake.raise_floor('2026-02-03 04:05:06.789012+00')")

      assert.equal("2026-02-03 04:05:06.789012+00", high)
      assert.equal(high, sql("SET timezone = 'UTC'; SELECT moonwake.raise_floor('2001-01-01')"))
    end)

    it("keeps it through a rollback and shows it to an old snapshot", function()
      local old = server:session { db = db }
      finally(function() old:close() end)
      old:run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM moonwake.events")
      sql("BEGIN; SELECT moonwake.raise_floor(now() + interval '2 hours'); ROLLBACK")

      assert.equal("t", old:run([[SELECT e."timestamp" > clock_timestamp() + interval '1 hour'
        FROM moonwake.publish_event('a', 'b', 'c') p, LATERAL (SELECT moonwake.append_time() AS "timestamp") e]]))
    end)

    it("refuses one far ahead, which would stamp all that follows", function()
      assert.equal("MW009", (server:failure("SELECT moonwake.raise_floor(now() + interval '2 days')", { db = db })))
      assert.equal("MW009", (server:failure("SELECT moonwake.raise_floor('infinity')", { db = db })))
    end)

    it("never lowers it under concurrent callers", function()
      local sessions = {}
      for i = 1, 6 do
        sessions[i] = server:session { db = db }
        sessions[i]:send([[DO $$ DECLARE was timestamptz; goal timestamptz; BEGIN FOR i IN 1 .. 200 LOOP
          goal := clock_timestamp() + random() * interval '1 hour'; was := moonwake.raise_floor(goal);
          IF was < goal OR moonwake.raise_floor('2001-01-01') < was THEN RAISE 'sank'; END IF; COMMIT; END LOOP; END $$]])
      end

      for _, session in ipairs(sessions) do
        assert.equal("", session:read(30))
        session:close()
      end
    end)
  end)

  describe("with a bell", function()
    local function listener()
      local session = server:session { db = db }
      session:run("LISTEN moonwake")
      return session
    end

    local function rung(session)
      return select(2, session:run("SELECT 1"):gsub("Asynchronous notification", ""))
    end

    it("rings for an append, without a payload", function()
      local ear = listener()
      finally(function() ear:close() end)

      sql(PUBLISH)
      local heard = ear:run("SELECT 1")

      assert.matches('Asynchronous notification "moonwake" received from server process', heard)
    end)

    it("is silent while somebody holds the exclusive lock, and while he only queues for it", function()
      local ear, awake, ringer, sleeper = listener(), server:session { db = db }, server:session { db = db },
        server:session { db = db }
      finally(function() ear:close() awake:close() ringer:close() sleeper:close() end)
      awake:run("SELECT pg_advisory_lock(moonwake.bell_key(), 1)")
      sql(PUBLISH)
      assert.equal(0, rung(ear))
      awake:run("SELECT pg_advisory_unlock(moonwake.bell_key(), 1)")

      ringer:run("BEGIN; " .. PUBLISH) -- rang, idles in its transaction
      awake:send("SELECT pg_advisory_lock(moonwake.bell_key(), 1)")
      pg.sleep(0.2)
      assert.is_true(awake:busy())
      sql("SELECT moonwake.publish_event('a', 'b', 'other')")

      assert.equal(0, rung(ear))
      ringer:run("COMMIT")
      awake:read()
    end)

    it("is off for a transaction that will be prepared", function()
      assert.equal("0A000", (server:failure("BEGIN; " .. PUBLISH .. "; PREPARE TRANSACTION 'rings'", { db = db })))
      sql("BEGIN; SET LOCAL moonwake.ring = off; " .. PUBLISH .. "; PREPARE TRANSACTION 'silent'; COMMIT PREPARED 'silent'")

      assert.equal("1", sql("SELECT count(*) FROM moonwake.events"))
    end)
  end)
end)
