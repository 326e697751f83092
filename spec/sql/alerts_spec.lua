local effects = require "spec.support.effects"
local pg = require "spec.support.pg"

local firing, pending, resolved, expired = effects.firing, effects.pending, effects.resolved, effects.expired

describe("raise()", function()
  local server = pg.shared()
  local db

  before_each(function()
    db = server:fresh()
  end)

  local function raise(...)
    return effects.raise(server, db, { ... })
  end

  local function sql(text)
    return server:psql(text, { db = db })
  end

  --- "firing d-1, resolved d-1": the alerts' events in the order of the log.
  local function story()
    return sql("SELECT string_agg(substr(event_type, 7) || ' ' || (data -> 'key' ->> 'device'), ', ' ORDER BY id) "
      .. "FROM moonwake.events WHERE event_type LIKE 'alert.%'")
  end

  local function alerts(columns)
    return sql(("SELECT %s FROM moonwake.alerts ORDER BY episode"):format(columns))
  end

  local function outbox(columns)
    return sql(("SELECT %s FROM moonwake.outbox ORDER BY seq"):format(columns or "transition, receiver, state"))
  end

  --- A time as seconds from the start of the specs.
  local function seconds(column)
    return ("round(extract(epoch FROM %s) - %.0f)"):format(column, effects.at() / 1e6)
  end

  it("makes an event, a row and something to tell of a firing", function()
    local cause = effects.uuid(9, 9)

    assert.equal(1, raise(firing(1, { cause = cause, correlation = "c-1", since = effects.at(-60), description = "why",
      from = "pending", depth = 2 })))

    assert.equal(table.concat({ "alert.firing", "alert", effects.uuid(1), effects.uuid(102, 1), "rule", "crash_loop",
      "moonwake", "warning", cause, "c-1", "2", "0" }, "|"), sql([[SELECT event_type, aggregate_type, aggregate_id, event_id,
      actor_type, actor_id, source, severity, causation_id, correlation_id, metadata #> '{moonwake,depth}', ]]
      .. seconds("occurred_at") .. " FROM moonwake.events"))
    assert.equal("t|t", sql(([[SELECT data - 'since' = '{"rule": "crash_loop", "episode": "%s", "key": {"device": "d-1"},
      "labels": {"site": "north"}, "severity": "warning", "from": "pending", "reason": null, "summary": "d-1 crashes",
      "subject": {"count": 3}, "signal": false}', (data ->> 'since')::timestamptz = occurred_at - interval '60 s'
      FROM moonwake.events]]):format(effects.uuid(1))))
    assert.equal("firing|warning|d-1 crashes|why|-60|0|t|1", alerts("state, severity, summary, description, "
      .. seconds("started_at") .. ", " .. seconds("fired_at") .. ", notified_at IS NOT NULL, transitions"))
    assert.equal("alert|ops|firing|waiting|1|warning|t", outbox("kind, receiver, transition, state, "
      .. "jsonb_array_length(payload -> 'alerts'), payload #>> '{alerts,0,severity}', payload -> 'group' = 'null'"))
  end)

  it("follows an episode through one batch as through many", function()
    local steps = { pending(1, { at = -30 }), firing(1, { at = -20, from = "pending" }),
      firing(1, { at = -15, n = 3, severity = "critical", from = "warning" }), resolved(1, { at = -10, n = 4, reason = "cleared" }) }
    local columns = ("state, reason, severity, %s, %s, %s, transitions, untold"):format(
      seconds("started_at"), seconds("fired_at"), seconds("ended_at"))

    raise(unpack(steps))
    for i, step in ipairs(steps) do
      for name, value in pairs { episode = effects.uuid(2), event_id = effects.uuid(200 + i, 1), key = { device = "d-2" }, key_text = '"d-2"' } do
        step[name] = value
      end
      raise(step)
    end

    assert.equal("pending d-1, firing d-1, firing d-1, resolved d-1, pending d-2, firing d-2, firing d-2, resolved d-2", story())
    local one, other = alerts(columns):match("(.*)\n(.*)")
    assert.equal("resolved|cleared|warning|-30|-20|-10|4|f", one)
    assert.equal(one, other)
    assert.equal("firing\nfiring\nresolved\nfiring\nfiring\nresolved", outbox("transition"))
  end)

  it("changes nothing the second time", function()
    local all = { pending(1, { at = -9 }), firing(1, { at = -8 }), effects.event(1), effects.act(1), firing(2, { signal = true }),
      effects.act(2, { act = "publish", data = { type = "restart", data = { a = 1 }, aggregate_type = "device", aggregate_id = "d" } }) }
    local function everything()
      return sql("SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM (SELECT a::text FROM moonwake.alerts a UNION ALL "
        .. "SELECT o::text FROM moonwake.outbox o UNION ALL SELECT e::text FROM moonwake.events e) t")
    end

    assert.equal(6, raise(unpack(all)))
    local before = everything()

    assert.equal(0, raise(unpack(all)))
    assert.equal(before, everything())
    assert.equal(1, raise(all[1], all[2], resolved(1)))
  end)

  it("writes the log in the order of time, of rules, and of what was raised", function()
    raise(firing(1, { at = -3, rule = "b" }), firing(2, { at = -4, rule = "z" }), firing(3, { at = -3, rule = "a" }),
      pending(4, { at = -3, rule = "b" }), firing(4, { at = -3, rule = "b" }), effects.event(5, { at = -5, rule = "zz" }))

    assert.equal("device.suspect, firing d-2, firing d-3, firing d-1, pending d-4, firing d-4", sql([[
      SELECT string_agg(concat_ws(' ', CASE WHEN event_type LIKE 'alert%' THEN substr(event_type, 7) ELSE event_type END,
        data -> 'key' ->> 'device'), ', ' ORDER BY id) FROM moonwake.events]]))
  end)

  it("appends what rules emit and publish, of alerts too", function()
    raise(firing(1), effects.event(1, { cause = effects.uuid(5, 5), depth = 3 }),
      effects.event(2, { type = "note", aggregate_type = "alert", aggregate_id = effects.uuid(1), episode = effects.uuid(1) }),
      effects.act(1, { act = "publish", data = { type = "restart", data = { a = 1 }, aggregate_type = "device", aggregate_id = "d" } }))

    assert.equal(table.concat({ 'device.suspect|device|d-1|{"why": "crashes"}|' .. effects.uuid(5, 5) .. "|3|crash_loop",
      "note|alert|" .. effects.uuid(1) .. '|{"why": "crashes"}||0|crash_loop', 'restart|device|d|{"a": 1}||0|crash_loop' }, "\n"),
      sql([[SELECT event_type, aggregate_type, aggregate_id, data, causation_id, metadata #> '{moonwake,depth}', actor_id
        FROM moonwake.events WHERE event_type NOT LIKE 'alert.%' ORDER BY event_type]]))
    assert.equal("alert", outbox("kind"))
  end)

  it("keeps what the log refuses, and appends the rest", function()
    sql("UPDATE moonwake.settings SET value = 'closed' WHERE name = 'registry'")

    raise(firing(1), effects.event(1), effects.event(2, { type = "" }), firing(2))

    assert.equal("firing d-1, firing d-2", story())
    assert.equal("device.suspect|failed|t\n|failed|t", sql([[SELECT payload ->> 'event_type', state, note LIKE 'publish_events: event %'
      FROM moonwake.outbox WHERE kind = 'publish' ORDER BY 1 DESC]]))
  end)

  it("takes a list for what is empty", function()
    raise(firing(1, { labels = "x", key = "x", notify = "x" }))
    sql((("SELECT moonwake.raise('[%s]')"):format(effects.encode(firing(2)):gsub('"labels":{[^}]*}', '"labels":[]')
      :gsub('"key":{[^}]*}', '"key":[]'):gsub('"notify":%[[^]]*%]', '"notify":{}'))))

    assert.equal('{}|{}|["x"]\n{}|{}|[]', alerts("key, labels, notify"))
  end)

  it("tells nobody of what is pending, and of an end those who were told of its beginning", function()
    raise(pending(1), resolved(1, { from = "pending" }), pending(2), firing(3, { notify = { "ops", "boss" } }), firing(4, { notify = {} }))
    raise(expired(3), resolved(4))

    assert.equal("firing|boss\nfiring|ops\nexpired|boss\nexpired|ops", outbox("transition, receiver"))
    assert.equal("resolved\npending\nexpired\nresolved", alerts("state"))
  end)

  it("ends a signal where it begins", function()
    raise(firing(1, { signal = true, at = -3 }))

    assert.equal("resolved|-3|-3", alerts("state, " .. seconds("fired_at") .. ", " .. seconds("ended_at")))
    assert.equal("firing|ops|waiting", outbox())
    assert.equal("firing d-1", story())
  end)

  it("records stale news, and tells of their end only who knows of them", function()
    raise(firing(1, { at = -7200 }), firing(2, { at = -3000 }), effects.act(1, { at = -7200 }),
      effects.act(2, { at = -7200, act = "publish", data = { type = "restart", aggregate_type = "a", aggregate_id = "b" } }))
    raise(resolved(1), resolved(2))

    assert.equal("alert|firing|stale\nalert|firing|waiting\nwebhook||stale\npublish||stale\nalert|resolved|waiting",
      outbox("kind, transition, state"))
    assert.equal("0", sql("SELECT count(*) FROM moonwake.events WHERE event_type = 'restart'"))

    sql("UPDATE moonwake.settings SET value = '86400' WHERE name = 'stale_after'")
    raise(firing(3, { at = -7200 }))
    assert.equal("waiting", sql("SELECT state FROM moonwake.outbox ORDER BY seq DESC LIMIT 1"))
  end)

  it("does not deadlock with publishers and people", function()
    local raisers, rounds = {}, 15
    local function batch(session, round)
      local list = {}
      for i = 1, 12 do
        local key = (i * 7 + session * 5 + round) % 12 -- another order each time
        list[i] = effects.event(key, { rule = "r" .. session, type = "t", aggregate_type = "device", aggregate_id = "d-" .. key,
          event_id = effects.uuid(session * 1e6 + round * 100 + i, 4), at = -i })
      end
      list[13] = firing(session * 1000 + round, { rule = "r" .. session, group = { by = { "site" }, wait = 0, interval = 0 } })
      return list
    end
    for session = 1, 3 do
      raisers[session] = server:session { db = db, user = "moonwake_run" }
    end
    local publisher, person = server:session { db = db }, server:session { db = db, user = "moonwake_run" }
    for round = 1, rounds do
      for session, s in ipairs(raisers) do
        s:send(("SELECT 'raised ' || moonwake.raise(%s);"):format(effects.sql(batch(session, round))))
      end
      publisher:send([[SELECT 'sent ' || count(*) FROM moonwake.publish_events((SELECT jsonb_agg(jsonb_build_object('event_type', 'p',
        'aggregate_type', 'device', 'aggregate_id', 'd-' || (11 - i))) FROM generate_series(0, 11) i));]])
      person:send("SELECT 'unmuted ' || moonwake.unmute_alerts();")
    end

    for _, s in ipairs { raisers[1], raisers[2], raisers[3], publisher, person } do
      local out = s:run("SELECT 'end';")
      assert.not_matches("ERROR", out)
      s:close()
    end
    assert.equal(("%d|%d"):format(rounds * 3, rounds * 48 + rounds * 3), sql([[SELECT (SELECT count(*) FROM moonwake.alerts),
      (SELECT count(*) FROM moonwake.events)]]))
    assert.equal(tostring(rounds * 3), sql("SELECT sum(jsonb_array_length(payload -> 'alerts')) FROM moonwake.outbox"))
  end)

  describe("with groups", function()
    local group = { by = { "site", "rule" }, wait = 30000000, interval = 300000000 }

    it("collects what one receiver is to know of a group, until it is due", function()
      raise(firing(1, { group = group }), firing(2, { group = group }), firing(3, { group = group, labels = { site = "south" } }))
      raise(firing(4, { group = group, notify = { "ops", "boss" } }), resolved(1, { group = group }))

      assert.equal('boss|{"rule": "crash_loop", "site": "north"}|d-4|t\n'
        .. 'ops|{"rule": "crash_loop", "site": "north"}|d-1 d-2 d-4 d-1|t\nops|{"rule": "crash_loop", "site": "south"}|d-3|t',
        sql([[SELECT receiver, payload -> 'group', (SELECT string_agg(i -> 'key' ->> 'device', ' ' ORDER BY n)
            FROM jsonb_array_elements(payload -> 'alerts') WITH ORDINALITY u (i, n)),
          abs(extract(epoch FROM due_at - created_at) - 30) < 1 FROM moonwake.outbox ORDER BY receiver, group_key]]))
    end)

    it("begins another row once the first was tried, not before the interval is over", function()
      raise(firing(1, { group = group }))
      sql("UPDATE moonwake.outbox SET state = 'sending', tries = 1")
      raise(firing(2, { group = group }))
      sql("UPDATE moonwake.outbox SET state = 'waiting' WHERE tries = 1")
      raise(firing(3, { group = group }))

      assert.equal("1|waiting|30\n2|waiting|330", sql([[SELECT jsonb_array_length(o.payload -> 'alerts'), o.state,
        round(extract(epoch FROM o.due_at - f.created_at)) FROM moonwake.outbox o, (SELECT min(created_at) AS created_at
        FROM moonwake.outbox) f ORDER BY o.seq]]))
    end)
  end)

  describe("with actions", function()
    local function act(n, own)
      own = own or {}
      own.at, own.episode = own.at or -n, effects.uuid(own.of or n)
      own.of = nil
      raise(effects.act(n, own))
    end

    local function states()
      return sql("SELECT string_agg(state, ' ' ORDER BY seq) FROM moonwake.outbox")
    end

    local function done(state)
      sql(("UPDATE moonwake.outbox SET state = '%s' WHERE state = 'waiting'"):format(state))
    end

    it("does one at a time for each key, in single mode", function()
      act(1)
      act(2)
      act(3, { key_text = '"d-2"' })
      done("sending")
      act(4)
      done("sending")
      sql("UPDATE moonwake.outbox SET state = 'failed' WHERE state = 'sending'")
      act(5)

      assert.equal("failed cancelled failed cancelled waiting", states())
      assert.equal("single: the one before is still under way", sql("SELECT note FROM moonwake.outbox ORDER BY seq OFFSET 1 LIMIT 1"))
    end)

    it("takes those of one firing for one run", function()
      raise(effects.act(1, { at = -1 }), effects.act(2, { at = -1, episode = effects.uuid(1) }),
        effects.act(3, { at = -1, episode = effects.uuid(1), act = "sql", data = { text = "SELECT 1" } }))

      assert.equal("waiting waiting waiting", states())
    end)

    it("gives way to the later one in restart mode", function()
      act(1, { mode = "restart" })
      act(2, { mode = "restart" })

      assert.equal("cancelled waiting", states())
    end)

    it("takes at most max in queued and parallel mode", function()
      for _, mode in ipairs { "queued", "parallel" } do
        for n = 1, 3 do
          act((mode == "queued" and 10 or 20) + n, { mode = mode, max = 2, rule = mode })
        end
      end

      assert.equal("waiting waiting cancelled waiting waiting cancelled", states())
      assert.equal("queued: 2 are under way", sql("SELECT note FROM moonwake.outbox WHERE state = 'cancelled' AND rule = 'queued'"))
    end)

    it("does nothing that is muted", function()
      raise(firing(1, { muted = "calendar night" }), effects.act(1, { muted = "calendar night" }),
        effects.act(2, { episode = effects.uuid(1), act = "publish", data = { type = "restart", aggregate_type = "a", aggregate_id = "b" } }))

      assert.equal("webhook|cancelled|muted: calendar night\npublish|cancelled|muted: calendar night", outbox("kind, state, note"))
      assert.equal("0", sql("SELECT count(*) FROM moonwake.events WHERE event_type = 'restart'"))
    end)
  end)
end)
