local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

describe("another schema name", function()
  it("holds everything, and readers there wait for writers there", function()
    local server = pg.shared()
    local db = server:createdb("elsewhere")
    local dsn = server.dsn(db)
    local where = { "--schema", "fleet" }
    local function run(...)
      return moonwake.must({ where[1], where[2], ... }, { db = dsn })
    end
    run("migrate")
    local workspace = files.dir()
    files.write(workspace .. "/projections/n.lua",
      [[projection "n" { columns = { n = "bigint default 0" }, on = { ["*"] = function(row) row.n = row.n + 1 end } }]])
    run("publish", "a.x", "thing", "k", "{}")
    local daemon = moonwake.spawn({ "run", "--schema", "fleet", "-C", workspace, "--no-supervisor" }, { db = dsn })
    finally(function() daemon:signal("KILL"); daemon:wait(); server:dropdb(db) end)
    local function count()
      return (server:psql("SELECT sum(n) FROM fleet.n", { db = db, fail_ok = true }))
    end
    pg.eventually(function() return count() == "1" end)

    local open = server:session { db = db }
    open:run("BEGIN; SELECT id FROM fleet.publish_event('a.x', 'thing', 'held')")
    run("publish", "a.x", "thing", "later", "{}")
    pg.sleep(0.7)
    assert.equal("1", count())
    open:run("COMMIT")
    pg.eventually(function() return count() == "3" end)
    open:close()
    assert.equal("0", server:psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'moonwake'", { db = db }))
    assert.matches("running", run("status"))
  end)

  it("has to be a plain word", function()
    local r = moonwake.run({ "--schema", "a'b", "migrate" }, { db = pg.shared().dsn() })
    assert.equal(2, r.code)
    assert.matches("schema", r.err)
  end)
end)
