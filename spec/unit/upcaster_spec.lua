local ffi = require "ffi"
local json = require "dkjson"
local script = require "spec.support.script"

--- An upcaster's file; `up` is the function's body over data and event.
local function upcaster(name, event_type, from, up)
  return ('upcaster "%s" { type = "%s", from = %d, up = function(data, event)\n%s\nend }'):format(name, event_type, from, up)
end

describe("upcasters", function()
  local open = {}

  --- The script p with these fields (or whole files), and these upcasters: name -> { type, from, body }.
  local function define(fields, upcasters, more)
    local files = { ["projections/p.lua"] = ("projection \"p\" {\n%s\n}\n"):format(fields) }
    for name, u in pairs(upcasters) do
      files["scripts/upcasters/" .. name .. ".lua"] = type(u) == "string" and u or upcaster(name, u[1], u[2], u[3])
    end
    for path, source in pairs(more or {}) do
      files[path] = source
    end
    local s, err = script.open("p", files)
    open[#open + 1] = s
    return s, err and err.message, files
  end

  after_each(function()
    for _, s in ipairs(open) do
      s:close()
    end
    open = {}
  end)
  teardown(script.clean)

  local KEEP = [[ on = { ["order.*"] = function(row, event)
    row.data, row.version, row.seen = event.data, event.schema_version, (row.seen or 0) + 1 end } ]]

  it("bring an event's data to the newest version, step by step", function()
    local s = define(KEEP, {
      cents = { "order.paid", 1, "data.cents, data.euros = data.euros * 100, nil" },
      currency = { "order.paid", 2, "return { cents = data.cents, currency = 'EUR', was = event.schema_version, seen = event.data.cents }" },
    })
    s:run { { "order.paid", "a", data = { euros = 12 } }, { "order.paid", "b", schema_version = 2, data = { cents = 7 } },
      { "order.paid", "c", schema_version = 3, data = { cents = 7, currency = "USD" } },
      { "order.sent", "d", data = { euros = 1 } } }

    assert.same({ data = { cents = 1200, currency = "EUR", was = 2, seen = 1200 }, version = 3, seen = 1 }, s:row("a").state)
    assert.same({ cents = 7, currency = "EUR", was = 2, seen = 7 }, s:row("b").state.data)
    assert.same({ data = { cents = 7, currency = "USD" }, version = 3, seen = 1 }, s:row("c").state)
    assert.same({ data = { euros = 1 }, version = 1, seen = 1 }, s:row("d").state)
  end)

  it("prefer the exact type to a glob, and a longer glob to a shorter", function()
    local s = define(KEEP, {
      a_any = { "*", 1, "data.by = 'any'" },
      b_long = { "order.p*", 1, "data.by = 'long'" },
      c_exact = { "order.paid", 1, "data.by = 'exact'" },
      d_second = { "order.*", 2, "data.second = true" },
    })
    s:run { { "order.paid", "a" }, { "order.planned", "b" }, { "order.sent", "c" } }

    assert.same({ { by = "exact", second = true }, { by = "long", second = true }, { by = "any", second = true } },
      { s:row("a").state.data, s:row("b").state.data, s:row("c").state.data })
  end)

  it("keep every digit, null, and the difference of [] and {}", function()
    local s = define(KEEP, { u = { "order.paid", 1, "data.touched = true" } })
    local fx = s:run { { "order.paid", data = '{"big":12345678901234567890.5,"none":null,"list":[],"map":{}}' } }

    assert.matches('"data":{"big":12345678901234567890.5,"list":[],"map":{},"none":null,"touched":true}', fx.text, 1, true)
  end)

  describe("and keys", function()
    it("by path are those of the new data, also for what is parked and asked", function()
      local s = define([[ key = "data.site", on_error = "park_key", on = { t = function(row, event) row.seen = (row.seen or 0) + 1 end } ]],
        { u = { "t", 1, "data.site = 'site-' .. data.place" } })
      local page = s:page { { "t", data = { place = "x" } }, { "t", schema_version = 2, data = { site = "site-x" } },
        { "t", data = { place = "y" } } }
      s:prepare(page)
      assert.equal('[{"n":0,"key":"site-x"},{"n":1,"key":"site-y"}]', s.missing)
      s:step(page, 0)
      s:collect()
      assert.same({ 2, 1 }, { s:row("site-x").state.seen, s:row("site-y").state.seen })

      assert.equal('"site-y"', script.text(s.ops.key_of(s.handler, page.slice, 2, 0)))
      s.ops.park(s.handler, page.slice, 0)
      page = s:page { { "t", schema_version = 2, data = { site = "site-x" } }, { "t", data = { place = "y" } } }
      s:prepare(page)
      s:step(page, 0)
      local fx = s:collect()
      assert.same({ { event_id = 4, key = '"site-x"', parked = true } }, fx.dead)
      assert.equal("site-y", fx.upserts[1].key)
    end)

    it("by function are those of the new data", function()
      local s = define([[ key = function(event) return event.data.site .. event.schema_version end, on = { t = function(row) row.ok = true end } ]],
        { u = { "t", 1, "data.site = 's'" } })
      s:run { { "t" } }

      assert.is_true(s:row("s2").state.ok)
    end)
  end)

  it("are not called for events that nobody takes", function()
    local called = "error('called')"
    local s = define([[ on = { ["order.*"] = function() end, ["mine"] = function(row) row.ok = true end } ]],
      { u = { "*ine", 1, called }, other = { "order.paid", 5, called } })
    s:run { { "thine" }, { "mine", "a", schema_version = 2 }, { "order.paid", "b" } }
    assert.is_true(s:row("a").state.ok)

    local r = script.define_reducer("on = { t = function() end }", { ["scripts/upcasters/u.lua"] = upcaster("u", "t", 1, called) })
    open[#open + 1] = r
    r:run { { "t", aggregate_type = "other" } }
    assert.matches("upcaster 'u': called", r:fails({ "t" }).message)
  end)

  it("serve reducers", function()
    local s = script.define_reducer("on = { t = function(state, event) state.got = event.data.got end }",
      { ["scripts/upcasters/u.lua"] = upcaster("u", "t", 1, "data.got = 'it'") })
    open[#open + 1] = s
    s:run { { "t" } }

    assert.equal("it", s:row().state.got)
  end)

  it("see the same event however often it is asked for, and wherever its page lies then", function()
    local s = define(KEEP, { u = { "order.paid", 1, "data.n2 = (data.n2 or 0) + 1" } })
    local events = { { "order.paid", "a", data = { one = 1 } }, { "order.paid", "b", data = { one = 2 } } }
    local first, moved = s:page(events), s:page(events)
    for i = 0, 1 do
      moved.array[i].id = first.array[i].id
    end
    s:prepare(first)
    s:prepare(first)
    ffi.fill(first.array, ffi.sizeof("Event") * 2)
    assert.equal("done", (s:step(moved, 0)))
    s:collect()

    assert.same({ { one = 1, n2 = 1 }, { one = 2, n2 = 1 } }, { s:row("a").state.data, s:row("b").state.data })
  end)

  it("are what an expression of the debugger sees, too", function()
    local s = define(KEEP, { u = { "order.paid", 1, "data.site = 'new'" } })
    local page, err = s:page { { "order.paid" } }, ffi.new("Err")
    local n = s.ops.expression(s.handler, "--break", ffi.new("Str", { "event.data.site", 15 }), err)
    local truth, out, none = ffi.new("bool[1]"), ffi.new("Str[1]"), ffi.new("Str")

    assert.is_true(s.ops.evaluate(s.handler, n, page.array, none, none, none, truth, out, err))
    assert.equal('"new"', script.text(out[0]))
  end)

  describe("fail as the event's error, with their own line", function()
    local cases = {
      { "error('no')", "scripts/upcasters/u.lua:2: upcaster 'u': no (event 1 'order.paid')" },
      { "data.x.y = 1", "scripts/upcasters/u.lua:2: upcaster 'u': attempt to index field 'x' (a nil value) (event 1 'order.paid')" },
      { "return 7", "scripts/upcasters/u.lua:1: upcaster 'u': up returned a number (return the new data, or nothing where it was changed)" },
      { "return array {}", "scripts/upcasters/u.lua:1: upcaster 'u': the data became an array, and must be an object" },
      { "data.f = print", "scripts/upcasters/u.lua:1: upcaster 'u': data.f: a function is no JSON value" },
      { "data.me = data", "scripts/upcasters/u.lua:1: upcaster 'u': data.me: " },
      { "data.x = event.severty", "upcaster 'u': an event has no field 'severty' (did you mean 'severity'?)" },
      { "while true do end", "upcaster 'u': instruction budget exceeded" },
      { "event.data.x = 1 return event.dta", "an event has no field 'dta' (did you mean 'data'?)" },
    }
    for _, case in ipairs(cases) do
      it(case[1], function()
        local s = define(KEEP, { u = { "order.paid", 1, case[1] } })
        local err = s:fails { "order.paid" }

        assert.matches(case[2], err.message, 1, true)
        assert.equal(1, err.event_id)
        assert.matches("event 1 'order.paid'", err.message, 1, true)
      end)
    end

    it("data that is no object", function()
      local s = define(KEEP, { u = { "order.paid", 1, "return data" } })

      assert.matches("the data became an array", s:fails({ "order.paid", data = "[1]" }).message, 1, true)
      assert.matches("up returned a string", s:fails({ "order.paid", data = '"x"' }).message, 1, true)
    end)

    it("and the next event goes on, under the script's name", function()
      local s = define([[ on = { ["order.*"] = function(row, event) row.seen = (row.seen or 0) + 1 if event.data.bad then error("mine") end end } ]],
        { u = { "order.paid", 1, "if data.broken then error('theirs') end" } })
      local page = s:page { { "order.paid" }, { "order.paid", data = { broken = true } }, { "order.paid" },
        { "order.paid", data = { bad = true } } }
      s:prepare(page)
      local _, at, err = s:step(page, 0, true)
      assert.same({ 1, 2 }, { at, err.event_id })
      assert.matches("upcaster 'u': theirs", err.message)

      _, at, err = s:step(page, 2, true)
      assert.equal(3, at)
      assert.matches("projections/p.lua:2: projection 'p': mine", err.message, 1, true)
      assert.equal(2, s:collect().upserts[1].state.seen)
    end)
  end)

  describe("with sql = true", function()
    local SQL = [[ sql = true, key = "data.site", on_error = "park_key", on = { t = function(db, event)
        db:exec("SELECT $1", event.data.site .. event.schema_version)
        local rows = db:query("SELECT 1")
        db:exec("SELECT $1", event.data.site .. rows[1].x .. event.schema_version) end } ]]

    it("are what the handler sees, also after a query", function()
      local s = define(SQL, { u = { "t", 1, "data.site = 'new-' .. data.old" } })
      local page = s:page { { "t", data = { old = "o" } } }
      local moved = s:page { { "t", id = 1, data = { old = "o" } } }
      assert.equal("query", (s:step(page, 0)))
      local query, before = ffi.new("ScriptSql"), ffi.new("Effects")
      s.ops.query(s.handler, query, before)
      s.ops.resume(s.handler, ffi.new("Str", { '[{"x":5}]', 9 }), nil)
      ffi.fill(page.array, ffi.sizeof("Event"))
      assert.equal("done", (s:step(moved, 0)))

      assert.equal("new-o2", script.statement(before.sql[0]).params[1])
      assert.equal("new-o52", s:collect().sql[1].params[1])
    end)

    it("are asked before a key is looked up, and fail at their event", function()
      local s = define(SQL, { u = { "t", 1, "if not data.old then error('no old') end data.site = data.old" } })
      local page = s:page { { "t", data = { old = "o" } }, { "t", data = { new = "o" } } }
      s.ops.park(s.handler, page.slice, 0)
      local result, at, err = s:step(page, 0)

      assert.same({ "failed", 1 }, { result, at })
      assert.matches("upcaster 'u': no old (event 2 't')", err.message, 1, true)
      assert.same({ { event_id = 1, key = '"o"', parked = true } }, s:collect().dead)
    end)
  end)

  describe("belong to a script", function()
    local function files_of(s)
      local list = {}
      for path in pairs(json.decode(script.text(s:definition().files))) do
        list[#list + 1] = path
      end
      table.sort(list)
      return list
    end

    it("whose patterns their type can meet, with the modules that they require, and to no other", function()
      local more = { ["scripts/lib/near.lua"] = "return require 'deep'", ["scripts/lib/deep.lua"] = "return 1",
        ["scripts/lib/far.lua"] = "return 2" }
      local near = "local near = require 'near'\n" .. upcaster("near", "order.*", 1, "data.x = near")
      local far = "local near, far = require 'near', require 'far'\n" .. upcaster("far", "order.s*", 1, "data.x = far + near")
      local s = define([[ on = { ["order.p*"] = function(row, event) row.x = event.data.x end } ]],
        { a_far = far:gsub('"far"', '"a_far"'), near = near }, more)

      assert.same({ "projections/p.lua", "scripts/lib/deep.lua", "scripts/lib/near.lua", "scripts/upcasters/near.lua" }, files_of(s))
      s:run { { "order.paid" } }
      assert.equal(1, s:row().state.x)

      local again = assert(script.open("p", { bundle = script.text(s:definition().files) }))
      open[#open + 1] = again
      assert.equal(ffi.string(s:definition().digest), ffi.string(again:definition().digest))
      again:run { { "order.paid" } }
      assert.equal(1, again:row().state.x)
    end)

    it("and are then in its digest; others are not", function()
      local digests = {}
      for i, u in ipairs { {}, { u = { "order.x", 1, "" } }, { u = { "order.x", 1, "data.y = 1" } }, { u = { "device.x", 1, "" } } } do
        digests[i] = ffi.string(define(KEEP, u):definition().digest)
      end

      assert.equal(digests[1], digests[4])
      assert.are_not.equal(digests[1], digests[2])
      assert.are_not.equal(digests[2], digests[3])
    end)

    it("exactly where one type can match both globs", function()
      local seed = tonumber(os.getenv("SEED")) or os.time()
      print("seed " .. seed)
      math.randomseed(seed)
      local function glob()
        local parts = {}
        for i = 1, math.random(1, 4) do
          parts[i] = ({ "a", "b", "*" })[math.random(3)]
        end
        return table.concat(parts)
      end
      local function matches(pattern, text)
        return text:match("^" .. pattern:gsub("%*", ".*") .. "$") ~= nil
      end
      local words = { "" }
      for i = 1, 511 do
        words[#words + 1] = words[math.floor((i + 1) / 2)] .. (i % 2 == 1 and "a" or "b")
      end
      for _ = 1, 60 do
        local on, of = glob(), glob()
        local meet = false
        for _, word in ipairs(words) do
          meet = meet or (matches(on, word) and matches(of, word))
        end
        local s = define(("on = { [\"%s\"] = function() end }"):format(on), { u = { of, 1, "" } })

        assert.equal(meet and 2 or 1, #files_of(s), on .. " and " .. of)
        s:close()
        open[#open] = nil
      end
    end)
  end)

  describe("are refused", function()
    local cases = {
      ["two for the same type and version, naming both files"] = { { a = { "order.paid", 1, "" }, b = { "order.paid", 1, "" } },
        "scripts/upcasters/b.lua: scripts/upcasters/a.lua takes 'order.paid' from 1, too (keep one of them)" },
      ["a file that cannot be parsed"] = { { u = "upcaster {" }, "scripts/upcasters/u.lua:1: unexpected symbol near '<eof>'" },
      ["a file that defines nothing"] = { { u = "local x = 1" }, "scripts/upcasters/u.lua: nothing is defined in it (write upcaster \"u\" { … })" },
      ["an unknown field"] = { { u = 'upcaster "u" { typ = "x" }' }, "scripts/upcasters/u.lua:1: upcaster 'u': unknown field 'typ' (did you mean 'type'?)" },
      ["a missing field"] = { { u = 'upcaster "u" { type = "x", from = 1 }' }, "scripts/upcasters/u.lua:1: upcaster 'u': field 'up' is missing (changes the event's data, or returns new data)" },
      ["a wrong version"] = { { u = 'upcaster "u" { type = "x", from = "1", up = print }' }, "scripts/upcasters/u.lua:1: upcaster 'u': field 'from' must be an integer, not '1'" },
      ["an empty type"] = { { u = 'upcaster "u" { type = "", from = 1, up = print }' }, "scripts/upcasters/u.lua:1: upcaster 'u': type: '' is no event type" },
      ["another name than the file's"] = { { u = 'upcaster "v" { type = "x", from = 1, up = print }' },
        "scripts/upcasters/u.lua:1: upcaster 'v': the file's name is not the definition's (rename the file to v.lua, or write upcaster \"u\")" },
      ["two in one file"] = { { u = 'upcaster "u" { type = "x", from = 1, up = print } upcaster "u" { type = "y", from = 1, up = print }' },
        "scripts/upcasters/u.lua:1: upcaster 'u': 'u' is defined in this file already (one definition per file)" },
      ["a projection in their folder"] = { { u = 'projection "u" { on = { t = print } }' },
        "scripts/upcasters/u.lua:1: projection 'u': scripts/upcasters/ is for upcasters (move the file to projections/, or write upcaster \"u\" { … })" },
      ["one that reads a global that is not there"] = { { u = 'upcaster "u" { type = colour, from = 1, up = print }' },
        "scripts/upcasters/u.lua:1: unknown word 'colour'" },
      ["one that sets a global"] = { { u = 'x = 1' }, "scripts/upcasters/u.lua:1: global 'x' cannot be set" },
      ["one that never ends"] = { { u = 'while true do end' }, "scripts/upcasters/u.lua:1: instruction budget exceeded" },
      ["one whose module is missing"] = { { u = 'require "none"' }, "scripts/upcasters/u.lua:1: require: no module 'none' (there is no file scripts/lib/none.lua)" },
    }
    for name, case in pairs(cases) do
      it(name, function()
        local s, message = define([[ on = { ["*"] = function() end } ]], case[1])

        assert.is_nil(s)
        assert.matches(case[2], message, 1, true)
      end)
    end
  end)

  it("give the same rows as a handler that knows every version itself", function()
    local seed = tonumber(os.getenv("SEED")) or os.time()
    print("seed " .. seed)
    math.randomseed(seed)
    local NAIVE = [[ key = function(event) return event.data.site or event.data.place end, on = { ["order.*"] = function(row, event)
      local cents = event.data.cents or event.data.euros * 100
      row.cents, row.last = (row.cents or 0) + cents, event.data.site or event.data.place end } ]]
    local PLAIN = [[ key = "data.site", on = { ["order.*"] = function(row, event)
      row.cents, row.last = (row.cents or 0) + event.data.cents, event.data.site end } ]]
    local naive = define(NAIVE, {})
    local upcast = define(PLAIN, { money = { "order.*", 1, "data.cents, data.euros = data.euros * 100, nil" },
      site = { "order.p*", 2, "data.site, data.place = data.place, nil" },
      moved = { "order.sent", 2, "return { cents = data.cents, site = data.place }" } })
    local log = {}
    for i = 1, 300 do
      local version = math.random(3)
      log[i] = { ({ "order.paid", "order.planned", "order.sent", "other" })[math.random(4)], schema_version = version,
        data = { [version == 1 and "euros" or "cents"] = math.random(100), [version < 3 and "place" or "site"] = "s" .. math.random(5) } }
    end
    for _, s in ipairs { naive, upcast } do
      local at = 1
      while at <= #log do
        local stop = math.min(#log, at + math.random(1, 50) - 1)
        assert(s:run({ unpack(log, at, stop) }, math.random(2) == 1))
        at = stop + 1
        if math.random(3) == 1 then
          s:forget()
        end
      end
    end

    for i = 1, 5 do
      local row = naive:row("s" .. i)
      assert.same(row and row.state, upcast:row("s" .. i) and upcast:row("s" .. i).state)
    end
  end)
end)
