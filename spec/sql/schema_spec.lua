local pg = require "spec.support.pg"

describe("the schema", function()
  local server = pg.shared()

  it("explains every table and function of its own", function()
    local db = server:fresh()

    local silent = server:query([[
      SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = 'moonwake'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
      UNION ALL
      SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'moonwake'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
          AND obj_description(c.oid, 'pg_class') IS NULL]], { db = db })

    assert.same({}, silent)
  end)

  it("belongs to a role that nobody logs in as", function()
    local db = server:fresh()

    assert.equal("", server:psql([[
      SELECT c.relname FROM pg_class c WHERE c.relnamespace IN ('moonwake'::regnamespace, 'moonwake_tables'::regnamespace)
        AND c.relowner <> 'moonwake_owner'::regrole
      UNION ALL
      SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'moonwake'::regnamespace
        AND p.proowner <> 'moonwake_owner'::regrole]], { db = db }))
    assert.equal("f", server:psql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'moonwake_owner'"))
  end)

  it("lets nobody execute what was not granted", function()
    local db = server:fresh()

    assert.equal("", server:psql([[
      SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'moonwake'::regnamespace
        AND has_function_privilege('public', p.oid, 'EXECUTE')]], { db = db }))
  end)

  it("gives every SECURITY DEFINER function a search_path that ends with pg_temp", function()
    local db = server:fresh()

    assert.equal("", server:psql([[
      SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'moonwake'::regnamespace AND p.prosecdef
        AND NOT coalesce(array_to_string(p.proconfig, ' ') ~ 'search_path=[^ ]+, [a-z_, ]*pg_temp( |$)', false)]],
      { db = db }))
  end)

  it("works under another name beside itself", function()
    local db = server:fresh()

    server:migrate(db, { schema = "other", upto = "0004" })

    assert.equal("1|1", server:psql("SELECT id, version FROM other.publish_event('a', 'b', 'c')", { db = db }))
    assert.equal("1", server:psql("SELECT scanned_to FROM other.read_events(0)", { db = db }))
    assert.equal("0", server:psql("SELECT count(*) FROM moonwake.events", { db = db }))
    assert.equal("other.events_id_seq", server:psql(
      "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'other.events'::regclass AND adnum = 1",
      { db = db }):match("'([^']+)'"))
  end)

  describe("installed by a database's owner who is no superuser", function()
    it("works once the roles are there and he is a member of the owner", function()
      server:psql("DROP ROLE IF EXISTS landlord; CREATE ROLE landlord LOGIN; GRANT moonwake_owner TO landlord")
      server:psql("DROP DATABASE IF EXISTS let", {})
      server:psql("CREATE DATABASE let OWNER landlord")

      server:migrate("let", { user = "landlord" })

      assert.equal("1", server:psql("SELECT id FROM moonwake.publish_event('a', 'b', 'c')",
        { db = "let", user = "moonwake_run" }))
    end)

    it("is told what a superuser has to run when he is not", function()
      server:psql("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN; CREATE DATABASE strange OWNER stranger")

      local ok, err = pcall(server.migrate, server, "strange", { user = "stranger" })

      assert.is_false(ok)
      assert.matches("roles: stranger is no member of moonwake_owner", err)
      assert.matches("GRANT moonwake_owner TO stranger", err)
    end)

    it("is told what a superuser has to run when there are no roles", function()
      local own = pg.start()
      finally(function() own:stop() end)
      own:psql("CREATE ROLE stranger LOGIN; CREATE DATABASE strange OWNER stranger")

      local ok, err = pcall(own.migrate, own, "strange", { user = "stranger" })

      assert.is_false(ok)
      assert.matches("roles: moonwake_owner does not exist and stranger may not create it", err)
      assert.matches("CREATE ROLE moonwake_owner", err)
    end)
  end)

  it("refuses settings that mean nothing", function()
    local db = server:fresh()

    assert.equal("23514", (server:failure("UPDATE moonwake.settings SET value = 'ajar' WHERE name = 'registry'", { db = db })))
    assert.equal("23514", (server:failure("UPDATE moonwake.settings SET value = 'much' WHERE name = 'max_event_bytes'",
      { db = db })))
  end)

  it("registers the types of a device fleet", function()
    local db = server:fresh()

    local rows = server:query(
      "SELECT split_part(name, '.', 1) AS family, count(*) > 1, bool_and(description <> '' AND aggregate_type <> '') "
      .. "FROM moonwake.event_types WHERE aggregate_type IN ('device', 'container', 'image') GROUP BY 1 ORDER BY 1", { db = db })

    assert.same({
      { "container", "t", "t" }, { "current_state", "t", "t" }, { "device", "t", "t" },
      { "image", "t", "t" }, { "reconciliation", "t", "t" }, { "target_state", "t", "t" },
    }, rows)
  end)
end)
