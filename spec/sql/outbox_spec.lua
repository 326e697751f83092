local effects = require "spec.support.effects"
local pg = require "spec.support.pg"

local firing, resolved = effects.firing, effects.resolved

describe("the outbox", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)

  local function raise(...)
    return effects.raise(server, db, { ... })
  end

  local function sql(text)
    return server:psql(text, { db = db, user = "moonwake_run" })
  end

  local function outbox()
    return sql("SELECT string_agg(concat_ws(' ', transition, key_text, state), ', ' ORDER BY seq) FROM moonwake.outbox")
  end

  it("sends an Alertmanager nothing again that it was never told", function()
    local function sent()
      return sql("SELECT count(*) FROM moonwake.alertmanager_alerts('ops', 60)")
    end

    raise(firing(1, { at = -7200 })) -- a rule that reads old events
    assert.equal("0", sent())

    sql("SELECT moonwake.unmute_alerts()")
    assert.equal("1", sent())
  end)

  it("tells nobody of the end whose beginning was withheld when its turn came", function()
    server:psql("INSERT INTO moonwake.receivers (name) VALUES ('ops')", { db = db })
    raise(firing(1))
    raise(firing(1, { n = 3, severity = "critical", muted = "flapping" }))

    sql([[SELECT * FROM moonwake.outbox_claim('[{"name": "ops", "receives": "webhook", "format": "raw", "room": 8, "stale_after": 0, "resend": 60}]')]])
    assert.equal('firing "d-1" cancelled', outbox())

    raise(resolved(1, { n = 4 }))
    assert.equal('firing "d-1" cancelled', outbox())
  end)

  it("gives a group that was cancelled another round beside the one that collects", function()
    local group = { by = "site", wait = 30000000, interval = 0 }
    raise(firing(1, { group = group }))
    local id = sql("SELECT id FROM moonwake.outbox")
    sql(("SELECT moonwake.outbox_cancel('%s')"):format(id))
    raise(firing(2, { group = group }))

    assert.equal("1", sql(("SELECT moonwake.outbox_retry('%s', NULL)"):format(id)))

    raise(firing(3, { group = group }))
    assert.equal("1, 2", sql("SELECT string_agg(jsonb_array_length(payload -> 'alerts')::text, ', ' ORDER BY seq) FROM moonwake.outbox WHERE state = 'waiting'"))
  end)
end)
