local effects = require "spec.support.effects"
local pg = require "spec.support.pg"

local firing, resolved = effects.firing, effects.resolved

describe("mutes", function()
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

  local function owner(text)
    return server:psql(text, { db = db })
  end

  local function silence(matchers, rest)
    return sql(("SELECT moonwake.silence('%s', now() + interval '1 hour'%s)"):format(matchers, rest or ""))
  end

  local function muted()
    return sql("SELECT string_agg(coalesce(muted, '-'), ', ' ORDER BY episode) FROM moonwake.alerts")
  end

  local function unmute(now)
    local n = sql(("SELECT moonwake.unmute_alerts(%s)"):format(now or ""))
    return tonumber(n)
  end

  local function outbox()
    return sql("SELECT string_agg(concat_ws(' ', transition, key_text, state), ', ' ORDER BY seq) FROM moonwake.outbox") or ""
  end

  local function events()
    return sql("SELECT string_agg(event_type || coalesce(': ' || nullif(data ->> 'reason', ''), ''), ', ' ORDER BY id) FROM moonwake.events")
  end

  describe("by a silence", function()
    it("keep an alert from being told, until they end", function()
      assert.equal("1", silence('{"rule": "crash*"}', ", 'new switch', 'ada'"))
      raise(firing(1, { at = -5 }))

      assert.equal("silence 1: new switch", muted())
      assert.equal("", outbox())
      assert.equal(0, unmute())

      sql("SELECT moonwake.unsilence(1, 'bob')")

      assert.equal("-", muted())
      assert.equal('firing "d-1" waiting', outbox())
      assert.equal(0, unmute())
      assert.equal("alert.silenced: new switch, alert.firing, alert.muted: silence 1: new switch, "
        .. "alert.unmuted: silence 1: new switch, alert.unsilenced: new switch", events())
      assert.equal("bob", sql("SELECT ended_by FROM moonwake.silences"))
    end)

    it("end by themselves", function()
      silence('{"device": "d-1"}')
      raise(firing(1))

      assert.equal(0, unmute("now() + interval '59 minutes'"))
      assert.equal(1, unmute("now() + interval '61 minutes'"))
      assert.equal('firing "d-1" waiting', outbox())
    end)

    it("tell nothing of what was over before they ended", function()
      silence('{"device": "d-1"}')
      raise(firing(1))
      raise(resolved(1))
      sql("SELECT moonwake.unsilence(1)")

      assert.equal("", outbox())
    end)

    it("reach what fires already, and what is about to be told", function()
      raise(firing(1), firing(2))
      owner("UPDATE moonwake.outbox SET state = 'done', tries = 1 WHERE key_text = '\"d-1\"'")

      silence('{"site": "north"}')

      assert.equal("silence 1, silence 1", muted())
      assert.equal('firing "d-1" done, firing "d-2" cancelled', outbox())

      sql("SELECT moonwake.unsilence(1)")
      assert.equal('firing "d-1" done, firing "d-2" waiting', outbox())
    end)

    it("do not hide the end from who knows of the beginning", function()
      raise(firing(1))
      owner("UPDATE moonwake.outbox SET state = 'done', tries = 1")
      silence('{"site": "north"}')
      raise(resolved(1))

      assert.equal('firing "d-1" done, resolved "d-1" waiting', outbox())
    end)

    it("tell that it became worse, once they end", function()
      raise(firing(1))
      silence('{"site": "north"}')
      raise(firing(1, { n = 3, severity = "critical", from = "warning" }))
      owner("UPDATE moonwake.outbox SET state = 'done' WHERE state = 'waiting'")
      sql("SELECT moonwake.unsilence(1)")

      assert.equal("critical", sql("SELECT payload #>> '{alerts,0,severity}' FROM moonwake.outbox WHERE state = 'waiting'"))
    end)

    it("begin when they are to", function()
      sql("SELECT moonwake.silence('{\"site\": \"north\"}', now() + interval '2 hours', '', 'ada', now() + interval '1 hour')")
      raise(firing(1))
      assert.equal("-", muted())

      unmute("now() + interval '61 minutes'")
      assert.equal("silence 1", muted())
    end)

    it("match exactly, by *, by a regular expression, by what is not, and by any of a list", function()
      raise(firing(1), firing(2, { labels = { site = "south" } }), firing(3, { rule = "hot", severity = "critical" }))
      local query, expected = {}, {}
      for i, case in ipairs {
        { '{"rule": "crash_loop"}', "12" }, { '{"rule": "crash"}', "" }, { '{"rule": "*o*"}', "123" },
        { '{"site": "~no.*"}', "13" }, { '{"site": "~no"}', "" }, { '{"site": "!north"}', "2" }, { '{"site": "n%th"}', "" },
        { '{"site": "!~.*th"}', "" }, { '{"site": ["south", "nor*"], "rule": "hot"}', "3" }, { '{"severity": "critical"}', "3" },
        { '{"device": "d-2"}', "2" }, { '{"unknown": "x"}', "" }, { '{"unknown": "!x"}', "123" }, { '{"unknown": ""}', "123" },
        { '{"site": "~n|north"}', "13" }, { '{"site": "~("}', "" },
      } do
        query[i] = ([[SELECT '%s ' || coalesce(string_agg(right(a.episode::text, 1), '' ORDER BY episode), '') FROM moonwake.alerts a
          WHERE moonwake.matchers_match('%s', a.rule, a.severity, a.labels, a.key)]]):format(case[1], case[1])
        expected[i] = case[1] .. " " .. case[2]
      end

      assert.equal(table.concat(expected, "\n"), owner(table.concat(query, "; ")))
    end)

    it("reach what was being raised when they were made", function()
      local daemon = server:session { db = db }
      finally(function() daemon:close() end)
      daemon:run("BEGIN")
      daemon:run(("SELECT moonwake.raise(%s)"):format(effects.sql { firing(1) }))
      silence('{"site": "north"}')
      daemon:run("COMMIT")
      assert.equal("-", muted())

      unmute()

      assert.equal("silence 1", muted())
      assert.equal('firing "d-1" cancelled', outbox())
    end)

    it("take a pattern of nothing but exclamation marks for what it says, however long", function()
      silence(('{"rule": "%scrash_loop"}'):format(("!"):rep(20000)))
      raise(firing(1), firing(2, { rule = "hot" }))

      assert.equal("silence 1, -", muted())
    end)

    it("are refused where they mean nothing", function()
      for _, case in ipairs {
        { "SELECT moonwake.silence('{}', now() + interval '1 h')", "silence: has no matchers" },
        { "SELECT moonwake.silence('[]', now() + interval '1 h')", "silence: has no matchers" },
        { [[SELECT moonwake.silence('{"a": []}', now() + interval '1 h')]], "silence: a: has no value" },
        { [[SELECT moonwake.silence('{"a": null}', now() + interval '1 h')]], "silence: a: has no value" },
        { [[SELECT moonwake.silence('{"a": "!~("}', now() + interval '1 h')]], "silence: a: !~( is no regular expression" },
        { [[SELECT moonwake.silence('{"a": "~(?i)b"}', now() + interval '1 h')]], "silence: a: ~(?i)b is no regular expression" },
        { [[SELECT moonwake.silence('{"a": "b"}', now())]], "silence: its end is not after its beginning and now" },
        { [[SELECT moonwake.silence('{"a": "b"}', 'infinity')]], "silence: its end is not after its beginning and now" },
        { "SELECT moonwake.unsilence(4)", "silence 4: there is none" },
      } do
        local code, message = server:failure(case[1], { db = db, user = "moonwake_run" })
        assert.equal("MW012", code, case[1])
        assert.truthy(message:find(case[2], 1, true), message)
      end
      silence('{"a": "b"}')
      sql("SELECT moonwake.unsilence(1)")
      assert.equal("MW012", (server:failure("SELECT moonwake.unsilence(1)", { db = db, user = "moonwake_run" })))
    end)
  end)

  describe("by another alert", function()
    local inhibits = { match = { rule = { "crash_loop", "silent*" } }, equal = { "site" } }

    local function site_down(episode, own)
      own = own or {}
      own.rule, own.inhibits, own.key, own.key_text = "site_down", inhibits, { site = own.site or "north" }, '"n"'
      own.site, own.labels = nil, {}
      return firing(episode, own)
    end

    it("hold while it fires, by the log's clock, for those that have the same in common", function()
      raise(site_down(9, { at = -20 }))
      raise(firing(1, { at = -30 }), firing(2, { at = -10 }), firing(3, { at = -10, labels = { site = "south" } }),
        firing(4, { at = -10, rule = "hot" }), firing(5, { at = -10, labels = {} }), resolved(9, { at = -5 }), firing(6, { at = -1 }))

      assert.equal("-, inhibited by site_down (00000000), -, -, -, -, -", muted())
      assert.equal(1, unmute())
      assert.equal("-, -, -, -, -, -, -", muted())
    end)

    it("work within one batch, and end with it", function()
      raise(site_down(9, { at = -20 }), firing(1, { at = -20 }))
      assert.equal("inhibited by site_down (00000000), -", muted())
      assert.equal(0, unmute())

      raise(resolved(9))
      assert.equal(1, unmute())
      assert.equal('firing "n" waiting, resolved "n" waiting, firing "d-1" waiting', outbox())
    end)

    it("do not hold for the alerts of its own rule, unless it names that", function()
      local own = { match = { severity = "warning" }, equal = "site" }
      raise(firing(1, { inhibits = own }), firing(2, { inhibits = own }))
      assert.equal("-, -", muted())

      raise(firing(3, { rule = "a", labels = {}, inhibits = { match = { rule = "a" } } }), firing(4, { rule = "a", labels = {} }))
      assert.equal("-, -, -, inhibited by a (00000000)", muted())
    end)
  end)

  describe("of the rule itself", function()
    it("hold until their time, or until the rule says otherwise", function()
      raise(firing(1, { muted = "calendar night", muted_until = effects.at(3600) }), firing(2, { muted = "flapping" }))
      assert.equal("calendar night, flapping", muted())
      assert.equal(0, unmute())

      assert.equal(1, unmute(("to_timestamp(%.0f)"):format(effects.at(3601) / 1e6)))
      assert.equal("-, flapping", muted())
      raise(firing(2, { n = 3, reason = "flapping is over" }))
      assert.equal("-, -", muted())
      assert.equal('firing "d-1" waiting, firing "d-2" waiting', outbox())
    end)

    it("give way to another reason that there is", function()
      silence('{"site": "north"}')
      raise(firing(1, { muted = "calendar night", muted_until = effects.at(600) }))

      assert.equal(0, unmute("now() + interval '50 minutes'"))
      assert.equal("silence 1", muted())
    end)

    it("let as many through in a minute as the limit says", function()
      sql([[SELECT moonwake.rule_ensure('{"name": "crash_loop", "body": "a", "max_alerts": 2}', 'd')]])
      raise(firing(1), firing(2), firing(3, { muted = "limit" }), firing(4, { muted = "limit" }), firing(5, { muted = "limit" }))

      assert.equal(0, unmute())
      owner("UPDATE moonwake.alerts SET notified_at = now() - interval '2 minutes' WHERE notified_at IS NOT NULL")
      assert.equal(2, unmute())
      assert.equal(0, unmute())
      assert.equal("-, -, -, -, limit", muted())
    end)
  end)

  describe("of stale news", function()
    it("end when the rule has caught up and it still fires", function()
      owner("SELECT moonwake.publish_event('a', 'b', 'c') FROM generate_series(1, 3)")
      sql([[SELECT moonwake.rule_ensure('{"name": "crash_loop", "body": "a"}', 'd')]])
      raise(firing(1, { at = -7200 }), firing(2, { at = -7200 }), resolved(2, { at = -7100 }))
      assert.equal('firing "d-1" stale, firing "d-2" stale', outbox())

      assert.equal(0, unmute("now() + interval '2 minutes'")) -- it has not read events of two minutes ago

      owner("UPDATE moonwake.event_cursors SET position = 3")
      assert.equal(1, unmute())
      assert.equal(0, unmute())
      assert.equal('firing "d-1" waiting, firing "d-2" stale', outbox())
      raise(resolved(1))
      assert.equal('firing "d-1" waiting, firing "d-2" stale, resolved "d-1" waiting', outbox())
    end)
  end)
end)
