local effects = require "spec.support.effects"
local pg = require "spec.support.pg"

local firing, pending, resolved = effects.firing, effects.pending, effects.resolved

describe("rules in the database", function()
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

  local function ensure(spec, digest)
    spec.name, spec.body = spec.name or "crash_loop", spec.body or "a"
    return sql(("SELECT created, rebuild, note FROM moonwake.rule_ensure('%s', '%s')"):format(effects.encode(spec), digest or spec.body))
  end

  local function alerts()
    return sql("SELECT string_agg(concat_ws(' ', key ->> 'device', state, reason), ', ' ORDER BY key ->> 'device', started_at) FROM moonwake.alerts")
  end

  local function position(to)
    if to then
      owner(("UPDATE moonwake.event_cursors SET position = %d"):format(to))
    end
    return sql("SELECT string_agg(position::text, ' ') FROM moonwake.event_cursors")
  end

  local function publish(n)
    owner(("SELECT moonwake.publish_event('a', 'b', 'c') FROM generate_series(1, %d)"):format(n))
  end

  describe("keep", function()
    it("the states of keys by the statements that rule_ensure gives", function()
      local load, upsert, delete = unpack(server:query([[SELECT load_sql, upsert_sql, delete_sql FROM
        moonwake.rule_ensure('{"name": "it_s", "body": "a"}', 'd')]], { db = db, user = "moonwake_run" })[1])
      local function run(statement, json)
        return sql("PREPARE s AS " .. statement .. "; EXECUTE s('" .. json .. "')")
      end

      run(upsert, [=[[{"key": "\"d-1\"", "position": 7, "state": {"n": 1}, "updated_at": "1767225600.5"}, {"key": "k", "position": 8, "state": {}}]]=])
      run(upsert, [=[[{"key": "\"d-1\"", "position": 9, "state": {"n": 2}, "updated_at": "2026-01-01T00:00:00Z"}]]=])
      sql([[SELECT moonwake.set_rule_parts('it_s', '[{"part": "memory", "key": "\"d-1\"", "state": {"x": 1}}]')]])

      assert.equal('0|{"n": 2}', run(load, [=[[{"n": 0, "key": "\"d-1\""}, {"n": 1, "key": "none"}]]=]))
      run(delete, [=[[{"n": 0, "key": "\"d-1\""}]]=])
      assert.equal('"d-1"|memory\nk|', sql("SELECT key, part FROM moonwake.rule_states ORDER BY key"))
    end)

    it("timers and what belongs to no key, and give it all back", function()
      assert.equal("", sql("SELECT moonwake.rule_restore('crash_loop')"))
      sql([[SELECT moonwake.set_timers('crash_loop', '[{"key": "b", "due": 1767225600000001, "name": "ttl"},
        {"key": "a", "due": 1767225600000001, "name": "hold"}, {"key": "c", "due": 5, "name": "hold"}]')]])
      sql([[SELECT moonwake.set_timers('crash_loop', '[{"key": "c", "due": null, "name": null}, {"key": "b", "due": 7, "name": "linger"},
        {"key": "never", "due": null}]')]])
      sql([[SELECT moonwake.raise('[{"kind": "part", "rule": "crash_loop", "part": "memory", "key": "", "state": {"counts": {"late": 1}}},
        {"kind": "part", "rule": "crash_loop", "part": "ref site", "key": "\"n\"", "state": {"size": 3}},
        {"kind": "part", "rule": "crash_loop", "part": "ref site", "key": "\"s\"", "state": {"size": 4}},
        {"kind": "part", "rule": "other", "part": "ref site", "key": "\"s\"", "state": {"size": 5}}]')]])
      sql([[SELECT moonwake.raise('[{"kind": "part", "rule": "crash_loop", "part": "ref site", "key": "\"s\"", "state": null},
        {"kind": "part", "rule": "crash_loop", "part": "memory", "key": "", "state": {"counts": {"late": 2}}}]')]])

      assert.equal("t", sql([[SELECT moonwake.rule_restore('crash_loop') = '{"timers": [{"key": "b", "due": 7, "name": "linger"},
        {"key": "a", "due": 1767225600000001, "name": "hold"}], "memory": {"counts": {"late": 2}},
        "refs": {"site": [{"key": "\"n\"", "state": {"size": 3}}]}}']]))
    end)
  end)

  describe("begin", function()
    it("at the log's start, now, or some time ago", function()
      publish(5)
      ensure { name = "a" }
      ensure { name = "b", since = "now" }
      ensure { name = "c", since = 3600000000 }

      assert.equal("a 0, b 5, c 0", sql("SELECT string_agg(consumer || ' ' || position, ', ' ORDER BY consumer) FROM moonwake.event_cursors"))
      assert.equal("5", sql("SELECT moonwake.position_before(clock_timestamp())"))
      assert.equal("2", sql([[SELECT moonwake.position_before("timestamp") FROM moonwake.events WHERE id = 3]]))
    end)

    it("under a name of their own", function()
      owner([[SELECT moonwake.reducer_ensure('counter', 1, 'd')]])
      assert.equal("MW006", (server:failure([[SELECT moonwake.rule_ensure('{"name": "counter", "body": "a"}', 'd')]], { db = db })))
      ensure { name = "hot" }
      assert.equal("MW006", (server:failure([[SELECT moonwake.reducer_ensure('hot', 1, 'd')]], { db = db })))
      assert.equal("MW006", (server:failure([[SELECT moonwake.projection_ensure('{"name": "hot", "version": 1, "form": "document",
        "key": [{"name": "key", "type": "text"}]}')]], { db = db })))
      for _, bad in ipairs { '{"name": "Hot", "body": "a"}', '{"body": "a"}', '{"name": "x"}', '{"name": "x", "body": "a", "on_change": "pray"}' } do
        assert.equal("MW006", (server:failure(("SELECT moonwake.rule_ensure('%s', 'd')"):format(bad), { db = db })), bad)
      end
    end)
  end)

  describe("when a rule's file changes", function()
    before_each(function()
      publish(20)
      assert.equal("t|f|", ensure { body = "a" })
      position(20)
      sql([[SELECT moonwake.set_timers('crash_loop', '[{"key": "k", "due": 5, "name": "x"}]');
        SELECT moonwake.set_rule_parts('crash_loop', '[{"part": "memory", "key": "", "state": {}}]')]])
      raise(firing(1, { at = -9 }), firing(2, { at = -8 }), pending(3, { at = -7 }))
    end)

    local function known()
      return sql("SELECT (SELECT count(*) FROM moonwake.rule_states) + (SELECT count(*) FROM moonwake.timers)")
    end

    local function events()
      return tonumber((sql("SELECT count(*) FROM moonwake.events WHERE event_type LIKE 'alert.%'")))
    end

    it("texts and labels cost nothing", function()
      assert.equal("f|f|", ensure({ body = "a", wording = "new" }, "d2"))
      assert.equal("2", known())
      assert.equal("20", position())
      assert.equal("d2|new", sql("SELECT digest, spec ->> 'wording' FROM moonwake.rules"))
    end)

    it("keep goes on", function()
      assert.matches("it goes on", (ensure { body = "b", on_change = "keep" }))
      assert.equal("2", known())
      assert.equal("f|f|", ensure { body = "b", on_change = "keep" })
    end)

    it("restart begins anew where it stands", function()
      assert.matches("begins anew", (ensure { body = "b", on_change = "restart" }))
      assert.equal("0", known())
      assert.equal("20", position())
      assert.equal("d-1 resolved rule-changed, d-2 resolved rule-changed, d-3 resolved rule-changed", alerts())
    end)

    it("rebuild finds out again what it must know, and says only what is new", function()
      assert.matches("reads again what follows event 0", (ensure { body = "b" }))
      assert.equal("0", known())
      assert.equal("0", position())
      local before = events()

      -- 1 still holds and is worse, 2 held for a while, 3 holds by now, 4 is new, 5 was a signal
      raise(firing(11, { device = "d-1", at = -90, position = 3 }), firing(12, { device = "d-2", position = 4 }),
        effects.event(12, { position = 4 }), effects.act(12, { position = 4 }), firing(15, { device = "d-5", signal = true, position = 5 }))
      raise(firing(11, { device = "d-1", at = -80, n = 3, severity = "critical", from = "warning", position = 6 }),
        resolved(12, { device = "d-2", position = 7 }), pending(13, { device = "d-3", position = 8 }), firing(13, { device = "d-3", position = 9 }),
        pending(14, { device = "d-4", position = 20 }), firing(14, { device = "d-4", position = 20 }))
      assert.equal(before, events())
      assert.equal("d-1 firing, d-2 firing, d-3 pending", alerts())

      assert.equal("t", sql("SELECT moonwake.finish_rebuild('crash_loop')"))
      assert.equal("f", sql("SELECT moonwake.finish_rebuild('crash_loop')"))

      assert.equal("d-1 firing, d-2 resolved rule-changed, d-3 firing, d-4 firing", alerts())
      assert.equal("resolved d-2 warning, firing d-1 critical, firing d-3 warning, pending d-4 warning, firing d-4 warning", sql(([[
        SELECT string_agg(substr(event_type, 7) || ' ' || (data -> 'key' ->> 'device') || ' ' || severity, ', ' ORDER BY id)
        FROM (SELECT * FROM moonwake.events WHERE event_type LIKE 'alert.%%' ORDER BY id OFFSET %d) e]]):format(before)))
      assert.equal(effects.uuid(1) .. "|critical", sql("SELECT episode, severity FROM moonwake.alerts WHERE key ->> 'device' = 'd-1'"))

      raise(resolved(11, { device = "d-1", position = 21, n = 4 })) -- goes on under the old name
      assert.equal("d-1 resolved, d-2 resolved rule-changed, d-3 firing, d-4 firing", alerts())
      assert.equal(effects.uuid(1), sql("SELECT aggregate_id FROM moonwake.events ORDER BY id DESC LIMIT 1"))
    end)

    it("rebuild ends by itself with the first that is new, or when the rule is where it stood", function()
      ensure { body = "b" }
      raise(firing(11, { device = "d-1", position = 20 }), resolved(11, { device = "d-1", position = 21 }), firing(14, { position = 22, device = "d-4" }))
      assert.equal("d-1 resolved, d-2 resolved rule-changed, d-3 resolved rule-changed, d-4 firing", alerts())

      position(22)
      ensure { body = "c" }
      sql("SELECT moonwake.unmute_alerts()")
      assert.matches("d%-4 firing", (alerts()))
      position(22)
      sql("SELECT moonwake.unmute_alerts()")
      assert.matches("d%-4 resolved rule%-changed", (alerts()))
    end)

    it("rebuild goes back no further than the horizon, nor before where the rule began", function()
      local from = tonumber((sql([[SELECT floor(extract(epoch FROM (SELECT "timestamp" FROM moonwake.events WHERE id = 20)
        - (SELECT "timestamp" FROM moonwake.events WHERE id = 15)) * 1000000)]])))
      ensure { body = "b", horizon = from }
      assert.equal("14", position())
      position(20)
      owner("UPDATE moonwake.rules SET first_position = 17, live_from = NULL")
      ensure { body = "c", horizon = from }
      assert.equal("17", position())
      ensure { body = "d" }
      assert.equal("17", position())
      assert.equal("20", sql("SELECT live_from FROM moonwake.rules"))
    end)

    it("a change during a rebuild begins it anew, and it speaks from where it first stood", function()
      ensure { body = "b" }
      raise(firing(11, { device = "d-1", position = 3 }))
      position(5)
      ensure { body = "c" }

      assert.equal("20|0", sql("SELECT live_from, (SELECT count(*) FROM moonwake.alerts_rebuilt) FROM moonwake.rules"))
      assert.equal("0", position())
    end)

    it("`rebuild` keeps what people were told", function()
      sql("SELECT moonwake.rebuild_consumer('crash_loop')")
      assert.equal("0", position())
      assert.equal("20", sql("SELECT live_from FROM moonwake.rules"))
      raise(firing(1, { at = -9, position = 5 }), firing(2, { at = -8, position = 5 }), pending(3, { at = -7, position = 20 }))
      local before = events()
      sql("SELECT moonwake.finish_rebuild('crash_loop')")

      assert.equal(before, events())
      assert.equal("d-1 firing, d-2 firing, d-3 pending", alerts())
    end)

    it("its going ends what it holds, and its coming back begins it again", function()
      assert.equal("t", sql("SELECT moonwake.rule_retire('crash_loop')"))
      assert.equal("f", sql("SELECT moonwake.rule_retire('crash_loop')"))
      assert.equal("d-1 resolved rule-removed, d-2 resolved rule-removed, d-3 resolved rule-removed", alerts())
      assert.equal("0", known())
      assert.equal("resolved ops", sql("SELECT DISTINCT transition || ' ' || receiver FROM moonwake.outbox WHERE transition <> 'firing'"))

      ensure { name = "other" }
      assert.equal("other", sql("SELECT string_agg(name, ' ') FROM moonwake.rules WHERE retired_at IS NULL"))
      assert.matches("the rule is back", (ensure { body = "a" }))
      raise(firing(1, { at = -9, position = 5 }), firing(2, { at = -8, position = 5 }), resolved(2, { at = -7, position = 6 }))
      sql("SELECT moonwake.finish_rebuild('crash_loop')")
      assert.equal("d-1 firing, d-2 resolved rule-removed, d-3 resolved rule-removed", alerts())
      raise(resolved(1, { position = 30, n = 7 }))
      assert.matches("d%-1 resolved,", (alerts()))
    end)

    it("what a person closed stays closed", function()
      sql(("SELECT moonwake.close_alert('%s', 'ada', 'a test')"):format(effects.uuid(1)))
      sql("SELECT moonwake.rebuild_consumer('crash_loop')")
      raise(firing(1, { at = -9, position = 5 }))
      sql("SELECT moonwake.finish_rebuild('crash_loop')")

      assert.matches("d%-1 resolved a test", (alerts()))
    end)
  end)

  describe("people", function()
    local episode = effects.uuid(1)

    it("ack, once and in the log", function()
      raise(firing(1))
      assert.equal("t", sql(("SELECT moonwake.ack_alert('%s', 'ada', 'on it')"):format(episode)))
      assert.equal("f", sql(("SELECT moonwake.ack_alert('%s', 'ada', 'on it')"):format(episode)))
      assert.equal("t", sql(("SELECT moonwake.ack_alert('%s')"):format(episode)))

      assert.equal("alert.acked|user|ada|on it|2\nalert.acked|user|moonwake_run||3", sql([[SELECT event_type, actor_type, actor_id, data ->> 'note', version
        FROM moonwake.events WHERE event_type = 'alert.acked' ORDER BY id]]))
      assert.equal("firing|moonwake_run", sql("SELECT state, acked_by FROM moonwake.alerts"))
    end)

    it("close what its rule holds open, until that has news", function()
      raise(firing(1))
      sql(("SELECT moonwake.close_alert('%s', 'ada')"):format(episode))
      assert.equal("d-1 resolved closed by ada", alerts())
      raise(firing(1, { n = 5, severity = "critical", from = "warning" }))
      assert.equal("d-1 firing", alerts())
      sql(("SELECT moonwake.close_alert('%s', 'ada')"):format(episode))
      assert.equal(0, raise(resolved(1, { n = 6 })))

      assert.equal("alert.firing rule, alert.resolved user, alert.firing rule, alert.resolved user",
        sql("SELECT string_agg(event_type || ' ' || actor_type, ', ' ORDER BY id) FROM moonwake.events"))
      assert.equal("firing resolved firing resolved", sql("SELECT string_agg(transition, ' ' ORDER BY seq) FROM moonwake.outbox"))
    end)

    it("are told what cannot be done", function()
      raise(firing(1), resolved(1))
      for _, call in ipairs { "ack_alert('%s')", "close_alert('%s')" } do
        local code, message = server:failure(("SELECT moonwake." .. call):format(episode), { db = db })
        assert.equal("MW012", code)
        assert.matches("it was resolved at ", message)
        assert.equal("MW012", (server:failure(("SELECT moonwake." .. call):format(effects.uuid(99)), { db = db })))
      end
    end)
  end)

  it("give rights to who needs them", function()
    server:psql("ALTER ROLE moonwake_publish LOGIN; ALTER ROLE moonwake_read LOGIN")
    finally(function() server:psql("ALTER ROLE moonwake_publish NOLOGIN; ALTER ROLE moonwake_read NOLOGIN") end)
    local function who_may(text)
      local list = {}
      for _, role in ipairs { "moonwake_run", "moonwake_publish", "moonwake_read" } do
        local out, err = server:psql(text, { db = db, user = role, fail_ok = true })
        if out or not err:find("permission denied", 1, true) then
          list[#list + 1] = role:sub(10)
        end
      end
      return table.concat(list, " ")
    end

    for _, name in ipairs { "rules", "rule_states", "timers", "alerts", "alerts_rebuilt", "silences", "outbox", "outbox_tries" } do
      assert.equal("run read", who_may("SELECT * FROM moonwake." .. name), name)
      if name ~= "rule_states" then
        assert.equal("", who_may("DELETE FROM moonwake." .. name), name)
      end
    end
    assert.equal("run", who_may("DELETE FROM moonwake.rule_states"))
    for _, call in ipairs { "raise('[]')", "set_timers('a', '[]')", "set_rule_parts('a', '[]')", "rule_restore('a')", "rule_retire('a')",
      "rule_ensure('{}', '')", "finish_rebuild('a')", "unmute_alerts()" } do
      assert.equal("run", who_may("SELECT moonwake." .. call), call)
    end
    for _, call in ipairs { ("ack_alert('%s')"):format(effects.uuid(1)), ("close_alert('%s')"):format(effects.uuid(1)),
      "silence('{}', now())", "unsilence(1)" } do
      assert.equal("run publish", who_may("SELECT moonwake." .. call), call)
    end
    for _, call in ipairs { "raise_effects('{}')", "end_alerts('{}', 'x')", "begin_rebuild('a', 0)", "publish_or_keep('[]')" } do
      assert.equal("", who_may("SELECT moonwake." .. call), call)
    end
  end)
end)
