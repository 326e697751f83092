local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local hooks_of = require "spec.support.hooks"
local json = require "dkjson"
local pg = require "spec.support.pg"
local telling = require "spec.support.raise"

local effect = telling.effect

local SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
local NEXT_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD1WkTXx0wzZM="

describe("webhooks", function()
  local bench, hooks

  before_each(function()
    bench = bench_of {}
    hooks = hooks_of { SECRET, NEXT_SECRET }
    files.write(bench.workspace .. "/secret", SECRET .. "\n")
  end)
  after_each(function()
    bench:stop()
    hooks:stop()
    files.clean()
  end)

  local function receiver(name, path, more)
    files.write(("%s/rules/receivers/%s.lua"):format(bench.workspace, name), ([[receiver "%s" { webhook = "%s", %s }]]):format(
      name, hooks:url(path), more or [[secret_file = "secret", allow_private = true, retry = { 0, "50ms", "50ms", "50ms", "50ms" }]]))
  end

  local function raise(...)
    telling.raise(bench, ...)
  end

  local function states()
    return bench:psql("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.outbox")
  end

  it("arrive signed, with the id of the delivery and a body of Standard Webhooks", function()
    receiver("ops")
    bench:daemon()

    raise(effect(1))

    local got = hooks:await(1)[1]
    local body = json.decode(got.body)
    assert.equal(bench:psql("SELECT id FROM moonwake.outbox"), got.id)
    assert.same({ 1 }, got.signed)
    assert.is_true(got.fresh)
    assert.equal("alert.firing", body.type)
    assert.equal(bench:psql("SELECT moonwake.iso_time(at) FROM moonwake.outbox"), body.timestamp)
    assert.same({ "crash_loop", "d-1", "warning", "it crashes", "north" }, { body.data.rule, body.data.key.aggregate_id,
      body.data.severity, body.data.summary, body.data.labels.site })
    assert.equal("application/json", got.headers["content-type"])
    bench:eventually("SELECT state FROM moonwake.outbox", "done")
    assert.equal("1|200|", bench:psql("SELECT try, status, error FROM moonwake.outbox_tries"))
  end)

  it("tell of a rule's alert, with what it did, and of its end", function()
    receiver("ops")
    files.write(bench.workspace .. "/rules/hot.lua", [[rule "hot" {
      on = "device.heartbeat", value = "data.celsius", summary = "{aggregate_id} has {value} degrees", notify = "ops",
      when = function(v) return v > 70 end, clear = function(v) return v < 60 end,
      act = function(v, k) return webhook { to = "ops", data = { device = k.aggregate_id, at = v } } end,
    }]])
    bench:daemon()

    bench:publish("device.heartbeat", "d-1", '{"celsius": 75}')
    hooks:await(2)
    bench:publish("device.heartbeat", "d-1", '{"celsius": 50}')

    local by = {}
    for _, got in ipairs(hooks:await(3)) do
      local body = json.decode(got.body)
      by[body.type] = body
    end
    assert.equal("d-1 has 75 degrees", by["alert.firing"].data.summary)
    assert.equal("cleared", by["alert.resolved"].data.reason)
    assert.equal(by["alert.firing"].data.episode, by["alert.resolved"].data.episode)
    assert.same({ device = "d-1", at = 75 }, by["action.hot"].data)
  end)

  it("are signed by every secret while a key is exchanged, without a restart", function()
    receiver("ops", "ok", [[secret_file = { "secret", "next" }, allow_private = true]])
    files.write(bench.workspace .. "/next", NEXT_SECRET)
    bench:daemon()

    raise(effect(1))
    assert.same({ 1, 2 }, hooks:await(1)[1].signed)
    files.write(bench.workspace .. "/secret", NEXT_SECRET)
    raise(effect(2))
    assert.same({ 2 }, hooks:await(2)[2].signed)
  end)

  it("are tried again under the same id with a fresh signature until they are taken, and acted on once", function()
    receiver("ops", "fail/2")
    receiver("lost", "drop/1")
    bench:daemon()

    raise(effect(1, { notify = { "ops", "lost" } }))

    bench:eventually("SELECT count(*) FROM moonwake.outbox WHERE state = 'done'", "2")
    local ids, tries = {}, hooks:requests()
    assert.equal(5, #tries)
    for _, got in ipairs(tries) do
      ids[got.id] = true
      assert.same({ 1 }, got.signed)
      assert.is_true(got.fresh)
    end
    assert.is_true(ids[hooks:acted()[1].id] and ids[hooks:acted()[2].id])
    assert.equal(2, #hooks:acted())
    assert.equal("500 answered 500: the disk is full,500 answered 500: the disk is full,200 ", bench:psql(
      "SELECT string_agg(concat(status, ' ', error), ',' ORDER BY try) FROM moonwake.outbox_tries t JOIN moonwake.outbox o "
      .. "ON o.id = t.outbox_id WHERE o.receiver = 'ops'"))
  end)

  it("are tried ten times in three days and three and a half hours, and then given up", function()
    receiver("ops", "fail/99", [[allow_private = true]])
    bench:daemon()
    raise(effect(1))

    for try, pause in ipairs { 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400 } do
      bench:eventually("SELECT state || tries FROM moonwake.outbox", "waiting" .. try)
      local ahead = tonumber(bench:psql("SELECT extract(epoch FROM o.due_at - t.at) FROM moonwake.outbox o "
        .. "JOIN moonwake.outbox_tries t ON t.outbox_id = o.id AND t.try = o.tries"))
      assert.is_true(ahead > pause * 0.89 and ahead < pause * 1.11 + 20, ("after try %d: %g s"):format(try, ahead))
      bench:psql("UPDATE moonwake.outbox SET due_at = clock_timestamp(); NOTIFY moonwake_outbox")
    end

    bench:eventually("SELECT state || tries FROM moonwake.outbox", "failed10")
    assert.equal(10, #hooks:requests())
  end)

  it("wait as long as Retry-After says, and so do the others to that receiver", function()
    receiver("ops", "busy/1/2")
    bench:daemon()

    raise(effect(1))
    hooks:await(1)
    bench:eventually("SELECT status FROM moonwake.outbox_tries", "429")
    raise(effect(2))

    local got = hooks:await(4)
    assert.is_true(got[2].at - got[1].at >= 2, "the second try came " .. got[2].at - got[1].at .. " s later")
    bench:eventually("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.outbox", "done")
  end)

  it("do not follow a redirect, and end in a list and in the log", function()
    receiver("ops", "moved", [[allow_private = true, retry = { 0, "20ms" }]])
    bench:daemon()

    raise(effect(1))

    bench:eventually("SELECT state FROM moonwake.outbox", "failed")
    assert.same({ "/moved", "/moved" }, { hooks:requests()[1].path, hooks:requests()[2].path })
    assert.matches("^answered 301 ", bench:psql("SELECT note FROM moonwake.outbox"))
    bench:eventually("SELECT data ->> 'rule' FROM moonwake.events WHERE event_type = 'delivery.failed'", "crash_loop")
  end)

  it("stop for a receiver that says it is gone, and go on once it is enabled", function()
    receiver("ops", "gone")
    receiver("other")
    bench:daemon()

    raise(effect(1))
    bench:eventually("SELECT disabled_why FROM moonwake.receivers WHERE name = 'ops'", "it answered 410: gone")
    raise(effect(2, { notify = { "ops", "other" } }))

    bench:eventually("SELECT state FROM moonwake.outbox WHERE receiver = 'other'", "done")
    assert.equal("failed waiting", bench:psql("SELECT string_agg(state, ' ' ORDER BY seq) FROM moonwake.outbox WHERE receiver = 'ops'"))
    assert.equal(1, #hooks:requests() - 1)
    bench:psql("SELECT moonwake.receiver_enable('ops')")
    assert.equal(3, #hooks:await(3))
  end)

  it("give up waiting for an answer, and hold up nobody else", function()
    receiver("ops", "hang/1", [[allow_private = true, timeout = "300ms", retry = { 0, "20ms", "20ms", "20ms", "20ms" }]])
    receiver("other")
    bench:daemon()

    raise(effect(1, { notify = { "ops", "other" } }))

    bench:eventually("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.outbox", "done")
    assert.matches("timed out", bench:psql("SELECT error FROM moonwake.outbox_tries WHERE error IS NOT NULL ORDER BY try LIMIT 1"))
    assert.equal(2, #hooks:acted())
  end)

  it("keep the order of a key's alerts, however often the first one fails", function()
    receiver("ops", "fail/3")
    bench:daemon()

    raise(effect(1))
    raise(effect(1, { transition = "resolved", n = 2 }))

    bench:eventually("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.outbox", "done")
    local types = {}
    for i, got in ipairs(hooks:acted()) do
      types[i] = json.decode(got.body).type
    end
    assert.same({ "alert.firing", "alert.resolved" }, types)
  end)

  it("refuse private addresses, however they are written, unless they are allowed", function()
    receiver("ops", "ok", [[retry = { 0 }]])
    local names = { "ops" }
    for i, host in ipairs { "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "10.0.0.1", "169.254.169.254" } do
      names[i + 1] = "p" .. i
      files.write(("%s/rules/receivers/p%d.lua"):format(bench.workspace, i),
        ([[receiver "p%d" { webhook = "http://%s:%s/ok", retry = { 0 } }]]):format(i, host, hooks.port))
    end
    bench:daemon()

    raise(effect(1, { notify = names }))

    bench:eventually("SELECT count(*) FROM moonwake.outbox WHERE state = 'failed'", tostring(#names))
    assert.equal(tostring(#names), bench:psql(
      "SELECT count(*) FROM moonwake.outbox WHERE note LIKE '%is no public address (allow_private = true%'"))
    assert.equal(0, #hooks:requests())
  end)

  it("come again from a daemon that was killed between the answer and the record, with the same id", function()
    receiver("ops")
    bench:daemon({}, { MOONWAKE_FAULT = "outbox.sent" })
    raise(effect(1))
    hooks:await(1)
    pg.eventually(function() return bench.daemons[1]:code() end, 10, "the crash")
    assert.equal("sending", states())

    bench:daemon()

    bench:eventually("SELECT state FROM moonwake.outbox", "done")
    assert.equal(2, #hooks:requests())
    assert.equal(1, #hooks:acted())
    assert.equal("the daemon ended before it was known what came of it", bench:psql(
      "SELECT error FROM moonwake.outbox_tries WHERE try = 1"))
  end)

  it("are sent by one of two daemons, and by the other when that one dies", function()
    receiver("ops", "ok")
    bench:daemon()
    bench:eventually("SELECT count(*) FROM moonwake.receivers WHERE pid IS NOT NULL", "2")
    bench:daemon()
    for n = 1, 20 do
      raise(effect(n))
    end
    bench:eventually("SELECT count(*) FROM moonwake.outbox WHERE state = 'done'", "20")
    assert.equal(20, #hooks:requests())

    bench.daemons[1]:signal("KILL")
    raise(effect(21))

    bench:eventually("SELECT count(*) FROM moonwake.outbox WHERE state = 'done'", "21")
    assert.equal(21, #hooks:requests())
  end)

  it("are sent by another daemon when the one that sends has stopped to move", function()
    receiver("ops")
    bench:daemon()
    bench:eventually("SELECT count(*) FROM moonwake.receivers WHERE pid IS NOT NULL", "2")
    bench.daemons[1]:signal("STOP")
    bench:daemon { "--takeover-after", "1" }

    raise(effect(1))

    bench:eventually("SELECT state FROM moonwake.outbox", "done")
    assert.equal(1, #hooks:acted())
  end)

  it("come again when the server of the database went away meanwhile", function()
    receiver("ops", "hang/1", [[allow_private = true, timeout = "5s"]])
    bench:daemon()
    raise(effect(1))
    hooks:await(1)

    bench.server:psql(("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '%s' AND usename = 'moonwake_run'")
      :format(bench.db))

    bench:eventually("SELECT state FROM moonwake.outbox", "done")
    assert.equal(1, #hooks:acted())
  end)

  it("do not tell old news to a receiver that wants none", function()
    receiver("ops", "ok", [[allow_private = true, stale_after = "1m"]])
    receiver("all")
    bench:daemon()

    raise(effect(1, { ago = 90, notify = { "ops", "all" } }))

    bench:eventually("SELECT string_agg(state, ' ' ORDER BY receiver) FROM moonwake.outbox", "done stale")
    assert.equal(1, #hooks:requests())
  end)

  it("under way are finished when the daemon is asked to stop", function()
    receiver("ops", "hang/1", [[allow_private = true, timeout = "400ms", retry = { 0, "10m" }]])
    local daemon = bench:daemon()
    raise(effect(1))
    hooks:await(1)

    daemon:signal("TERM")

    assert.equal(0, daemon:wait())
    assert.equal("waiting|timed out", bench:psql("SELECT o.state, substring(t.error FROM 'timed out') "
      .. "FROM moonwake.outbox o JOIN moonwake.outbox_tries t ON t.outbox_id = o.id"))
  end)

  it("carry the form that Alertmanager gives its own, or the bare alert", function()
    receiver("ops", "ok", [[format = "alertmanager", allow_private = true]])
    receiver("raw", "ok", [[format = "raw", allow_private = true]])
    bench:daemon()

    raise(effect(1, { notify = { "ops", "raw" } }))

    local bodies = {}
    for _, got in ipairs(hooks:await(2)) do
      local body = json.decode(got.body)
      bodies[body.version and "ops" or "raw"] = body
    end
    local alert = bodies.ops.alerts[1]
    assert.same({ "4", "firing", "ops", "crash_loop" }, { bodies.ops.version, bodies.ops.status, bodies.ops.receiver,
      bodies.ops.commonLabels.alertname })
    assert.same({ alertname = "crash_loop", severity = "warning", site = "north", aggregate_id = "d-1" }, alert.labels)
    assert.same({ "0001-01-01T00:00:00Z", "it crashes" }, { alert.endsAt, alert.annotations.summary })
    assert.equal("crash_loop", bodies.raw.rule)
  end)

  it("gather the alerts of a group", function()
    local group = { by = { "site" }, wait = 0, interval = 0 }
    receiver("ops")
    raise(effect(1, { group = group }), effect(2, { group = group }))
    raise(effect(3, { group = group }))

    bench:daemon()

    local body = json.decode(hooks:await(1)[1].body)
    assert.equal("alert.group", body.type)
    assert.same({ site = "north" }, body.data.group)
    assert.equal(3, #body.data.alerts)
  end)
end)
