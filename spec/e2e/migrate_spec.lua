local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

describe("migrate", function()
  local server, serial = pg.shared(), 0

  local function empty_database()
    serial = serial + 1
    local name = "migrate_" .. serial
    server:dropdb(name)
    server:createdb(name)
    return server.dsn(name), name
  end

  local function recorded(name, schema)
    return server:query(("SELECT number, name, checksum FROM %s.migrations ORDER BY number")
      :format(schema or "moonwake"), { db = name })
  end

  local function sources()
    return files.lines(files.command("ls sql/[0-9]*.sql"))
  end

  after_each(files.clean)

  it("applies every migration once, in order, with its checksum", function()
    local dsn, name = empty_database()

    local out = moonwake.must({ "migrate" }, { db = dsn })

    local rows = recorded(name)
    assert.equal(#sources(), #rows)
    for i, path in ipairs(sources()) do
      local stem = path:match("([^/]+)%.sql$")
      assert.same({ tostring(tonumber(stem:match("^%d+"))), stem }, { rows[i][1], rows[i][2] })
      assert.matches("^%x+$", rows[i][3])
      assert.equal(64, #rows[i][3])
      assert.truthy(out:find("applied " .. stem .. "\n", 1, true))
    end
  end)

  it("does nothing the second time, and says so", function()
    local dsn, name = empty_database()
    moonwake.must({ "migrate" }, { db = dsn })
    local before = server:query("SELECT * FROM moonwake.migrations ORDER BY number", { db = name })

    local out = moonwake.must({ "migrate" }, { db = dsn })

    assert.equal(("schema moonwake is up to date (%d migrations)\n"):format(#before), out)
    assert.same(before, server:query("SELECT * FROM moonwake.migrations ORDER BY number", { db = name }))
  end)

  it("lists what is pending with --dry-run and changes nothing", function()
    local dsn, name = empty_database()

    local out = moonwake.must({ "migrate", "--dry-run" }, { db = dsn })

    assert.matches("^pending 0001_", out)
    assert.equal("f", server:psql("SELECT to_regnamespace('moonwake') IS NOT NULL", { db = name }))
  end)

  it("speaks JSON, one object a migration", function()
    local dsn = empty_database()

    local lines = files.lines(moonwake.must({ "migrate", "--json" }, { db = dsn }))

    assert.equal(#sources(), #lines)
    assert.matches('^{"migration":"0001_%w+","number":1,"state":"applied"}$', lines[1])
  end)

  it("refuses a migration that was changed after it was applied, by name", function()
    local dsn, name = empty_database()
    moonwake.must({ "migrate" }, { db = dsn })
    server:psql("UPDATE moonwake.migrations SET checksum = 'x' WHERE number = 2", { db = name })

    local r = moonwake.run({ "migrate" }, { db = dsn })

    assert.equal(1, r.code)
    assert.matches("^moonwake: migration 0002_%w+: its text has changed since it was applied %(", r.err)
  end)

  it("refuses a database that is newer than the program", function()
    local dsn, name = empty_database()
    moonwake.must({ "migrate" }, { db = dsn })
    server:psql("INSERT INTO moonwake.migrations VALUES (9999, '9999_future', 'x')", { db = name })

    local migrate = moonwake.run({ "migrate" }, { db = dsn })
    local tail = moonwake.run({ "tail", "--no-follow" }, { db = dsn })

    for _, r in ipairs { migrate, tail } do
      assert.equal(1, r.code)
      assert.equal("moonwake: schema: the database is newer than this program: it has migration 9999_future "
        .. "(upgrade moonwake)\n", r.err)
    end
  end)

  it("refuses a gap below what is applied", function()
    local dsn, name = empty_database()
    moonwake.must({ "migrate" }, { db = dsn })
    server:psql("DELETE FROM moonwake.migrations WHERE number = 1", { db = name })

    local r = moonwake.run({ "migrate" }, { db = dsn })

    assert.equal(1, r.code)
    assert.matches("^moonwake: migration 0001_%w+: was not applied, but the later 0002_", r.err)
  end)

  it("leaves nothing of a migration that fails, and goes on from there", function()
    local dsn, name = empty_database()
    -- The second migration finds its table's name taken.
    server:psql("CREATE SCHEMA moonwake; CREATE TABLE moonwake.events ()", { db = name })

    local failed = moonwake.run({ "migrate" }, { db = dsn })

    assert.equal(1, failed.code)
    assert.matches("^moonwake: migration 0002_%w+: ", failed.err:match("moonwake: migration.*"))
    assert.equal(1, #recorded(name))
    server:psql("DROP TABLE moonwake.events", { db = name })
    moonwake.must({ "migrate" }, { db = dsn })
    assert.equal(#sources(), #recorded(name))
  end)

  it("lets one of two at a time, and both succeed", function()
    local dsn, name = empty_database()

    local first = moonwake.spawn({ "migrate" }, { db = dsn })
    local second = moonwake.spawn({ "migrate" }, { db = dsn })

    assert.same({ 0, 0 }, { first:wait(), second:wait() })
    assert.equal(#sources(), #recorded(name))
    assert.matches("is up to date", first:out() .. second:out())
  end)

  it("installs into another schema", function()
    local dsn, name = empty_database()

    moonwake.must({ "migrate", "--schema", "fleet" }, { db = dsn })

    assert.equal(#sources(), #recorded(name, "fleet"))
    assert.equal("f", server:psql("SELECT to_regclass('moonwake.events') IS NOT NULL", { db = name }))
    moonwake.must({ "publish", "--schema", "fleet", "a.b", "c", "d" }, { db = dsn })
    assert.equal("1", server:psql("SELECT count(*) FROM fleet.events", { db = name }))
  end)

  it("says which rights are missing", function()
    local dsn, name = empty_database()
    server:psql("DROP ROLE IF EXISTS nobody_special; CREATE ROLE nobody_special LOGIN", { db = name })

    local r = moonwake.run({ "migrate" }, { db = dsn:gsub("user=postgres", "user=nobody_special") })

    assert.equal(1, r.code)
    assert.matches("^moonwake: migrate: role nobody_special may not install the schema in database migrate_%d+ %(",
      r.err)
  end)

  it("uses --admin-db where it is given", function()
    local dsn, name = empty_database()

    moonwake.must({ "migrate", "--admin-db", dsn }, { db = "host=/nonexistent dbname=x" })

    assert.equal(#sources(), #recorded(name))
  end)

  it("is what other commands ask for when the schema is missing or behind", function()
    local dsn, name = empty_database()
    local missing = moonwake.run({ "publish", "a", "b", "c" }, { db = dsn })
    moonwake.must({ "migrate" }, { db = dsn })
    server:psql("DELETE FROM moonwake.migrations WHERE number = (SELECT max(number) FROM moonwake.migrations)",
      { db = name })
    local behind = moonwake.run({ "publish", "a", "b", "c" }, { db = dsn })

    assert.same({ 1, 1 }, { missing.code, behind.code })
    assert.equal(("moonwake: schema: moonwake is not installed in database %s (run moonwake migrate)\n"):format(name),
      missing.err)
    assert.equal("moonwake: schema: moonwake is 1 migration behind this program (run moonwake migrate)\n", behind.err)
  end)
end)
