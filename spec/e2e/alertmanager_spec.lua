local ffi = require "ffi"

local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local hooks_of = require "spec.support.hooks"
local json = require "dkjson"
local pg = require "spec.support.pg"
local telling = require "spec.support.raise"

local raise = telling.raise
local KILL = 9

local CONFIG = [[
route: { receiver: hook, group_by: [ alertname, bench ], group_wait: 1s, group_interval: 1s, repeat_interval: 1h }
receivers:
  - name: hook
    webhook_configs: [ { url: "%s", send_resolved: true } ]
]]

local Alertmanager = {}
Alertmanager.__index = Alertmanager

--- Debian's, on a port of its own, telling a hook of what it groups.
local function alertmanager_of(hook, port)
  local self = setmetatable({ dir = files.dir(), port = port }, Alertmanager)
  files.write(self.dir .. "/config.yml", CONFIG:format(hook))
  return self
end

function Alertmanager:get(path)
  return files.command(("curl -s -w '\n%%{http_code}' http://127.0.0.1:%d%s || true"):format(self.port, path))
end

function Alertmanager:start()
  os.execute(("prometheus-alertmanager --config.file=%s/config.yml --storage.path=%s/data --cluster.listen-address= "
    .. "--web.listen-address=127.0.0.1:%d >%s/log 2>&1 & echo $! >%s/pid"):format(self.dir, self.dir, self.port, self.dir, self.dir))
  self.pid = tonumber(files.read(self.dir .. "/pid"))
  pg.eventually(function() return self:get("/-/ready"):match("\n200$") end, 30, "the Alertmanager")
end

function Alertmanager:stop()
  ffi.C.kill(self.pid, KILL)
  pg.eventually(function() return ffi.C.kill(self.pid, 0) ~= 0 end, 10, "its end")
end

--- A bench's alerts by the device that they are about, as its API lists them.
function Alertmanager:alerts(bench)
  local by = {}
  for _, alert in ipairs(json.decode(self:get("/api/v2/alerts"):match("^(.*)\n") or "") or {}) do
    if alert.labels.bench == bench.db then
      by[alert.labels.aggregate_id] = alert
      by.count = (by.count or 0) + 1
    end
  end
  return by
end

