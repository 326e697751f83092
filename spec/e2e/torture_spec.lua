local pg = require "spec.support.pg"
local moonwake = require "spec.support.moonwake"
local publishers = require "spec.support.publishers"

local SOAK = os.getenv("MOONWAKE_SOAK") == "1"
local ROUNDS = SOAK and 60 or 5
local WORKSPACE = "spec/workspaces/torture"
local FAULTS = { "group.before_commit", "group.after_send", "group.after_commit", "session.released" }

local function daemon(dsn, fault)
  return moonwake.spawn({ "run", "-C", WORKSPACE, "--no-supervisor", "--takeover-after", "2", "-q" },
    { db = dsn, env = fault and { MOONWAKE_FAULT = fault } or {} })
end

--- What the log says, computed by SQL; and what the projections hold, in the same shape.
local TRUTH = {
  ledger = {
    log = [[SELECT aggregate_id, count(*), sum((data->>'n')::bigint), max(version) + 1, 0, max(id)
      FROM moonwake.events GROUP BY 1 ORDER BY 1]],
    table = [[SELECT key, events, total, next, disorder, position FROM moonwake.ledger ORDER BY key]],
  },
  trail = {
    log = [[SELECT aggregate_type, data->>'lane', count(*), max(id) FROM moonwake.events
      WHERE event_type = 'torture.even' GROUP BY 1, 2 ORDER BY 1, 2]],
    table = [[SELECT aggregate_type, lane, state->>'count', state#>>'{last,id}' FROM moonwake.trail ORDER BY 1, 2]],
  },
  plain = {
    log = [[SELECT event_type, count(*), sum((data->>'n')::bigint) FROM moonwake.events
      WHERE event_type = 'torture.odd' GROUP BY 1]],
    table = [[SELECT type, events, total FROM moonwake_tables.torture_plain ORDER BY 1]],
  },
}

local function fingerprint(server, db)
  return server:psql([[
    SELECT md5(string_agg(t::text, '|' ORDER BY key)) FROM moonwake.ledger t;
    SELECT md5(string_agg(t::text, '|' ORDER BY aggregate_type, lane)) FROM moonwake.trail t;
    SELECT md5(string_agg(t::text, '|' ORDER BY type)) FROM moonwake_tables.torture_plain t]], { db = db })
end

--- A crash between PREPARE and its end leaves a transaction that holds its locks for ever: somebody has to end it.
local function finish_orphans(server, db, age)
  local orphans = server:query(("SELECT gid FROM pg_prepared_xacts WHERE prepared < now() - interval '%d s'"):format(age),
    { db = db })
  for _, row in ipairs(orphans) do
    server:psql(("COMMIT PREPARED '%s'"):format(row[1]), { db = db, fail_ok = true })
  end
end

describe("under publishers that roll back, dawdle and prepare, with daemons killed and the server crashed,", function()
  it("every projection equals SQL over the log, and a fresh replay", function()
    local seed = tonumber(os.getenv("MOONWAKE_SEED") or "20")
    local random = publishers.random(seed)
    local server = pg.start { settings = { max_connections = 200, max_prepared_transactions = 60, fsync = "on" } }
    finally(function() server:stop() end)
    local db = server:createdb("torture")
    local dsn = server.dsn(db)
    moonwake.must({ "migrate" }, { db = dsn })
    local load = publishers.start(dsn, 8, seed, 40)

    for round = 1, ROUNDS do
      local fault = ("%s:%d"):format(FAULTS[round % #FAULTS + 1], random(1, 12))
      local first, second = daemon(dsn, fault), daemon(dsn)
      pg.sleep(0.5 + random() * 1.5)
      if round % 2 == 0 then
        server:restart("immediate")
      end
      pg.sleep(0.5 + random() * 1.5)
      if not first:code() then
        first:signal("KILL")
      end
      second:signal(round % 3 == 0 and "TERM" or "KILL")
      first:wait()
      second:wait()
      finish_orphans(server, db, 2)
    end
    publishers.stop(load, pg, function() finish_orphans(server, db, 2) end)
    finish_orphans(server, db, 0)
    moonwake.must({ "run", "-C", WORKSPACE, "--until-caught-up", "--takeover-after", "1" }, { db = dsn })

    for name, sql in pairs(TRUTH) do
      local expected = server:query(sql.log, { db = db })
      assert.is_true(#expected > 0, name .. ": the log is empty")
      assert.same(expected, server:query(sql.table, { db = db }), name .. " (seed " .. seed .. ")")
    end
    moonwake.must({ "audit" }, { db = dsn })
    local live = fingerprint(server, db)
    for name in pairs(TRUTH) do
      moonwake.must({ "rebuild", name, "--yes" }, { db = dsn })
    end
    moonwake.must({ "run", "-C", WORKSPACE, "--until-caught-up" }, { db = dsn })
    assert.equal(live, fingerprint(server, db), "live and replayed differ (seed " .. seed .. ")")
  end)
end)
