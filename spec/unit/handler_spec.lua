local script = require "spec.support.script"

local function message(err)
  return err and err.message
end

describe("a projection", function()
  local open = {}
  local function define(fields, options)
    local s = script.define(fields, options)
    open[#open + 1] = s
    return s
  end

  after_each(function()
    for _, s in ipairs(open) do
      s:close()
    end
    open = {}
  end)
  teardown(script.clean)

  describe("with columns", function()
    local COUNTER = [[ columns = { n = "bigint default 0", note = "text" }, on = {
      add = function(row, event) row.n = row.n + event.data.by end,
      note = function(row, event) row.note = event.data.text end,
      reset = function(row) return { n = 100 } end,
      drop = function() return delete end,
    } ]]

    it("keeps a row for each key, and knows its last event", function()
      local s = define(COUNTER)
      local fx = s:run { { "add", "x", data = { by = 2 } }, { "add", "y", data = { by = 5 } },
        { "add", "x", data = { by = 1 }, timestamp = 1767323045, us = 123456 } }

      assert.equal('[{"key":"x","n":3,"note":null,"position":3,"updated_at":"2026-01-02T03:04:05.123456Z"},'
        .. '{"key":"y","n":5,"note":null,"position":2,"updated_at":"2026-01-01T00:00:00.000000Z"}]', fx.text)
    end)

    it("goes on from the stored row", function()
      local s = define(COUNTER)
      s:run { { "add", data = { by = 2 } } }
      s:forget()
      s:run { { "add", data = { by = 3 } } }

      assert.equal(5, s:row().n)
    end)

    it("writes only what was touched since the last batch", function()
      local s = define(COUNTER)
      s:run { { "add", "x", data = { by = 1 } }, { "add", "y", data = { by = 1 } } }
      local fx = s:run { { "add", "y", data = { by = 1 } } }
      local none = s:run { { "unknown.type", "x" } }

      assert.same({ 1, "y" }, { #fx.upserts, fx.upserts[1].key })
      assert.same({ 0, 0 }, { #none.upserts, #none.deletes })
    end)

    it("asks for a key once, and not again while it is cached", function()
      local s = define(COUNTER)
      s:run { { "add", "x", data = { by = 1 } }, { "add", "x", data = { by = 1 } } }
      local first = s.missing
      s:run { { "add", "x", data = { by = 1 } } }

      assert.equal('[{"n":0,"key":"x"}]', first)
      assert.equal("", s.missing)
    end)

    it("takes a returned row in place of the old one", function()
      local s = define(COUNTER)
      local fx = s:run { { "note", data = { text = "old" } }, { "reset" } }

      assert.matches('"n":100,"note":null', fx.text, 1, true)
    end)

    it("removes a row, and begins with the defaults afterwards", function()
      local s = define(COUNTER)
      s:run { { "add", data = { by = 7 } } }
      local fx = s:run { { "drop" } }
      s:run { { "add", data = { by = 1 } } }

      assert.same({ { { n = 0, key = "a" } }, {} }, { fx.deletes, fx.upserts })
      assert.equal(1, s:row().n)
    end)

    it("removes and makes anew within a batch", function()
      local s = define(COUNTER)
      local fx = s:run { { "add", data = { by = 7 } }, { "drop" }, { "add", data = { by = 2 } } }

      assert.same({ 1, 0, 2 }, { #fx.upserts, #fx.deletes, fx.upserts[1].n })
    end)

    it("does not keep a returned table for two keys", function()
      local s = define [[ columns = { n = "bigint" }, on = (function()
        local shared = { n = 0 }
        return { first = function() return shared end, add = function(row) row.n = row.n + 1 end }
      end)() ]]
      s:run { { "first", "x" }, { "first", "y" }, { "add", "x" } }

      assert.same({ 1, 0 }, { s:row("x").n, s:row("y").n })
    end)

    it("shows the key in the row", function()
      local s = define [[ key_column = "device", columns = { copy = "text" },
        on = { t = function(row) row.copy = row.device end } ]]
      s:run { { "t", 'it\'s "q"' } }

      assert.equal('it\'s "q"', s:row('it\'s "q"').copy)
    end)
  end)

  describe("without columns", function()
    it("keeps a JSON tree", function()
      local s = define [[ on = { t = function(state, event) state.list = state.list or array {}
        table.insert(state.list, event.data.v) state.empty, state.none = {}, json.null end } ]]
      s:run { { data = '{"v":1.50}' } }
      s:forget()
      local fx = s:run { { data = '{"v":12345678901234567890}' } }

      assert.matches('"state":{"empty":{},"list":[1.5,12345678901234567890],"none":null}', fx.text, 1, true)
    end)

    it("has the same state from the cache as from the table", function()
      local source = [[ on = { t = function(state, event) state[event.data.k] = event.data.v
        state.seen = (state.seen or "") for k in pairs(state) do state.seen = state.seen .. k end end } ]]
      local cached, stored = define(source), define(source)
      local values = { "[]", "{}", "[1,[]]", "-0", "1e2", "null", '"\\u00e9"', "0.1", "123456789012345678901", '{"b":1,"a":[{}]}' }
      local one, two
      for i, v in ipairs(values) do
        local event = ('{"k":"f%d","v":%s}'):format(i % 4, v)
        one = cached:run { { data = event } }
        two = stored:run { { data = event } }
        stored:forget()
      end

      assert.equal(one.text, two.text)
    end)

    it("refuses a table that two states share", function()
      local s = define [[ on = (function() local shared = { n = 0 }
        return { t = function(state) state.s = shared end } end)() ]]
      local _, err = s:run { { "t", "x" }, { "t", "y" } }

      assert.matches("projections/p.lua:%d+: projection 'p': state.s: a table is reached twice: it also belongs to the state of key",
        message(err))
    end)

    it("does not let one run's event.data reach another key", function()
      local s = define [[ key = function() return { "x", "y" } end,
        on = { t = function(state, event) state.d = event.data state.d.by = state.d.by + 1 end } ]]
      s:run { { data = { by = 1 } } }

      assert.same({ 2, 2 }, { s:row("x").state.d.by, s:row("y").state.d.by })
    end)

    local bad = {
      ["a cycle"] = { "state.me = { state }", "state.me%[1%]: a cycle" },
      ["a mixed key"] = { "state[1], state.x = 1, 2", "state: .*key" },
      ["a sparse list"] = { "state.l = { [1] = 1, [5] = 2 }", "state.l" },
      ["an integer key"] = { "state.l = { [7] = 1 }", "state.l" },
      ["a function"] = { "state.f = print", "state.f: a function is no JSON value" },
      ["NaN"] = { "state.n = 0 / 0", "state.n" },
      ["infinity"] = { "state.n = 1 / 0", "state.n" },
      ["a metatable"] = { "state.m = setmetatable({}, {})", "state.m" },
      ["the event"] = { "state.e = event", "state.e" },
      ["delete within"] = { "state.d = delete", "state.d" },
      ["bytes that are not UTF-8"] = { "state.s = '\\255'", "state.s" },
      ["a NUL"] = { "state.s = 'a\\0b'", "state.s" },
    }
    for name, case in pairs(bad) do
      it("refuses " .. name .. ", and says where", function()
        local err = define(("on = { t = function(state, event) %s end }"):format(case[1])):fails {}

        assert.matches("^projections/p.lua:2: projection 'p': " .. case[2], message(err))
        assert.matches('%(event 1 \'t\', key "a"%)$', message(err))
      end)
    end

    for name, value in pairs { ["a number"] = "1", ["a string"] = "'x'", ["true"] = "true", ["a function"] = "print", json = "json.null" } do
      it("refuses " .. name .. " as a handler's result", function()
        local err = define(("on = { t = function() return %s end }"):format(value)):fails {}

        assert.matches("the handler returned a %l+ %(return nothing, a state or delete%)", message(err))
      end)
    end
  end)

  describe("handlers", function()
    local GLOBS = [[ columns = { who = "text" }, on = {
      ["*"] = function(row) row.who = "all" end,
      ["container.*"] = function(row) row.who = "container" end,
      ["container.image.*"] = function(row) row.who = "image" end,
      ["container.crashed"] = function(row) row.who = "exact" end,
      ["*.failed"] = function(row) row.who = "failed" end,
    } ]]
    for type, who in pairs { ["container.crashed"] = "exact", ["container.image.pulled"] = "image", ["container.started"] = "container",
      ["device.online"] = "all", ["device.failed"] = "failed", ["container.failed"] = "container", [""] = "all" } do
      it(("takes '%s' with '%s'"):format(type, who), function()
        local s = define(GLOBS)
        s:run { { type } }

        assert.equal(who, s:row().who)
      end)
    end

    it("pass over types that nobody takes", function()
      local s = define [[ on = { t = function(state) state.n = 1 end } ]]
      local page = s:page { { "other", "x" } }
      s:prepare(page)

      assert.same({ "", "done", 1 }, { s.missing, s:step(page) })
    end)

    it("see every field of an event", function()
      local s = define [[ on = { t = function(state, e) state.v = { id = e.id, event_id = e.event_id, type = e.type,
        aggregate_type = e.aggregate_type, aggregate_id = e.aggregate_id, version = e.version, schema_version = e.schema_version,
        source = e.source, correlation_id = e.correlation_id, causation_id = e.causation_id, actor_type = e.actor_type,
        actor_id = e.actor_id, severity = e.severity, impact = e.impact, occurred_at = e.occurred_at, timestamp = e.timestamp,
        occurrences = e.occurrences, site = e.metadata.site, text = tostring(e) } end } ]]
      local fx = s:run { { version = 3, source = "s", correlation_id = "c", actor_type = "user", actor_id = "u", severity = "high",
        impact = "low", metadata = { site = "north" }, us = 250000, occurrences = 4 } }

      assert.same({ id = 1, event_id = "00010203-0405-0607-0809-0a0b0c0d0e0f", type = "t", aggregate_type = "thing", aggregate_id = "a",
        version = 3, schema_version = 1, source = "s", correlation_id = "c", actor_type = "user", actor_id = "u", severity = "high",
        impact = "low", occurred_at = 1767225600.25, timestamp = 1767225600.25, occurrences = 4, site = "north", text = "event 1" },
        fx.upserts[1].state.v)
    end)

    it("cannot change an event", function()
      assert.matches("an event cannot be changed", message(define("on = { t = function(_, event) event.type = 'x' end }"):fails {}))
    end)

    it("are told the nearest field of an event", function()
      assert.matches("an event has no field 'agregate_id' %(did you mean 'aggregate_id'%?%)",
        message(define("on = { t = function(_, event) return event.agregate_id end }"):fails {}))
    end)

    it("cannot use an event after they returned", function()
      local s = define [[ on = (function() local kept
        return { keep = function(_, event) kept = event end,
          use = function() end, key = function() end } end)(),
        key = (function() local old return function(event) if old then local id = old.id end
          if event.type == "keep" then old = event end return "k" end end)() ]]

      assert.has_no.errors(function() s:run { { "keep" } } end)
      local late = define [[ on = { t = function(state, event) local co = coroutine.wrap(function() coroutine.yield() state.x = event.id end)
        co() state.co = nil late = nil end } ]]
      assert.is_string(message(late:fails {}))
    end)

    it("fail with file, line, projection, event, key and traceback", function()
      local s = assert(script.open("p", "local function deep(x)\n  return x.y.z\nend\nprojection 'p' {\n  on = { t = function(s, e)\n    deep(e.data)\n  end },\n}\n"))
      open[#open + 1] = s
      local err = s:fails { data = "{}" }

      assert.equal("projections/p.lua:2: projection 'p': attempt to index field 'y' (a nil value) (event 1 't', key \"a\")", err.message)
      assert.matches("projections/p.lua:2: in function 'deep'\nprojections/p.lua:6: in ", err.trace)
      assert.not_matches("prelude", err.trace)
      assert.equal(1, err.event_id)
    end)
  end)

  describe("careful", function()
    local SOURCE = [[ key = function(event) return event.data.keys end,
      columns = { n = "bigint default 0", tags = "jsonb default '[]'", at = "timestamptz" },
      on = { t = function(row, event)
        row.n, row.at = row.n + 1, event.occurred_at
        table.insert(row.tags, event.id)
        if row.key == event.data.bad then row.tags.x = print error("no") end
        if event.data.drop then return delete end
      end } ]]

    local function after(events)
      local s = define(SOURCE)
      s:run { { data = { keys = { "a", "b" } }, us = 1 } }
      local page = s:page(events)
      s:prepare(page)
      local how, at, err = s:step(page, 0, true)
      while how == "failed" do
        how, at = s:step(page, at + 1, true)
      end
      assert.equal("done", how)
      return s, s:collect(), err
    end

    it("leaves the states as they were before the event that failed", function()
      local s, fx = after { { data = { keys = { "a" } } }, { data = { keys = { "b", "a" }, bad = "a" } }, { data = { keys = { "b" } } } }

      assert.same({ 2, 2 }, { s:row("a").n, s:row("b").n })
      assert.same({ { 1, 2 }, { 1, 4 } }, { s:row("a").tags, s:row("b").tags })
      assert.same({ 2, 4 }, { s:row("a").position, s:row("b").position })
      assert.equal(2, #fx.upserts)
    end)

    it("does not write a state that only the failed event touched", function()
      local _, fx = after { { data = { keys = { "a", "b" }, bad = "b" } } }

      assert.same({ 0, 0 }, { #fx.upserts, #fx.deletes })
    end)

    it("does not make a row that only the failed event would have made", function()
      local s, fx = after { { data = { keys = { "new" }, bad = "new" } } }

      assert.same({ nil, 0, 0 }, { s:row("new"), #fx.upserts, #fx.deletes })
    end)

    it("brings back a row that the failed event had removed", function()
      local s = after { { data = { keys = { "a", "b" }, bad = "b", drop = true } }, { data = { keys = { "a" } } } }

      assert.equal(2, s:row("a").n)
    end)
  end)

  describe("parked keys", function()
    local SOURCE = [[ on_error = "park_key", columns = { n = "bigint default 0" },
      on = { t = function(row, event) row.n = row.n + 1 end } ]]

    it("make dead letters of their later events, in order", function()
      local s = define(SOURCE)
      local page = s:page { { "t", "x" }, { "t", "y" }, { "t", "x" }, { "t", "x" } }
      s:prepare(page)
      s.ops.park(s.handler, page.slice, 0)
      s:step(page, 1)
      local fx = s:collect()

      assert.same({ { event_id = 3, key = '"x"', parked = true }, { event_id = 4, key = '"x"', parked = true } }, fx.dead)
      assert.same({ { "y", 1 } }, { { fx.upserts[1].key, fx.upserts[1].n } })
      assert.same({}, s:collect().dead)
    end)

    it("are set and set free by their JSON text", function()
      local s = define(SOURCE)
      local ffi = require "ffi"
      local text = '"x"'
      s.ops.set_parked(s.handler, ffi.new("Str", { text, #text }), true)
      local waiting = s:run { { "t", "x" } }
      s.ops.set_parked(s.handler, ffi.new("Str", { text, #text }), false)
      local free = s:run { { "t", "x" } }

      assert.same({ 1, 0 }, { #waiting.dead, #waiting.upserts })
      assert.same({ 0, 1 }, { #free.dead, #free.upserts })
    end)

    it("are the same when the database wrote the key otherwise", function()
      local s = define [[ key = { "aggregate_id", "data.n" }, key_column = { "id", "num" }, columns = { num = "numeric", c = "bigint" }, on = { t = function() end } ]]
      local ffi = require "ffi"
      local text = '["a\\u00e9\\n", 15e1]'
      s.ops.set_parked(s.handler, ffi.new("Str", { text, #text }), true)
      local fx, why = s:run { { "t", "aé\n", data = '{"n":150}' } }
      assert(fx, message(why))

      assert.same({ 1, '["aé\\n",150]' }, { #fx.dead, fx.dead[1].key })
    end)
  end)

  describe("the cache", function()
    it("is bounded, and drops what is longest unused", function()
      local s = define([[ columns = { v = "text" }, on = { t = function(row) row.v = ("x"):rep(1000) end } ]], { states = 200000 })
      for i = 1, 200 do
        s:run { { "t", "k" .. i } }
      end
      s:run { { "t", "k200" } }
      local recent = s.missing
      s:run { { "t", "k1" } }

      assert.equal("", recent)
      assert.matches('"key":"k1"', s.missing)
      assert.is_true(tonumber(s.ops.memory(s.handler)) < 4 * 1024 * 1024)
    end)

    it("keeps what is changed, collected but not settled, or needed by the page at hand", function()
      local s = define([[ columns = { n = "bigint default 0" }, on = { t = function(row) row.n = row.n + 1 end } ]], { states = 1 })
      local first = s:page { { "t", "x" } }
      s:prepare(first)
      s:step(first)
      s:collect() -- under way, not settled
      s.rows = {} -- the database does not show it yet
      local second = s:page { { "t", "x" }, { "t", "y" } }
      s:prepare(second)
      s:settled()
      s:step(second)
      local fx = s:collect()

      assert.same({ 2, 1 }, { fx.upserts[1].n, fx.upserts[2].n })
    end)

    it("is empty after forget()", function()
      local s = define [[ columns = { n = "bigint default 0" }, on = { t = function(row) row.n = row.n + 1 end } ]]
      local page = s:page { {}, {} }
      s:prepare(page)
      s:step(page)
      s:forget()
      local fx = s:collect()
      s:run { {} }

      assert.equal(0, #fx.upserts)
      assert.equal(1, s:row().n)
    end)
  end)

  it("says what a stored state that it cannot read is", function()
    local s = define [[ columns = { n = "bigint" }, on = { t = function() end } ]]
    s.rows.a = { key = "a", n = "seven" }
    local page = s:page { {} }
    local ok, err = s:prepare(page)

    assert.is_nil(ok)
    assert.matches("projections/p.lua: projection 'p': the stored state of key \"a\": column 'n': bigint expected, not the string 'seven'",
      err.message)
  end)
end)