local function free_port()
  return tonumber(files.command([[python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])']]))
end

describe("an Alertmanager", function()
  local bench, hooks, am

  setup(function()
    hooks = hooks_of {}
    am = alertmanager_of(hooks:url("ok"), free_port())
    am:start()
  end)
  teardown(function()
    am:stop()
    hooks:stop()
    files.clean()
  end)
  before_each(function()
    bench = bench_of {}
  end)
  after_each(function()
    bench:stop()
  end)

  --- An alert that says which spec it belongs to: they share the Alertmanager.
  local function effect(n, more)
    more = more or {}
    more.labels = more.labels or { site = "north" }
    more.labels.bench = bench.db
    return telling.effect(n, more)
  end

  --- What it told the hook of this spec's alerts.
  local function told(count)
    return pg.eventually(function()
      local bodies = {}
      for _, got in ipairs(hooks:requests()) do
        local body = json.decode(got.body)
        if type(body.groupLabels) == "table" and body.groupLabels.bench == bench.db then
          bodies[#bodies + 1] = body
        end
      end
      return #bodies >= count and bodies
    end, 20, count .. " notifications")
  end

  local function receiver(resend, more)
    files.write(bench.workspace .. "/rules/receivers/ops.lua", ([[receiver "ops" {
      alertmanager = { "http://127.0.0.1:%d"%s }, resend = "%s" }]]):format(am.port, more or "", resend))
  end

  local function eventually(what, check, timeout)
    return pg.eventually(function() return check(am:alerts(bench)) end, timeout or 15, what)
  end

  local function seconds_of(iso)
    return tonumber(bench:psql(("SELECT extract(epoch FROM '%s'::timestamptz)"):format(iso)))
  end

  it("is told what fires, with labels, and until when to believe it", function()
    receiver("1m")
    bench:daemon()

    raise(bench, effect(1, { ago = 100, labels = { site = "north", ["what-ever"] = 7, none = "" }, runbook = "https://wiki/x" }))

    local alert = eventually("the alert", function(by) return by["d-1"] end)
    assert.same({ alertname = "crash_loop", severity = "warning", site = "north", what_ever = "7", aggregate_id = "d-1",
      bench = bench.db }, alert.labels)
    assert.equal("it crashes", alert.annotations.summary)
    assert.equal("https://wiki/x", alert.annotations.runbook_url)
    assert.equal("t", bench:psql(("SELECT date_trunc('milliseconds', fired_at) = '%s' FROM moonwake.alerts"):format(alert.startsAt)))
    local ahead = seconds_of(alert.endsAt) - tonumber(bench:psql("SELECT extract(epoch FROM clock_timestamp())"))
    assert.is_true(ahead > 180 and ahead <= 240, "it ends in " .. ahead .. " s")
  end)

  it("groups and tells what fires and what is over", function()
    receiver("1m")
    bench:daemon()

    raise(bench, effect(1), effect(2))
    local first = told(1)[1]
    raise(bench, effect(1, { transition = "resolved", n = 2 }), effect(2, { transition = "expired", n = 2 }))
    local last = told(2)[2]

    assert.same({ "firing", 2 }, { first.status, #first.alerts })
    assert.same({ "resolved", "crash_loop" }, { last.status, last.groupLabels.alertname })
    bench:eventually("SELECT count(*) FROM moonwake.outbox WHERE state = 'done'", "4")
  end)

  it("is told again of all that fires, once it is back without a memory", function()
    receiver("300ms")
    bench:daemon()
    raise(bench, effect(1, { ago = 60 }), effect(2))
    local before = eventually("the alerts", function(by) return by.count == 2 and by end)

    am:stop()
    raise(bench, effect(2, { transition = "resolved", n = 2 }))
    files.command("rm -rf " .. am.dir .. "/data")
    am:start()

    local after = eventually("the alert", function(by) return by["d-1"] and by end)
    assert.equal(before["d-1"].startsAt, after["d-1"].startsAt)
    bench:eventually("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.outbox", "done")
  end)

  it("lets go what nobody tells it of any more, and hears of it again when the daemon is back", function()
    receiver("500ms")
    local daemon = bench:daemon()
    raise(bench, effect(1, { ago = 60 }))
    local before = eventually("the alert", function(by) return by["d-1"] end)

    daemon:signal("KILL")
    eventually("its end", function(by) return by["d-1"] == nil end)
    bench:daemon()

    local after = eventually("the alert", function(by) return by["d-1"] end)
    assert.equal(before.startsAt, after.startsAt)
  end)

  it("is not told of what is silenced, and told when the silence ends", function()
    receiver("400ms")
    bench:daemon()
    raise(bench, effect(1), effect(2, { labels = { site = "south" } }))
    eventually("the alerts", function(by) return by.count == 2 end)

    bench:psql([[SELECT moonwake.silence('{"site": "north"}', now() + interval '1 hour', 'new switch')]])
    eventually("one alert", function(by) return by.count == 1 and by["d-2"] end)
    raise(bench, effect(3))
    bench:eventually("SELECT muted FROM moonwake.alerts WHERE key_text = '\"d-3\"'", "silence 1: new switch")
    assert.is_nil(am:alerts(bench)["d-3"])
    bench:psql("SELECT moonwake.unsilence(1)")

    eventually("all alerts", function(by) return by.count == 3 end)
  end)

  it("holds one alert of a key when its severity changes", function()
    receiver("1m")
    bench:daemon()
    raise(bench, effect(1))
    eventually("the warning", function(by) return by["d-1"] end)

    raise(bench, effect(1, { n = 2, severity = "critical", from = "warning" }))

    eventually("the critical one alone", function(by) return by.count == 1 and by["d-1"].labels.severity == "critical" end)
  end)

  it("that is down keeps no other from being told", function()
    receiver("500ms", (', "http://127.0.0.1:%d"'):format(free_port()))
    bench:daemon()

    raise(bench, effect(1))

    eventually("the alert", function(by) return by["d-1"] end)
    bench:eventually("SELECT state FROM moonwake.outbox", "done")
    assert.matches("Failed to connect", bench:psql("SELECT error FROM moonwake.outbox_tries"))
  end)

  it("that finds one alert invalid has the others, and says which it is", function()
    files.write(bench.workspace .. "/rules/receivers/ops.lua", ([[receiver "ops" { alertmanager = "%s" }]]):format(hooks:url("picky")))
    raise(bench, effect(1), effect(2, { summary = "BAD" }), effect(3))

    bench:daemon()

    bench:eventually("SELECT string_agg(state, ' ' ORDER BY seq) FROM moonwake.outbox", "done failed done")
    assert.matches("answered 400: BAD is not valid", bench:psql("SELECT note FROM moonwake.outbox WHERE state = 'failed'"))
  end)

  it("is told in bodies of at most 256", function()
    receiver("1m")
    local many = {}
    for n = 1, 300 do
      many[n] = effect(n)
    end
    raise(bench, unpack(many))
    bench:daemon()

    eventually("all of them", function(by) return by.count == 300 end)
    bench:eventually("SELECT string_agg(DISTINCT state, ' ') FROM moonwake.outbox", "done")
    assert.equal("256,44", bench:psql("SELECT string_agg(jsonb_array_length(b::jsonb)::text, ',') "
      .. "FROM moonwake.alertmanager_alerts('ops', 60) b"))
  end)
end)
