local script = require "spec.support.script"

describe("a key", function()
  local s
  after_each(function()
    if s then
      s:close()
      s = nil
    end
  end)
  teardown(script.clean)

  --- The key columns of the rows that these events make, as JSON.
  local function rows(fields, events)
    s = script.define(fields .. ", columns = { c = 'bigint default 0', " .. (fields:match("%-%-types (.-)\n") or "") .. " }, "
      .. "on = { t = function(row) row.c = row.c + 1 end }")
    local fx, err = s:run(events)
    if not fx then
      return nil, err.message
    end
    local list = {}
    for row in fx.text:gmatch('{(.-),"c":') do
      list[#list + 1] = row
    end
    return table.concat(list, " ")
  end

  it("is the aggregate's id", function()
    assert.equal('"key":"x" "key":"y"', rows("version = 1", { { "t", "x" }, { "t", "y" }, { "t", "x" } }))
  end)

  local paths = {
    { "type", '"t"' }, { "aggregate_type", '"thing"' }, { "event_id", '"00010203-0405-0607-0809-0a0b0c0d0e0f"' }, { "id", '"1"' },
    { "version", '"1"' }, { "occurred_at", '"2026-01-01T00:00:00.000000Z"' }, { "data.site", '"north é"' }, { "data.deep.n", '"1.50"' },
    { "data.ok", '"true"' }, { "metadata.tenant", '"m"' }, { "actor_id", '"me"' },
  }
  for _, case in ipairs(paths) do
    it("can be the path " .. case[1], function()
      assert.equal('"key":' .. case[2], rows(("key = '%s'"):format(case[1]),
        { { data = '{"site":"north \\u00e9","deep":{"n":1.50},"ok":true}', metadata = { tenant = "m" }, actor_id = "me" } }))
    end)
  end

  it("of several paths is composite, named by their last words", function()
    assert.equal('"aggregate_id":"x","site":"n,\\"]" "aggregate_id":"x","site":"s"',
      rows("key = { 'aggregate_id', 'data.site' }", { { "t", "x", data = { site = 'n,"]' } }, { "t", "x", data = { site = "s" } } }))
  end)

  local typed = {
    { "uuid", '"AAAAAAAA-bbbb-4ccc-8ddd-eeeeeeeeeeee"', '"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"' }, { "bigint", "15e1", "150" },
    { "bigint", "9007199254740993", "9007199254740993" }, { "numeric", "1.50", "1.5" }, { "boolean", "true", "true" },
    { "date", '"2026-01-02"', '"2026-01-02"' }, { "timestamptz", '"2026-01-02T04:00:00+01:00"', '"2026-01-02T03:00:00.000000Z"' },
    { "timestamptz", "0.5", '"1970-01-01T00:00:00.500000Z"' }, { "text", "12", '"12"' }, { "smallint", "-32768", "-32768" },
  }
  for _, case in ipairs(typed) do
    it(("of type %s has one form: %s is %s"):format(case[1], case[2], case[3]), function()
      local fields = ("key = 'data.k', --types key = '%s'\n version = 1"):format(case[1])

      assert.equal('"key":' .. case[3], rows(fields, { { data = ('{"k":%s}'):format(case[2]) } }))
    end)
  end

  local wrong = {
    { "uuid", '"x"', "uuid expected" }, { "bigint", '"1"', "bigint expected" }, { "bigint", "1.5", "bigint expected" },
    { "smallint", "40000", "smallint expected" }, { "text", "null", "text expected, not null" }, { "text", "{}", "an object or array" },
    { "boolean", "1", "boolean expected" }, { "date", '"2026-02-30"', "date expected" },
  }
  for _, case in ipairs(wrong) do
    it(("of type %s cannot be %s"):format(case[1], case[2]), function()
      local fields = ("key = 'data.k', --types key = '%s'\n version = 1"):format(case[1])
      local _, err = rows(fields, { { data = ('{"k":%s}'):format(case[2]) } })

      assert.matches("^projections/p.lua: projection 'p': key 'data.k': .*" .. case[3], err)
      assert.matches("event 1 't'", err)
    end)
  end

  it("that an event lacks is an error, not a lost event", function()
    local _, err = rows("key = 'data.site'", { {} })

    assert.matches("key 'data.site': text expected, not null %(an event without a key: use a function", err)
  end)

  it("matters only for the events that a handler takes", function()
    assert.equal("", rows("key = 'data.site'", { { "other" } }))
  end)

  describe("function", function()
    local cases = {
      { "'x'", '"key":"x"' }, { "12", '"key":"12"' }, { "0.1", '"key":"0.1"' }, { "nil", "" }, { "{}", "" },
      { "{ 'x', 'y', 'x' }", '"key":"x" "key":"y"' }, { "event.data.list", '"key":"p" "key":"q"' },
      { "decimal '12345678901234567890'", '"key":"12345678901234567890"' }, { "utc_date(event.occurred_at)", '"key":"2026-01-01"' },
    }
    for _, case in ipairs(cases) do
      it("may return " .. case[1], function()
        assert.equal(case[2], rows(("key = function(event) return %s end"):format(case[1]), { { data = { list = { "p", "q" } } } }))
      end)
    end

    it("returns a list for a composite key, and a list of lists for several", function()
      local fields = "key_column = { 'a', 'b' }, key = function(event) return event.data.k end"

      assert.equal('"a":"1","b":"x" "a":"1","b":"y" "a":"2","b":"x"',
        rows(fields, { { data = { k = { 1, "x" } } }, { data = { k = { { 1, "y" }, { 2, "x" }, { 1, "x" } } } } }))
    end)

    local bad = {
      { "{ 1 }", "a key has 2 parts, and it has 1" }, { "'x'", "a key has 2 parts" }, { "{ { 1, 2 }, 3 }", "a key has 2 parts, and it has 0" },
      { "{ 1, json.null }", "text expected, not null" }, { "{ 1, print }", "text expected" },
    }
    for _, case in ipairs(bad) do
      it("of a composite key cannot return " .. case[1], function()
        local _, err = rows(("key_column = { 'a', 'b' }, key = function(event) return %s end"):format(case[1]), { {} })

        assert.matches("^projections/p.lua:2: projection 'p': the key function's result: .*" .. case[2], err)
      end)
    end

    it("that fails stops at its own event, after the events before it", function()
      s = script.define [[ columns = { c = "bigint default 0" }, key = function(event) return event.data.k.id end,
        on = { t = function(row) row.c = row.c + 1 end } ]]
      local page = s:page { { data = { k = { id = "x" } } }, { data = {} }, { data = { k = { id = "y" } } } }
      s:prepare(page)
      local how, at, err = s:step(page, 0, true)
      local again, stop = s:step(page, at + 1, true)
      local fx = s:collect()

      assert.same({ "failed", 1, "done", 3, 2 }, { how, at, again, stop, #fx.upserts })
      assert.matches("^projections/p.lua:2: projection 'p': attempt to index field 'k'", err.message)
      assert.is_nil(script.text(s.ops.key_of(s.handler, page.slice, 1, 0)))
      assert.equal('"x"', script.text(s.ops.key_of(s.handler, page.slice, 0, 0)))
    end)

    it("runs the handler once for each key", function()
      s = script.define [[ columns = { c = "bigint default 0" }, key = function(event) return event.data.keys end,
        on = { t = function(row) row.c = row.c + 1 end } ]]
      s:run { { data = { keys = { "x", "y", "x" } } }, { data = { keys = { "y" } } } }

      assert.same({ 1, 2 }, { s:row("x").c, s:row("y").c })
    end)
  end)

  it("keeps tens of thousands of keys apart", function()
    s = script.define [[ columns = { c = "bigint default 0" }, on = { t = function(row) row.c = row.c + 1 end } ]]
    local events = {}
    for i = 1, 30000 do
      events[i] = { "t", "device-" .. i % 10000 }
    end
    s:run(events)
    local wrong_count = 0
    for i = 0, 9999 do
      wrong_count = wrong_count + (s:row("device-" .. i).c == 3 and 0 or 1)
    end

    assert.equal(0, wrong_count)
  end)
end)
