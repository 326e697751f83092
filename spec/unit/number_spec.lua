local ffi = require "ffi"
local lua_state = require "spec.support.lua_state"
local pg = require "spec.support.pg"

local lib, str = lua_state.lib, lua_state.str
local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

describe("numbers", function()
  local state

  setup(function() state = lua_state.new() end)
  teardown(function() state:close() end)

  local function print_double(v)
    local out = ffi.new("char[40]")
    return ffi.string(out, lib.number_print(v, out))
  end

  local function random_numeral()
    local digits = {}
    for i = 1, math.random(1, math.random(1, 24)) do
      digits[i] = math.random(0, 9)
    end
    local text = table.concat(digits):gsub("^0+(%d)", "%1")
    if math.random() < 0.5 then
      text = text .. "." .. math.random(0, 9) .. (math.random() < 0.5 and math.random(0, 99999999) or "")
    end
    if math.random() < 0.4 then
      local signs = { "", "+", "-" }
      text = text .. "e" .. signs[math.random(3)] .. math.random(0, ({ 3, 30, 330 })[math.random(3)])
    end
    return (math.random() < 0.3 and "-" or "") .. text
  end

  --- The plain way: the first precision that reads back.
  local function shortest(v)
    for precision = 1, 17 do
      local text = ("%." .. precision .. "g"):format(v)
      if tonumber(text) == v then
        return text == "inf" and "Infinity" or text == "-inf" and "-Infinity" or text
      end
    end
  end

  it("are printed in their shortest form", function()
    local forms = {
      { 0, "0" }, { -0.0, "0" }, { 1, "1" }, { -1, "-1" }, { 0.1, "0.1" }, { 1.10, "1.1" }, { 2 ^ 53, "9007199254740992" },
      { 2 ^ 60, "1152921504606847000" }, { 2 ^ 63, "9223372036854776000" },
      { 1e300, "1e+300" }, { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e+308" },
      { 1 / 3, "0.3333333333333333" }, { 1e-5, "0.00001" }, { 1e-7, "1e-7" }, { 123456.789, "123456.789" },
      { 1731942123.481516, "1731942123.481516" }, { 9007199254740993, "9007199254740992" },
      { 2.2250738585072014e-308, "2.2250738585072014e-308" }, { 9.5e-5, "0.000095" },
    }
    for _, form in ipairs(forms) do
      assert.equal(form[2], print_double(form[1]))
    end
  end)

  it("read back the same, and are as short as PostgreSQL prints them", function()
    local sql = { "SELECT ours FROM (VALUES" }
    local bits = ffi.new("union { double d; uint32_t u[2]; }")
    math.randomseed(20240611)
    for i = 1, 4000 * SOAK do
      do
        bits.u[0] = math.random(0, 2 ^ 32 - 1)
        bits.u[1] = math.random(0, 0x7fefffff) -- a finite one
        if i % 4 == 1 then
          bits.d = 2 ^ math.random(-1074, 1023) -- gaps differ on its two sides
        elseif i % 4 == 2 then
          bits.d = math.random(1, 2 ^ 31) * 10 ^ math.random(-12, 6) + math.random()
        end
      end
      local text = print_double(bits.d)
      assert.equal(bits.d, tonumber(text))
      assert.is_true(lib.json_check(str(text), 0, nil))
      sql[#sql + 1] = ("%s('%s', '%.17g'::float8)"):format(i > 1 and "," or "", text, bits.d)
    end
    -- PostgreSQL's digits never lie on the border to the next double, where reading rounds to even
    sql[#sql + 1] = [[) v(ours, d) WHERE ours::numeric <> d::text::numeric
      AND length(trim_scale(ours::numeric)::text) >= length(trim_scale(d::text::numeric)::text)]]

    assert.equal("", pg.shared():psql(table.concat(sql, " ")))
  end)

  it("are Lua numbers exactly where the shortest decimal of a double has their value", function()
    local sql, ours = {}, {}
    math.randomseed(53)
    for i = 1, 3000 * SOAK do
      local text = random_numeral()
      local kind, shown = state:eval("local v = json.decode(...) return type(v), json.encode(v)", text)
      ours[i] = ("%s|%s|t"):format(text, kind == "number" and "t" or "f")
      sql[i] = ("SELECT '%s', '%s'::numeric = '%s'::numeric, '%s'::numeric = '%s'::numeric;"):format(
        text, text, shortest(tonumber(text)), text, shown)
    end
    local i = 0
    for line in pg.shared():psql(table.concat(sql, "\n")):gmatch("[^\n]+") do
      i = i + 1
      assert.equal(line, ours[i])
    end

    assert.equal(#ours, i)
  end)

  it("that are no Lua numbers keep their digits as decimals", function()
    local function show(text)
      return state:eval("local v = json.decode(...) return type(v), tostring(v), json.encode(v)", text)
    end

    assert.same({ "userdata", "12345678901234567890", "12345678901234567890" }, { show("12345678901234567890") })
    assert.same({ "userdata", "9007199254740993", "9007199254740993" }, { show("9007199254740993") })
    assert.same({ "userdata", "1152921504606846976", "1152921504606846976" }, { show("1152921504606846976") })
    assert.same({ "userdata", "0.10000000000000000001", "0.10000000000000000001" }, { show("0.10000000000000000001") })
    assert.same({ "userdata", "1.5e+400", "1.5e+400" }, { show("150e398") })
    assert.same({ "userdata", "1e-999", "1e-999" }, { show("0.1E-998") })
    assert.same({ "number", "1.1", "1.1" }, { show("1.10") })
    assert.same({ "number", "0", "0" }, { show("-0.0e7") })
  end)

  it("outside of PostgreSQL's numeric are a clear error", function()
    local ok, message = state:run("return json.decode('[1e999999]')")

    assert.is_false(ok)
    assert.matches("byte 1%): a number is outside of what PostgreSQL's numeric can hold", message)
  end)

  it("as decimals are one object per value", function()
    assert.is_true(state:eval [[
      local a, b = json.decode "9007199254740993.50", json.decode "900719925474099350e-2"
      local c = decimal "9007199254740993.5"
      collectgarbage() collectgarbage()
      local t = { [a] = "here" }
      return a == b and b == c and t[c] == "here" and a ~= decimal "9007199254740993.6"
    ]])
    assert.is_true(state:eval [[
      local weak = setmetatable({ decimal "9007199254740993" }, { __mode = "v" })
      collectgarbage() collectgarbage()
      return weak[1] == nil
    ]])
  end)

  it("as decimals compute as doubles", function()
    assert.same({ 9007199254740994, -9007199254740996, 2 ^ 54, "<9007199254740995>" }, { state:eval [[
      local d = decimal "9007199254740995"
      return d - 2, -d, d * 2 - 8, "<" .. d .. ">"
    ]] })
    assert.same({ true, false, true, false }, { state:eval [[
      local a, b = decimal "-9007199254740993", decimal "9007199254740993.1"
      return a < b, b < a, a <= a, decimal "1e400" <= decimal "99999999999999999999"
    ]] })
    assert.same({ 2 ^ 53, 1, 3 }, { state:eval "return tonumber(decimal '9007199254740993'), tonumber '1', tonumber('11', 2)" })
    assert.is_false(state:run "return decimal '9007199254740993' + {}")
    assert.is_false(state:run "return getmetatable(decimal '9007199254740993').__add")
  end)

  it("are made by the word decimal under the same rule", function()
    assert.same({ "number", "userdata" }, { state:eval "return type(decimal '12.50'), type(decimal '0.1000000000000000055')" })
    for _, text in ipairs { "", "x", " 1", "1 ", "+1", ".5", "1.", "0x10", "NaN", "1e999999" } do
      assert.is_false(state:run("return decimal(...)", text), text)
    end
  end)
end)
