local pg = require "spec.support.pg"

local function definition(version, more)
  return ([[{"name": "summary", "version": %d, "form": "columns", "key": [{"name": "id", "type": "text"}], %s}]]):format(version,
    more or [["columns": [{"name": "n", "type": "bigint", "default": 0}, {"name": "word", "type": "text"}] ]])
end

describe("versions of a projection", function()
  local server = pg.shared()
  local db

  before_each(function() db = server:fresh() end)
  after_each(function() server:dropdb(db) end)

  local function sql(text, user)
    return server:psql(text, { db = db, user = user })
  end

  --- A live version 1 with rows, and a cursor at `position`, as a daemon leaves them.
  local function live(spec, position)
    sql(("SELECT FROM moonwake.projection_ensure($m$%s$m$); SELECT moonwake.keep_source('d1', 'projections/summary.lua', '{}')")
      :format(spec or definition(1)), "moonwake_run")
    sql(([[INSERT INTO moonwake.event_cursors (consumer, kind, version, digest, position)
      VALUES ('summary', 'projection', 1, 'd1', %d)]]):format(position or 5))
  end

  local function leaf(role)
    return "moonwake_versions." .. sql(("SELECT leaf FROM moonwake.projection_versions WHERE role = '%s'"):format(role))
  end

  --- Begins version 2 and gives it a cursor; its rows are the spec's to write.
  local function next_version(spec, position)
    sql(([[SELECT moonwake.keep_source('d2', 'projections/summary.lua', '{}');
      SELECT moonwake.start_version('summary', $m$%s$m$, 'd2', true)]]):format(spec or definition(2)), "moonwake_run")
    sql(([[INSERT INTO moonwake.event_cursors (consumer, kind, version, digest, position)
      VALUES ('summary:next', 'projection', 2, 'd2', %d)]]):format(position or 5))
  end

  local function step()
    return sql("SELECT state FROM moonwake.step_version('summary')", "moonwake_run")
  end

  --- Steps until nothing is to be compared any more; the last state.
  local function settle()
    local state
    for _ = 1, 500 do
      state = step()
      if state ~= "comparing" then
        return state
      end
    end
    return state
  end

  local function difference(path)
    return sql(("SELECT difference #>> '{%s}' FROM moonwake.projection_versions WHERE role = 'next'"):format(path))
  end

  it("compares rows in every column but position and updated_at, in pages, as a full comparison does", function()
    local seed = tonumber(os.getenv("MOONWAKE_SEED") or "7")
    live()
    next_version()
    sql(([[SELECT setseed(%g);
      INSERT INTO %s SELECT 'k' || i, (random() * 3)::int, CASE WHEN random() < 0.5 THEN 'a' END, 1, now() FROM generate_series(1, 3000) i
        WHERE random() < 0.8;
      INSERT INTO %s SELECT 'k' || i, (random() * 3)::int, CASE WHEN random() < 0.5 THEN 'a' END, 2, now() FROM generate_series(1, 3000) i
        WHERE random() < 0.8]]):format(seed / 100, leaf "live", leaf "next"))
    local expected = sql(([[SELECT count(*), count(*) FILTER (WHERE l.id IS NULL), count(*) FILTER (WHERE n.id IS NULL),
      count(*) FILTER (WHERE l.id = n.id AND (l.n, coalesce(l.word, '-')) <> (n.n, coalesce(n.word, '-')))
      FROM %s l FULL JOIN %s n ON n.id = l.id]]):format(leaf "live", leaf "next"))

    while sql("SELECT moonwake.compare_page('summary', 97)", "moonwake_run") == "f" do end

    assert.equal(expected, table.concat({ difference "rows", difference "added", difference "removed", (difference "changed") }, "|"),
      "seed " .. seed)
    assert.equal("true|false", difference "complete" .. "|" .. difference "equal")
    assert.is_true(tonumber((difference "pages")) > 20)
    assert.equal("10", sql("SELECT jsonb_array_length(difference -> 'samples') FROM moonwake.projection_versions WHERE role = 'next'"))
  end)

  it("names the fields that differ, and the event that did it", function()
    live()
    next_version()
    local id = sql("SELECT id FROM moonwake.publish_event('thing.done', 'thing', 'x')")
    sql(([[INSERT INTO %s VALUES ('a', 1, 'same', 1, now()), ('gone', 2, NULL, 1, now());
      INSERT INTO %s VALUES ('a', 9, 'same', %s, now())]]):format(leaf "live", leaf "next", id))

    sql("SELECT moonwake.compare_page('summary')", "moonwake_run")

    assert.equal('changed|{"id": "a"}|{"n": {"live": "1", "next": "9"}}|thing.done\n'
      .. 'removed|{"id": "gone"}|{"n": {"live": "2"}, "word": {"live": "null"}}|thing.done', sql([[
      SELECT s ->> 'change', s -> 'key', s -> 'fields', coalesce(s #>> '{event,type}', 'none')
      FROM moonwake.projection_versions, jsonb_array_elements(difference -> 'samples') s WHERE role = 'next' ORDER BY 1]]))
  end)

  it("says that it cannot tell while they stand at different positions", function()
    live(nil, 7)
    next_version(nil, 5)

    for _ = 1, 101 do
      sql("SELECT moonwake.compare_page('summary')", "moonwake_run")
    end

    assert.matches("do not stand at one position: the live one at event 7, this one at 5", difference "note", 1, true)
    assert.equal("false", difference "equal")
    local state, message = server:failure("SELECT moonwake.promote_version('summary')", { db = db, user = "moonwake_run" })
    assert.equal("MW011", state)
    assert.matches("the next version stands at event 5, the live one at 7", message, 1, true)
  end)

  for what, change in pairs {
    ["the same columns"] = { definition(2), "id n word position updated_at" },
    ["one more and one less"] = { definition(2, [=["columns": [{"name": "n", "type": "bigint", "default": 0},
      {"name": "more", "type": "jsonb", "not_null": true, "default": []}], "indexes": [["more"]] ]=]), "id n position updated_at more" },
    ["another type, default and NOT NULL"] = { definition(2, [["columns": [{"name": "n", "type": "text", "default": "x", "not_null": true},
      {"name": "word", "type": "text"}] ]]), "id n word position updated_at" },
    ["a document"] = { [[{"name": "summary", "version": 2, "form": "document", "key": [{"name": "id", "type": "text"}]}]],
      "id position updated_at state" },
    ["a longer key"] = { [[{"name": "summary", "version": 2, "form": "columns", "key": [{"name": "id", "type": "text"},
      {"name": "at", "type": "date"}], "columns": [{"name": "n", "type": "bigint", "default": 0}]}]], "id n position updated_at at" },
    ["another key"] = { [[{"name": "summary", "version": 2, "form": "columns", "key": [{"name": "id", "type": "bigint"}],
      "columns": [{"name": "n", "type": "bigint", "default": 0}]}]], "id n position updated_at" },
  } do
    it("become live and go back, with " .. what, function()
      live()
      sql(("INSERT INTO %s VALUES ('1', 1, 'w', 1, now())"):format(leaf "live"))
      next_version(change[1])
      assert.equal("go", settle())
      sql("SELECT moonwake.promote_version('summary')", "moonwake_run")

      assert.equal(change[2], sql([[SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = 'moonwake.summary'::regclass AND attnum > 0 AND NOT attisdropped]]))
      assert.equal("0", sql("SELECT count(*) FROM moonwake.summary"))
      assert.equal("f|", sql(("SELECT rebuild, note FROM moonwake.projection_ensure($m$%s$m$)"):format(change[1]), "moonwake_run"))
      assert.equal("summary|2|d2|5\nsummary:old|1|d1|5",
        sql("SELECT consumer, version, digest, position FROM moonwake.event_cursors ORDER BY 1"))

      sql("SELECT moonwake.roll_back_version('summary')", "moonwake_run")
      assert.equal("1|1|w", sql("SELECT id, n, word FROM moonwake.summary"))
      assert.equal("f|", sql(("SELECT rebuild, note FROM moonwake.projection_ensure($m$%s$m$)"):format(definition(1)), "moonwake_run"))
      assert.equal("summary|1|d1|5\nsummary:old|2|d2|5",
        sql("SELECT consumer, version, digest, position FROM moonwake.event_cursors ORDER BY 1"))
    end)
  end

  it("give a daemon with yesterday's plan nothing to claim", function()
    live()
    local build = sql("SELECT build FROM moonwake.projection_versions WHERE role = 'live'")
    local claim = ([[SELECT group_id IS NOT NULL FROM moonwake.claim_consumers(
      '[{"consumer": "summary", "kind": "projection", "version": 1, "digest": "d1", "solo": false, "retry": false, "build": %s}]', 'd', 1)]])
      :format(build)
    assert.equal("t", sql(claim, "moonwake_run"))
    next_version()
    assert.equal("go", settle())
    sql("SELECT moonwake.promote_version('summary')", "moonwake_run")

    assert.equal("MW001", (server:failure(claim, { db = db, user = "moonwake_run" })))
    assert.equal("summary|2|d2|", sql("SELECT consumer, version, digest, group_id FROM moonwake.event_cursors WHERE consumer = 'summary'"))
    assert.equal("MW001", (server:failure((claim:gsub('"summary"', '"summary:next"')), { db = db, user = "moonwake_run" })))
    assert.equal("0", sql("SELECT count(*) FROM moonwake.event_cursors WHERE consumer = 'summary:next'"))
  end)

  it("plan what runs from the file and what from the kept text", function()
    local function plan(spec, digest, fresh)
      return sql(("SELECT live, next FROM moonwake.plan_projection('summary', %s, %s, %s)"):format(
        spec and "$m$" .. spec .. "$m$" or "NULL", digest and "'" .. digest .. "'" or "NULL", fresh and "true" or "false"), "moonwake_run")
    end
    assert.equal("file|none", plan(definition(1), "d1", true))
    live()
    sql([[SELECT moonwake.keep_source(d, 'projections/summary.lua', '{}') FROM unnest('{d2,d3}'::text[]) d]], "moonwake_run")
    assert.equal("file|none", plan(definition(1), "d1", true))
    assert.equal("file|none", plan(definition(1), "other body", true), "a changed body goes on")
    assert.equal("stored|none", plan(definition(2), "d2", false), "only a saved file begins a build")
    assert.equal("stored|file", plan(definition(2), "d2", true))
    local first = sql("SELECT build FROM moonwake.projection_versions WHERE role = 'next'")
    assert.equal("stored|file", plan(definition(2), "d2", true))
    assert.equal("file|stored", plan(definition(1), "d1", false), "a daemon with another file joins")
    assert.equal("stored|stored", plan(nil, nil, false))
    assert.equal(first, sql("SELECT build FROM moonwake.projection_versions WHERE role = 'next'"))
    assert.equal("stored|file", plan(definition(2), "d3", true))
    assert.is_true(first ~= sql("SELECT build FROM moonwake.projection_versions WHERE role = 'next'"))
    sql("SELECT moonwake.cancel_version('summary')", "moonwake_run")
    assert.equal("stored|none", plan(definition(2), "d3", true), "it was declined")
    assert.equal("stored|file", plan(definition(2), "d2", true))
    assert.equal("file|none", plan(definition(1), "d1", true), "the file was put back")
  end)

  it("belong to the daemon alone", function()
    live()
    for _, user in ipairs { "moonwake_read", "moonwake_publish" } do
      server:psql(("ALTER ROLE %s LOGIN"):format(user))
      for _, statement in ipairs { "SELECT moonwake.promote_version('summary')", "SELECT * FROM " .. leaf "live",
        "SELECT moonwake.plan_projection('summary', NULL, NULL, true)", "SELECT moonwake.roll_back_version('summary')" } do
        assert.equal("42501", (server:failure(statement, { db = db, user = user })), statement)
      end
      server:psql(("ALTER ROLE %s NOLOGIN"):format(user))
    end
    assert.equal("42501", (server:failure("DROP TABLE " .. leaf "live", { db = db, user = "moonwake_run" })))
    assert.equal("42501", (server:failure("UPDATE moonwake.projection_versions SET role = 'old'", { db = db, user = "moonwake_run" })))
  end)
end)

describe("the tables of before", function()
  local INDEXED = [=["columns": [{"name": "n", "type": "bigint"}], "indexes": [["n"]]]=]
  local server = pg.shared()

  it("become partitioned with their rows, rights, indexes and the views on them", function()
    local db = ("convert_%d"):format(os.time())
    server:createdb(db)
    finally(function() server:dropdb(db) end)
    local function sql(text, user)
      return server:psql(text, { db = db, user = user })
    end
    server:migrate(db, { upto = "0009" })
    sql(("SELECT FROM moonwake.projection_ensure($m$%s$m$)"):format(definition(1, INDEXED)), "moonwake_run")
    sql([[INSERT INTO moonwake.summary SELECT 'k' || i, i, i, now() FROM generate_series(1, 1000) i;
      CREATE INDEX mine ON moonwake.summary ((n % 3)) WHERE n > 5;
      GRANT SELECT ON moonwake.summary TO moonwake_publish;
      CREATE VIEW public.v WITH (security_barrier = true) AS SELECT id, n FROM moonwake.summary WHERE n > 500;
      CREATE VIEW public.vv AS SELECT count(*) AS many FROM public.v; GRANT SELECT ON public.v TO moonwake_read;
      CREATE TABLE dump AS SELECT * FROM moonwake.summary]])
    local view = sql("SELECT 'public.v'::regclass::oid")

    for _, path in ipairs { "0010_versions", "0011_deliveries", "0012_device_state", "0013_plans", "0014_promotion" } do
      local file = assert(io.open("sql/" .. path .. ".sql"))
      server:psql("BEGIN; " .. file:read("*a") .. "; COMMIT", { db = db })
      file:close()
    end

    assert.equal("p|0|500|t|t|t", sql([[SELECT c.relkind, (SELECT count(*) FROM (TABLE moonwake.summary EXCEPT TABLE dump) d),
      (SELECT many FROM public.vv), has_table_privilege('moonwake_publish', 'moonwake.summary', 'SELECT'),
      has_table_privilege('moonwake_read', 'public.v', 'SELECT'), 'security_barrier=true' = ANY (v.reloptions)
      FROM pg_class c, pg_class v WHERE c.oid = 'moonwake.summary'::regclass AND v.oid = ]] .. view))
    sql("DELETE FROM moonwake.summary WHERE n = 600")
    assert.equal("499", sql("SELECT many FROM public.vv"))
    assert.equal("3|3", sql([[SELECT count(*) FILTER (WHERE schemaname = 'moonwake'), count(*) FILTER (WHERE schemaname <> 'moonwake')
      FROM pg_indexes WHERE tablename LIKE 'summary%']]))
    assert.equal("f|", sql(("SELECT rebuild, note FROM moonwake.projection_ensure($m$%s$m$)"):format(definition(1, INDEXED)), "moonwake_run"))
  end)
end)
