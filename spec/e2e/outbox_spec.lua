local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local hooks_of = require "spec.support.hooks"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local telling = require "spec.support.raise"

local action, effect = telling.action, telling.effect

describe("the outbox", function()
  local bench, hooks

  before_each(function()
    bench = bench_of {}
  end)
  after_each(function()
    bench:stop()
    if hooks then
      hooks:stop()
      hooks = nil
    end
    files.clean()
  end)

  local function receiver(name, text, ...)
    files.write(("%s/rules/receivers/%s.lua"):format(bench.workspace, name), ('receiver "%s" { %s }'):format(name, text:format(...)))
  end

  local function raise(...)
    telling.raise(bench, ...)
  end

  local function outbox(...)
    return moonwake.run({ "outbox", "-C", bench.workspace, ... }, { db = bench.run_dsn, env = { HOOK_TOKEN = "s3cret" } })
  end

  local function id_of(where)
    return bench:psql("SELECT id FROM moonwake.outbox WHERE " .. (where or "true"))
  end

  --- A program that writes down what it is given and then does as the text says.
  local function program(name, text)
    local path = files.write(("%s/%s"):format(bench.workspace, name), "#!/bin/sh\ncat >>\"$0.in\"; env | sort >\"$0.env\"; " .. text .. "\n")
    os.execute("chmod 755 " .. files.quote(path) .. "; chmod 777 " .. files.quote(bench.workspace))
    return path
  end

  describe("does what rules ask for:", function()
    it("a program gets the body on its standard input, and little else", function()
      local path = program("fix", "echo done")
      receiver("fixer", [[program = { "%s", "--now" }]], path)
      bench:daemon({}, { HOOK_TOKEN = "s3cret" })

      raise(effect(1, { notify = {} }), action(1, { act = "command", to = "fixer", data = { device = "d-1" } }))

      bench:eventually("SELECT state FROM moonwake.outbox", "done")
      local body = json.decode(files.read(path .. ".in"))
      assert.same({ "action.crash_loop", "d-1", "d-1" }, { body.type, body.data.device, body.key })
      assert.equal(id_of(), files.read(path .. ".env"):match("MOONWAKE_ID=(%S+)"))
      assert.is_nil(files.read(path .. ".env"):find("s3cret", 1, true))
    end)

    it("one that fails is tried again, one that hangs is killed with all that it started", function()
      local bad = program("bad", [[[ -e "$0.once" ] || { touch "$0.once"; echo "no such disk" >&2; exit 3; }]])
      local slow = program("slow", [[sleep 1000 & echo $! >"$0.child"; wait]])
      receiver("bad", [[program = "%s", retry = { 0, "20ms", "20ms" }]], bad)
      receiver("slow", [[program = "%s", retry = { 0 }, timeout = "300ms"]], slow)
      bench:daemon()

      raise(effect(1, { notify = {} }), action(1, { act = "command", to = "bad" }), action(1, { act = "command", to = "slow" }))

      bench:eventually("SELECT string_agg(state, ' ' ORDER BY receiver) FROM moonwake.outbox", "done failed")
      assert.equal("3 exit code 3: no such disk", bench:psql("SELECT concat_ws(' ', status, error) FROM moonwake.outbox_tries WHERE try = 1 AND status = 3"))
      assert.equal("was killed after its timeout", bench:psql("SELECT note FROM moonwake.outbox WHERE receiver = 'slow'"))
      local child = tonumber(files.read(slow .. ".child"))
      pg.eventually(function() return files.command(("grep -s '^State:' /proc/%d/status || echo gone"):format(child)):match("gone")
        or files.command(("cat /proc/%d/status 2>/dev/null"):format(child)):match("State:%s+Z") end, 10, "the child's end")
    end)

    it("a statement in a transaction of its own, with its record: done once, whenever the daemon dies", function()
      bench:psql("CREATE TABLE public.done (who text, n int); GRANT ALL ON public.done TO moonwake_run")
      local daemon = bench:daemon({}, { MOONWAKE_FAULT = "outbox.act:2" })
      local statement = { text = "INSERT INTO public.done VALUES ($1, $2)", args = { "d-1", 7 } }

      raise(effect(1, { notify = {} }), action(1, { act = "sql", data = statement }), action(1, { act = "sql", data = statement }))
      pg.eventually(function() return daemon:code() end, 10, "the crash")
      bench:daemon()

      bench:eventually("SELECT string_agg(state, ' ') FROM moonwake.outbox", "done done")
      assert.equal("d-1 7,d-1 7", bench:psql("SELECT string_agg(who || ' ' || n, ',') FROM public.done"))
    end)

    it("a statement that still runs when its daemon is killed is done once too", function()
      bench:psql("CREATE TABLE public.done (who text); GRANT ALL ON public.done TO moonwake_run")
      local gate = bench.server:session { db = bench.db }
      finally(function() gate:close() end)
      gate:run("SELECT pg_advisory_lock(77)")
      local killed = bench:daemon()
      raise(effect(1, { notify = {} }), action(1, { act = "sql", data = { text = "INSERT INTO public.done SELECT 'd-1' FROM pg_advisory_xact_lock(77)" } }))
      bench:eventually("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'INSERT INTO public.done%'", "1")

      killed:signal("KILL")
      bench:daemon()
      bench:eventually("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'advisory' AND usename <> 'postgres'", "2")
      gate:run("SELECT pg_advisory_unlock(77)")

      bench:eventually("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'advisory'", "0")
      bench:eventually("SELECT tries || state FROM moonwake.outbox", "2done")
      assert.equal("1", bench:psql("SELECT count(*) FROM public.done"))
    end)

    it("one that the server refuses is listed, one that would end the transaction is not run", function()
      bench:daemon()

      raise(effect(1, { notify = {} }), action(1, { act = "sql", data = { text = "SELECT 1/0" } }),
        action(1, { act = "sql", data = { text = "/* well */ -- so\n COMMIT" } }))

      bench:eventually("SELECT string_agg(note, ' | ' ORDER BY note) FROM moonwake.outbox WHERE state = 'failed'",
        "division by zero | sql: a statement must not begin or end a transaction")
    end)

    it("a notification of the server", function()
      local listener = bench.server:session { db = bench.db }
      finally(function() listener:close() end)
      listener:run('LISTEN "site north"')
      bench:daemon()

      raise(effect(1, { notify = {} }), action(1, { act = "notify", to = "site north", data = "d-1 is down" }))

      bench:eventually("SELECT state FROM moonwake.outbox", "done")
      assert.matches('"site north" with payload "d%-1 is down"', listener:run("SELECT 1"))
    end)

    it("a restarted one stops the one before it", function()
      local path = program("long", [[echo $$ >>"$0.pids"; [ $(wc -l <"$0.pids") -gt 1 ] || sleep 1000]])
      receiver("long", [[program = "%s", timeout = "1h"]], path)
      bench:daemon()
      raise(effect(1, { notify = {} }), action(1, { act = "command", to = "long", mode = "restart" }))
      pg.eventually(function() return files.read(path .. ".pids") end, 10, "the first one")

      raise(action(1, { act = "command", to = "long", mode = "restart" }))

      bench:eventually("SELECT string_agg(state, ' ' ORDER BY seq) FROM moonwake.outbox", "cancelled done")
      bench:eventually("SELECT string_agg(error, ' ') FROM moonwake.outbox_tries", "it was stopped: cancelled")
    end)

    it("queued ones one after another, restarted ones only the last", function()
      local path = program("log", "sleep 0.1")
      receiver("log", [[program = "%s"]], path)
      raise(effect(1, { notify = {} }))
      for n = 1, 3 do
        raise(action(1, { rule = "queue", act = "command", to = "log", mode = "queued", data = { place = n } }))
        raise(action(1, { rule = "again", act = "command", to = "log", mode = "restart", data = { place = n } }))
      end

      bench:daemon()

      bench:eventually("SELECT string_agg(state, ' ' ORDER BY rule, seq) FROM moonwake.outbox", "cancelled cancelled done done done done")
      local order = {}
      for n in files.read(path .. ".in"):gmatch('"action%.queue".-"place": (%d)') do
        order[#order + 1] = n
      end
      assert.same({ "1", "2", "3" }, order)
    end)
  end)

  describe("as a command", function()
    it("lists what waits, what failed and why, and shows every try", function()
      hooks = hooks_of {}
      receiver("ops", [[webhook = "%s", allow_private = true, retry = { 0, "10ms" }]], hooks:url("fail/9"))
      bench:daemon()
      raise(effect(1), effect(2, { notify = { "nobody" } }))
      bench:eventually("SELECT string_agg(state, ' ' ORDER BY receiver) FROM moonwake.outbox", "waiting failed")
      bench.daemons[1]:expect("deliveries wait for receivers that are not defined: nobody", "err")

      local all, failed = outbox().out, outbox("--failed").out
      assert.matches("nobody +firing +crash_loop +d%-2 +waiting", all)
      assert.matches("ops +firing +crash_loop +d%-1 +failed +2 .*answered 500: the disk is full", failed)
      assert.is_nil(failed:find("nobody", 1, true))
      local shown = outbox("show", id_of("receiver = 'ops'")).out
      assert.matches("\n +1 .- 500 .-answered 500.*\n +2 .- 500 ", shown)
      local one = json.decode(outbox("show", id_of("receiver = 'ops'"), "--json").out)
      assert.same({ "failed", 2, 500, "crash_loop" }, { one.state, #one.tried, one.tried[2].status, one.payload.alerts[1].rule })
      assert.equal("waiting", json.decode(outbox("--receiver", "nobody", "--json").out).state)
    end)

    it("tries again what failed: one, those of a receiver, all", function()
      hooks = hooks_of {}
      receiver("ops", [[webhook = "%s", allow_private = true, retry = { 0 }]], hooks:url("fail/2"))
      bench:daemon()
      raise(effect(1))
      bench:eventually("SELECT state FROM moonwake.outbox", "failed")

      assert.equal("1 delivery is tried again (by the daemon: see `moonwake outbox`)\n", outbox("retry", id_of()).out)
      bench:eventually("SELECT state || tries FROM moonwake.outbox", "failed2")
      assert.equal("0 deliveries are tried again (by the daemon: see `moonwake outbox`)\n", outbox("retry", "--receiver", "other").out)
      outbox("retry", "--all-failed")

      bench:eventually("SELECT state || tries FROM moonwake.outbox", "done3")
      local r = outbox("retry", id_of())
      assert.same({ 1, true }, { r.code, r.err:find("is done already", 1, true) ~= nil })
      assert.equal(2, outbox("retry").code)
    end)

    it("cancels what waits", function()
      raise(effect(1))
      assert.equal("cancelled: " .. id_of() .. "\n", outbox("cancel", id_of()).out)
      assert.equal("cancelled", bench:psql("SELECT state FROM moonwake.outbox"))
      assert.equal(1, outbox("cancel", id_of()).code)
      assert.equal(1, outbox("show", "6f0c8a52-30a5-4d7e-9f3e-0d8f3e2b7a11").code)
    end)

    it("enables a receiver that is gone", function()
      hooks = hooks_of {}
      receiver("ops", [[webhook = "%s", allow_private = true]], hooks:url("gone"))
      bench:daemon()
      raise(effect(1))
      bench:eventually("SELECT state FROM moonwake.outbox", "failed")
      raise(effect(2))
      assert.matches("disabled", outbox("--failed").out)

      receiver("ops", [[webhook = "%s", allow_private = true]], hooks:url("ok")) -- another definition may be another receiver
      bench:eventually("SELECT state FROM moonwake.outbox WHERE key_text = '\"d-2\"'", "done")
      assert.equal("enabled: ops (0 deliveries wait)\n", outbox("enable", "ops").out)
      assert.equal(1, outbox("enable", "nobody").code)
    end)

    it("tests a receiver by the way that deliveries take, and says what came back", function()
      local secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
      hooks = hooks_of { secret }
      files.write(bench.workspace .. "/secret", secret)
      receiver("ops", [[webhook = "%s", secret_file = "secret", allow_private = true, headers = { Authorization = { env = "HOOK_TOKEN" } }]],
        hooks:url("ok"))
      receiver("bad", [[webhook = "%s", secret_file = "secret", allow_private = true]], hooks:url("fail/1"))
      receiver("shut", [[webhook = "%s", secret_file = "secret"]], hooks:url("ok"))
      receiver("unread", [[webhook = "%s", secret_file = "secrets"]], hooks:url("ok"))
      receiver("fix", [[program = "%s"]], program("fix", "echo 'not today' >&2; exit 4"))

      assert.matches("^ops: taken, answer 200 %([%x-]+, %d+ ms%)\n$", outbox("test", "ops").out)
      local got = hooks:requests()[1]
      assert.same({ { 1 }, "test", "s3cret" }, { got.signed, json.decode(got.body).type, got.headers.authorization })
      local bad = outbox("test", "bad")
      assert.equal(1, bad.code)
      assert.matches("^bad: not taken, answer 500 .*: answered 500: the disk is full\n$", bad.out)
      assert.matches("127%.0%.0%.1 is no public address %(allow_private = true", outbox("test", "shut").out)
      assert.matches("unread: not taken .*secret: .*/secrets: No such file", outbox("test", "unread").out)
      assert.matches("fix: not taken, exit code 4 .*: exit code 4: not today\n", outbox("test", "fix").out)
      assert.equal("moonwake: receiver 'osp': there is no rules/receivers/osp.lua (did you mean 'ops'?)\n", outbox("test", "osp").err)
      assert.is_false(json.decode(outbox("test", "bad", "--json").out).ok == nil)
    end)

    it("says what is wrong with a receiver's file", function()
      for text, problem in pairs {
        ["webhook = 'http://u:p@example.org/'"] = "webhook: a URL with a password",
        ["webhook = 'https://example.org/', secret = 'x'"] = "secret: a script is no place for it",
        ["webhook = 'https://example.org/', timeot = '1s'"] = "unknown field 'timeot' %(did you mean 'timeout'%?%)",
        ["alertmanager = 'http://a:9093', program = '/bin/true'"] = "alertmanager and program: one receiver is one of them",
        ["program = 'true'"] = "program: 'true' must be a whole path",
        ["webhook = 'https://example.org/', headers = { Cookie = 'x' }"] = "headers.Cookie: secrets stand in files or the environment",
        ["webhook = 'https://example.org/', retry = { '5s' }"] = "retry: the first try comes at once %(begin with 0%)",
      } do
        receiver("ops", "%s", text)
        local r = outbox("test", "ops")
        assert.equal(1, r.code)
        assert.matches("rules/receivers/ops.lua:1: receiver 'ops': " .. problem, r.err)
      end
    end)
  end)
end)
