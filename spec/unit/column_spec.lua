local script = require "spec.support.script"

--- What a column of this type holds after `value` (Lua source) was put into it: its JSON text, as it is written, and
--- as the row shows it when it is read back.
local function store(type, value)
  local s = script.define(([[ columns = { v = "%s", shown = "text" }, on = {
    set = function(row) row.v = %s end, show = function(row) row.shown = tostring(row.v) end } ]]):format(type, value))
  local fx, err = s:run { { "set" } }
  if not fx then
    s:close()
    return nil, err.message
  end
  local written = fx.text:match('"v":(.*),"position"')
  s:run { { "show" } }
  local cached = s:row().shown
  s:forget()
  s:run { { "show" } }
  local stored = s:row().shown
  s:close()
  assert.equal(stored, cached)
  return written
end

describe("a typed column", function()
  teardown(script.clean)

  local kept = {
    { "boolean", "true", "true" }, { "boolean", "nil", "null" }, { "boolean", "json.null", "null" },
    { "smallint", "-32768", "-32768" }, { "smallint", "32767", "32767" },
    { "integer", "2147483647", "2147483647" }, { "int", "-2147483648", "-2147483648" }, { "integer", "-0", "0" },
    { "bigint", "2 ^ 53", "9007199254740992" }, { "bigint", "decimal '9223372036854775807'", "9223372036854775807" },
    { "bigint", "decimal '-9223372036854775808'", "-9223372036854775808" },
    { "double precision", "0.1", "0.1" }, { "float8", "decimal '12345678901234567890'", "12345678901234567000" },
    { "numeric", "decimal '0.10000000000000000000001'", "0.10000000000000000000001" }, { "numeric", "1.5", "1.5" },
    { "text", "'é\\n\"'", '"é\\n\\""' }, { "text", "''", '""' },
    { "uuid", "'AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE'", '"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"' },
    { "date", "'2024-02-29'", '"2024-02-29"' }, { "date", "utc_date(0)", '"1970-01-01"' },
    { "timestamptz", "1767323045.123456", '"2026-01-02T03:04:05.123456Z"' },
    { "timestamptz", "1767323045.1234567", '"2026-01-02T03:04:05.123457Z"' },
    { "timestamptz", "'2026-01-02T04:04:05+01:00'", '"2026-01-02T03:04:05.000000Z"' },
    { "timestamptz", "-1", '"1969-12-31T23:59:59.000000Z"' },
    { "timestamp with time zone", "'2026-01-02'", '"2026-01-02T00:00:00.000000Z"' },
    { "jsonb", "{ a = { 1, 2 } }", '{"a":[1,2]}' }, { "jsonb", "array {}", "[]" }, { "jsonb", "'text'", '"text"' },
    { "jsonb", "json.null", "null" }, { "jsonb", "-0", "0" },
  }
  for _, case in ipairs(kept) do
    it(("of type %s takes %s"):format(case[1], case[2]), function()
      local written, err = store(case[1], case[2])

      assert.equal(case[3], written and written:match("^(.-),?$"):gsub('^"shown":null,"v":', ""), err)
    end)
  end

  local refused = {
    { "boolean", "1", "boolean expected, not the number 1" }, { "boolean", "'true'", "boolean expected, not the string 'true'" },
    { "smallint", "32768", "out of range for smallint %(use bigint or numeric%)" },
    { "integer", "2 ^ 31", "out of range for integer" }, { "bigint", "2 ^ 63", "out of range for bigint %(use numeric%)" },
    { "bigint", "decimal '9223372036854775808'", "out of range for bigint" },
    { "bigint", "'12'", "bigint expected, not the string '12'" }, { "bigint", "1.5", "bigint expected, not the number 1.5 %(math.floor" },
    { "bigint", "decimal '1.00000000000000000001'", "bigint expected, not a decimal" }, { "bigint", "0 / 0", "bigint expected" },
    { "double precision", "1 / 0", "division by zero" }, { "double precision", "'1'", "double precision expected" },
    { "numeric", "0 / 0", "numeric expected" }, { "numeric", "{}", "numeric expected, not a table" },
    { "text", "1", "text expected, not the number 1 %(tostring makes a text" }, { "text", "'\\0'", "NUL" }, { "text", "'\\255'", "UTF%-8" },
    { "uuid", "'nonsense'", "uuid expected" }, { "uuid", "'aaaaaaaabbbb4ccc8dddeeeeeeeeeeeeeeee'", "uuid expected" },
    { "date", "'2026-02-29'", "date expected" }, { "date", "1767323045", "utc_date makes one" },
    { "timestamptz", "1767323045123456", "seconds, not milliseconds" }, { "timestamptz", "'soon'", "timestamptz expected" },
    { "timestamptz", "'2026-13-01T00:00:00Z'", "timestamptz expected" }, { "timestamptz", "true", "timestamptz expected, not a boolean" },
    { "jsonb", "print", "column 'v': a function is no JSON value" }, { "jsonb", "{ [3] = 1 }", "column 'v'" },
    { "jsonb", "{ a = { b = 0 / 0 } }", "column 'v'.a.b" }, { "text not null", "nil", "column 'v' is not null and has no value" },
    { "bigint not null default 1", "json.null", "column 'v' is not null" },
  }
  for _, case in ipairs(refused) do
    it(("of type %s refuses %s"):format(case[1], case[2]), function()
      local written, err = store(case[1], case[2])

      assert.is_nil(written)
      assert.matches("^projections/p.lua:3: projection 'p': .*" .. case[3], err)
    end)
  end

  it("begins with its default", function()
    local s = script.define [[ columns = { a = "bigint default 5", b = "text default 'it''s'", c = "jsonb default '{\"x\":[]}'",
      d = "boolean default true", e = "numeric default -1.50", f = "timestamptz default '2026-01-02'", g = "text" }, on = { t = function() end } ]]
    local fx = s:run { {} }
    s:close()

    assert.matches('"a":5,"b":"it\'s","c":{"x":[]},"d":true,"e":-1.5,"f":"2026-01-02T00:00:00.000000Z","g":null', fx.text, 1, true)
  end)

  it("has a default of its own in every row", function()
    local s = script.define [[ columns = { t = "jsonb default '{}'" }, on = { t = function(row, event) row.t[event.aggregate_id] = 1 end } ]]
    s:run { { "t", "x" }, { "t", "y" } }
    s:close()

    assert.same({ { x = 1 }, { y = 1 } }, { s:row("x").t, s:row("y").t })
  end)

  it("is the only place for a value: a misspelt one is an error", function()
    local s = script.define [[ columns = { crashes = "bigint" }, on = { t = function(row) row.crahses = 1 end } ]]
    local err = s:fails {}
    s:close()

    assert.matches("unknown column 'crahses' %(did you mean 'crashes'%?%)", err.message)
  end)

  it("cannot be a number's", function()
    local s = script.define [[ columns = { a = "bigint" }, on = { t = function(row) row[1] = 1 end } ]]
    local err = s:fails {}
    s:close()

    assert.matches("a row has named columns only", err.message)
  end)

  it("of the key cannot be changed or removed", function()
    for _, body in ipairs { "row.key = 'other'", "row.key = nil", "row.key = 1", "return { key = 'other' }", "setmetatable(row, {})" } do
      local s = script.define(("columns = { a = 'bigint' }, on = { t = function(row) %s end }"):format(body))
      local err = s:fails {}
      s:close()
      assert.matches("projection 'p': .*row", err.message)
    end
  end)

  it("refuses one JSON tree in two columns", function()
    local s = script.define [[ columns = { a = "jsonb", b = "jsonb" }, on = { t = function(row) row.a = { 1 } row.b = row.a end } ]]
    local err = s:fails {}
    s:close()

    assert.matches("column '[ab]': a table is reached twice", err.message)
  end)
end)
